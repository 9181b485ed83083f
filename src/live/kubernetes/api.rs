//! One request to the API server: bounded attempts and time, and a client that is made anew when credentials ran out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use jiff::{SignedDuration, Timestamp};
use kube::core::Status;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

use super::access::{Access, Connected};
use super::answer::{self, Sort};
use crate::apply::port::{PortError, PortErrorKind, PortResult};

/// Requests in flight. API Priority and Fairness gives a user a share of some hundred seats on a default server; at ten
/// times this a plan of many storages queues there behind itself and is told to come back later (429).
const CONCURRENCY: usize = 16;
/// A LIST of a namespace takes tens of milliseconds; a server that needs longer than this is in trouble.
const READ: Duration = Duration::from_secs(30);
/// Admission webhooks may take 30 s each, and the server gives up after 60 s itself.
const WRITE: Duration = Duration::from_secs(70);
/// Client certificates of credential plugins are replaced so long before they end.
const EARLY: SignedDuration = SignedDuration::from_secs(60);

/// How long a read or a dry run is repeated before its error is told. Waits of an apply outlast it by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The first wait; each next one is twice as long.
    pub first: Duration,
    /// No attempt begins after this much time.
    pub total: Duration,
}

impl Default for Patience {
    /// A restart of the server takes some seconds; an operator at a terminal waits no longer for bad news.
    fn default() -> Self {
        Self { first: Duration::from_millis(250), total: Duration::from_secs(8) }
    }
}

/// What a request does, which decides whether it may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Reads, and dry runs.
    Read,
    /// Never repeated here.
    Write,
}

/// One request, and its name for messages.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) what: String,
    pub(super) mode: Mode,
    pub(super) request: Request<Vec<u8>>,
}

/// How a call ended otherwise than well.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said no.
    Said(Box<Status>),
    /// It said nothing, or nothing that counts.
    Lost(PortError),
}

impl Failure {
    /// For calls that must be answered.
    pub(super) fn into_error(self, call: &str) -> PortError {
        match self {
            Self::Said(status) => answer::failure(call, &status),
            Self::Lost(error) => error,
        }
    }
}

/// The API server.
pub(super) struct Api {
    access: Option<Access>,
    connected: Mutex<Option<(u64, Connected)>>,
    pub(super) patience: Patience,
    permits: Semaphore,
    requests: AtomicU64,
}

/// What one attempt came to.
enum Attempt {
    Answered(Value),
    No(Failure),
    /// May be repeated.
    Passing(Failure),
    /// 401 through the connection of this number.
    Unauthenticated(u64, PortError),
}

impl Api {
    pub(super) fn new(access: Access) -> Self {
        Self::with(Some(access), None)
    }

    pub(super) fn given(client: kube::Client) -> Self {
        Self::with(None, Some((0, Connected::given(client))))
    }

    fn with(access: Option<Access>, connected: Option<(u64, Connected)>) -> Self {
        Self {
            access,
            connected: Mutex::new(connected),
            patience: Patience::default(),
            permits: Semaphore::new(CONCURRENCY),
            requests: AtomicU64::new(0),
        }
    }

    /// Requests sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The client, made when first needed and again when its certificate ends.
    async fn connection(&self) -> PortResult<(u64, Connected)> {
        let mut connected = self.connected.lock().await;
        let soon = Timestamp::now().checked_add(EARLY).unwrap_or(Timestamp::MAX);
        if let Some((number, found)) = connected.as_ref()
            && found.client.valid_until().is_none_or(|until| soon < until)
        {
            return Ok((*number, found.clone()));
        }
        let number = connected.as_ref().map_or(0, |(number, _)| *number);
        let Some(access) = &self.access else {
            return Err(PortError::new(PortErrorKind::Unauthenticated, "connecting", "the client cannot be made anew"));
        };
        let made = (number + 1, access.connect().await?);
        *connected = Some(made.clone());
        Ok(made)
    }

