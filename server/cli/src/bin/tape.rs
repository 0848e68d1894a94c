//! `tape`: what people do with Tape.

use std::process::ExitCode;

fn main() -> ExitCode {
    tape_cli::tape()
}
