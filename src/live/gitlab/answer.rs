//! Judges what came back from GitLab, or from a proxy before it: which kind of error it is, whether the call may be
//! repeated, and what to tell.

use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::http::{Again, Call, Failure, Mode, content_type, location, retry_after};
use crate::apply::port::{PortError, PortErrorKind};
use crate::live::cause::one_line;

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

const RIGHTS: &str = "Use an administrator's token with the scope `api`, and with `admin_mode` where Admin Mode is on.";
const PROXY: &str = "Something before GitLab answers in its place: check `gitlab.url`, and the proxies on the way.";

/// The failure of a call whose answer is not known: of a POST it is not known whether it was carried out.
pub(super) fn lost(call: &Call, again: Again, kind: PortErrorKind, message: String) -> Failure {
    match call.mode {
        Mode::Read => Failure { error: PortError::new(kind, &call.shown, message), again },
        Mode::Replace => {
            Failure { error: PortError::new(PortErrorKind::Transient, &call.shown, message), again: Again::No }
        }
        Mode::Create => Failure {
            error: PortError {
                help: Some("It may have been carried out: look at the container's moves before another.".to_owned()),
                ..PortError::new(PortErrorKind::Ambiguous, &call.shown, message)
            },
            again: Again::No,
        },
    }
}

/// Lets success pass, and makes an error of everything else.
pub(super) fn judge(call: &Call, answer: &Answer, secret: &str) -> Result<(), Failure> {
    let status = answer.status;
    let said = said(answer, secret);
    let failure = |kind, help: Option<&str>, message: String| Failure {
        error: PortError { help: help.map(str::to_owned), ..PortError::new(kind, &call.shown, message) },
        again: Again::No,
    };
    let own_page = matches!(said, Said::Page(_));
    let told = said.told();
    let failed = match status {
        200..=299 => return Ok(()),
        300..=399 => {
            let to =
                location(&answer.headers).map_or_else(|| "elsewhere".to_owned(), |l| one_line(l, Some(secret), 120));
            failure(
                PortErrorKind::Protocol,
                Some("Set `gitlab.url` to the address at which GitLab itself answers; redirects are not followed."),
                format!("redirected ({status}) to {to}"),
            )
        }
        401 => match &said {
            Said::OAuth { code, description, .. } => failure(
                PortErrorKind::Unauthenticated,
                Some("Make a new administrator's token and put it where `gitlab.token` points to."),
                format!("the token is refused (401 {code}): {description}"),
            ),
            Said::Page(_) => failure(PortErrorKind::Unauthenticated, Some(PROXY), format!("401, and {told}")),
            _ => failure(
                PortErrorKind::Unauthenticated,
                Some("Check where `gitlab.token` points to, and that the token belongs to this GitLab."),
                format!("GitLab does not know the token (401): {told}"),
            ),
        },
        403 => match &said {
            Said::OAuth { code, description, scope } if code == "insufficient_scope" => {
                let scope = scope.as_deref().map_or_else(String::new, |s| format!("; it asks for `{s}`"));
                failure(
                    PortErrorKind::Forbidden,
                    Some(RIGHTS),
                    format!("the token has too few scopes (403 insufficient_scope): {description}{scope}"),
                )
            }
            Said::Page(_) => failure(PortErrorKind::Forbidden, Some(PROXY), format!("403, and {told}")),
            _ => failure(
                PortErrorKind::Forbidden,
                Some(RIGHTS),
                format!("the token's owner is no administrator here, or Admin Mode is on (403): {told}"),
            ),
        },
        // Only GitLab's own words say that something is not there: a proxy that has lost its way to GitLab answers 404 too.
        404 if matches!(&said, Said::Message(text) if text.starts_with("404")) => {
            failure(PortErrorKind::NotFound, None, format!("not found (404): {told}"))
        }
        404 => {
            let mut failure =
                lost(call, Again::Soon, PortErrorKind::Transient, format!("404, and not GitLab's: {told}"));
            failure.error.help.get_or_insert_with(|| PROXY.to_owned());
            failure
        }
        429 => Failure {
            // Refused before anything was done: any call may be repeated.
            error: PortError {
                retry_after: retry_after(&answer.headers),
                ..PortError::new(PortErrorKind::Transient, &call.shown, format!("too many requests (429): {told}"))
            },
            again: Again::Patient,
        },
        408 | 409 | 425 | 500..=599 => {
            let again = if status == 500 { Again::Soon } else { Again::Patient };
            let mut failure = lost(call, again, PortErrorKind::Transient, format!("GitLab answered {status}: {told}"));
            failure.error.retry_after = retry_after(&answer.headers);
            failure
        }
        _ => failure(PortErrorKind::Refused, own_page.then_some(PROXY), format!("refused ({status}): {told}")),
    };
    Err(Failure { error: PortError { status: Some(status), ..failed.error }, ..failed })
}

