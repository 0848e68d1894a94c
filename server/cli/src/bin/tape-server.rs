//! `tape-server`: the server alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    tape_cli::tape_server()
}
