//! The integration tests, one binary.

#[cfg(feature = "sandbox")]
mod live_fake;
#[cfg(feature = "sandbox")]
mod live_gitaly;
#[cfg(feature = "sandbox")]
mod live_gitaly_real;
#[cfg(feature = "sandbox")]
mod live_gitlab;
#[cfg(feature = "sandbox")]
mod live_observe;
