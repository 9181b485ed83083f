//! Sends one call to GitLab: the token's header, bounded concurrency, timeouts, and repeating what may be repeated.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::answer::{self, Answer};
use super::pace::{Class, Pace};
use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::live::cause::{Cause, cause_of};
use crate::live::client::{Client, Words};

/// Requests in flight to one GitLab. A default installation serves 16 to 32 requests at once (4 threads a Puma worker),
/// and its users need them too: at ten times this our own requests queue behind each other and time out.
const CONCURRENCY: usize = 16;
const WHOLE: Duration = Duration::from_secs(60);
/// A POST of a move waits for locks; Rails itself gives up after 60 s, so that what is unanswered by then stays so.
const POST: Duration = Duration::from_secs(90);
/// A page of 100 projects is about half a megabyte; what is larger than this is no answer of GitLab's.
const LARGEST_BODY: usize = 32 << 20;

const WORDS: Words = Words { block: "gitlab", server: "GitLab", example: "https://gitlab.example.com" };

/// How long a call is repeated before its error is told.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The first wait; each next one is twice as long, at most `longest`.
    pub first: Duration,
    /// The longest wait of our own choice.
    pub longest: Duration,
    /// A call is not repeated when this much time would have passed since it began.
    pub total: Duration,
    /// Waits that GitLab asks for (`Retry-After`) are honoured up to this sum, beside `total`.
    pub asked: Duration,
    /// Waits for GitLab's rate limits, up to this sum, beside both. The longest default period is an hour.
    pub limited: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(8),
            total: Duration::from_secs(30),
            asked: Duration::from_secs(60),
            limited: Duration::from_secs(65 * 60),
        }
    }
}

/// What a call does, which decides whether it may be repeated and what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// GET: repeated.
    Read,
    /// PUT of a whole map: harmless to repeat, but only by the caller, who reads the map again first.
    Replace,
    /// POST of a move: never repeated unless it was surely not carried out.
    Create,
}

impl Mode {
    fn method(self) -> &'static str {
        match self {
            Self::Read => "GET",
            Self::Replace => "PUT",
            Self::Create => "POST",
        }
    }
}

/// Whether a failed attempt may be followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The answer stands.
    No,
    /// At most three more times: it may be lasting.
    Soon,
    /// Until patience ends: it passes.
    Patient,
    /// When the rate limit lets it, in about so long.
    Limited(Duration),
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: PortError,
    pub(super) again: Again,
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) mode: Mode,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// What may be lasting is tried so often.
    soon: u32,
    /// As a user knows it.
    pub(super) shown: String,
}

impl Call {
    /// A GET below `/api/v4`.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Mode::Read, path.into(), None)
    }

    pub(super) fn put(path: impl Into<String>, body: Value) -> Self {
        Self::new(Mode::Replace, path.into(), Some(body))
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Mode::Create, path.into(), Some(body))
    }

    fn new(mode: Mode, path: String, body: Option<Value>) -> Self {
        let shown = format!("{} /api/v4{path}", mode.method());
        Self { mode, path, query: Vec::new(), body, soon: 4, shown }
    }

    /// Adds a parameter that errors name.
    pub(super) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        let value = value.to_string();
        let join = if self.shown.contains('?') { '&' } else { '?' };
        self.shown.push(join);
        self.shown.push_str(key);
        self.shown.push('=');
        self.shown.push_str(&value);
        self.query.push((key, value));
        self
    }

    /// Repeats only once what may be lasting: one of many calls that look for what fails.
    pub(super) fn probing(mut self, probing: bool) -> Self {
        self.soon = if probing { 2 } else { self.soon };
        self
    }

    /// Adds a parameter that is the same in every such call.
    pub(super) fn quiet(mut self, key: &'static str, value: &str) -> Self {
        self.query.push((key, value.to_owned()));
        self
    }
}

/// The client of one GitLab.
pub(super) struct Http {
    client: reqwest::Client,
    /// Ends in `/api/v4`.
    base: String,
    /// `host:port`, for messages.
    host: String,
    token: HeaderValue,
    secret: SecretString,
    permits: Semaphore,
    pub(super) patience: Patience,
    pub(super) pace: Pace,
}

