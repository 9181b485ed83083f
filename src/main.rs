//! The thin binary: hands over to the library and ends with its exit code.

fn main() -> std::process::ExitCode {
    tranship::cli::run().into()
}
