//! Steps of gates and timers.

use tape_core::command::gate::{AwaitSignal, SendSignal};
use tape_core::command::timer::{CancelTimer, ClaimTimer, FireTimer, ReleaseTimer, SetTimer};
use tape_core::timer::{KIND_RECONCILE, KIND_REDRIVE};

use crate::kept::{Again, Kept, id};
use crate::names::{either, gate, owner, request, same, timer};
use crate::steps::Step;

impl Kept {
    pub(crate) fn wait(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::Await(g, index, timeout_ms, fence) => {
                let command = AwaitSignal {
                    run,
                    driver: self.driver(fence),
                    gate: gate(g),
                    index,
                    payload_json: String::new(),
                    timeout_ms,
                };
                self.drive(fence, &command, &same());
            }
            Step::Signal(g, r) => {
                let command = SendSignal {
                    run,
                    gate: gate(g),
                    resolution_json: self.now.0.to_string(),
                    request_id: if r.is_none() {
                        String::new()
                    } else {
                        format!("signal-{g}-{}", request(r))
                    },
                };
                let again = if r.is_none() { Again::Counts } else { same() };
                either(self.ask(&command, &again));
            }
            Step::SetTimer(t, ms) => {
                let kind = match t {
                    1 => KIND_REDRIVE,
                    2 => KIND_RECONCILE,
                    _ => "mine",
                };
                let command = SetTimer {
                    run,
                    id: timer(t),
                    fire_at: self.now.after(ms),
                    kind: kind.into(),
                    payload_json: String::new(),
                };
                either(self.ask(&command, &same()));
            }
            Step::CancelTimer(t) => {
                either(self.ask(&CancelTimer { run, id: timer(t) }, &same()));
            }
            Step::ClaimTimer(t, o, at_once) => {
                let command = ClaimTimer {
                    run,
                    id: timer(t),
                    owner: owner(o),
                    ttl_ms: 0,
                    ahead_ms: 0,
                    at_once,
                };
                let claimed = self.ask(&command, &same()).ok().flatten();
                assert!(
                    claimed.is_none_or(|timer| self.now >= timer.fire_at),
                    "a timer was early"
                );
            }
            Step::FireTimer(t, o) => {
                let (id, owner) = (timer(t), owner(o));
                either(self.ask(&FireTimer { run, id, owner }, &same()));
            }
            Step::ReleaseTimer(t, o) => {
                let (id, owner) = (timer(t), owner(o));
                either(self.ask(&ReleaseTimer { run, id, owner }, &same()));
            }
            other => unreachable!("{other:?} is no step of a gate or a timer"),
        }
    }
}
