//! The integration tests: one binary, so that linking is paid once.

mod cli;
mod common;
mod first_move;
mod layers;
mod readme;
mod scripts;
