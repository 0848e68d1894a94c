//! `tape-reactor`: reactors in a process of their own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tape_cli::tape_reactor()
}
