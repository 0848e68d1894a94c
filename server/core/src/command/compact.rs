//! Compact a run that has ended: its payloads go, its envelope stays.
//!
//! | what | TERMINAL, CANCELLED | FAILED, STUCK: can be redriven, and is then replayed |
//! |---|---|---|
//! | decision | request, response, rationale go | the response stays, and of the request its hash |
//! | effect that took hold | request and response go | the response stays |
//! | ... with a business key | the response stays: another run may ask for it | the response stays |
//! | ... that may have to be undone | stays | stays |
//! | effect that did not, or in doubt | stays: it may be tried again | stays |

use std::collections::BTreeSet;

use serde_json::json;

use super::{Command, Reads};
use crate::decision::Decision;
use crate::draft::{Draft, Note};
use crate::effect::{Effect, EffectState};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::obligation::ObligationState;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey, RowKind};
use crate::run::{Run, RunState};

/// Drops the payloads of a run that has ended. Again: what has become droppable since, if anything has.
#[derive(Clone, Debug)]
pub struct CompactRun {
    /// Which.
    pub run: RunId,
}

/// Writes a run again as it is, because the hint of its row says something else than the row.
#[derive(Clone, Debug)]
pub struct MendHint {
    /// Which.
    pub run: RunId,
}

impl Command for MendHint {
    type Reply = ();

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let run = draft.run(&self.run)?.clone();
        draft.put(RowKey::Head, Row::Run(Box::new(run)));
        Ok(())
    }
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Decisions that lost something.
    pub decisions: u64,
    /// Effects that lost something.
    pub effects: u64,
    /// Bytes of payload that went.
    pub bytes: u64,
    /// It had been compacted, and nothing was left to drop.
    pub already: bool,
}

impl Command for CompactRun {
    type Reply = Compacted;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
            .all(RowKind::Decision)
            .all(RowKind::Effect)
            .all(RowKind::Obligation)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Compacted, Refusal> {
        let run = draft.run(&self.run)?;
        if !run.has_ended() {
            return Err(not_ended(run));
        }
        let again = run.is_compacted();
        let rules = Rules::of(run, draft);
        let rows: Vec<_> = draft.rows().map(|(key, row)| (key.clone(), row.clone())).collect();
        let mut dropped = Compacted::default();
        for (key, mut row) in rows {
            let (bytes, count) = match &mut row {
                Row::Decision(decision) => (rules.decision(decision), &mut dropped.decisions),
                Row::Effect(effect) => (rules.effect(effect), &mut dropped.effects),
                _ => continue,
            };
            if bytes > 0 {
                *count += 1;
                dropped.bytes += bytes;
                draft.put(key, row);
            }
        }
        if again && dropped.bytes == 0 {
            return Ok(Compacted {
                already: true,
                ..dropped
            });
        }
        let now = draft.now();
        draft.run_mut(&self.run)?.compacted = Some(now);
        let payload =
            json!({ "decisions": dropped.decisions, "effects": dropped.effects, "bytes_saved": dropped.bytes });
        draft.journal(&self.run, Note::run(Kind::RunCompacted, &payload))?;
        Ok(dropped)
    }
}

/// What may go.
struct Rules {
    /// A redrive may replay the run.
    replayable: bool,
    /// Effects with an obligation that is not worked off.
    owed: BTreeSet<EffectKey>,
    /// Effects that were undone.
    undone: BTreeSet<EffectKey>,
}

impl Rules {
    fn of(run: &Run, draft: &Draft) -> Self {
        let mut rules = Self {
            replayable: matches!(run.state, RunState::Failed | RunState::Stuck),
            owed: BTreeSet::new(),
            undone: BTreeSet::new(),
        };
        for (_, row) in draft.rows() {
            let Row::Obligation(obligation) = row else { continue };
            let set = match obligation.state {
                ObligationState::Compensated => &mut rules.undone,
                _ => &mut rules.owed,
            };
            set.insert(obligation.effect.clone());
        }
        rules
    }

