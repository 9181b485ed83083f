//! One connection per Gitaly server, made when first needed; the token of each call; repeating reads.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as TonicEndpoint};
use tonic::{Request, Status};

use super::auth::bearer;
use super::status::error_of;
use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::live::connect::{GitalyTarget, certificates};
use crate::model::{Endpoint, Scheme, StorageName};

const CONNECT: Duration = Duration::from_secs(10);
/// As GitLab's own clients ping; Gitaly ends connections that ping more often than every 10 s.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// As GitLab's own clients repeat reads: 0.4 s, doubled, at most 1.4 s.
const LONGEST_WAIT: Duration = Duration::from_millis(1400);
const ATTEMPTS: u32 = 4;
/// Waits that a Gitaly at its limit asks for are honoured up to this.
const LONGEST_ASKED: Duration = Duration::from_secs(10);

/// One server: how it is dialled, and its connection once there is one.
struct Link {
    endpoint: TonicEndpoint,
    channel: OnceLock<Channel>,
}

impl Link {
    /// The connection's handle. Must be called inside the async runtime, which is why it is not made earlier.
    fn channel(&self) -> Channel {
        self.channel.get_or_init(|| self.endpoint.connect_lazy()).clone()
    }
}

/// A storage's server, with the token for it.
#[derive(Clone)]
pub(super) struct Peer {
    /// As configured, for messages.
    pub(super) endpoint: Endpoint,
    link: Arc<Link>,
    token: Option<SecretString>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("endpoint", &self.endpoint.to_string()).finish_non_exhaustive()
    }
}

/// Makes the peers; storages of one server (same address, same CA) share its connection.
pub(super) fn peers(targets: &BTreeMap<StorageName, GitalyTarget>) -> PortResult<BTreeMap<StorageName, Peer>> {
    let mut links: BTreeMap<(String, Option<&str>), Arc<Link>> = BTreeMap::new();
    let mut peers = BTreeMap::new();
    for (storage, target) in targets {
        let key = (target.endpoint.to_string(), target.ca.as_deref());
        let link = match links.get(&key) {
            Some(link) => Arc::clone(link),
            None => {
                let link = Arc::new(Link { endpoint: dialled(storage, target)?, channel: OnceLock::new() });
                links.insert(key, Arc::clone(&link));
                link
            }
        };
        let token = target.token.clone();
        peers.insert(storage.clone(), Peer { endpoint: target.endpoint.clone(), link, token });
    }
    Ok(peers)
}

fn dialled(storage: &StorageName, target: &GitalyTarget) -> PortResult<TonicEndpoint> {
    let Endpoint { scheme, authority } = &target.endpoint;
    let uri = match scheme {
        Scheme::Tcp => format!("http://{authority}"),
        Scheme::Tls => format!("https://{authority}"),
        Scheme::Unix => format!("unix:{authority}"),
    };
    let unusable = |message: String| PortError {
        help: Some("Write it like `tcp://host:8075`, `tls://host:9999` or `unix:/path/to/gitaly.socket`.".to_owned()),
        ..PortError::new(PortErrorKind::Protocol, format!("reading the address of storage {storage}"), message)
    };
    let bad = |_| unusable(format!("`{}` is no address", target.endpoint));
    let mut endpoint = TonicEndpoint::from_shared(uri)
        .map_err(bad)?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    if *scheme == Scheme::Tls {
        let tls = match &target.ca {
            Some(pem) => {
                certificates(pem, "gitaly.ca")?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(|_| PortError {
            help: Some("Set `gitaly.ca` to a PEM file with the CA that signed its certificate.".to_owned()),
            ..unusable(format!("TLS cannot be prepared for `{}`: no usable CA certificates", target.endpoint))
        })?;
    }
    Ok(endpoint)
}

/// One attempt's way to the server: the connection and a token minted for this attempt.
pub(super) struct Line {
    pub(super) channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Line {
    /// A request that carries the token.
    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        request
    }
}

impl Peer {
    fn line(&self, call: &str, channel: Channel) -> PortResult<Line> {
        let authorization = match &self.token {
            None => None,
            Some(token) => {
                // Gitaly compares with its own wall clock, whatever clock the fleet's moves are told by.
                let value = bearer(token, Timestamp::now().as_second());
                let mut value = MetadataValue::try_from(value)
                    .map_err(|_| PortError::new(PortErrorKind::Unauthenticated, call, "the token cannot be sent"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Line { channel, authorization })
    }

    /// One attempt over a connection of its own: an old one may hang on a server that went away without a word.
    pub(super) async fn once<T, F, A>(&self, call: &str, limit: Duration, ask: F) -> PortResult<T>
    where
        F: Fn(Line) -> A,
        A: Future<Output = Result<T, Status>>,
    {
        let channel = self.link.endpoint.clone().connect_timeout(limit).connect_lazy();
        match tokio::time::timeout(limit, ask(self.line(call, channel)?)).await {
            Ok(answer) => answer.map_err(|status| self.error(call, &status)),
            Err(_) => {
                let message = format!("no answer within {} s", limit.as_secs());
                Err(PortError::new(PortErrorKind::Transient, call, message))
            }
        }
    }

    fn error(&self, call: &str, status: &Status) -> PortError {
        let secret = self.token.as_ref().map(|t| t.expose_secret().trim());
        error_of(call, status, self.token.is_some(), secret)
    }

    /// Carries out a reading call, from its first try to its last within `limit`. `ask` must read a stream to its end.
    pub(super) async fn read<T, F, A>(&self, call: &str, limit: Duration, first_wait: Duration, ask: F) -> PortResult<T>
    where
        F: Fn(Line) -> A,
        A: Future<Output = Result<T, Status>>,
    {
        let mut last = None;
        let attempts = async {
            let mut wait = first_wait;
            let mut attempt = 1;
            loop {
                let error = match ask(self.line(call, self.link.channel())?).await {
                    Ok(found) => return Ok(found),
                    Err(status) => self.error(call, &status),
                };
                let asked = error.retry_after.unwrap_or_default();
                if !error.is_transient() || attempt >= ATTEMPTS || asked > LONGEST_ASKED {
                    return Err(error);
                }
                tracing::debug!(call, attempt, error = %error.message, "repeating");
                last = Some(error);
                tokio::time::sleep(wait.max(asked)).await;
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                attempt += 1;
            }
        };
        let ended = tokio::time::timeout(limit, attempts).await;
        match ended {
            Ok(result) => result,
            Err(_) => Err(last.unwrap_or_else(|| {
                let message = format!("no answer within {} s", limit.as_secs());
                PortError::new(PortErrorKind::Transient, call, message)
            })),
        }
    }
}
