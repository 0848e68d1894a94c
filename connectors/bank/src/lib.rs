//! Wires through a bank that books every wire it is sent.
//!
//! The bank has no idempotency keys, so a wire whose answer is lost is never sent again: its reference is looked up in the bank's
//! ledger. What is asked is in [`plan`], what the answers mean in [`ledger`]; here the two meet the host.

mod describe;
mod ledger;
mod plan;

use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Effect, Failure, Obligation, ObserveAnswer, Request, StatusAnswer,
    doubt, read_query, read_request,
};

use crate::ledger::Undo;

struct Bank;

tape_guest::export!(Bank);

impl Connector for Bank {
    fn describe() -> Result<String, String> {
        Ok(describe::description().to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        match with_config(|config| plan::wire(&config, &effect)) {
            Ok(request) => read_request(request.send(), ledger::receipt).into(),
            Err(failure) => DispatchAnswer::Failed(failure),
        }
    }

    fn status_check(_: Effect, _: String) -> StatusAnswer {
        StatusAnswer::Inconclusive(doubt("the bank keeps no request ids"))
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        let request = match with_config(|config| Ok(plan::lookup(&config, &effect))) {
            Ok(request) => request,
            Err(failure) => return ObserveAnswer::Inconclusive(doubt(failure.message)),
        };
        match read_query(request.send(), ledger::wires) {
            Ok(wires) => ledger::observed(&wires),
            Err(doubt) => ObserveAnswer::Inconclusive(doubt),
        }
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        let config = match tape_guest::config() {
            Ok(config) => config,
            Err(failure) => return CompensateAnswer::Failed(failure),
        };
        let wires = match read_query(plan::lookup(&config, &obligation.effect).send(), ledger::wires) {
            Ok(wires) => wires,
            // Nothing has been asked of the bank yet but to look.
            Err(doubt) => return CompensateAnswer::Unknown(doubt),
        };
        match ledger::undo(&wires, obligation.receipt.as_ref()) {
            Undo::Nothing(receipt) => CompensateAnswer::Resolved(receipt),
            Undo::Reverse(id) => read_request(plan::reverse(&config, &id).send(), ledger::receipt).into(),
            Undo::Ambiguous(failure) => CompensateAnswer::Failed(failure),
        }
    }
}

fn with_config(plan: impl FnOnce(plan::Config) -> Result<Request, Failure>) -> Result<Request, Failure> {
    tape_guest::config().and_then(plan)
}
