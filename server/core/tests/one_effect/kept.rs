//! An outbox effect of a run, kept as a store would, and the commands that it meets.

use std::collections::BTreeMap;

use tape_core::command::dispatch::{ClaimDispatch, Outcome, SettleDispatch};
use tape_core::effect::{Effect, EffectState, Intent, Mode, Semantics};
use tape_core::run::{Caller, Run};
use tape_core::{Command, Context, Draft, EffectKey, Row, RowKey, RunId, RunIdentity, Snapshot, Time};

pub struct Kept {
    pub rows: BTreeMap<RowKey, Row>,
    pub now: i64,
}

pub fn key() -> EffectKey {
    EffectKey("k".into())
}

pub fn run_id() -> RunId {
    RunId("r".into())
}

fn intent(semantics: Semantics) -> Intent {
    Intent {
        key: key(),
        decision_index: 0,
        tool: "wire".into(),
        call_index: 0,
        request_json: "{}".into(),
        semantics,
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
    pub fn new(semantics: Semantics) -> Self {
        let run = Run::new(RunIdentity::default(), Caller::default(), String::new(), Time(0));
        let effect = Effect {
            intent: intent(semantics),
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

    pub fn run<C: Command>(&mut self, command: &C) -> C::Reply {
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
    pub fn attempt(&mut self, outcome: Outcome) -> Effect {
        let EffectState::Pending { next } = self.effect().state else {
            unreachable!("it waits")
        };
        self.now = self.now.max(next.0);
        self.claim();
        self.settle(outcome)
    }

    /// A dispatcher takes it.
    pub fn claim(&mut self) {
        let claim = ClaimDispatch {
            run: run_id(),
            key: key(),
            owner: "o".into(),
            ttl_ms: 0,
            two_phase: true,
            connectors: None,
        };
        assert!(self.run(&claim).acquired);
    }

    /// Settles the attempt under way.
    pub fn settle(&mut self, outcome: Outcome) -> Effect {
        let settle = SettleDispatch {
            run: run_id(),
            key: key(),
            owner: "o".into(),
            attempt: self.effect().attempt().expect("it is claimed").number,
            outcome,
            evidence_json: String::new(),
            version: String::new(),
            digest: String::new(),
        };
        self.run(&settle)
    }

    pub fn effect(&self) -> Effect {
        match self.rows.get(&RowKey::Effect(key())) {
            Some(Row::Effect(effect)) => effect.as_ref().clone(),
            _ => unreachable!("it is there"),
        }
    }
}
