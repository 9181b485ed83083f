//! Sends one query to Prometheus: the token's header, bounded concurrency, timeouts, and repeating what passes. A query
//! changes nothing, so that each may be repeated.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use super::answer::{self, Body};
use crate::apply::port::{Metrics, PortError, PortErrorKind, PortResult, Series};
use crate::live::PrometheusTarget;
use crate::live::cause::{Cause, cause_of, one_line};
use crate::live::client::{Client, Words};

/// Queries at once. Prometheus runs 20 for all of its users (`--query.max-concurrency`): at ten times this, dashboards and
/// alerts would wait behind ours.
const CONCURRENCY: usize = 4;
/// Prometheus itself gives a query two minutes; a gate's answer of that age would be worth little.
const WHOLE: Duration = Duration::from_secs(30);
/// A longer query travels in a body: proxies take about 8 KB of a request's first line.
const LONG: usize = 2000;
/// A gate's answer is a few numbers; what is larger is a query that forgot to aggregate.
const LARGEST_BODY: usize = 8 << 20;
/// Warnings that are kept.
const WARNINGS: usize = 20;

/// How long a query is repeated: short, because whoever asks comes back anyway.
#[derive(Debug, Clone, Copy)]
struct Patience {
    first: Duration,
    longest: Duration,
    total: Duration,
}

const PATIENCE: Patience =
    Patience { first: Duration::from_millis(250), longest: Duration::from_secs(2), total: Duration::from_secs(5) };

const WORDS: Words = Words { block: "prometheus", server: "Prometheus", example: "http://prometheus.monitoring:9090" };

/// The metrics' port onto a Prometheus.
pub struct HttpMetrics {
    client: reqwest::Client,
    /// Ends in `/api/v1`.
    base: String,
    /// `host:port`, for messages.
    host: String,
    token: Option<HeaderValue>,
    secret: SecretString,
    permits: Semaphore,
    patience: Patience,
    warnings: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMetrics").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no type")
    }
}

/// An attempt that failed, and whether another may help.
pub(super) struct Failure {
    pub(super) error: PortError,
    pub(super) again: bool,
}