impl Http {
    /// Checks the URL, token and CA, and makes the client. Dials nothing.
    pub(super) fn new(url: &str, token: &SecretString, ca: Option<&str>) -> PortResult<Self> {
        let Client { client, root, host } = WORDS.client(url, ca, WHOLE)?;
        let base = format!("{}/api/v4", root.strip_suffix("/api/v4").unwrap_or(&root));
        let trimmed = token.expose_secret().trim();
        let mut header = HeaderValue::from_str(trimmed).ok().filter(|h| !h.is_empty()).ok_or_else(|| PortError {
            help: Some("Check where `gitlab.token` points to.".to_owned()),
            ..PortError::new(
                PortErrorKind::Unauthenticated,
                "reading `gitlab.token`",
                "it is empty, or holds characters that no token has",
            )
        })?;
        header.set_sensitive(true);

        let permits = Semaphore::new(CONCURRENCY);
        let secret = SecretString::from(trimmed.to_owned());
        Ok(Self {
            client,
            base,
            host,
            token: header,
            secret,
            permits,
            patience: Patience::default(),
            pace: Pace::default(),
        })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Carries out a call and reads its JSON.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: &Call) -> PortResult<T> {
        let (value, _headers) = self.call_with_headers(call).await?;
        Ok(value)
    }

    /// Carries out a call and reads its JSON and headers, repeating what may be repeated.
    pub(super) async fn call_with_headers<T: DeserializeOwned>(&self, call: &Call) -> PortResult<(T, HeaderMap)> {
        let began = Instant::now();
        let mut wait = self.patience.first;
        let (mut asked, mut limited) = (Duration::ZERO, Duration::ZERO);
        let (mut attempts, mut refused) = (0_u32, 0_u32);
        let class = Class::of(call.mode.method(), &call.path);
        loop {
            attempts += 1;
            let before = Instant::now();
            self.pace.admit(class).await;
            limited = limited.saturating_add(before.elapsed());
            let Failure { error, again } = match self.attempt(call, class, refused + 1).await {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            let pause = match (again, error.retry_after) {
                (Again::No, _) => return Err(error),
                (Again::Limited(wait), _) => {
                    if limited.saturating_add(wait) > self.patience.limited {
                        let help = "GitLab limits how often its API may be asked. Come back later: what was listed until \
                                    now is kept, and the next plan goes on from there.";
                        return Err(PortError { help: Some(help.to_owned()), ..error });
                    }
                    refused += 1;
                    continue;
                }
                (Again::Soon, _) if attempts >= call.soon => return Err(error),
                (_, Some(asked_for)) => {
                    asked = asked.saturating_add(asked_for.max(self.patience.first));
                    if asked > self.patience.asked {
                        return Err(error);
                    }
                    asked_for.max(self.patience.first)
                }
                (_, None) => {
                    let pause = wait;
                    wait = wait.saturating_mul(2).min(self.patience.longest);
                    let own = began.elapsed().saturating_sub(asked).saturating_sub(limited);
                    if own.saturating_add(pause) > self.patience.total {
                        return Err(error);
                    }
                    pause
                }
            };
            tracing::debug!(call = %call.shown, attempts, ?pause, error = %error.message, "repeating");
            tokio::time::sleep(pause).await;
        }
    }

    /// `refusal`: which 429 of this call another one would be, from 1.
    async fn attempt<T: DeserializeOwned>(
        &self,
        call: &Call,
        class: Class,
        refusal: u32,
    ) -> Result<(T, HeaderMap), Failure> {
        let secret = self.secret.expose_secret();
        let answer = self.send(call).await?;
        if answer.status == 429
            && let Err(Failure { error, .. }) = answer::judge(call, &answer, secret)
        {
            let wait = self.pace.refused(class, &answer.headers, error.retry_after, refusal);
            return Err(Failure { error, again: Again::Limited(wait) });
        }
        self.pace.learn(&answer.headers);
        answer::judge(call, &answer, secret)?;
        let value = answer::parse(call, &answer, secret)?;
        Ok((value, answer.headers))
    }

    async fn send(&self, call: &Call) -> Result<Answer, Failure> {
        let url = format!("{}{}", self.base, call.path);
        let request = match call.mode {
            Mode::Read => self.client.get(url),
            Mode::Replace => self.client.put(url),
            Mode::Create => self.client.post(url).timeout(POST),
        };
        let mut request = request.header("PRIVATE-TOKEN", self.token.clone()).query(&call.query);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let closed = |_| Failure {
            error: PortError::new(PortErrorKind::Protocol, &call.shown, "the client is shutting down"),
            again: Again::No,
        };
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let began = Instant::now();
        let mut response = request.send().await.map_err(|e| self.not_answered(call, &e))?;
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST_BODY => {
                    return Err(answer::lost(
                        call,
                        Again::No,
                        PortErrorKind::Protocol,
                        format!("the answer is larger than {} MiB: this is not GitLab's API", LARGEST_BODY >> 20),
                    ));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(e) => {
                    let why = if e.is_timeout() { "no more came in time" } else { "the connection was cut" };
                    return Err(answer::lost(
                        call,
                        Again::Soon,
                        PortErrorKind::Protocol,
                        format!("the answer ({}) ends after {} bytes: {why}", status.as_u16(), body.len()),
                    ));
                }
            }
        }
        tracing::debug!(call = %call.shown, status = status.as_u16(), took = ?began.elapsed(), "GitLab answered");
        Ok(Answer { status: status.as_u16(), headers, body })
    }

