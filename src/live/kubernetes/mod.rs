//! The Kubernetes API over kube.
//!
//! | file | what |
//! | --- | --- |
//! | `access` | from a kubeconfig to a client |
//! | `api` | one request: attempts, time limits, the connection that is made anew when credentials ran out |
//! | `answer` | what the server's `Status` means: a refusal with its words, or a failure |
//! | `cluster` | which call of the port is which request |
//! | `facts` | nodes, classes and quota from the server's JSON |

mod access;
mod answer;
mod api;
mod cluster;
mod facts;

pub use access::{Access, ClusterTarget};
pub use api::Patience;
pub use cluster::KubeCluster;
