//! Carries out a plan through the ports. Sees no configuration.
pub mod event;
pub mod port;
