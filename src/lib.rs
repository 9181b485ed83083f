//! tranship moves a GitLab installation's Git storage, Gitaly, from virtual machines to Kubernetes: plan, apply,
//! verify, record.

pub mod apply;
pub mod cli;
pub mod config;
pub mod diag;
pub mod expr;
pub mod live;
pub mod model;
pub mod plan;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod state;
pub mod ui;
/// The generated part of Gitaly's wire protocol.
#[expect(missing_docs, clippy::all, reason = "generated code")]
#[cfg_attr(feature = "sandbox", expect(clippy::allow_attributes, reason = "generated code"))]
pub mod wire {
    tonic::include_proto!("gitaly");
}
