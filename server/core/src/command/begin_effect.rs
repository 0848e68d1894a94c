//! Begin an effect: the intent, durable before the outside is touched.

use serde_json::json;

use super::reserve::refuse_revoked;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Effect, EffectState, Handle, Intent, Mode, Semantics};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::json::{check_name, check_optional_name, check_payload};
use crate::lease::Driver;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};
use crate::time::Time;

/// Begins an effect, or returns the row as it stands.
#[derive(Clone, Debug)]
pub struct BeginEffect {
    /// Run.
    pub run: RunId,
    /// Who drives.
    pub driver: Driver,
    /// Decision from which it follows.
    pub decision_index: i64,
    /// Tool that the agent called.
    pub tool: String,
    /// The n-th call of that tool for that decision.
    pub call_index: i32,
    /// Arguments or payload, as JSON.
    pub request_json: String,
    /// The caller's own key; empty = derived from the journal.
    pub custom_key: String,
    /// What a second request would do.
    pub semantics: Semantics,
    /// Who makes the call.
    pub mode: Mode,
    /// The caller's own name for it, by which the upstream can be asked.
    pub business_key: String,
    /// Connector.
    pub connector: String,
    /// Operation of the connector.
    pub operation: String,
    /// Scope that the run must have been granted.
    pub scope: String,
    /// Latest time for an answer; zero = the connector's own limit.
    pub deadline: Time,
    /// How it could be undone.
    pub handle: Option<Handle>,
    /// SDK function that can ask the upstream.
    pub status_check: String,
    /// Begin it even though nothing could settle doubt about it.
    pub allow_unsafe: bool,
    /// What is known about the connector.
    pub known: Known,
}

/// What the server knows when an effect is begun, and the caller does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// It is loaded here.
    pub loaded: bool,
    /// It can be asked about a business key or a request.
    pub observes: bool,
    /// Unknown connectors are refused.
    pub strict: bool,
    /// The loaded connector with the most similar name.
    pub nearest: Option<String>,
    /// The number of the run's reservation of the business key; 0 before it has one.
    pub reservation: u64,
}

/// An effect as it stands, and whether this request created it.
#[derive(Clone, Debug)]
pub struct BegunEffect {
    /// As it stands.
    pub effect: Effect,
    /// It is new.
    pub created: bool,
}

impl BeginEffect {
    /// The effect's key.
    #[must_use]
    pub fn key(&self) -> EffectKey {
        if self.custom_key.is_empty() {
            EffectKey::derive(&self.run, self.decision_index, &self.tool, self.call_index)
        } else {
            EffectKey(self.custom_key.clone())
        }
    }