    /// Forgets a client whose credentials were not accepted, unless that happened already. True: another can be made.
    async fn forget(&self, number: u64) -> bool {
        let mut connected = self.connected.lock().await;
        if self.access.is_some() && connected.as_ref().is_some_and(|(found, _)| *found == number) {
            *connected = None;
        }
        self.access.is_some()
    }

    /// Carries out a call and reads its JSON, repeating reads that fail in passing.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, Failure> {
        let _permit = self.permits.acquire().await;
        let began = Instant::now();
        let mut wait = self.patience.first;
        let mut anew = false;
        loop {
            let (failure, asked) = match self.attempt(call).await {
                Attempt::Answered(value) => return Ok(value),
                Attempt::No(failure) => return Err(failure),
                Attempt::Unauthenticated(number, error) => {
                    // It was not carried out, so a write may go again too: once, with fresh credentials.
                    if !anew && self.forget(number).await {
                        anew = true;
                        continue;
                    }
                    return Err(Failure::Lost(error));
                }
                Attempt::Passing(failure) => {
                    let asked = match &failure {
                        Failure::Said(status) => answer::failure(&call.what, status).retry_after,
                        Failure::Lost(_) => None,
                    };
                    (failure, asked)
                }
            };
            let pause = wait.max(asked.unwrap_or_default());
            if call.mode == Mode::Write || began.elapsed().saturating_add(pause) > self.patience.total {
                return Err(match failure {
                    Failure::Said(status) => Failure::Lost(self.unanswered(call, &status)),
                    lost @ Failure::Lost(_) => lost,
                });
            }
            tracing::debug!(call = call.what, "repeating");
            tokio::time::sleep(pause).await;
            wait = wait.saturating_mul(2);
        }
    }

    /// The error of a call that the server did not get to.
    fn unanswered(&self, call: &Call, status: &Status) -> PortError {
        let mut error = answer::failure(&call.what, status);
        if call.mode == Mode::Write && answer::sort(status) == Sort::Trouble {
            error.kind = PortErrorKind::Ambiguous;
        }
        error.message = format!("the API server is in trouble ({}): {}", status.code, error.message);
        error
    }

    async fn attempt(&self, call: &Call) -> Attempt {
        let (number, connected) = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return Attempt::No(Failure::Lost(error)),
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let limit = if call.mode == Mode::Read { READ } else { WRITE };
        let answer = tokio::time::timeout(limit, connected.client.request_text(call.request.clone())).await;
        let in_doubt = |mut error: PortError, sent: bool| {
            if sent && call.mode == Mode::Write && error.kind == PortErrorKind::Transient {
                error.kind = PortErrorKind::Ambiguous;
            }
            Failure::Lost(error)
        };
        match answer {
            Err(_) => {
                let message = format!("{}: no answer within {} s", connected.server, limit.as_secs());
                let error = PortError::new(PortErrorKind::Transient, &call.what, message);
                Attempt::Passing(in_doubt(error, true))
            }
            Ok(Ok(text)) => match serde_json::from_str(&text) {
                Ok(value) => Attempt::Answered(value),
                Err(_) => {
                    let message = format!("{}: the answer is not JSON; is this the API server?", connected.server);
                    let error = PortError::new(PortErrorKind::Protocol, &call.what, message);
                    Attempt::No(Failure::Lost(error))
                }
            },
            Ok(Err(kube::Error::Api(status))) => match answer::sort(&status) {
                Sort::Refusal => Attempt::No(Failure::Said(status)),
                Sort::Credentials => Attempt::Unauthenticated(number, connected.unauthenticated(&call.what)),
                Sort::Busy | Sort::Trouble => Attempt::Passing(Failure::Said(status)),
            },
            Ok(Err(error)) => {
                let (error, sent) = connected.failure(&call.what, &error);
                let passing = error.is_transient();
                let failure = in_doubt(error, sent);
                if passing { Attempt::Passing(failure) } else { Attempt::No(failure) }
            }
        }
    }
}