    fn not_answered(&self, call: &Call, error: &reqwest::Error) -> Failure {
        let host = &self.host;
        let transient = PortErrorKind::Transient;
        let (kind, again, message, help) = match cause_of(error) {
            Cause::Tls { message, unknown_authority } => (
                PortErrorKind::Protocol,
                Again::No,
                format!("{host}: {message}"),
                Some(if unknown_authority {
                    "Set `gitlab.ca` to a PEM file with the CA that signed it.".to_owned()
                } else {
                    "Compare `gitlab.url` with GitLab's own `external_url`, and look at its certificate.".to_owned()
                }),
            ),
            Cause::Dns => (
                transient,
                Again::Soon,
                format!("the host name of {host} is not known here"),
                Some("Check `gitlab.url` and this machine's DNS.".to_owned()),
            ),
            Cause::Unreachable(why) => (transient, Again::Soon, format!("{host} is not reachable: {why}"), None),
            _ if error.is_connect() && error.is_timeout() => {
                (transient, Again::Soon, format!("{host} is not reachable: no connection in time"), None)
            }
            _ if error.is_timeout() => (transient, Again::Patient, format!("{host} gave no answer in time"), None),
            Cause::Broken(why) | Cause::Other(why) => {
                (transient, Again::Patient, format!("{host} gave no answer: {why}"), None)
            }
        };
        let reached = !error.is_connect() && !error.is_builder() && kind == transient;
        if call.mode == Mode::Read || !reached {
            let again = if call.mode == Mode::Read { again } else { Again::No };
            let help = help.or_else(|| Some("Check `gitlab.url`, and that this machine may reach it.".to_owned()));
            return Failure { error: PortError { help, ..PortError::new(kind, &call.shown, message) }, again };
        }
        answer::lost(call, Again::No, kind, message)
    }
}

/// A header's value as text, if it is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long GitLab asks us to wait. Only seconds are read: GitLab sends no dates there.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    header(headers, RETRY_AFTER.as_str())?.trim().parse().ok().map(Duration::from_secs)
}

/// The type of the answer's body.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    header(headers, CONTENT_TYPE.as_str())
}

/// Where a redirect points to, without its query, which could hold a secret.
pub(super) fn location(headers: &HeaderMap) -> Option<&str> {
    header(headers, LOCATION.as_str())?.split(['?', '#']).next()
}
