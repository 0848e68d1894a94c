//! `tape doctor`: what is wrong, with the cure beside it. `--dump-run`: everything about one run.

use std::time::Duration;

use console::Term;
use serde::Serialize;
use tape_client::{Effect, EffectStatus, ObligationStatus, ReactorStats, RunFilter, RunStatus, Stats, TapeClient};
use tape_node::project::Project;
use tokio::time::sleep;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::python;
use crate::ui::{self, Mark};

/// How often `--live` looks again.
const AGAIN: Duration = Duration::from_secs(2);
/// Work that waits longer than this for a reactor is a sign that it does not keep up.
const LAG_MAX_MS: i64 = 30_000;

#[derive(clap::Args)]
pub struct Args {
    /// Look again every two seconds until Ctrl-C
    #[arg(long, conflicts_with = "dump_run")]
    live: bool,
    /// Print everything about one run as JSON: its rows, its attempts with their evidence, its journal
    #[arg(long, value_name = "RUN")]
    dump_run: Option<String>,
}

/// Who asks about effects in doubt.
const RECONCILER: &str = "reconciler";
/// Of each kind of trouble, so many are named.
const SHOWN: i32 = 100;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    ok: bool,
    /// What to do; empty if all is well.
    cure: String,
    #[serde(skip)]
    exit: Exit,
}

impl Check {
    fn fine(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ok: true,
            cure: String::new(),
            exit: Exit::Fine,
        }
    }

    fn bad(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ok: false,
            cure: cure.into(),
            exit: Exit::Failed,
        }
    }

    fn with(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    if let Some(run_id) = &args.dump_run {
        let connected = cx.client_or_glance().await?;
        let dump = connected.client.dump_run(run_id).await;
        connected.close().await;
        ui::json(&dump?)?;
        return Ok(Exit::Fine);
    }
    if !args.live {
        let checks = examine(cx).await;
        show(&checks, cx)?;
        return Ok(worst(&checks));
    }
    let terminal = Term::stdout();
    loop {
        let checks = examine(cx).await;
        if terminal.is_term() && !cx.is_json() {
            terminal.clear_screen()?;
        }
        show(&checks, cx)?;
        sleep(AGAIN).await;
    }
}

fn show(checks: &[Check], cx: &Cx) -> anyhow::Result<()> {
    if cx.is_json() {
        return ui::json(&checks);
    }
    for check in checks {
        let mark = if check.ok { Mark::Tick } else { Mark::Cross };
        ui::marked(mark, &check.what)?;
        if !check.cure.is_empty() {
            ui::line(format!("    {}", check.cure))?;
        }
    }
    Ok(())
}

fn worst(checks: &[Check]) -> Exit {
    checks.iter().map(|check| check.exit).max().unwrap_or(Exit::Fine)
}

async fn examine(cx: &Cx) -> Vec<Check> {
    let mut checks = Vec::new();
    let project = match cx.project_if_any() {
        Ok(Some(project)) => {
            checks.push(Check::fine(format!("tape.yaml describes project `{}`", project.name)));
            Some(project)
        }
        Ok(None) => None,
        Err(error) => {
            checks.push(Check::bad("tape.yaml", format!("{error:#}")));
            None
        }
    };
    if let Some(project) = &project {
        checks.extend(components(project));
        checks.extend(interpreter(project).await);
    }
    match cx.client().await {
        Ok(client) => checks.extend(running(&client, project.as_ref()).await),
        Err(error) => {
            checks.push(Check::bad("server", format!("{error:#}")));
            // What waits for a person waits in the store too.
            if let Ok(connected) = cx.client_or_glance().await {
                checks.extend(stuck(&connected.client, false).await);
                connected.close().await;
            }
        }
    }
    checks
}

fn components(project: &Project) -> Vec<Check> {
    let check = |(name, connector): (&String, &tape_node::project::Connector)| {
        let Some(file) = connector.file(&project.root) else {
            return Check::fine(format!("connector `{name}` comes from {}", connector.source));
        };
        if file.is_file() {
            Check::fine(format!("connector `{name}` has its component, {}", connector.source))
        } else {
            Check::bad(
                format!("connector `{name}` has no component"),
                format!(
                    "{} is not there: build it, or correct tape.connectors.{name}.source",
                    file.display()
                ),
            )
        }
    };
    project.connectors.iter().map(check).collect()
}

