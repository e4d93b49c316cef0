//! The `semel` program: the server and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    semel::cli::main()
}
