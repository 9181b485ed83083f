//! The adapters that implement the ports over the wire, and the reading of the fleet.
//!
//! | file | what |
//! | --- | --- |
//! | `connect` | from addresses and secrets to the ports; nothing is dialled yet |
//! | `clock` | real time, and the sandbox's faster one |
//! | `gitlab` | GitLab's REST API over reqwest |
//! | `gitaly` | Gitaly's gRPC over tonic |
//! | `kubernetes` | the Kubernetes API over kube |
//! | `prometheus` | Prometheus' HTTP API over reqwest |
//! | `client` | the HTTP client of both GitLab and Prometheus: address, TLS |
//! | `observe` | one reading of the whole fleet, through the ports alone |
//! | `cluster` | of it, the reading of the cluster |
//! | `operator` | programs, approvals, vetoes that are files or addresses |
//! | `cause` | what lies at the bottom of a chain of transport errors, in words |
//!
//! Knows nothing of plans and configurations, and never of the sandbox.

mod cause;
mod client;
mod clock;
mod cluster;
mod connect;
pub mod gitaly;
pub mod gitlab;
pub mod kubernetes;
mod observe;
pub mod operator;
pub mod prometheus;

pub use clock::{ScaledClock, SystemClock};
pub use connect::{GitalyTarget, PrometheusTarget, Target, connect, connect_with, install_tls_provider};
pub use observe::{Lists, Progress, Request, ask_gates, ask_pools, measure, moves_under_way, observe, observe_with};