impl HttpMetrics {
    /// Checks the URL, token and CA, and makes the client. Dials nothing.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(target: &PrometheusTarget) -> PortResult<Self> {
        let Client { client, root, host } = WORDS.client(&target.url, target.ca.as_deref(), WHOLE)?;
        let base = format!("{}/api/v1", root.strip_suffix("/api/v1").unwrap_or(&root));
        let secret = target.token.as_ref().map_or("", |token| token.expose_secret().trim()).to_owned();
        let token = match target.token {
            None => None,
            Some(_) => {
                let header = HeaderValue::from_str(&format!("Bearer {secret}")).ok().filter(|_| !secret.is_empty());
                let mut header = header.ok_or_else(|| PortError {
                    help: Some("Check where `prometheus.token` points to.".to_owned()),
                    ..PortError::new(
                        PortErrorKind::Unauthenticated,
                        "reading `prometheus.token`",
                        "it is empty, or holds characters that no token has",
                    )
                })?;
                header.set_sensitive(true);
                Some(header)
            }
        };
        Ok(Self {
            client,
            base,
            host,
            token,
            secret: SecretString::from(secret),
            permits: Semaphore::new(CONCURRENCY),
            patience: PATIENCE,
            warnings: Mutex::default(),
        })
    }

    /// Repeats as hastily as a test wants it.
    #[must_use]
    pub fn hasty(mut self) -> Self {
        let (first, longest) = (Duration::from_millis(5), Duration::from_millis(20));
        self.patience = Patience { first, longest, total: Duration::from_millis(200) };
        self
    }

    async fn call(&self, path: &str, parameters: &[(&str, String)]) -> PortResult<Vec<Series>> {
        let began = Instant::now();
        let mut wait = self.patience.first;
        loop {
            let Failure { error, again } = match self.attempt(path, parameters).await {
                Ok(Body { series, warnings }) => {
                    self.keep(warnings);
                    return Ok(series);
                }
                Err(failure) => failure,
            };
            let pause = error.retry_after.unwrap_or(wait).max(wait);
            if !again || began.elapsed().saturating_add(pause) > self.patience.total {
                return Err(error);
            }
            wait = wait.saturating_mul(2).min(self.patience.longest);
            tracing::debug!(path, ?pause, error = %error.message, "repeating");
            tokio::time::sleep(pause).await;
        }
    }

    fn keep(&self, warnings: Vec<String>) {
        if warnings.is_empty() {
            return;
        }
        let mut kept = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in warnings {
            let line = one_line(&warning, Some(self.secret.expose_secret()), 300);
            if kept.len() < WARNINGS && kept.insert(line.clone()) {
                tracing::warn!(warning = %line, "Prometheus warns");
            }
        }
    }

    async fn attempt(&self, path: &str, parameters: &[(&str, String)]) -> Result<Body, Failure> {
        let url = format!("{}/{path}", self.base);
        let long = parameters.iter().map(|(_, value)| value.len()).sum::<usize>() > LONG;
        let method = if long { "POST" } else { "GET" };
        let shown = format!("{method} /api/v1/{path}");
        let mut request = if long {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(parameters);
            let body = form.finish();
            self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
        } else {
            self.client.get(url).query(parameters)
        };
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let fails = |again, kind, message: String| Failure { error: PortError::new(kind, &shown, message), again };
        let closed = |_| fails(false, PortErrorKind::Protocol, "the client is shutting down".to_owned());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let mut response = request.send().await.map_err(|error| self.not_answered(&shown, &error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST_BODY => {
                    let message = format!("the answer is larger than {} MiB", LARGEST_BODY >> 20);
                    let mut failure = fails(false, PortErrorKind::Refused, message);
                    failure.error.help = Some("Aggregate the query, for example with sum by (…).".to_owned());
                    return Err(failure);
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => {
                    let why = if error.is_timeout() { "no more came in time" } else { "the connection was cut" };
                    let message = format!("the answer ({status}) ends after {} bytes: {why}", body.len());
                    return Err(fails(true, PortErrorKind::Transient, message));
                }
            }
        }
        let answer = Answer { status, headers, body };
        answer::read(&shown, &answer, self.secret.expose_secret())
    }

    fn not_answered(&self, shown: &str, error: &reqwest::Error) -> Failure {
        let host = &self.host;
        let transient = PortErrorKind::Transient;
        let (kind, message, help) = match cause_of(error) {
            Cause::Tls { message, unknown_authority } => {
                let help = if unknown_authority {
                    "Set `prometheus.ca` to a PEM file with the CA that signed it."
                } else {
                    "Look at `prometheus.url`, and at the server's certificate."
                };
                (PortErrorKind::Protocol, format!("{host}: {message}"), help)
            }
            Cause::Dns => (
                transient,
                format!("the host name of {host} is not known here"),
                "Check `prometheus.url` and this machine's DNS.",
            ),
            Cause::Unreachable(why) => (
                transient,
                format!("{host} is not reachable: {why}"),
                "Check `prometheus.url`, and that Prometheus runs.",
            ),
            _ if error.is_connect() && error.is_timeout() => (
                transient,
                format!("{host} is not reachable: no connection in time"),
                "Check `prometheus.url`, and that this machine may reach it.",
            ),
            _ if error.is_timeout() => {
                (transient, format!("{host} gave no answer in time"), "Is the query too large for that Prometheus?")
            }
            Cause::Broken(why) | Cause::Other(why) => (
                transient,
                format!("{host} gave no answer: {why}"),
                "Check `prometheus.url`, and that this machine may reach it.",
            ),
        };
        let error = PortError { help: Some(help.to_owned()), ..PortError::new(kind, shown, message) };
        Failure { again: kind == transient, error }
    }
}

/// How long the server asks us to wait, in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A time as the API takes it: seconds since 1970, with milliseconds.
fn seconds(time: Timestamp) -> String {
    let millis = time.as_millisecond();
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}

#[async_trait]
impl Metrics for HttpMetrics {
    async fn query(&self, query: &str, at: Timestamp) -> PortResult<Vec<Series>> {
        self.call("query", &[("query", query.to_owned()), ("time", seconds(at))]).await
    }

    async fn range(&self, query: &str, from: Timestamp, to: Timestamp, step: Duration) -> PortResult<Vec<Series>> {
        let step = format!("{:.3}", step.as_secs_f64());
        let parameters = [("query", query.to_owned()), ("start", seconds(from)), ("end", seconds(to)), ("step", step)];
        self.call("query_range", &parameters).await
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
