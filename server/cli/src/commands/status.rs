//! `tape status`: runs, reactors and their lag, work that waits. With `--follow` redrawn as it changes.

use std::time::Duration;

use anyhow::Context;
use console::Term;
use serde::Serialize;
use tape_client::{Effect, EffectStatus, ReactorStats, Run, RunFilter, RunStatus, Stats, TapeClient};
use tokio::time::sleep;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::names;
use crate::ui;

/// How often it is redrawn.
const REDRAW: Duration = Duration::from_millis(500);
/// Runs that are shown unless all are wanted.
const SHOWN: usize = 20;
const SHOWN_ASKED: i32 = 21;
/// Runs that are asked for at once when all are wanted.
const PAGE: i32 = 500;
/// Effects in doubt that are shown.
const DOUBTS: i64 = 200;

#[derive(clap::Args)]
pub struct Args {
    /// Redraw until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// All runs, not only the newest
    #[arg(long)]
    all: bool,
    /// Only runs of this app
    #[arg(long)]
    app: Option<String>,
    /// Only runs in this status, for example stuck
    #[arg(long)]
    status: Option<String>,
}

/// One look at a server.
#[derive(Serialize)]
struct Look {
    url: String,
    server: Stats,
    runs: Vec<Run>,
    doubtful_effects: Vec<Effect>,
    #[serde(skip)]
    more: bool,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let filter = filter(&args)?;
    if args.follow {
        // A store that nobody changes has nothing to follow.
        let client = cx.client().await?;
        return follow(&client, &filter, args.all, cx).await;
    }
    let connected = cx.client_or_glance().await?;
    let looked = look(&connected.client, &filter, args.all).await;
    let glance = connected.is_glance();
    connected.close().await;
    let look = looked?;
    if cx.is_json() {
        ui::json(&look)?;
    } else {
        ui::line(render(&look, glance))?;
    }
    Ok(exit(&look))
}

async fn follow(client: &TapeClient, filter: &RunFilter, all: bool, cx: &Cx) -> anyhow::Result<Exit> {
    let terminal = Term::stdout();
    let mut before = String::new();
    loop {
        let text = match look(client, filter, all).await {
            Ok(look) if cx.is_json() => serde_json::to_string(&look)?,
            Ok(look) => render(&look, false),
            Err(error) if cx.is_json() => serde_json::json!({ "error": error.to_string() }).to_string(),
            Err(error) => format!("{} {error:#}", ui::Mark::Cross.sign()),
        };
        if cx.is_json() {
            // Not what is redrawn but what has changed.
            if text != before {
                ui::line(&text)?;
            }
        } else if terminal.is_term() {
            let (height, width) = terminal.size();
            terminal.clear_screen()?;
            ui::line(fitted(&text, height.into(), width.into()))?;
        } else if text != before {
            ui::line(&text)?;
            ui::line("")?;
        }
        before = text;
        sleep(REDRAW).await;
    }
}

/// As much of `text` as fits on a screen, so that redrawing does not scroll.
fn fitted(text: &str, height: usize, width: usize) -> String {
    let lines = text.lines().take(height.saturating_sub(1).max(1));
    let cut = lines.map(|line| console::truncate_str(line, width.max(20), "…").into_owned());
    cut.collect::<Vec<_>>().join("\n")
}

fn filter(args: &Args) -> anyhow::Result<RunFilter> {
    let statuses = match &args.status {
        None => Vec::new(),
        Some(name) => vec![status_named(name)?],
    };
    Ok(RunFilter {
        app: args.app.clone().unwrap_or_default(),
        statuses,
        // One more than is shown tells whether there are more.
        page_size: if args.all { PAGE } else { SHOWN_ASKED },
        ..RunFilter::default()
    })
}

fn status_named(name: &str) -> anyhow::Result<RunStatus> {
    let found = RunStatus::ALL
        .into_iter()
        .find(|status| status.as_str().eq_ignore_ascii_case(name));
    found.with_context(|| {
        let known = RunStatus::ALL.map(RunStatus::as_str).join(", ").to_lowercase();
        format!("--status {name}: there is no such status. Known: {known}")
    })
}

/// As many as are shown, or all of them. A page of something rare may be short and have a next one.
async fn runs(client: &TapeClient, filter: &RunFilter, all: bool) -> anyhow::Result<Vec<Run>> {
    let mut page = client.list_runs(filter).await?;
    let mut runs = page.items;
    while (all || runs.len() <= SHOWN)
        && let Some(after) = page.next
    {
        let after = Some(after);
        page = client
            .list_runs(&RunFilter {
                after,
                ..filter.clone()
            })
            .await?;
        runs.append(&mut page.items);
    }
    Ok(runs)
}

