//! Steps of obligations: what is to be undone, and how that ends.

use tape_core::command::obligation::{ClaimObligation, RegisterCompensation, SettleObligation, Undone};
use tape_core::command::operator::ResolveObligation;
use tape_core::effect::Handle;
use tape_core::obligation::ObligationState;

use crate::kept::{Again, Kept, id};
use crate::names::{either, key, owner, same};
use crate::steps::Step;

impl Kept {
    pub(crate) fn undo(&mut self, step: &Step) {
        let run = id();
        let seqs = self.obligations();
        let seq = |n: usize| seqs.get(n).copied().unwrap_or(-1);
        match step.clone() {
            Step::Register(e) => {
                let handle = Handle {
                    function: "app:undo".into(),
                    ..Handle::default()
                };
                let command = RegisterCompensation {
                    run,
                    effect: key(e),
                    handle,
                    attempts_max: 0,
                };
                either(self.ask(&command, &same()));
            }
            Step::ClaimUndo(n, o, at_once) => {
                let command = ClaimObligation {
                    run,
                    seq: seq(n),
                    owner: owner(o),
                    ttl_ms: 0,
                    at_once,
                    from_outside: at_once,
                };
                either(self.ask(&command, &Again::Quiet));
            }
            Step::SettleUndo(n, o, outcome) => {
                let ends = matches!(outcome, Undone::Compensated { .. } | Undone::Stuck { .. });
                let was = self.obligation(seq(n)).map(|obligation| obligation.state.clone());
                let command = SettleObligation {
                    run,
                    seq: seq(n),
                    owner: o.map(owner),
                    outcome,
                    evidence_json: String::new(),
                };
                let reply = self.ask(&command, &if ends { same() } else { Again::Counts });
                // Who says that it has the obligation has it, or is told that it has not.
                if let (Some(owner), Some(ObligationState::Pending { .. })) = (&command.owner, was) {
                    let code = reply.err().map(|refusal| refusal.code);
                    assert_eq!(code, Some("TAPE-O003"), "{owner} has no claim");
                }
            }
            Step::ResolveUndo(n, compensated) => {
                let command = ResolveObligation {
                    run,
                    seq: seq(n),
                    compensated,
                    result_json: String::new(),
                    reason: "looked".into(),
                    who: "ann".into(),
                };
                either(self.ask(&command, &same()));
            }
            other => unreachable!("{other:?} is no step of an obligation"),
        }
    }
}