/// Reads the JSON of a successful answer.
pub(super) fn parse<T: DeserializeOwned>(call: &Call, answer: &Answer, secret: &str) -> Result<T, Failure> {
    let protocol = |again, message, help: Option<&str>| {
        let mut failure = lost(call, again, PortErrorKind::Protocol, message);
        if failure.error.help.is_none() {
            failure.error.help = help.map(str::to_owned);
        }
        failure
    };
    let page = is_page(answer);
    let mut reader = serde_json::Deserializer::from_slice(&answer.body);
    let result = serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| (e.path().to_string(), e.into_inner()))
        .and_then(|value: T| reader.end().map(|()| value).map_err(|e| ("the end".to_owned(), e)));
    result.map_err(|(path, e)| {
        if page || (e.is_syntax() && e.line() <= 1 && e.column() <= 1) {
            let message = format!("status {}, and {}", answer.status, excerpt(answer, secret));
            return protocol(Again::No, message, Some(PROXY));
        }
        if e.is_eof() {
            let message = format!("the answer ends in the middle, after {} bytes", answer.body.len());
            return protocol(Again::Soon, message, Some(PROXY));
        }
        let what = one_line(&e.to_string(), Some(secret), 200);
        let message = match path.as_str() {
            "." | "" => format!("not the JSON that GitLab's API documents: {what}"),
            path => format!("not the JSON that GitLab's API documents, at `{path}`: {what}"),
        };
        protocol(Again::No, message, Some("This tranship knows GitLab 15.5 to 18; compare its version."))
    })
}

fn is_page(answer: &Answer) -> bool {
    let html = content_type(&answer.headers).is_some_and(|t| t.to_ascii_lowercase().contains("html"));
    html || answer.body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<')
}

fn excerpt(answer: &Answer, secret: &str) -> String {
    // Only the beginning: the rest of a page says nothing, and a byte limit may cut a character in two.
    let begin = answer.body.get(..4096).unwrap_or(&answer.body);
    let text = one_line(&String::from_utf8_lossy(begin), Some(secret), 80);
    let kind = content_type(&answer.headers).map_or_else(|| "no type".to_owned(), |t| one_line(t, None, 60));
    if text.is_empty() {
        format!("an empty body ({kind}) instead of JSON")
    } else {
        format!("a page ({kind}) instead of JSON: `{text}`")
    }
}

/// What an error's body says.
enum Said {
    /// `{"message": …}` or `{"error": …}`, as one line.
    Message(String),
    /// OAuth's shape.
    OAuth { code: String, description: String, scope: Option<String> },
    /// Plain text, which GitLab's rate limiter sends.
    Text(String),
    /// Not GitLab's: how it begins.
    Page(String),
}

impl Said {
    fn told(&self) -> String {
        match self {
            Self::Message(text) | Self::Text(text) | Self::Page(text) => text.clone(),
            Self::OAuth { code, description, .. } => format!("{code}: {description}"),
        }
    }
}

fn said(answer: &Answer, secret: &str) -> Said {
    let line = |text: &str| one_line(text, Some(secret), 300);
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&answer.body) else {
        let text = String::from_utf8_lossy(answer.body.get(..4096).unwrap_or(&answer.body));
        if is_page(answer) || text.trim().is_empty() {
            return Said::Page(excerpt(answer, secret));
        }
        return Said::Text(one_line(&text, Some(secret), 120));
    };
    if let (Some(Value::String(code)), Some(description)) = (body.get("error"), body.get("error_description")) {
        return Said::OAuth {
            code: line(code),
            description: line(description.as_str().unwrap_or("")),
            scope: body.get("scope").and_then(Value::as_str).map(line),
        };
    }
    match body.get("message").or_else(|| body.get("error")) {
        Some(value) => Said::Message(line(&readable(value))),
        None => Said::Message("without a message".to_owned()),
    }
}