async fn look(client: &TapeClient, filter: &RunFilter, all: bool) -> anyhow::Result<Look> {
    let stats = client.stats().await?;
    let mut runs = runs(client, filter, all).await?;
    let more = !all && runs.len() > SHOWN;
    if more {
        runs.truncate(SHOWN);
    }
    Ok(Look {
        url: client.url().to_owned(),
        server: stats,
        runs,
        doubtful_effects: client.unknown_effects(DOUBTS).await?,
        more,
    })
}

fn exit(look: &Look) -> Exit {
    let stuck = look.runs.iter().any(|run| run.status == RunStatus::Stuck);
    let doubts = look.doubtful_effects.iter().map(|effect| {
        if effect.status == EffectStatus::Stuck {
            Exit::Stuck
        } else {
            Exit::Unknown
        }
    });
    doubts
        .chain([if stuck { Exit::Stuck } else { Exit::Fine }])
        .max()
        .unwrap_or(Exit::Fine)
}

fn render(look: &Look, glance: bool) -> String {
    let now_ms = now_ms(&look.server, &look.runs);
    let mut blocks = Vec::new();
    if !glance {
        blocks.push(server_block(look, now_ms));
    }
    if look.runs.is_empty() {
        blocks.push("no runs".to_owned());
    } else {
        blocks.push(runs_block(look, now_ms));
    }
    if !look.doubtful_effects.is_empty() {
        let rows: Vec<_> = look.doubtful_effects.iter().map(doubt_row).collect();
        blocks.push(ui::table(["IN DOUBT", "STATUS", "CONNECTOR", "WHY"], &rows));
    }
    for unserved in &look.server.unserved_effects {
        blocks.push(format!(
            "nobody serves connector `{}` for {}",
            unserved.connector, unserved.key
        ));
    }
    if look.server.dead_tasks > 0 {
        blocks.push(dead_letters(&look.server));
    }
    blocks.join("\n\n")
}

/// How many dead letters there are, and where to look.
pub fn dead_letters(stats: &Stats) -> String {
    format!("{} task(s) of reactions are in the dead-letter queue", stats.dead_tasks)
}

fn server_block(look: &Look, now_ms: i64) -> String {
    let stats = &look.server;
    let reactors: Vec<String> = stats
        .reactors
        .iter()
        .filter(|one| one.enabled || !one.remote.is_empty() || one.due > 0)
        .map(|one| reactor(one, now_ms))
        .collect();
    let workers: Vec<String> = stats
        .workers
        .iter()
        .map(|one| format!("{} ({} running, {})", one.app, one.running, one.worker_id))
        .collect();
    let connectors: Vec<String> = stats
        .connectors
        .iter()
        .map(|one| match one.app.as_str() {
            "" => format!("{} {} ({} calls)", one.name, one.version, one.calls),
            app => format!("{} in the workers of {app}", one.name),
        })
        .collect();
    let listed = |items: Vec<String>| {
        if items.is_empty() {
            "none".to_owned()
        } else {
            items.join(", ")
        }
    };
    format!(
        "server      {} at {}, {}\nreactors    {}\nworkers     {}\nconnectors  {}",
        stats.server_version,
        look.url,
        stats.store_url,
        listed(reactors),
        listed(workers),
        listed(connectors)
    )
}

/// `outbox (3 due, 2s; reactor-1)`: what waits, since when, and who works on it elsewhere.
fn reactor(stats: &ReactorStats, now_ms: i64) -> String {
    let mut notes = Vec::new();
    if stats.due > 0 {
        let age = ui::age(now_ms - stats.oldest_due_at_ms);
        notes.push(format!("{} due, {age}", stats.due));
    }
    let elsewhere = stats.remote.iter();
    notes
        .extend(elsewhere.map(|one| format!("{}, seen {} ago", one.reactor_id, ui::age(now_ms - one.last_seen_at_ms))));
    if !stats.enabled && stats.remote.is_empty() {
        notes.push("nobody runs it".to_owned());
    }
    if notes.is_empty() {
        stats.kind.clone()
    } else {
        format!("{} ({})", stats.kind, notes.join("; "))
    }
}

fn runs_block(look: &Look, now_ms: i64) -> String {
    let rows: Vec<_> = look.runs.iter().map(|run| run_row(run, now_ms)).collect();
    let mut text = ui::table(["RUN", "STATUS", "DECISIONS", "EFFECTS", "APP", "AGE", ""], &rows);
    if look.more {
        text.push_str("\n… `tape status --all` shows the others");
    }
    text
}

fn run_row(run: &Run, now_ms: i64) -> [String; 7] {
    let note = match run {
        _ if !run.waiting_on_gate.is_empty() => format!("waits for `{}`", run.waiting_on_gate),
        _ if run.ended_at_ms > 0 && run.status == RunStatus::Terminal => String::new(),
        _ => run.last_error.clone(),
    };
    [
        run.run_id.clone(),
        ui::status(run.status.as_str()),
        format!("decisions={}", run.decisions),
        format!("effects={}", run.effects),
        run.app.clone(),
        ui::age(now_ms - run.started_at_ms),
        note,
    ]
}

