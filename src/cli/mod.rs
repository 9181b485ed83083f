//! stub: what was typed, wiring, exit codes.
/// Runs the program and returns its exit code.
pub fn run() -> u8 {
    0
}