/// `{"project":["is read-only"]}` becomes `project is read-only`.
fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(readable).collect::<Vec<_>>().join(", "),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| if key == "error" { readable(value) } else { format!("{key} {}", readable(value)) })
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{CONTENT_TYPE, HeaderValue};

    fn answer(status: u16, kind: &'static str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Answer { status, headers, body: body.as_bytes().to_vec() }
    }

    fn judged(call: &Call, status: u16, body: &str) -> (PortErrorKind, Again, String) {
        let failure = judge(call, &answer(status, "application/json", body), "s3cret").expect_err("a failure");
        (failure.error.kind, failure.again, failure.error.message)
    }

    #[test]
    fn each_status_has_its_kind() {
        let get = Call::get("/projects");
        let post = Call::post("/projects/1/repository_storage_moves", Value::Null);
        let put = Call::put("/application/settings", Value::Null);
        use PortErrorKind as K;
        for (call, status, kind, again) in [
            (&get, 302, K::Protocol, Again::No),
            (&get, 400, K::Refused, Again::No),
            (&get, 401, K::Unauthenticated, Again::No),
            (&get, 403, K::Forbidden, Again::No),
            (&get, 404, K::Transient, Again::Soon),
            (&post, 404, K::Ambiguous, Again::No),
            (&get, 409, K::Transient, Again::Patient),
            (&get, 429, K::Transient, Again::Patient),
            (&get, 500, K::Transient, Again::Soon),
            (&get, 502, K::Transient, Again::Patient),
            (&post, 400, K::Refused, Again::No),
            (&post, 409, K::Ambiguous, Again::No),
            (&post, 429, K::Transient, Again::Patient),
            (&post, 500, K::Ambiguous, Again::No),
            (&post, 504, K::Ambiguous, Again::No),
            (&put, 500, K::Transient, Again::No),
            (&put, 429, K::Transient, Again::Patient),
        ] {
            let (found, repeat, _) = judged(call, status, "{}");
            assert_eq!((found, repeat), (kind, again), "{} {status}", call.shown);
        }
        // Only GitLab's own words say that something is not there.
        for body in [r#"{"message":"404 Project Not Found"}"#, r#"{"error":"404 Not Found"}"#] {
            assert_eq!(judged(&post, 404, body).0, K::NotFound);
        }
    }

    #[test]
    fn every_documented_shape_is_told() {
        let get = Call::get("/projects");
        for (status, body, expected) in [
            (401, r#"{"message":"401 Unauthorized"}"#, "GitLab does not know the token (401): 401 Unauthorized"),
            (
                401,
                r#"{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}"#,
                "the token is refused (401 invalid_token): Token was revoked. You have to re-authorize from the user.",
            ),
            (
                403,
                r#"{"error":"insufficient_scope","error_description":"The request requires higher privileges.","scope":"api"}"#,
                "the token has too few scopes (403 insufficient_scope): The request requires higher privileges.; it asks for `api`",
            ),
            (400, r#"{"message":{"project":["is read-only"]}}"#, "refused (400): project is read-only"),
            (
                400,
                r#"{"message":{"destination_storage_name":["is not included in the list","can't be blank"]}}"#,
                "refused (400): destination_storage_name is not included in the list, can't be blank",
            ),
            (400, r#"{"error":"source_storage_name is missing"}"#, "refused (400): source_storage_name is missing"),
            (
                429,
                r#"{"message":{"error":"This endpoint has been requested too many times. Try again later."}}"#,
                "too many requests (429): This endpoint has been requested too many times. Try again later.",
            ),
            (429, "Retry later\n", "too many requests (429): Retry later"),
        ] {
            assert_eq!(judged(&get, status, body).2, expected);
        }
    }

    #[test]
    fn an_echoed_token_is_blotted_out() {
        let get = Call::get("/projects");
        for body in [r#"{"message":"no s3cret here"}"#, "<html>s3cret", "s3cret"] {
            for status in [400, 401, 403, 404, 429, 502] {
                let (_, _, message) = judged(&get, status, body);
                assert!(!message.contains("s3cret"), "{message}");
            }
            let page = answer(200, "text/html", body);
            let failure = parse::<Vec<u8>>(&get, &page, "s3cret").expect_err("no JSON");
            assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_tells_the_secret(status: u16, body: Vec<u8>, text in "\\PC*") {
            for body in [body, text.clone().into_bytes(), format!("{{\"message\":{{\"a\":[{text:?}]}}}}").into_bytes()] {
                let mut echoed = body.clone();
                echoed.extend_from_slice(b"s3cret");
                for body in [body, echoed] {
                    let answer = Answer { status, headers: HeaderMap::new(), body };
                    for call in [Call::get("/x"), Call::put("/x", Value::Null), Call::post("/x", Value::Null)] {
                        let judged = judge(&call, &answer, "s3cret").err();
                        let parsed = parse::<Vec<String>>(&call, &answer, "s3cret").err();
                        let told = format!("{:?}", (judged, parsed));
                        proptest::prop_assert!(!told.contains("s3cret"), "{}", told);
                    }
                }
            }
        }
    }

    #[test]
    fn bodies_that_are_not_the_apis_are_told_apart() {
        let get = Call::get("/metadata");
        let message =
            |kind, body| parse::<Vec<u64>>(&get, &answer(200, kind, body), "").expect_err("bad").error.message;
        assert_eq!(
            message("text/html; charset=utf-8", "<!DOCTYPE html>\n<title>Sign in</title>"),
            "status 200, and a page (text/html; charset=utf-8) instead of JSON: `<!DOCTYPE html> <title>Sign in</title>`"
        );
        assert_eq!(message("application/json", "[1, 2"), "the answer ends in the middle, after 5 bytes");
        assert_eq!(message("application/json", ""), "the answer ends in the middle, after 0 bytes");
        assert!(message("application/json", "[1,\"x\"]").contains("at `[1]`"));
        assert!(message("application/json", "[1] [2]").contains("at `the end`"));
    }
}
