//! What is done, step by step, and the line that says so once it has been seen.

use serde_json::Value;
use tape_client::{Entry, StartRun};

use super::Variant;
use super::checks::{self, Final, REACTORS, WIRE};
use super::dump::Dump;
use super::report::{Discrepancy, Report};
use super::stage::Stage;
use crate::bank_client::NextAnswer;
use crate::journal::effect_key;
use crate::process::ending;
use crate::ui::Mark;

/// What the run is asked.
const REQUEST: &str = "Pay 1200.00 EUR to ACME for invoice 2026-001";
/// How long the bank keeps the agent's wire waiting: the kill has to come first.
const HOLD_MS: u64 = 2_000;
/// Longer than the server lives.
const HOLD_LONG_MS: u64 = 120_000;

/// Plays a variant to its end. Returns the run's id.
///
/// # Errors
/// [`Discrepancy`] for the first line that does not hold.
pub async fn play(stage: &mut Stage<'_>, variant: Variant, report: &Report) -> anyhow::Result<String> {
    bring_up(stage, report).await?;
    let next_answer = match variant {
        Variant::KillAgent => NextAnswer::Hold(HOLD_MS),
        Variant::LoseAnswer => NextAnswer::Lose,
        Variant::KillDispatcher => NextAnswer::Hold(HOLD_LONG_MS),
    };
    stage.bank()?.client.next_answer(next_answer).await?;

    report.say(Mark::Arrow, "triggering run...")?;
    let start = StartRun {
        app: stage.app().to_owned(),
        user: "demo".to_owned(),
        session: "demo".to_owned(),
        input_json: Value::from(REQUEST).to_string(),
        ..StartRun::default()
    };
    let run_id = stage.client()?.start_run(start).await?.run.run_id;
    stage.follow(&run_id)?;
    let key = stage.until("effect `wire_money` is begun", checks::begun_wire).await?;
    let attached = match variant {
        Variant::KillAgent => Some(kill_agent(stage, report, &run_id, &key).await?),
        Variant::LoseAnswer => {
            lose_answer(stage, report, &key).await?;
            None
        }
        Variant::KillDispatcher => {
            kill_dispatcher(stage, report, &key).await?;
            None
        }
    };

    stage
        .until("run terminated cleanly", |entries| find(entries, "run.ended", 0))
        .await?;
    let client = stage.client()?;
    let ended = Final {
        dump: Dump::read(client.dump_run(&run_id).await?)?,
        run: client.run(&run_id).await?,
        entries: stage.entries().to_vec(),
        model_calls: stage.model_calls()?,
        wires: stage.bank()?.client.wires().await?,
        key,
    };
    if let Some(attached) = attached {
        let said = stage.reported("effect_replayed", &run_id);
        ended.short_circuited(&attached, &said)?;
        report.say(
            Mark::Tick,
            &format!("effect `{WIRE}` short-circuited (already CONFIRMED)"),
        )?;
    } else {
        ended.never_sent_again()?;
        report.say(
            Mark::Tick,
            &format!("effect `{WIRE}` was sent once (1 attempt with a mark)"),
        )?;
    }
    ended.terminated()?;
    report.say(Mark::Tick, "run terminated cleanly")?;
    ended.one_wire()?;
    report.assert("upstream observed exactly 1 wire")?;
    Ok(run_id)
}

async fn bring_up(stage: &mut Stage<'_>, report: &Report) -> anyhow::Result<()> {
    stage.start_bank().await?;
    stage.start_server().await?;
    report.say(Mark::Tick, "tape-server up")?;

    let line = format!("reactors started ({})", REACTORS.join(", "));
    let client = stage.client()?;
    // Each has looked for work at least once.
    stage
        .poll(&line, async |_: &Stage<'_>| {
            let stats = client.stats().await?;
            let passed = |kind: &str| {
                stats
                    .reactors
                    .iter()
                    .any(|one| one.kind == kind && one.enabled && one.passes > 0)
            };
            Ok(REACTORS.iter().all(|kind| passed(kind)).then_some(()))
        })
        .await?;
    report.say(Mark::Tick, &line)?;

    stage.start_agent()?;
    stage
        .poll("agent started", async |stage: &Stage<'_>| {
            let stats = client.stats().await?;
            Ok(stats
                .workers
                .iter()
                .any(|worker| worker.app == stage.app())
                .then_some(()))
        })
        .await?;
    Ok(report.say(Mark::Tick, "agent started")?)
}

