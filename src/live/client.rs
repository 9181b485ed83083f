//! The HTTP client of an adapter: its address checked, TLS prepared, no redirects, no retries of its own. Dials nothing.

use std::time::Duration;

use super::cause::{Cause, cause_of};
use super::connect::{certificates, install_tls_provider};
use crate::apply::port::{PortError, PortErrorKind, PortResult};

const CONNECT: Duration = Duration::from_secs(10);
/// Shorter than proxies keep idle connections (60 s and more): a POST on one that they just closed would be in doubt for
/// nothing.
const IDLE: Duration = Duration::from_secs(20);

/// What messages call a server's settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// Like `gitlab`: the block that has `url`, `token` and `ca`.
    pub(super) block: &'static str,
    /// Like `GitLab`.
    pub(super) server: &'static str,
    /// An address as it could be written.
    pub(super) example: &'static str,
}

/// A client, and where it goes.
pub(super) struct Client {
    pub(super) client: reqwest::Client,
    /// Without a slash at its end.
    pub(super) root: String,
    /// `host:port`, for messages.
    pub(super) host: String,
}

impl Words {
    /// Checks an address and CA, and makes the client; `whole`: how long one request may take.
    ///
    /// # Errors
    /// An address or certificate that cannot be used.
    pub(super) fn client(self, url: &str, ca: Option<&str>, whole: Duration) -> PortResult<Client> {
        let Self { block, server, example } = self;
        let bad = |message: &str, help: &str| PortError {
            help: Some(help.to_owned()),
            ..PortError::new(PortErrorKind::Protocol, format!("reading `{block}.url`"), message)
        };
        let write = format!("Write it like `{example}`.");
        let parsed = url::Url::parse(url).map_err(|e| bad(&format!("it is no URL: {e}"), &write))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            let message = format!("its scheme is `{}`, expected `https` or `http`", parsed.scheme());
            return Err(bad(&message, &write));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            let help = format!("Leave them out; the token is `{block}.token`.");
            return Err(bad("it holds a user name or password", &help));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(bad("it holds a query or fragment", "Write only scheme, host, port and relative root."));
        }
        let root = parsed.as_str().trim_end_matches('/').to_owned();
        let host = parsed.host_str().unwrap_or("?");
        let host = format!("{host}:{}", parsed.port_or_known_default().unwrap_or(443));
        install_tls_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tranship/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(whole)
            .pool_idle_timeout(IDLE)
            // A redirect could carry the token to another host, and turns a PUT or POST into a GET.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false);
        let loopback = match parsed.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if loopback {
            builder = builder.no_proxy();
        }
        if parsed.scheme() == "http" {
            // No certificates are looked at, so none are loaded.
            builder = builder.tls_certs_only([]);
        } else if let Some(pem) = ca {
            builder = builder.tls_certs_merge(certificates(pem, &format!("{block}.ca"))?);
        }
        let client = builder.build().map_err(|e| PortError {
            help: Some(format!("Set `{block}.ca` to a PEM file with the CA that signed {server}'s certificate.")),
            ..PortError::new(
                PortErrorKind::Protocol,
                format!("preparing TLS for {host}"),
                match cause_of(&e) {
                    Cause::Tls { message, .. } | Cause::Other(message) => message,
                    _ => "no CA certificates are installed on this machine".to_owned(),
                },
            )
        })?;
        Ok(Client { client, root, host })
    }
}
