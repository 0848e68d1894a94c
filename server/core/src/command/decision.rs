//! Record a decision: the first write on (run, index) wins.

use serde_json::json;

use super::{Command, Reads};
use crate::decision::Decision;
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::id::RunId;
use crate::journal::Kind;
use crate::json::{check_optional_name, check_payload};
use crate::lease::Driver;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};

/// Records what a model answered, before anybody acts on it.
#[derive(Clone, Debug)]
pub struct RecordDecision {
    /// Run.
    pub run: RunId,
    /// Who drives.
    pub driver: Driver,
    /// Position among the run's decisions, from 0.
    pub index: i64,
    /// Name of the model.
    pub model: String,
    /// What it was asked, as JSON.
    pub request_json: String,
    /// What it answered, as JSON.
    pub response_json: String,
    /// Why, in the agent's words.
    pub rationale: String,
    /// Version of the policy in force.
    pub policy_version: String,
}

impl Command for RecordDecision {
    type Reply = Decision;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Decision(self.index)])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Decision, Refusal> {
        draft.run(&self.run)?.check_driver(&self.driver)?;
        if self.index < 0 {
            return Err(Refusal::invalid(
                "decision_index",
                &self.index.to_string(),
                "decision_index is negative.",
                "Number the decisions of a run from 0.",
            ));
        }
        check_payload("request_json", &self.request_json)?;
        check_payload("response_json", &self.response_json)?;
        check_optional_name("policy_version", &self.policy_version)?;
        let mut decision = Decision {
            index: self.index,
            seq: 0,
            model: self.model.clone(),
            request_json: self.request_json.clone(),
            response_json: self.response_json.clone(),
            rationale: self.rationale.clone(),
            policy_version: self.policy_version.clone(),
            at: draft.now(),
            dropped_request: None,
        };
        if let Some(Row::Decision(recorded)) = draft.row(&RowKey::Decision(self.index)) {
            if recorded.same_content(&decision) {
                return Ok(recorded.as_ref().clone());
            }
            return Err(Refusal::new(
                Status::AlreadyExists,
                "TAPE-D001",
                format!("Decision {} of run {} is recorded with other content.", self.index, self.run),
                "The replay diverged: use the recorded answer, and make what the model is asked depend on journalled values only.",
            )
            .at("decision_index", &self.index.to_string()));
        }
        let run = draft.run_mut(&self.run)?;
        run.decisions += 1;
        run.next_decision_index = run.next_decision_index.max(self.index.saturating_add(1));
        let payload = json!({ "model": self.model, "policy_version": self.policy_version });
        let note = Note {
            kind: Kind::DecisionRecorded,
            about: "",
            decision_index: Some(self.index),
            payload: payload.to_string(),
        };
        decision.seq = draft.journal(&self.run, note)?;
        draft.put(RowKey::Decision(self.index), Row::Decision(Box::new(decision.clone())));
        Ok(decision)
    }
}
