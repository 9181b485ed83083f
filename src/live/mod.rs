//! stub: adapters that implement the ports over the wire, and the reading of the fleet.
use crate::apply::port::{PortError, Ports};
use crate::model::{Endpoint, Observed, StorageName};
use jiff::Timestamp;
use secrecy::SecretString;
use std::collections::BTreeMap;

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
/// A fleet's clock that runs faster: `fleet = fleet_epoch + (real - real_epoch) × speed`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ScaledClock {
    /// The fleet's time at `real_epoch`.
    pub fleet_epoch: Timestamp,
    /// Real time.
    pub real_epoch: Timestamp,
    /// At least 1.
    pub speed: u32,
}
/// Makes the ports. Dials nothing yet.
///
/// # Errors
/// A URL, certificate or token that cannot be used.
pub fn connect(_target: &Target) -> Result<Ports, PortError> {
    Err(PortError::new(crate::apply::port::PortErrorKind::Protocol, "connect", "not built"))
}
/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// All declared storages: server, disk.
    pub declared: Vec<StorageName>,
    /// Those whose repositories are listed (an assignment takes from them, or they drain).
    pub listed: Vec<StorageName>,
    /// Draining ones: walked when GitLab lists nothing on them any more.
    pub draining: Vec<StorageName>,
}
/// Reads the fleet through the ports, with bounded concurrency. What can be unknown is; what cannot (GitLab's
/// version, settings, lists) is an error.
///
/// # Errors
/// The first call that failed for good; all of them, in a fixed order.
pub async fn observe(_ports: &Ports, _request: &Request) -> Result<Observed, Vec<PortError>> {
    Err(Vec::new())
}
