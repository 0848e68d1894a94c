//! `tape dev --kill-resume-demo`: a real agent, server and bank as processes, something killed or lost in the worst moment,
//! and a line for each thing that was seen to hold.
//!
//! ```text
//! stage: the processes, their logs, the journal that is followed      checks: what must hold, against journal and bank
//! script: what is done, in which order, and which line says so        report: how a line, or its failure, is printed
//! ```
//!
//! Whatever the worker says of itself is checked against the journal, and the journal against the bank's own books.

mod checks;
mod dump;
mod follow;
mod keep;
mod report;
mod script;
mod stage;

use std::path::PathBuf;

use tape_node::project::Project;

pub use keep::forget_origin;
use report::Report;
use stage::Stage;

use crate::cx::Cx;
use crate::exit::Exit;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The agent's process is killed in the middle of the wire.
    KillAgent,
    /// The bank books the wire, and its answer is lost.
    LoseAnswer,
    /// The server's process is killed between the request to the bank and the answer.
    KillDispatcher,
}

/// Plays it. Every line is printed because it happened; the first that does not hold ends it as failed.
///
/// # Errors
/// When it cannot even begin, or nobody reads its output.
pub async fn run(project: &Project, variant: Variant, server_binary: PathBuf, cx: &Cx) -> anyhow::Result<Exit> {
    let report = Report::new(cx.format);
    let mut stage = Stage::set(project, variant, server_binary)?;
    let played = script::play(&mut stage, variant, &report).await;
    stage.clear().await;
    match played {
        Ok(run_id) => {
            let kept = keep::keep(project)?;
            report.farewell(&run_id, &kept);
            Ok(Exit::Fine)
        }
        Err(error) => {
            report.failed(&error, &stage)?;
            Ok(Exit::Failed)
        }
    }
}
