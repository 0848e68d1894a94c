//! `tape`: its verbs, one file each, and what is the same for all of them.

mod bench;
mod cancel;
mod compensate;
mod connector;
mod demo_bank;
mod dev;
mod doctor;
mod explain;
mod init;
mod migrate;
mod redrive;
mod resolve;
mod run;
mod signal;
mod status;
mod tail;
mod tasks;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Format};

/// Durable execution for agents that act: a crashed agent continues where its journal ends, and what it did is not done twice.
#[derive(Parser)]
#[command(name = "tape", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How data is printed on stdout
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// The server [default: the project's tape.url, or tape://127.0.0.1:7878]
    #[arg(long, global = true, env = "TAPE_URL", value_name = "URL")]
    url: Option<String>,
    /// The project's folder, or its file [default: the current folder]
    #[arg(long, global = true, value_name = "PATH")]
    project: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a project that runs as it is
    Init(init::Args),
    /// Run the project here: server, reactors, connectors, agent; or crash it on purpose and watch it recover
    Dev(dev::Args),
    /// Start a run of the project's app
    Run(run::Args),
    /// Runs, reactors and work that waits
    Status(status::Args),
    /// What is wrong, with the cure beside it; or everything about one run
    Doctor(doctor::Args),
    /// The journal of a run, or the events of all runs, live
    Tail(tail::Args),
    /// Reactions and their tasks; opens dead letters again
    Tasks(tasks::Args),
    /// Cancel a run: its driver stops at the next boundary, nothing is undone
    Cancel(cancel::Args),
    /// Undo a run's confirmed effects, newest first
    Compensate(compensate::Args),
    /// Wake a run up now; reopens one that is FAILED or STUCK
    Redrive(redrive::Args),
    /// Answer a gate at which a run waits
    Signal(signal::Args),
    /// Settle an effect or obligation that Tape could not settle
    Resolve(resolve::Args),
    /// Bring the store's schema up to date, or show what that would do
    Migrate(migrate::Args),
    /// Make, build, test and call connectors; deploy and swap them in the running server
    #[command(subcommand)]
    Connector(connector::Command),
    /// How fast durable steps are here, beside what the disk and SQLite can do at all
    Bench(bench::Args),
    /// Cause and cure of an error code
    Explain(explain::Args),
    /// The bank of the demo: books every wire that it is sent, and forgets to answer when it is told to
    #[command(hide = true)]
    DemoBank(demo_bank::Args),
}

/// Parses, runs, and tells how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread, which is the process's first: children that are to die with us are started on it.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui::talk(format!("tape: the runtime cannot start: {error}"));
            return Exit::Failed.into();
        }
    };
    let cx = Cx::new(cli.output, cli.url, cli.project);
    match runtime.block_on(run(cli.command, &cx)) {
        Ok(exit) => exit.into(),
        // `tape status | head -1`: nobody reads on, and that is fine.
        Err(error) if is_broken_pipe(&error) => Exit::Fine.into(),
        Err(error) => {
            ui::talk(format!("tape: {error:#}"));
            Exit::Failed.into()
        }
    }
}

async fn run(command: Command, cx: &Cx) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(&args, cx),
        Command::Dev(args) => dev::run(args, cx).await,
        Command::Run(args) => run::run(args, cx).await,
        Command::Status(args) => status::run(args, cx).await,
        Command::Doctor(args) => doctor::run(args, cx).await,
        Command::Tail(args) => tail::run(args, cx).await,
        Command::Tasks(args) => tasks::run(args, cx).await,
        Command::Cancel(args) => cancel::run(args, cx).await,
        Command::Compensate(args) => compensate::run(args, cx).await,
        Command::Redrive(args) => redrive::run(args, cx).await,
        Command::Signal(args) => signal::run(args, cx).await,
        Command::Resolve(args) => resolve::run(args, cx).await,
        Command::Migrate(args) => migrate::run(args, cx).await,
        Command::Connector(command) => connector::run(command, cx).await,
        Command::Bench(args) => bench::run(args, cx).await,
        Command::Explain(args) => explain::run(&args, cx),
        Command::DemoBank(args) => demo_bank::run(args).await,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_verbs_make_sense() {
        Cli::command().debug_assert();
    }
}
