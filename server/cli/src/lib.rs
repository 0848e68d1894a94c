//! The command line: `tape` for people, `tape-server` and `tape-reactor` for machines that run nothing else.
//!
//! ```text
//! commands/<command>.rs ─▶ cx (project, format) ─▶ tape-client            one file per command
//! commands/dev.rs ─▶ server_process, bank_process, agent_process ─▶ process (group, logs, end)
//!                 └▶ demo (script: what is done, checks: what must hold)
//! ```

mod agent_process;
mod bank_client;
mod bank_process;
mod code_cache;
mod commands;
mod cx;
mod demo;
mod exit;
mod explain;
mod glance;
mod journal;
mod names;
mod ports;
mod process;
mod python;
mod reactor_main;
mod server_main;
mod server_process;
mod template;
mod ui;

use std::process::ExitCode;

/// A call over gRPC makes and frees many small pieces, on several threads: a quarter less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `tape`. All processes that it starts are started on the thread that calls this.
#[must_use]
pub fn tape() -> ExitCode {
    commands::main()
}

/// `tape-server`.
#[must_use]
pub fn tape_server() -> ExitCode {
    server_main::main()
}

/// `tape-reactor`.
#[must_use]
pub fn tape_reactor() -> ExitCode {
    reactor_main::main()
}
