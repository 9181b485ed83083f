//! Judges what came back from Prometheus, or from a proxy before it, and reads its numbers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::http::{Answer, Failure, retry_after};
use crate::apply::port::{PortError, PortErrorKind, Series};
use crate::live::cause::one_line;

/// Elements of one answer that are taken: a gate must hold for each, and names the worst.
const MOST_SERIES: usize = 1000;

const PROXY: &str = "Something else answers in Prometheus' place: `prometheus.url` is its address without `/api/v1`.";

/// What a query gave.
pub(super) struct Body {
    pub(super) series: Vec<Series>,
    /// Warnings and infos, as Prometheus words them.
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

/// A sample: seconds since 1970, and a number as text.
type Sample = (f64, String);

#[derive(Deserialize)]
struct Element {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<Sample>,
    #[serde(default)]
    values: Vec<Sample>,
    /// Of native histograms, which are no numbers.
    #[serde(default)]
    histogram: Option<Value>,
    #[serde(default)]
    histograms: Option<Value>,
}

/// Reads an answer.
pub(super) fn read(shown: &str, answer: &Answer, secret: &str) -> Result<Body, Failure> {
    let failure = |kind, again, help: Option<&str>, message: String| Failure {
        error: PortError {
            help: help.map(str::to_owned),
            status: Some(answer.status),
            retry_after: retry_after(&answer.headers),
            ..PortError::new(kind, shown, message)
        },
        again,
    };
    let status = answer.status;
    let envelope: Option<Envelope> = serde_json::from_slice(&answer.body).ok();
    let own = envelope.as_ref().filter(|envelope| envelope.status == "error");
    let told = match own {
        Some(envelope) => one_line(&format!("{}: {}", envelope.error_type, envelope.error), Some(secret), 400),
        None => excerpt(answer, secret),
    };
    if let Some(envelope) = own {
        return Err(match envelope.error_type.as_str() {
            // Its own words for a query that it cannot read or carry out.
            "bad_data" | "execution" => failure(PortErrorKind::Refused, false, None, told),
            "not_found" => failure(PortErrorKind::NotFound, false, Some(PROXY), told),
            "unauthorized" => failure(PortErrorKind::Unauthenticated, false, Some(TOKEN), told),
            "forbidden" => failure(PortErrorKind::Forbidden, false, Some(TOKEN), told),
            // timeout, canceled, unavailable, internal, too_many_requests …
            _ => failure(PortErrorKind::Transient, status != 400, None, told),
        });
    }
    match status {
        200..=299 => {}
        300..=399 => {
            let to = answer.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or("elsewhere");
            let to = one_line(to.split(['?', '#']).next().unwrap_or_default(), Some(secret), 120);
            let help =
                "Set `prometheus.url` to the address at which Prometheus itself answers; redirects are not followed.";
            return Err(failure(PortErrorKind::Protocol, false, Some(help), format!("redirected ({status}) to {to}")));
        }
        401 => return Err(failure(PortErrorKind::Unauthenticated, false, Some(TOKEN), format!("401: {told}"))),
        403 => return Err(failure(PortErrorKind::Forbidden, false, Some(TOKEN), format!("403: {told}"))),
        404 | 405 => return Err(failure(PortErrorKind::NotFound, false, Some(PROXY), format!("{status}: {told}"))),
        408 | 425 | 429 | 500..=599 => {
            return Err(failure(PortErrorKind::Transient, true, None, format!("Prometheus answered {status}: {told}")));
        }
        _ => return Err(failure(PortErrorKind::Refused, false, None, format!("refused ({status}): {told}"))),
    }
    let Some(Envelope { data: Some(data), mut warnings, infos, .. }) = envelope else {
        let cut = answer.body.first() == Some(&b'{') && serde_json::from_slice::<Value>(&answer.body).is_err();
        let message = match cut {
            true => format!("the answer ends in the middle, after {} bytes", answer.body.len()),
            false => format!("status {status}, and not Prometheus' JSON: {told}"),
        };
        return Err(failure(PortErrorKind::Protocol, cut, Some(PROXY), message));
    };
    warnings.extend(infos);
    match series(data) {
        Ok(series) => Ok(Body { series, warnings }),
        Err(Odd::Many(count)) => {
            let message = format!("the query gives {count} elements, and at most {MOST_SERIES} are taken");
            let help = "Aggregate it, for example with sum by (…).";
            Err(failure(PortErrorKind::Refused, false, Some(help), message))
        }
        Err(Odd::Wrong(message)) => Err(failure(PortErrorKind::Refused, false, None, message)),
        Err(Odd::Foreign(what)) => {
            let what = one_line(&what, Some(secret), 200);
            Err(failure(PortErrorKind::Protocol, false, Some(PROXY), format!("not Prometheus' JSON: {what}")))
        }
    }
}

const TOKEN: &str = "Check where `prometheus.token` points to, and that its owner may ask queries.";

/// What is wrong with a result.
enum Odd {
    Many(usize),
    Wrong(String),
    Foreign(String),
}

fn series(data: Value) -> Result<Vec<Series>, Odd> {
    let foreign = |error: serde_json::Error| Odd::Foreign(error.to_string());
    let Data { kind, result } = serde_json::from_value(data).map_err(foreign)?;
    match kind.as_str() {
        "scalar" => {
            let sample: Sample = serde_json::from_value(result).map_err(foreign)?;
            Ok(vec![Series { labels: BTreeMap::new(), points: vec![point(&sample)?] }])
        }
        "string" => Err(Odd::Wrong("the query gives a string, and a number is needed".to_owned())),
        "vector" | "matrix" => {
            let count = result.as_array().map_or(0, Vec::len);
            if count > MOST_SERIES {
                return Err(Odd::Many(count));
            }
            let elements: Vec<Element> = serde_json::from_value(result).map_err(foreign)?;
            elements.into_iter().map(read_element).collect()
        }
        other => Err(Odd::Foreign(format!("there is no result type {other:?}"))),
    }
}

fn read_element(element: Element) -> Result<Series, Odd> {
    let Element { metric, value, values, histogram, histograms } = element;
    if histogram.is_some() || histograms.is_some() {
        let help = "the query gives native histograms, and a number is needed: use histogram_quantile and the like";
        return Err(Odd::Wrong(help.to_owned()));
    }
    let points = value.iter().chain(&values).map(point).collect::<Result<_, _>>()?;
    Ok(Series { labels: metric, points })
}

fn point((time, value): &Sample) -> Result<(Timestamp, f64), Odd> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then refused")]
    let millis = (time * 1000.0).round() as i64;
    let time = Timestamp::from_millisecond(millis).map_err(|_| Odd::Foreign(format!("{time:e} is no time")))?;
    let value = match value.as_str() {
        "NaN" => f64::NAN,
        "+Inf" | "Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| Odd::Foreign(format!("{text:?} is no number")))?,
    };
    Ok((time, value))
}

