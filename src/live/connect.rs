//! From addresses and secrets to the ports. Dials nothing: what is checked here is what can be known without a network.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;

use super::clock::{ScaledClock, SystemClock};
use super::gitaly::GrpcGitaly;
use super::gitlab::{Patience, RestGitLab, Tell};
use super::kubernetes::KubeCluster;
use super::prometheus::HttpMetrics;
use crate::apply::port::{Clock, Cluster, Metrics, PortError, PortErrorKind, Ports};
use crate::model::{Endpoint, StorageName};

/// Where the live systems are, secrets resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// Without `/api/v4`.
    pub gitlab_url: String,
    /// Administrator's token.
    pub gitlab_token: SecretString,
    /// PEM text of a private CA.
    pub gitlab_ca: Option<String>,
    /// One per declared storage.
    pub gitaly: BTreeMap<StorageName, GitalyTarget>,
    /// The cluster, where the configuration has one. Its kubeconfig is read by the first call.
    pub cluster: Option<Arc<KubeCluster>>,
    /// Prometheus, where gates ask.
    pub prometheus: Option<PrometheusTarget>,
    /// The fleet's clock; real time when `None`.
    pub clock: Option<ScaledClock>,
}

/// One Gitaly.
#[derive(Debug, Clone)]
pub struct GitalyTarget {
    /// As tranship dials it.
    pub endpoint: Endpoint,
    /// `None`: no authentication.
    pub token: Option<SecretString>,
    /// PEM text of a private CA.
    pub ca: Option<String>,
}

/// Prometheus, or what answers like it.
#[derive(Debug, Clone)]
pub struct PrometheusTarget {
    /// Without `/api/v1`.
    pub url: String,
    /// A bearer token.
    pub token: Option<SecretString>,
    /// PEM text of a private CA.
    pub ca: Option<String>,
}

/// Makes the ports. Dials nothing yet, and may be called outside an async runtime.
///
/// # Errors
/// A URL, certificate or token that cannot be used.
pub fn connect(target: &Target) -> Result<Ports, PortError> {
    connect_with(target, Patience::default(), None)
}

/// As [`connect`], with another patience towards GitLab, and telling of waits for its rate limits.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(target: &Target, patience: Patience, tell: Option<Tell>) -> Result<Ports, PortError> {
    let gitlab = RestGitLab::new(&target.gitlab_url, &target.gitlab_token, target.gitlab_ca.as_deref())?;
    let gitlab = gitlab.with_patience(patience);
    let gitlab = match tell {
        Some(tell) => gitlab.telling(tell),
        None => gitlab,
    };
    let gitaly = GrpcGitaly::new(&target.gitaly)?;
    let clock: Arc<dyn Clock> = match target.clock {
        Some(clock) => Arc::new(clock),
        None => Arc::new(SystemClock),
    };
    let cluster = target.cluster.clone().map(|cluster| cluster as Arc<dyn Cluster>);
    let metrics = target.prometheus.as_ref().map(HttpMetrics::new).transpose()?;
    let metrics = metrics.map(|metrics| Arc::new(metrics) as Arc<dyn Metrics>);
    Ok(Ports { gitlab: Arc::new(gitlab), gitaly: Arc::new(gitaly), cluster, metrics, operator: None, clock })
}

/// Installs the process's one TLS provider (ring), unless one is there already. Idempotent.
pub fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Checks that a PEM text holds certificates, and gives them.
pub(super) fn certificates(pem: &str, setting: &str) -> Result<Vec<reqwest::Certificate>, PortError> {
    let error = |message: String| PortError {
        help: Some(format!("Point `{setting}` to a PEM file with one or more CA certificates.")),
        ..PortError::new(PortErrorKind::Protocol, format!("reading `{setting}`"), message)
    };
    match reqwest::Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(found) if found.is_empty() => Err(error("it holds no `BEGIN CERTIFICATE` block".to_owned())),
        Ok(found) => Ok(found),
        Err(_) => Err(error("it is not PEM: a `BEGIN CERTIFICATE` block is damaged".to_owned())),
    }
}
