//! Gates: wait for a signal, send one.

use serde_json::json;

use super::timer::arm;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::gate::{Gate, Resolution, timeout_timer_id};
use crate::id::RunId;
use crate::journal::Kind;
use crate::json::{check_name, check_payload};
use crate::lease::Driver;
use crate::refusal::Refusal;
use crate::row::{Row, RowKey, RowKind};
use crate::run::{Run, RunEvent, RunState, Wake};
use crate::timer::KIND_GATE_TIMEOUT;

/// The remembered answer to a signal that came after the timeout.
const LOST: &str = "lost";

/// The driver waits at a gate.
#[derive(Clone, Debug)]
pub struct AwaitSignal {
    /// Run.
    pub run: RunId,
    /// Who drives.
    pub driver: Driver,
    /// The gate's name.
    pub gate: String,
    /// The n-th await of that name, from 0.
    pub index: u32,
    /// What the waiting side says about itself, as JSON.
    pub payload_json: String,
    /// When the gate gives up, in milliseconds from now; 0 = never.
    pub timeout_ms: i64,
}

/// A signal for a gate.
#[derive(Clone, Debug)]
pub struct SendSignal {
    /// Run.
    pub run: RunId,
    /// The gate's name.
    pub gate: String,
    /// Payload, as JSON.
    pub resolution_json: String,
    /// Identity of the request.
    pub request_id: String,
}

/// What became of a signal.
#[derive(Clone, Debug)]
pub struct Signalled {
    /// The run as it stands.
    pub run: Run,
    /// It resolves an await; otherwise the timeout came first, and the signal is kept and has lost.
    pub accepted: bool,
}

impl Command for AwaitSignal {
    /// The resolution as JSON, if there is one; otherwise the run is parked.
    type Reply = Option<String>;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([
            RowKey::Gate(self.gate.clone(), self.index),
            RowKey::Timer(timeout_timer_id(&self.gate, self.index)),
        ])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Option<String>, Refusal> {
        check_name("gate_name", &self.gate)?;
        check_payload("payload_json", &self.payload_json)?;
        draft.run(&self.run)?.check_driver(&self.driver)?;
        let now = draft.now();
        let key = RowKey::Gate(self.gate.clone(), self.index);
        let known = match draft.row(&key) {
            Some(Row::Gate(gate)) => Some(gate.clone()),
            _ => None,
        };
        if let Some(resolution) = known.as_ref().and_then(|gate| gate.resolution.as_ref()) {
            return Ok(Some(resolution.as_json()));
        }
        if known.is_none() {
            let gate = Gate {
                name: self.gate.clone(),
                index: self.index,
                payload_json: self.payload_json.clone(),
                opened: Some(now),
                resolution: None,
                late: None,
            };
            draft.put(key, Row::Gate(gate));
            draft.journal(
                &self.run,
                Note::about(Kind::GateOpened, &self.gate, &json!({ "index": self.index })),
            )?;
            if self.timeout_ms > 0 {
                let payload = json!({ "gate": self.gate, "index": self.index }).to_string();
                let id = timeout_timer_id(&self.gate, self.index);
                arm(
                    draft,
                    &self.run,
                    &id,
                    now.after(self.timeout_ms),
                    KIND_GATE_TIMEOUT,
                    &payload,
                )?;
            }
        }
        let parked = matches!(
            &draft.run(&self.run)?.state, RunState::Waiting { gate, index } if *gate == self.gate && *index == self.index
        );
        if !parked {
            let event = RunEvent::Parked {
                gate: self.gate.clone(),
                index: self.index,
            };
            draft.run_mut(&self.run)?.apply(event)?;
            draft.journal(
                &self.run,
                Note::about(Kind::RunWaiting, &self.gate, &json!({ "index": self.index })),
            )?;
        }
        Ok(None)
    }
}

impl Command for SendSignal {
    type Reply = Signalled;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head().all(RowKind::Gate).request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Signalled, Refusal> {
        check_name("gate_name", &self.gate)?;
        check_payload("resolution_json", &self.resolution_json)?;
        if let Some(answer) = draft.answered(&self.request_id, "SendSignal")? {
            let accepted = answer != LOST;
            return Ok(Signalled {
                run: draft.run(&self.run)?.clone(),
                accepted,
            });
        }
        draft.run(&self.run)?.check_live()?;
        // The first await of this name that has no signal yet; one that timed out keeps the signal and has lost it.
        let gates: Vec<Gate> = draft
            .rows()
            .filter_map(|(_, row)| match row {
                Row::Gate(gate) if gate.name == self.gate => Some(gate.clone()),
                _ => None,
            })
            .collect();
        let open = gates.iter().find(|gate| gate.resolution.is_none()).cloned();
        let lost = gates
            .iter()
            .find(|gate| gate.resolution == Some(Resolution::Timeout) && gate.late.is_none())
            .cloned();
        let target = match (open, lost) {
            (Some(gate), _) => Gate {
                resolution: Some(Resolution::Signal(self.resolution_json.clone())),
                ..gate
            },
            (None, Some(gate)) => Gate {
                late: Some(self.resolution_json.clone()),
                ..gate
            },
            (None, None) => Gate {
                name: self.gate.clone(),
                // The first that nobody has awaited: a gate that is resolved keeps what it was resolved with.
                index: (0..)
                    .find(|index| gates.iter().all(|gate| gate.index != *index))
                    .unwrap_or(u32::MAX),
                payload_json: String::new(),
                opened: None,
                resolution: Some(Resolution::Signal(self.resolution_json.clone())),
                late: None,
            },
        };
        let index = target.index;
        let resolved = target.late.is_none();
        draft.put(RowKey::Gate(self.gate.clone(), index), Row::Gate(target));
        let payload = json!({ "index": index, "late": !resolved });
        draft.journal(&self.run, Note::about(Kind::GateSignalled, &self.gate, &payload))?;
        if resolved {
            wake(draft, &self.run, &self.gate, index)?;
        }
        let answer = if resolved { String::new() } else { LOST.to_owned() };
        draft.remember(&self.request_id, "SendSignal", answer);
        Ok(Signalled {
            run: draft.run(&self.run)?.clone(),
            accepted: resolved,
        })
    }

    fn repeatable(&self) -> bool {
        !self.request_id.is_empty()
    }
}

/// Makes a run runnable if it waits for just this await.
pub(super) fn wake(draft: &mut Draft, run: &RunId, gate: &str, index: u32) -> Result<(), Refusal> {
    let now = draft.now();
    let waits = matches!(&draft.run(run)?.state, RunState::Waiting { gate: g, index: i } if g == gate && *i == index);
    if waits {
        let head = draft.run_mut(run)?;
        head.apply(RunEvent::Woken)?;
        head.wake = Wake { tries: 0, next: now };
        draft.journal(run, Note::about(Kind::RunWoken, gate, &json!({ "index": index })))?;
    }
    Ok(())
}

/// Resolves an await by its timeout, unless a signal came first.
pub(super) fn time_out(draft: &mut Draft, run: &RunId, gate: &str, index: u32) -> Result<(), Refusal> {
    let key = RowKey::Gate(gate.to_owned(), index);
    let Some(Row::Gate(open)) = draft.row(&key) else {
        return Ok(());
    };
    if open.resolution.is_some() {
        return Ok(());
    }
    let resolved = Gate {
        resolution: Some(Resolution::Timeout),
        ..open.clone()
    };
    draft.put(key, Row::Gate(resolved));
    draft.journal(run, Note::about(Kind::GateTimedOut, gate, &json!({ "index": index })))?;
    wake(draft, run, gate, index)
}