/// Kills the agent after BeginEffect and before the effect is confirmed. Returns the entry of its return.
async fn kill_agent(stage: &mut Stage<'_>, report: &Report, run_id: &str, key: &str) -> anyhow::Result<Entry> {
    let (pid, status) = stage.kill_agent().await?;
    let line = format!("agent killed mid-effect (pid {pid})");
    need_killed(&line, &ending(status))?;
    let client = stage.client()?;
    checks::is_open(&line, &Dump::read(client.dump_run(run_id).await?)?, key)?;
    report.say(Mark::Cross, &line)?;

    let line = format!("recovery reactor: run {run_id} is RUNNABLE; re-driving");
    let runnable = stage.until(&line, |entries| find(entries, "run.runnable", 0)).await?;
    checks::is_runnable(&line, &client.run(run_id).await?)?;
    report.say(Mark::Again, &line)?;

    // The outbox goes on without the agent: what it comes back to is settled.
    let confirmed = |entries: &[Entry]| about(entries, "effect.confirmed", key);
    stage
        .until("effect `wire_money` is confirmed while the agent is dead", confirmed)
        .await?;
    stage.start_agent()?;
    let attached = stage
        .until("agent re-attached", |entries| {
            find(entries, "run.attached", runnable.seq)
        })
        .await?;
    let said = stage
        .poll("agent re-attached", async |stage: &Stage<'_>| {
            Ok(stage.reported("run_attached", run_id).pop())
        })
        .await?;
    let place = checks::reattached(stage.entries(), &attached, &said)?;
    report.say(
        Mark::Tick,
        &format!(
            "agent re-attached at decision_index={}, seq={}",
            place.decision_index, place.seq
        ),
    )?;
    Ok(attached)
}

async fn lose_answer(stage: &mut Stage<'_>, report: &Report, key: &str) -> anyhow::Result<()> {
    let line = format!("effect `{WIRE}` is UNKNOWN: the bank booked the wire, its answer was lost");
    stage
        .until(&line, |entries| about(entries, "effect.unknown", key))
        .await?;
    checks::booked(&line, &stage.bank()?.client.wires().await?)?;
    report.say(Mark::Cross, &line)?;
    observed(stage, report, key).await
}

async fn kill_dispatcher(stage: &mut Stage<'_>, report: &Report, key: &str) -> anyhow::Result<()> {
    let line = "the bank booked the wire and holds its answer";
    stage.until(line, |entries| about(entries, "effect.sent", key)).await?;
    stage
        .poll(line, async |stage: &Stage<'_>| {
            let wires = stage.bank()?.client.wires().await?;
            Ok((!wires.is_empty()).then_some(()))
        })
        .await?;
    let (pid, status) = stage.kill_server().await?;
    let line = format!("tape-server killed between request and answer (pid {pid})");
    need_killed(&line, &ending(status))?;
    if about(stage.entries(), "effect.confirmed", key).is_some() {
        return Err(Discrepancy::new(line, "an effect without an answer", "effect.confirmed").into());
    }
    report.say(Mark::Cross, &line)?;

    stage.start_server().await?;
    report.say(Mark::Tick, "tape-server up again")?;
    let line = format!("effect `{WIRE}` is UNKNOWN: its dispatcher died after the request may have left");
    stage
        .until(&line, |entries| about(entries, "effect.unknown", key))
        .await?;
    report.say(Mark::Cross, &line)?;
    observed(stage, report, key).await
}

/// The reconciler asks the bank's books, and finds the wire.
async fn observed(stage: &mut Stage<'_>, report: &Report, key: &str) -> anyhow::Result<()> {
    let line = "reconciler reactor: the bank's books were asked";
    let confirmed = stage
        .until(line, |entries| about(entries, "effect.confirmed", key))
        .await?;
    let reference = checks::observed(line, &confirmed, &stage.bank()?.client.wires().await?)?;
    report.say(
        Mark::Again,
        &format!(
            "reconciler reactor: the bank's books were asked for `{}`",
            reference.business_key
        ),
    )?;
    report.say(
        Mark::Tick,
        &format!("effect `{WIRE}` observed PRESENT as {}: CONFIRMED", reference.wire_id),
    )?;
    Ok(())
}

fn need_killed(line: &str, end: &str) -> anyhow::Result<()> {
    if end == "SIGKILL" {
        return Ok(());
    }
    Err(Discrepancy::new(line, "a process ended by SIGKILL", end).into())
}

/// The first entry of a kind after `seq`.
fn find(entries: &[Entry], kind: &str, seq: i64) -> Option<Entry> {
    entries
        .iter()
        .find(|entry| entry.kind == kind && entry.seq > seq)
        .cloned()
}

/// The first entry of a kind about one effect.
fn about(entries: &[Entry], kind: &str, key: &str) -> Option<Entry> {
    entries
        .iter()
        .find(|entry| entry.kind == kind && effect_key(entry) == Some(key))
        .cloned()
}