async fn interpreter(project: &Project) -> Vec<Check> {
    let Some(agent) = &project.agent else { return Vec::new() };
    let command = python::resolve(&agent.command, &project.root);
    if !agent
        .command
        .first()
        .is_some_and(|first| python::is_bare(&first.into()))
    {
        return Vec::new();
    }
    let Some(program) = command.first() else {
        return Vec::new();
    };
    let asked = python::ask(program.as_ref(), &project.root).await;
    let judged = asked.and_then(|python| python.need(&agent.framework).map(|()| python));
    vec![match judged {
        Ok(python) => Check::fine(format!(
            "Python {} at {} has the SDK",
            python.version,
            python.program.display()
        )),
        Err(error) => Check::bad("Python", format!("{error:#}")),
    }]
}

async fn running(client: &TapeClient, project: Option<&Project>) -> Vec<Check> {
    let stats = match client.stats().await {
        Ok(stats) => stats,
        Err(error) => return vec![Check::bad("server", error.to_string())],
    };
    let mut checks = vec![Check::fine(format!(
        "server {} answers at {}",
        stats.server_version,
        client.url()
    ))];
    let one = RunFilter {
        page_size: 1,
        ..RunFilter::default()
    };
    match client.list_runs(&one).await {
        Ok(_) => checks.push(Check::fine(format!("store {} answers", stats.store_url))),
        Err(error) => checks.push(Check::bad(format!("store {}", stats.store_url), error.to_string())),
    }
    checks.extend(reactors(&stats));
    checks.extend(workers(&stats, project));
    checks.extend(connectors(&stats, project));
    checks.extend(dead_letters(&stats));
    let reconciles = stats.reactors.iter().any(|one| one.kind == RECONCILER && runs(one));
    checks.extend(stuck(client, reconciles).await);
    checks
}

/// Whether a reactor runs here or anywhere else.
fn runs(reactor: &ReactorStats) -> bool {
    reactor.enabled || !reactor.remote.is_empty()
}

/// Tasks that were given up wait for a person.
fn dead_letters(stats: &Stats) -> Option<Check> {
    (stats.dead_tasks > 0).then(|| {
        Check::bad(
            crate::commands::status::dead_letters(stats),
            "Look: `tape tasks` lists the reactions, `tape tasks --reaction ID --status dlq` their dead letters and why. Then: tape tasks --retry TASK",
        )
    })
}

/// A reactor that runs keeps its lag small.
fn reactors(stats: &Stats) -> Vec<Check> {
    let now_ms = crate::commands::status::now_ms(stats, &[]);
    let check = |one: &ReactorStats| {
        let lag_ms = if one.due == 0 { 0 } else { now_ms - one.oldest_due_at_ms };
        if !runs(one) {
            return Check::bad(
                format!("reactor {} does not run", one.kind),
                "Start it here (tape-server --reactors all), or in a process of its own (tape-reactor).",
            );
        }
        if lag_ms > LAG_MAX_MS {
            let why = if one.last_error.is_empty() {
                String::new()
            } else {
                format!(" Its last error: {}", one.last_error)
            };
            return Check::bad(
                format!(
                    "reactor {} is {} behind, {} rows are due",
                    one.kind,
                    ui::age(lag_ms),
                    one.due
                ),
                format!("`tape status` tells what waits.{why}"),
            );
        }
        let elsewhere = if one.enabled {
            String::new()
        } else {
            format!(" in {} other process(es)", one.remote.len())
        };
        Check::fine(format!("reactor {} runs{elsewhere}, {} due", one.kind, one.due))
    };
    stats.reactors.iter().map(check).collect()
}

fn workers(stats: &Stats, project: Option<&Project>) -> Vec<Check> {
    let Some(project) = project.filter(|project| project.agent.is_some()) else {
        return Vec::new();
    };
    let app = project.app_name();
    let attached = stats.workers.iter().filter(|worker| worker.app == app).count();
    vec![if attached > 0 {
        Check::fine(format!("{attached} worker(s) of `{app}` attached"))
    } else {
        Check::bad(
            format!("no worker of `{app}` is attached: its runs stay RUNNABLE"),
            "Start one: `tape dev`, or the agent.command of tape.yaml in the project's folder.",
        )
    }]
}