    /// Takes from a decision what may go. Returns how many bytes that were.
    fn decision(&self, decision: &mut Decision) -> u64 {
        let mut bytes = take(&mut decision.rationale);
        if !self.replayable {
            bytes += take(&mut decision.response_json);
        }
        if !decision.request_json.is_empty() {
            // A replay still tells whether it asks the model something else.
            decision.dropped_request = Some(decision.request_hash());
            bytes += take(&mut decision.request_json);
        }
        bytes
    }

    /// Takes from an effect what may go. Returns how many bytes that were.
    fn effect(&self, effect: &mut Effect) -> u64 {
        let key = &effect.intent.key;
        let undoable = effect.intent.handle.is_some() && !self.undone.contains(key);
        if effect.state != EffectState::Confirmed || undoable || self.owed.contains(key) {
            return 0;
        }
        let mut bytes = take(&mut effect.intent.request_json);
        if !self.replayable && effect.intent.business_key.is_empty() {
            bytes += take(&mut effect.response_json);
        }
        bytes
    }
}

fn take(text: &mut String) -> u64 {
    std::mem::take(text).len() as u64
}

fn not_ended(run: &Run) -> Refusal {
    Refusal::new(
        Status::FailedPrecondition,
        "TAPE-R007",
        format!("Run {} is {}: its payloads are still needed.", run.id, run.state.name()),
        "Compact it once it has ended.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::{Context, Snapshot};
    use crate::effect::{Handle, Intent, Mode, Semantics};
    use crate::id::RunIdentity;
    use crate::row::RowKey;
    use crate::run::Caller;
    use crate::time::Time;

    fn effect(key: &str, state: EffectState) -> Effect {
        Effect {
            intent: Intent {
                key: EffectKey(key.into()),
                decision_index: 0,
                tool: "t".into(),
                call_index: 0,
                request_json: "[1]".into(),
                semantics: Semantics::Idempotent,
                mode: Mode::Inline,
                business_key: String::new(),
                connector: String::new(),
                operation: String::new(),
                scope: String::new(),
                deadline: Time(0),
                handle: None,
                status_check: String::new(),
                unsafe_allowed: false,
            },
            seq: 1,
            begun: Time(1),
            changed: Time(1),
            state,
            attempts: Vec::new(),
            external_ref: "ref".into(),
            response_json: "[2]".into(),
            error_json: String::new(),
            confirmed_order: None,
            trace: None,
        }
    }

    /// A run in `state` with one decision and one effect of each sort.
    fn ended(state: RunState) -> (RunId, Snapshot) {
        let identity = RunIdentity {
            tenant: String::new(),
            app: "a".into(),
            user: "u".into(),
            session: "s".into(),
            invocation: "i".into(),
        };
        let mut run = Run::new(identity, Caller::default(), String::new(), Time(1));
        run.state = state;
        run.ended = Some(Time(5));
        let decision = Decision {
            index: 0,
            seq: 2,
            model: "m".into(),
            request_json: "[3]".into(),
            response_json: "[4]".into(),
            rationale: "why".into(),
            policy_version: String::new(),
            at: Time(2),
            dropped_request: None,
        };
        let mut keyed = effect("keyed", EffectState::Confirmed);
        keyed.intent.business_key = "b".into();
        let mut undoable = effect("undoable", EffectState::Confirmed);
        undoable.intent.handle = Some(Handle::default());
        let effects = [
            effect("done", EffectState::Confirmed),
            effect("failed", EffectState::Failed),
            effect("pending", EffectState::Pending { next: Time(1) }),
            keyed,
            undoable,
        ];
        let id = run.id.clone();
        let mut snapshot = Snapshot::default();
        snapshot.rows.insert(RowKey::Head, Row::Run(Box::new(run)));
        snapshot
            .rows
            .insert(RowKey::Decision(0), Row::Decision(Box::new(decision)));
        for effect in effects {
            let key = RowKey::Effect(effect.intent.key.clone());
            snapshot.rows.insert(key, Row::Effect(Box::new(effect)));
        }
        (id, snapshot)
    }

    fn compact(run: &RunId, snapshot: Snapshot, now: i64) -> (Result<Compacted, Refusal>, Snapshot, Vec<Kind>) {
        let context = Context {
            now: Time(now),
            ..Context::default()
        };
        let mut draft = Draft::new(snapshot, context);
        let reply = CompactRun { run: run.clone() }.decide(&mut draft);
        let (changes, snapshot) = draft.finish();
        (
            reply,
            snapshot,
            changes.entries.iter().map(|entry| entry.kind).collect(),
        )
    }

    /// What is left: of the decision, then of each effect its request and response.
    fn left(snapshot: &Snapshot) -> Vec<String> {
        let rows = snapshot.rows.values();
        rows.filter_map(|row| match row {
            Row::Decision(d) => Some(format!("{}{}{}", d.request_json, d.response_json, d.rationale)),
            Row::Effect(e) => Some(format!("{} {}{}", e.intent.key, e.intent.request_json, e.response_json)),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn what_replay_undoing_and_others_need_stays() {
        let finished = [
            "",
            "done ",
            "failed [1][2]",
            "keyed [2]",
            "pending [1][2]",
            "undoable [1][2]",
        ];
        let reopenable = [
            "[4]",
            "done [2]",
            "failed [1][2]",
            "keyed [2]",
            "pending [1][2]",
            "undoable [1][2]",
        ];
        let table = [
            (RunState::Terminal, finished, 18),
            (RunState::Cancelled, finished, 18),
            (RunState::Failed, reopenable, 12),
            (RunState::Stuck, reopenable, 12),
        ];
        for (state, expected, bytes) in table {
            let name = state.name();
            let (run, before) = ended(state);
            let hash = crate::decision::request_hash("[3]");
            let (reply, after, kinds) = compact(&run, before, 10);
            let dropped = Compacted {
                decisions: 1,
                effects: 2,
                bytes,
                already: false,
            };
            assert_eq!((reply, kinds), (Ok(dropped), vec![Kind::RunCompacted]), "{name}");
            assert_eq!(left(&after), expected, "{name}");
            let Some(Row::Decision(decision)) = after.rows.get(&RowKey::Decision(0)) else {
                panic!("a decision");
            };
            assert_eq!(decision.request_hash(), hash);
        }
    }

    #[test]
    fn again_drops_only_what_has_become_droppable() {
        let (run, before) = ended(RunState::Terminal);
        let (_, mut after, _) = compact(&run, before, 10);
        let (reply, same, kinds) = compact(&run, after.clone(), 11);
        assert!(reply.unwrap().already && kinds.is_empty());
        assert_eq!(same.rows, after.rows);
        let settled = effect("pending", EffectState::Confirmed);
        let key = RowKey::Effect(settled.intent.key.clone());
        after.rows.insert(key, Row::Effect(Box::new(settled)));
        let dropped = compact(&run, after, 12).0.unwrap();
        assert_eq!((dropped.effects, dropped.bytes, dropped.already), (1, 6, false));
    }

    #[test]
    fn a_run_that_ended_again_is_to_be_compacted_again() {
        let (run, before) = ended(RunState::Failed);
        let (_, mut after, _) = compact(&run, before, 10);
        let Some(Row::Run(head)) = after.rows.get_mut(&RowKey::Head) else {
            panic!("a head");
        };
        assert!(head.is_compacted());
        head.ended = Some(Time(20));
        head.state = RunState::Terminal;
        assert!(!head.is_compacted());
        let dropped = compact(&run, after, 21).0.unwrap();
        assert_eq!((dropped.decisions, dropped.effects), (1, 1));
    }

    #[test]
    fn a_run_that_has_not_ended_is_left_alone() {
        let going = [
            RunState::Runnable,
            RunState::Compensating {
                policy: Default::default(),
                next: Time(1),
            },
        ];
        for state in going {
            let (run, before) = ended(state);
            let refusal = compact(&run, before, 10).0.unwrap_err();
            assert_eq!(
                (refusal.status, refusal.code),
                (Status::FailedPrecondition, "TAPE-R007")
            );
        }
        let nothing = compact(&RunId("r".into()), Snapshot::default(), 10).0.unwrap_err();
        assert_eq!(nothing.status, Status::NotFound);
    }
}
