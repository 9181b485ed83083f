//! The integration tests: one binary, so that linking is paid once.

mod cli;
#[cfg(feature = "sandbox")]
mod cluster_apply;
#[cfg(feature = "sandbox")]
mod cluster_contract;
#[cfg(feature = "sandbox")]
mod cluster_crash;
mod common;
mod config;
mod control_plane;
#[cfg(feature = "sandbox")]
mod failures;
mod first_move;
mod fmt;
#[cfg(feature = "sandbox")]
mod held;
#[cfg(feature = "sandbox")]
mod inventory;
#[cfg(feature = "sandbox")]
mod laws;
#[cfg(feature = "sandbox")]
mod laws_kinds;
#[cfg(feature = "sandbox")]
mod laws_order;
mod layers;
#[cfg(feature = "sandbox")]
mod live_fake;
#[cfg(feature = "sandbox")]
mod live_gitaly;
#[cfg(feature = "sandbox")]
mod live_gitaly_real;
#[cfg(feature = "sandbox")]
mod live_gitlab;
#[cfg(feature = "sandbox")]
mod live_kubernetes;
#[cfg(feature = "sandbox")]
mod live_observe;
mod metrics;
#[cfg(feature = "sandbox")]
mod pace;
#[cfg(feature = "sandbox")]
mod pod_laws;
#[cfg(feature = "sandbox")]
mod prometheus;
mod readme;
#[cfg(feature = "sandbox")]
mod release;
#[cfg(feature = "sandbox")]
mod rotate;
#[cfg(feature = "sandbox")]
mod sandbox_both;
#[cfg(feature = "sandbox")]
mod sandbox_fleet;
#[cfg(feature = "sandbox")]
mod sandbox_rest;
#[cfg(feature = "sandbox")]
mod sandbox_wire;
mod scripts;
#[cfg(feature = "sandbox")]
mod time;
#[cfg(feature = "sandbox")]
mod vm_to_pods;
