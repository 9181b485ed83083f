//! The integration tests: one binary, so that linking is paid once.

#[cfg(feature = "sandbox")]
mod sandbox_fleet;
#[cfg(feature = "sandbox")]
mod sandbox_wire;
