//! A dispatcher that finds the connector at rest, or gets no turn from a limit, has tried nothing: the effect waits, however often that
//! happens, and neither fails nor grows.

use std::collections::BTreeMap;

use tape_core::command::dispatch::{ClaimDispatch, Outcome, SettleDispatch};
use tape_core::effect::{Attempt, Effect, EffectState, Intent, Mode, Semantics};
use tape_core::run::{Caller, Run};
use tape_core::{Command, Context, Draft, EffectKey, Row, RowKey, RunId, RunIdentity, Snapshot, Time};

struct Kept {
    rows: BTreeMap<RowKey, Row>,
    now: i64,
}

fn key() -> EffectKey {
    EffectKey("k".into())
}

fn run_id() -> RunId {
    RunId("r".into())
}

fn intent() -> Intent {
    Intent {
        key: key(),
        decision_index: 0,
        tool: "wire".into(),
        call_index: 0,
        request_json: "{}".into(),
        semantics: Semantics::NonIdempotent,
        mode: Mode::Outbox,
        business_key: "inv-7".into(),
        connector: "bank".into(),
        operation: "wire".into(),
        scope: String::new(),
        deadline: Time(0),
        handle: None,
        status_check: String::new(),
        unsafe_allowed: false,
    }
}

impl Kept {
    fn new() -> Self {
        let run = Run::new(RunIdentity::default(), Caller::default(), String::new(), Time(0));
        let effect = Effect {
            intent: intent(),
            seq: 1,
            begun: Time(0),
            changed: Time(0),
            state: EffectState::Pending { next: Time(0) },
            attempts: Vec::new(),
            external_ref: String::new(),
            response_json: String::new(),
            error_json: String::new(),
            confirmed_order: None,
            trace: None,
        };
        let rows = [
            (RowKey::Head, Row::Run(Box::new(run))),
            (RowKey::Effect(key()), Row::Effect(Box::new(effect))),
        ];
        Self {
            rows: rows.into(),
            now: 0,
        }
    }

    fn run<C: Command>(&mut self, command: &C) -> C::Reply {
        let snapshot = Snapshot {
            version: 1,
            rows: self.rows.clone(),
        };
        let context = Context {
            now: Time(self.now),
            ..Context::default()
        };
        let mut draft = Draft::new(snapshot, context);
        let reply = command.decide(&mut draft).expect("it is accepted");
        let (changes, _) = draft.finish();
        self.rows.extend(changes.puts);
        reply
    }

    /// Claims once it is due, and settles.
    fn attempt(&mut self, outcome: Outcome) -> Effect {
        let EffectState::Pending { next } = self.effect().state else {
            unreachable!("it waits")
        };
        self.now = self.now.max(next.0);
        let claim = ClaimDispatch {
            run: run_id(),
            key: key(),
            owner: "o".into(),
            ttl_ms: 0,
            two_phase: true,
            connectors: None,
        };
        let claimed = self.run(&claim);
        assert!(claimed.acquired);
        let settle = SettleDispatch {
            run: run_id(),
            key: key(),
            owner: "o".into(),
            attempt: claimed.effect.attempt().expect("it is claimed").number,
            outcome,
            evidence_json: String::new(),
            version: String::new(),
            digest: String::new(),
        };
        self.run(&settle)
    }

    fn effect(&self) -> Effect {
        match self.rows.get(&RowKey::Effect(key())) {
            Some(Row::Effect(effect)) => effect.as_ref().clone(),
            _ => unreachable!("it is there"),
        }
    }
}

fn nobody() -> Outcome {
    Outcome::Nobody {
        reason: "resting".into(),
        retry_after_ms: Some(1_000),
    }
}

#[test]
fn a_refused_turn_is_no_attempt() {
    let mut kept = Kept::new();
    for _ in 0..100 {
        let effect = kept.attempt(nobody());
        assert!(matches!(effect.state, EffectState::Pending { .. }));
        assert_eq!((effect.tries(), effect.attempts.len()), (0, 1), "it does not grow");
    }
    let number = kept.effect().attempt().expect("it was claimed").number;
    assert_eq!(number, 100, "the fence goes on all the same");
    let first = kept.now;
    kept.attempt(nobody());
    assert!(
        (1_000..=60_000).contains(&(kept.now - first)),
        "it is asked less and less often"
    );

    // Five attempts are its own, whatever lies between them.
    for tries in 1..=5 {
        kept.attempt(nobody());
        let effect = kept.attempt(Outcome::NothingSent {
            reason: "refused".into(),
            retry_after_ms: Some(0),
        });
        assert_eq!(effect.tries(), tries);
        assert_eq!(matches!(effect.state, EffectState::Failed), tries == 5, "{tries}");
    }
}

#[test]
fn a_late_word_about_a_refused_turn_settles_nothing() {
    let mut kept = Kept::new();
    let refused = kept.attempt(nobody());
    let stale = refused.attempt().expect("it was claimed").number;
    let EffectState::Pending { next } = refused.state else {
        unreachable!("it waits")
    };
    kept.now = next.0;
    let claim = ClaimDispatch {
        run: run_id(),
        key: key(),
        owner: "o".into(),
        ttl_ms: 0,
        two_phase: true,
        connectors: None,
    };
    kept.run(&claim);
    let mut draft = Draft::new(
        Snapshot {
            version: 1,
            rows: kept.rows.clone(),
        },
        Context {
            now: Time(kept.now),
            ..Context::default()
        },
    );
    let late = SettleDispatch {
        run: run_id(),
        key: key(),
        owner: "o".into(),
        attempt: stale,
        outcome: nobody(),
        evidence_json: String::new(),
        version: String::new(),
        digest: String::new(),
    };
    assert!(late.decide(&mut draft).is_err());
    assert_eq!(
        refused.attempt().map(|last| last.outcome.as_str()),
        Some(Attempt::NOBODY)
    );
}
