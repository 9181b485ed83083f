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
mod first_move;
mod fmt;
#[cfg(feature = "sandbox")]
mod inventory;
#[cfg(feature = "sandbox")]
mod laws;
#[cfg(feature = "sandbox")]
mod laws_kinds;
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
#[cfg(feature = "sandbox")]
mod pod_laws;
mod readme;
#[cfg(feature = "sandbox")]
mod release;
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
mod vm_to_pods;
