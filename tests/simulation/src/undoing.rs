//! What the bank was asked to undo: in which order, how often, and on what ground it was asked once more.

use std::collections::{BTreeMap, BTreeSet};

use tape_connector_port::ObligationCall;
use tape_core::Time;

/// One booking that somebody asked to be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undo {
    pub(crate) run: String,
    /// Key of the effect.
    pub(crate) effect: String,
    /// The booking.
    pub(crate) booking: String,
}

/// The requests, and what came of them.
#[derive(Default)]
pub(crate) struct Undoing {
    /// Every request that left, in order.
    pub(crate) sent: Vec<Undo>,
    /// How often each booking was undone: the bank undoes as often as it is asked.
    pub(crate) times: BTreeMap<String, u32>,
    /// Requests that have not arrived, and when they will.
    under_way: Vec<(Time, String)>,
    /// Bookings of which nobody knows whether they are undone, with their effect's key, since the last request.
    open: BTreeMap<String, String>,
    /// Under which key each booking was asked to be undone.
    keys: BTreeMap<String, String>,
}

impl Undoing {
    /// A request leaves. What is wrong with that.
    pub(crate) fn sent(&mut self, call: &ObligationCall) -> Vec<String> {
        let (effect, booking) = (call.effect.idempotency_key.clone(), booking(call));
        let mut wrong = Vec::new();
        if self.open.insert(booking.clone(), effect.clone()).is_some() {
            wrong.push(format!(
                "invariant 6: undoing {booking} of {effect} was asked for again, and nobody had looked"
            ));
        }
        let known = self.keys.entry(call.idempotency_key.clone()).or_insert(booking.clone());
        if *known != booking {
            wrong.push(format!(
                "invariant 6: {} asks for undoing {known} and {booking}",
                call.idempotency_key
            ));
        }
        self.sent.push(Undo {
            run: call.effect.run_id.clone(),
            effect,
            booking,
        });
        wrong
    }

    /// It was refused: it is as it was.
    pub(crate) fn refused(&mut self, call: &ObligationCall) {
        self.open.remove(&booking(call));
    }

    /// It arrives at this time.
    pub(crate) fn on_its_way(&mut self, call: &ObligationCall, at: Time) {
        self.under_way.push((at, booking(call)));
    }

    /// What has arrived by now is undone.
    pub(crate) fn arrive(&mut self, now: Time) {
        let (arrived, under_way) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.under_way = under_way;
        let arrived: Vec<(Time, String)> = arrived;
        for (_, booking) in arrived {
            *self.times.entry(booking).or_default() += 1;
        }
    }

    pub(crate) fn undone(&self, booking: &str) -> bool {
        self.times.contains_key(booking)
    }

    /// Somebody looked for the bookings of an effect.
    pub(crate) fn looked(&mut self, effect: &str) {
        self.open.retain(|_, of| of != effect);
    }

    /// The effects of a run that were undone, each time that it was another one's turn.
    pub(crate) fn turns(&self, run: &str, alone: &BTreeSet<String>) -> Vec<&str> {
        let of = self
            .sent
            .iter()
            .filter(|undo| undo.run == run && !alone.contains(&undo.booking));
        let mut turns: Vec<&str> = of.map(|undo| undo.effect.as_str()).collect();
        turns.dedup();
        turns
    }
}

fn booking(call: &ObligationCall) -> String {
    call.receipt
        .as_ref()
        .map(|receipt| receipt.external_ref.clone())
        .unwrap_or_default()
}