    /// The refusals, in the order that the contract gives.
    fn check(&self, draft: &Draft) -> Result<(), Refusal> {
        check_name("tool_name", &self.tool)?;
        let indexes = [
            ("decision_index", self.decision_index),
            ("call_index", self.call_index.into()),
        ];
        if let Some((field, index)) = indexes.into_iter().find(|(_, index)| *index < 0) {
            return Err(Refusal::invalid(
                field,
                &index.to_string(),
                format!("{field} is negative."),
                "Count from 0.",
            ));
        }
        check_optional_name("custom_key", &self.custom_key)?;
        check_optional_name("business_key", &self.business_key)?;
        check_optional_name("connector", &self.connector)?;
        check_payload("request_json", &self.request_json)?;
        if let Some(handle) = &self.handle {
            check_payload("compensation.payload_json", &handle.payload_json)?;
        }
        if self.semantics == Semantics::NonIdempotent && self.mode == Mode::Inline {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-E003",
                format!(
                    "{:?} is NON_IDEMPOTENT and INLINE: a crash in its body could not be told from a success.",
                    self.tool
                ),
                "Send it through the outbox (@tape.outbox_tool), or declare it IDEMPOTENT if the upstream deduplicates by key.",
            ));
        }
        if !self.business_key.is_empty() && self.connector.is_empty() {
            return Err(Refusal::invalid(
                "business_key",
                &self.business_key,
                "business_key requires connector: without one nobody can ask the upstream for it.",
                "Set connector.",
            )
            .coded("TAPE-E004"));
        }
        if self.mode == Mode::Outbox && self.connector.is_empty() {
            return Err(Refusal::invalid(
                "connector",
                "",
                "dispatch_mode OUTBOX requires connector: the outbox sends through one.",
                "Name the connector, or use INLINE for an idempotent call.",
            )
            .coded("TAPE-E005"));
        }
        let settles = !self.business_key.is_empty()
            || !self.status_check.is_empty()
            || self.handle.is_some()
            || self.known.observes;
        if self.semantics == Semantics::NonIdempotent && !settles && !self.allow_unsafe {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-E006",
                format!(
                    "{:?} is NON_IDEMPOTENT and declares no way to settle UNKNOWN.",
                    self.tool
                ),
                "Give it at least one of business_key, status_check, compensate, or a connector that can observe; or allow_unsafe after review.",
            ));
        }
        if !self.connector.is_empty() && self.known.strict && !self.known.loaded {
            let hint = match &self.known.nearest {
                Some(name) => format!("Did you mean {name:?}? Else add it under tape.connectors in tape.yaml."),
                None => "Add it under tape.connectors in tape.yaml.".to_owned(),
            };
            return Err(Refusal::invalid(
                "connector",
                &self.connector,
                format!("No connector {:?} is loaded.", self.connector),
                hint,
            )
            .coded("TAPE-E007"));
        }
        let granted = &draft.run(&self.run)?.caller.scopes;
        if !self.scope.is_empty() && !granted.contains(&self.scope) {
            return Err(Refusal::new(
                Status::PermissionDenied,
                "TAPE-E008",
                format!("The run was not granted scope {:?}; it has {granted:?}.", self.scope),
                "Grant the scope at BeginRun, or do not call this tool.",
            )
            .at("scope", &self.scope));
        }
        Ok(())
    }
}

impl Command for BeginEffect {
    type Reply = BegunEffect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        let reads = Reads::rows([RowKey::Effect(self.key())]);
        if self.business_key.is_empty() {
            reads
        } else {
            reads.and(RowKey::Revoked(self.business_key.clone()))
        }
    }

    fn decide(&self, draft: &mut Draft) -> Result<BegunEffect, Refusal> {
        draft.run(&self.run)?.check_driver(&self.driver)?;
        self.check(draft)?;
        let key = self.key();
        if let Ok(effect) = draft.effect(&key) {
            return Ok(BegunEffect {
                effect: effect.clone(),
                created: false,
            });
        }
        refuse_revoked(draft, &self.business_key, self.known.reservation)?;
        let now = draft.now();
        let mut effect = Effect {
            intent: Intent {
                key: key.clone(),
                decision_index: self.decision_index,
                tool: self.tool.clone(),
                call_index: self.call_index,
                request_json: self.request_json.clone(),
                semantics: self.semantics,
                mode: self.mode,
                business_key: self.business_key.clone(),
                connector: self.connector.clone(),
                operation: self.operation.clone(),
                scope: self.scope.clone(),
                deadline: self.deadline,
                handle: self.handle.clone(),
                status_check: self.status_check.clone(),
                unsafe_allowed: self.allow_unsafe,
            },
            seq: 0,
            begun: now,
            changed: now,
            state: EffectState::Pending { next: now },
            attempts: Vec::new(),
            external_ref: String::new(),
            response_json: String::new(),
            error_json: String::new(),
            confirmed_order: None,
            trace: draft.trace().cloned(),
        };
        draft.run_mut(&self.run)?.effects += 1;
        let mut payload = json!({ "tool": self.tool, "connector": self.connector, "business_key": self.business_key });
        if self.allow_unsafe {
            payload["warning"] = json!("allow_unsafe: nothing can settle doubt about this effect");
        }
        effect.seq = draft.journal(&self.run, Note::effect(Kind::EffectBegun, &effect, &payload))?;
        draft.put(RowKey::Effect(key), Row::Effect(Box::new(effect.clone())));
        Ok(BegunEffect { effect, created: true })
    }
}