fn doubt_row(effect: &Effect) -> [String; 4] {
    let connector = if effect.connector.is_empty() {
        "-".to_owned()
    } else {
        effect.connector.clone()
    };
    [
        effect.key.clone(),
        ui::status(names::effect(effect.status)),
        connector,
        effect.last_error.clone(),
    ]
}

/// What the time is, for ages. A display needs no better clock than this machine's.
pub fn now_ms(stats: &Stats, runs: &[Run]) -> i64 {
    #[allow(clippy::disallowed_methods, reason = "ages on a screen: nothing is decided by them")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default();
    runs.iter()
        .map(|run| run.started_at_ms)
        .chain([stats.started_at_ms, now])
        .max()
        .unwrap_or(now)
}

/// Prints one run.
pub fn show(run: &Run, cx: &Cx) -> anyhow::Result<()> {
    if cx.is_json() {
        return ui::json(run);
    }
    ui::line(format!(
        "{}  {}  decisions={}  effects={}",
        run.run_id,
        ui::status(run.status.as_str()),
        run.decisions,
        run.effects
    ))?;
    if !run.detail_json.is_empty() {
        ui::line(format!("    {}", run.detail_json))?;
    }
    if !run.last_error.is_empty() {
        ui::line(format!("    {}", run.last_error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn look_at(status: RunStatus, doubt: Option<EffectStatus>) -> Look {
        let text = String::new;
        let run = Run {
            run_id: "r-1".to_owned(),
            status,
            tenant: text(),
            app: "treasury".to_owned(),
            user: text(),
            session: text(),
            invocation: text(),
            seq: 20,
            lease_owner: text(),
            lease_expires_at_ms: 0,
            fence: 1,
            started_at_ms: 1_000,
            ended_at_ms: 2_000,
            waiting_on_gate: text(),
            decisions: 4,
            effects: 3,
            next_decision_index: 4,
            input_json: text(),
            detail_json: text(),
            last_error: text(),
            labels: BTreeMap::new(),
        };
        let effect = |status| Effect {
            run_id: "r-1".to_owned(),
            key: "r-1/d-2/wire_money/0".to_owned(),
            status,
            seq: 10,
            decision_index: 2,
            tool: "wire_money".to_owned(),
            request_json: text(),
            response_json: text(),
            error_json: text(),
            begun_at_ms: 0,
            semantics: "NON_IDEMPOTENT",
            outbox: true,
            business_key: text(),
            connector: "bank".to_owned(),
            connector_version: text(),
            external_ref: text(),
            claimed_by: text(),
            next_dispatch_at_ms: 0,
            last_error: "no answer".to_owned(),
            compensation: None,
            attempts: Vec::new(),
        };
        Look {
            url: "tape://127.0.0.1:7878".to_owned(),
            server: Stats {
                server_version: "0.1.0".to_owned(),
                started_at_ms: 0,
                store_url: "sqlite:x".to_owned(),
                runs_by_status: BTreeMap::new(),
                reactors: Vec::new(),
                workers: Vec::new(),
                connectors: Vec::new(),
                unserved_effects: Vec::new(),
                dead_tasks: 2,
                oldest_dead_task_at_ms: 1_000,
            },
            runs: vec![run],
            doubtful_effects: doubt.into_iter().map(effect).collect(),
            more: false,
        }
    }

    #[test]
    fn a_run_shows_its_status_and_its_counts() {
        let text = console::strip_ansi_codes(&render(&look_at(RunStatus::Terminal, None), true)).into_owned();
        for part in ["r-1", "TERMINAL", "decisions=4", "effects=3", "treasury"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("server "), "{text}");
    }

    #[test]
    fn the_exit_code_tells_what_waits_for_a_person() {
        assert_eq!(exit(&look_at(RunStatus::Terminal, None)), Exit::Fine);
        assert_eq!(
            exit(&look_at(RunStatus::Running, Some(EffectStatus::Unknown))),
            Exit::Unknown
        );
        assert_eq!(
            exit(&look_at(RunStatus::Running, Some(EffectStatus::Stuck))),
            Exit::Stuck
        );
        assert_eq!(
            exit(&look_at(RunStatus::Stuck, Some(EffectStatus::Unknown))),
            Exit::Stuck
        );
    }

    #[test]
    fn a_screen_is_never_scrolled() {
        assert_eq!(fitted("a\nb\nc", 3, 80), "a\nb");
        assert_eq!(fitted(&"x".repeat(50), 10, 20).chars().count(), 20);
    }
}