fn connectors(stats: &Stats, project: Option<&Project>) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in project.iter().flat_map(|project| project.connectors.keys()) {
        let Some(loaded) = stats.connectors.iter().find(|one| one.name == *name) else {
            checks.push(Check::bad(
                format!("connector `{name}` is not loaded"),
                "The server was started without this project: start it with --config tape.yaml, or by `tape dev`.",
            ));
            continue;
        };
        let what = format!(
            "connector `{name}` {} is loaded, {} calls",
            loaded.version, loaded.calls
        );
        checks.push(if loaded.failures == 0 {
            Check::fine(what)
        } else {
            Check::fine(format!(
                "{what}, {} of them failed, last: {}",
                loaded.failures, loaded.last_error
            ))
        });
    }
    for effect in &stats.unserved_effects {
        checks.push(Check::bad(
            format!("nobody serves connector `{}` for {}", effect.connector, effect.key),
            "Add the connector to tape.yaml, or start the process that serves it.",
        ));
    }
    checks
}

async fn stuck(client: &TapeClient, reconciles: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let filter = RunFilter {
        statuses: vec![RunStatus::Stuck],
        page_size: SHOWN,
        ..RunFilter::default()
    };
    match client.list_runs(&filter).await {
        Err(error) => checks.push(Check::bad("runs", error.to_string())),
        Ok(page) => {
            for run in page.items {
                let look = format!(
                    "{} Look: `tape doctor --dump-run {}`. Then: tape redrive {1}",
                    sentence(&run.last_error),
                    run.run_id
                );
                checks.push(Check::bad(format!("run {} is STUCK", run.run_id), look.trim_start()).with(Exit::Stuck));
                checks.extend(obligations(client, &run.run_id).await);
            }
        }
    }
    match client.unknown_effects(SHOWN.into()).await {
        Err(error) => checks.push(Check::bad("effects in doubt", error.to_string())),
        Ok(effects) => checks.extend(effects.iter().map(|effect| doubt(effect, reconciles))),
    }
    if checks.is_empty() {
        checks.push(Check::fine("nothing is UNKNOWN, nothing is STUCK"));
    }
    checks
}

/// What could not be undone, of a run that is STUCK.
async fn obligations(client: &TapeClient, run_id: &str) -> Vec<Check> {
    let all = match client.obligations(run_id).await {
        Ok(all) => all,
        Err(error) => return vec![Check::bad(format!("obligations of {run_id}"), error.to_string())],
    };
    let stuck = all.into_iter().filter(|one| one.status == ObligationStatus::Stuck);
    let check = |one: tape_client::Obligation| {
        let id = format!("{}/{}", one.run_id, one.seq);
        let cure = format!(
            "{} Undo it by hand, then: tape resolve --obligation {id} --as compensated --reason TEXT",
            sentence(&one.last_error)
        );
        let what = format!("obligation {id} is STUCK: {} was not undone", one.effect);
        Check::bad(what, cure.trim_start()).with(Exit::Stuck)
    };
    stuck.map(check).collect()
}

fn doubt(effect: &Effect, reconciles: bool) -> Check {
    let (key, why) = (&effect.key, sentence(&effect.last_error));
    if effect.status != EffectStatus::Stuck {
        let cure = if reconciles {
            "The reconciler is asking the upstream; nothing to do yet."
        } else {
            "Nobody asks the upstream: start the reconciler (tape-server --reactors all, or tape-reactor reconciler)."
        };
        let cure = format!("{why} {cure}");
        return Check::bad(format!("effect {key} is UNKNOWN"), cure.trim_start()).with(Exit::Unknown);
    }
    let cure = format!(
        "{why} Look into the upstream's books, then: tape resolve --effect {key} --as confirmed|failed --reason TEXT"
    );
    Check::bad(format!("effect {key} is STUCK"), cure.trim_start()).with(Exit::Stuck)
}

/// What somebody said went wrong, as a sentence: errors are JSON, and most of them one text.
fn sentence(error: &str) -> String {
    let text = serde_json::from_str::<String>(error).unwrap_or_else(|_| error.to_owned());
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_as_a_sentence() {
        for (error, said) in [
            ("", ""),
            (r#""books closed""#, "books closed."),
            ("hung up", "hung up."),
            ("It is gone.", "It is gone."),
            (r#"{"code":7}"#, r#"{"code":7}."#),
        ] {
            assert_eq!(sentence(error), said);
        }
    }
}