fn excerpt(answer: &Answer, secret: &str) -> String {
    let begin = answer.body.get(..4096).unwrap_or(&answer.body);
    let text = one_line(&String::from_utf8_lossy(begin), Some(secret), 80);
    let kind = one_line(answer.content_type(), Some(secret), 60);
    if text.is_empty() { format!("an empty body ({kind})") } else { format!("`{text}` ({kind})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.into() }
    }

    fn good(data: &str) -> Result<Vec<Series>, PortError> {
        let body = format!("{{\"status\":\"success\",\"data\":{data}}}");
        read("GET /x", &answer(200, body), "s3cret").map(|body| body.series).map_err(|failure| failure.error)
    }

    fn bad(status: u16, body: &str) -> (PortErrorKind, bool, String) {
        let Err(failure) = read("GET /x", &answer(status, body), "s3cret") else { panic!("read") };
        (failure.error.kind, failure.again, failure.error.message)
    }

    #[test]
    fn every_kind_of_result_is_read() {
        let vector = good(
            r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1435781451.781,"1"]},{"metric":{},"value":[1435781451.781,"NaN"]}]}"#,
        )
        .expect("read");
        assert_eq!(vector[0].labels, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert_eq!((vector[0].points[0].0.as_millisecond(), vector[0].points[0].1), (1_435_781_451_781, 1.0));
        assert!(vector[1].points[0].1.is_nan());
        let matrix =
            good(r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"+Inf"],[2.5,"-Inf"],[3,"1.5e-7"]]}]}"#)
                .expect("read");
        let values: Vec<f64> = matrix[0].points.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [f64::INFINITY, f64::NEG_INFINITY, 1.5e-7]);
        let scalar = good(r#"{"resultType":"scalar","result":[1,"2"]}"#).expect("read");
        assert_eq!((scalar[0].labels.len(), scalar[0].points.len()), (0, 1));
        assert_eq!(good(r#"{"resultType":"vector","result":[]}"#).expect("read"), []);
        for (data, kind, said) in [
            (r#"{"resultType":"string","result":[1,"x"]}"#, PortErrorKind::Refused, "gives a string"),
            (r#"{"resultType":"streams","result":[]}"#, PortErrorKind::Protocol, "no result type \"streams\""),
            (r#"{"resultType":"scalar","result":[1e300,"2"]}"#, PortErrorKind::Protocol, "is no time"),
            (r#"{"resultType":"scalar","result":[1,"two"]}"#, PortErrorKind::Protocol, "is no number"),
            (
                r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}"#,
                PortErrorKind::Refused,
                "native histograms",
            ),
        ] {
            let error = good(data).expect_err(said);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(said), "{error}");
        }
        let many = vec![r#"{"metric":{},"value":[1,"1"]}"#; 1001].join(",");
        let error = good(&format!(r#"{{"resultType":"vector","result":[{many}]}}"#)).expect_err("too many");
        assert_eq!(error.message, "the query gives 1001 elements, and at most 1000 are taken");
    }

    #[test]
    fn errors_are_told_apart() {
        use PortErrorKind::*;
        for (status, body, kind, again, said) in [
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}"#,
                Refused,
                false,
                "bad_data: invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis",
            ),
            (
                422,
                r#"{"status":"error","errorType":"execution","error":"found duplicate series"}"#,
                Refused,
                false,
                "execution: found duplicate series",
            ),
            (
                503,
                r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
                Transient,
                true,
                "timeout: query timed out",
            ),
            (503, "Service Unavailable", Transient, true, "Prometheus answered 503: `Service Unavailable` (no type)"),
            (429, "", Transient, true, "Prometheus answered 429: an empty body (no type)"),
            (401, "Unauthorized s3cret", Unauthenticated, false, "401: `Unauthorized [redacted]` (no type)"),
            (403, "{}", Forbidden, false, "403: `{}` (no type)"),
            (404, "404 page not found", NotFound, false, "404: `404 page not found` (no type)"),
            (302, "", Protocol, false, "redirected (302) to elsewhere"),
            (418, "tea", Refused, false, "refused (418): `tea` (no type)"),
            (200, "<html>", Protocol, false, "status 200, and not Prometheus' JSON: `<html>` (no type)"),
            (200, "{\"status\":\"succ", Protocol, true, "the answer ends in the middle, after 15 bytes"),
            (
                200,
                "{\"status\":\"success\"}",
                Protocol,
                false,
                "status 200, and not Prometheus' JSON: `{\"status\":\"success\"}` (no type)",
            ),
        ] {
            assert_eq!(bad(status, body), (kind, again, said.to_owned()));
        }
    }

    #[test]
    fn warnings_and_infos_come_along() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["partial"],"infos":["a gauge?"]}"#;
        let Ok(body) = read("GET /x", &answer(200, body), "") else { panic!("read") };
        assert_eq!(body.warnings, ["partial", "a gauge?"]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_tells_the_secret(status: u16, body: Vec<u8>, text in "\\PC*") {
            let shaped = format!("{{\"status\":\"error\",\"errorType\":{text:?},\"error\":\"s3cret\"}}");
            for mut body in [body, shaped.into_bytes(), text.into_bytes()] {
                body.extend_from_slice(b" s3cret");
                let told = read("GET /x", &answer(status, body), "s3cret").err().map(|f| format!("{:?}", f.error));
                prop_assert!(!told.clone().unwrap_or_default().contains("s3cret"), "{told:?}");
            }
        }
    }
}
