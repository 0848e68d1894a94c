//! A store that holds many runs: made by the domain itself, committed run by run instead of step by step.

use futures_util::{StreamExt as _, stream};
use tape_core::command::Command;
use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::{BeginRun, LeaseRequest};
use tape_core::command::complete_effect::{CompleteEffect, Completion};
use tape_core::command::decision::RecordDecision;
use tape_core::command::end_run::EndRun;
use tape_core::effect::{Mode, Semantics};
use tape_core::lease::Driver;
use tape_core::run::{Caller, Ending};
use tape_core::{Changes, Context, Draft, EffectKey, EntityId, RowKey, RunId, RunIdentity, Snapshot, Time};
use tape_store::{Commit, Store};

use tape_load::payload;

/// Commits under way at a time: enough for full batches.
const AT_ONCE: usize = 1_024;

/// Writes `count` short runs that ended well, a second apart, ending before `now`.
///
/// # Errors
/// If the store does not take one.
pub async fn runs(store: &dyn Store, count: u32, now: Time) -> anyhow::Result<()> {
    let mut commits = stream::iter(0..count)
        .map(|index| async move {
            let at = Time(now.0 - 1_000 * i64::from(count - index));
            let commit = short_run(index, at)?;
            anyhow::Ok(store.commit(commit).await?)
        })
        .buffer_unordered(AT_ONCE);
    while let Some(committed) = commits.next().await {
        committed?;
    }
    Ok(())
}

fn short_run(index: u32, at: Time) -> anyhow::Result<Commit> {
    let identity = RunIdentity {
        tenant: String::new(),
        app: "stored".to_owned(),
        user: format!("user-{}", index % 1_000),
        session: format!("session-{}", index / 10),
        invocation: index.to_string(),
    };
    let run = RunId::derive(&identity);
    let mut all = Accumulated::new(at);
    all.apply(&BeginRun {
        identity,
        caller: Caller::default(),
        input_json: String::new(),
        lease: LeaseRequest {
            owner: "bench".to_owned(),
            ttl_ms: 0,
            fenced: false,
        },
    })?;
    all.apply(&RecordDecision {
        run: run.clone(),
        driver: Driver::default(),
        index: 0,
        model: "model".to_owned(),
        request_json: payload(4 * u64::from(index)),
        response_json: payload(4 * u64::from(index) + 1),
        rationale: String::new(),
        policy_version: String::new(),
    })?;
    all.apply(&BeginEffect {
        run: run.clone(),
        driver: Driver::default(),
        decision_index: 0,
        tool: "tool".to_owned(),
        call_index: 0,
        request_json: payload(4 * u64::from(index) + 2),
        custom_key: String::new(),
        semantics: Semantics::Idempotent,
        mode: Mode::Inline,
        business_key: String::new(),
        connector: String::new(),
        operation: String::new(),
        scope: String::new(),
        deadline: Time(0),
        handle: None,
        status_check: String::new(),
        allow_unsafe: false,
        known: Known::default(),
    })?;
    all.apply(&CompleteEffect {
        run: run.clone(),
        driver: Driver::default(),
        key: EffectKey::derive(&run, 0, "tool", 0),
        completion: Completion::Confirmed,
        response_json: payload(4 * u64::from(index) + 3),
        error_json: String::new(),
    })?;
    all.apply(&EndRun {
        run: run.clone(),
        driver: Driver::default(),
        ending: Ending::Terminal,
        detail_json: String::new(),
    })?;
    Ok(Commit::of(&EntityId::run(&run), 0, &all.changes, "")?)
}

/// What several commands on one run come to.
struct Accumulated {
    at: Time,
    snapshot: Snapshot,
    changes: Changes,
}

impl Accumulated {
    fn new(at: Time) -> Self {
        Self {
            at,
            snapshot: Snapshot::default(),
            changes: Changes::default(),
        }
    }

    fn apply<C: Command>(&mut self, command: &C) -> anyhow::Result<()> {
        let context = Context {
            now: self.at,
            ..Context::default()
        };
        let mut draft = Draft::new(std::mem::take(&mut self.snapshot), context);
        command
            .decide(&mut draft)
            .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        let (changes, snapshot) = draft.finish();
        let written: Vec<RowKey> = changes.puts.iter().map(|(key, _)| key.clone()).collect();
        self.changes.puts.retain(|(key, _)| !written.contains(key));
        self.changes.puts.extend(changes.puts);
        self.changes.entries.extend(changes.entries);
        self.snapshot = snapshot;
        Ok(())
    }
}
