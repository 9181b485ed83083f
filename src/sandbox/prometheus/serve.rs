//! The HTTP API: queries by GET and POST, answers and errors in Prometheus' shapes. No token is asked for, as by
//! Prometheus itself.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value as Json_, json};
use tokio::net::TcpListener;

use super::eval::{Fault, Labels, Query, Sample, Value};
use crate::sandbox::fleet::Fleet;

/// The largest body that is read.
const MOST: usize = 1 << 20;

/// Serves until the fleet ends.
pub(in crate::sandbox) async fn serve(fleet: Arc<Fleet>, listener: TcpListener) {
    let stop = fleet.stop.clone();
    let api = Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/status/buildinfo", get(build))
        .layer(middleware::from_fn_with_state(Arc::clone(&fleet), admit));
    let app = Router::new().nest("/api/v1", api).fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"));
    let served = axum::serve(listener, app.with_state(fleet)).with_graceful_shutdown(stop.clone().cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the sandbox's Prometheus ended");
        stop.cancel();
    }
}

/// A fault keeps it away.
async fn admit(State(fleet): State<Arc<Fleet>>, request: Request, next: Next) -> Response {
    fleet.touch();
    let now = fleet.now();
    if fleet.world(|world| world.prometheus_is_away(now)) {
        return (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response();
    }
    next.run(request).await
}

/// A question's parameters, of the address and of a form.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    async fn of(request: Request) -> Result<Self, Fault> {
        let (head, body) = request.into_parts();
        let form = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form =
            head.method == Method::POST && form.is_some_and(|f| f.starts_with("application/x-www-form-urlencoded"));
        let body = if form { read(body).await? } else { Bytes::new() };
        let query = head.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).chain(url::form_urlencoded::parse(&body));
        Ok(Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect()))
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn time(&self, name: &str) -> Result<i64, Fault> {
        let text = self.get(name);
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && seconds.abs() < 1e12);
        let written = || text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
        seconds.map(thousand).or_else(written).ok_or_else(|| {
            Fault::BadData(format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"))
        })
    }

    fn step(&self) -> Result<i64, Fault> {
        let text = self.get("step");
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && seconds.abs() < 1e12);
        let written = || promql_parser::util::parse_duration(text).ok().map(super::eval::milliseconds);
        seconds.map(thousand).or_else(written).ok_or_else(|| {
            Fault::BadData(format!("invalid parameter \"step\": cannot parse {text:?} to a valid duration"))
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by those who call it")]
fn thousand(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

async fn read(body: Body) -> Result<Bytes, Fault> {
    let too_large = |_| Fault::BadData("error parsing form values: http: request body too large".to_owned());
    axum::body::to_bytes(body, MOST).await.map_err(too_large)
}

async fn query(State(fleet): State<Arc<Fleet>>, request: Request) -> Response {
    let parameters = match Parameters::of(request).await {
        Ok(parameters) => parameters,
        Err(fault) => return failed(&fault),
    };
    let now = fleet.now();
    let found = (|| {
        let time = if parameters.get("time").is_empty() { now.as_millisecond() } else { parameters.time("time")? };
        let query = Query::parse(parameters.get("query"))?;
        let scrape = fleet.world(|world| world.scraped(now));
        Ok((query.at(&scrape, time)?, time))
    })();
    match found {
        Ok((value, time)) => succeeded(&value, time),
        Err(fault) => failed(&fault),
    }
}

async fn query_range(State(fleet): State<Arc<Fleet>>, request: Request) -> Response {
    let parameters = match Parameters::of(request).await {
        Ok(parameters) => parameters,
        Err(fault) => return failed(&fault),
    };
    let now = fleet.now();
    let found = (|| {
        let (from, to, step) = (parameters.time("start")?, parameters.time("end")?, parameters.step()?);
        let query = Query::parse(parameters.get("query"))?;
        let scrape = fleet.world(|world| world.scraped(now));
        query.over(&scrape, from, to, step)
    })();
    match found {
        Ok(value) => succeeded(&value, 0),
        Err(fault) => failed(&fault),
    }
}

async fn build() -> Response {
    let version = concat!("sandbox-", env!("CARGO_PKG_VERSION"));
    Json(json!({ "status": "success", "data": { "version": version, "revision": "", "branch": "" } })).into_response()
}

fn failed(fault: &Fault) -> Response {
    let (status, kind, text) = match fault {
        Fault::BadData(text) => (StatusCode::BAD_REQUEST, "bad_data", text),
        Fault::Execution(text) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", text),
    };
    (status, Json(json!({ "status": "error", "errorType": kind, "error": text }))).into_response()
}

/// A number as Prometheus writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
fn seconds(time: i64) -> f64 {
    time as f64 / 1000.0
}

fn point(time: i64, value: f64) -> Json_ {
    json!([seconds(time), number(value)])
}

fn succeeded(value: &Value, time: i64) -> Response {
    let series = |(labels, points): &(Labels, Vec<(i64, f64)>)| {
        let values: Vec<Json_> = points.iter().map(|(time, value)| point(*time, *value)).collect();
        json!({ "metric": labels, "values": values })
    };
    let (kind, result) = match value {
        Value::Scalar(value) => ("scalar", point(time, *value)),
        Value::Text(text) => ("string", json!([seconds(time), text])),
        Value::Vector(elements) => {
            let one = |Sample { labels, value, .. }: &Sample| json!({ "metric": labels, "value": point(time, *value) });
            ("vector", elements.iter().map(one).collect())
        }
        Value::Matrix(all) => ("matrix", all.iter().map(series).collect()),
    };
    Json(json!({ "status": "success", "data": { "resultType": kind, "result": result } })).into_response()
}
