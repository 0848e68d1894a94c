//! "Not there" is no answer as long as the request may still arrive: what it was taken for would be sent a second time.

use tape_core::Time;
use tape_core::command::dispatch::{MarkSent, Outcome};
use tape_core::command::obligation::{ClaimObligation, RegisterCompensation, SettleObligation, Undone};
use tape_core::command::observe::{Booking, ClaimCheck, IfAbsent, Observation, RecordObservation};
use tape_core::effect::{BOOKS_LAG_MS, Effect, EffectState, Handle, Semantics};
use tape_core::obligation::ObligationState;

use crate::kept::{Kept, key, run_id};

const SENT: i64 = 1_000;

/// An effect whose request left at [`SENT`], and whose answer did not come.
fn in_doubt(semantics: Semantics) -> Kept {
    let mut kept = Kept::new(semantics);
    kept.claim();
    kept.now = SENT;
    let mark = MarkSent {
        run: run_id(),
        key: key(),
        owner: "o".into(),
        attempt: 1,
        version: String::new(),
        digest: String::new(),
    };
    kept.run(&mark);
    kept.settle(Outcome::Unknown { reason: "cut".into() });
    kept
}

/// What the upstream says when it is next asked.
fn told(kept: &mut Kept, observation: Observation) -> Effect {
    let EffectState::Unknown(doubt) = kept.effect().state else {
        unreachable!("it is in doubt")
    };
    kept.now = kept.now.max(doubt.next.0);
    let check = ClaimCheck {
        run: run_id(),
        key: key(),
        owner: "r".into(),
        ttl_ms: 0,
    };
    assert!(kept.run(&check).is_some(), "it is its turn");
    kept.run(&record(Some("r"), observation))
}

fn record(owner: Option<&str>, observation: Observation) -> RecordObservation {
    RecordObservation {
        run: run_id(),
        key: key(),
        owner: owner.map(str::to_owned),
        observation,
        if_absent: IfAbsent::Redispatch,
        surplus: None,
        evidence_json: String::new(),
    }
}

#[test]
fn what_may_still_arrive_is_asked_about_again_when_it_cannot() {
    let mut kept = in_doubt(Semantics::NonIdempotent);
    let effect = told(&mut kept, Observation::Absent);
    let EffectState::Unknown(doubt) = &effect.state else {
        panic!("sent again although it may arrive: {effect:?}")
    };
    assert_eq!(doubt.next, Time(SENT + BOOKS_LAG_MS));
    assert!(doubt.claim.is_none());
    // By then it is an answer.
    let effect = told(&mut kept, Observation::Absent);
    assert!(matches!(effect.state, EffectState::Pending { .. }), "{effect:?}");
}

#[test]
fn what_arrives_late_is_found() {
    let mut kept = in_doubt(Semantics::NonIdempotent);
    told(&mut kept, Observation::Absent);
    let effect = told(&mut kept, Observation::Present(Booking::default()));
    assert_eq!(effect.state, EffectState::Confirmed);
}

#[test]
fn what_the_upstream_may_get_twice_waits_for_nothing() {
    let mut kept = in_doubt(Semantics::Idempotent);
    if let EffectState::Unknown(_) = kept.effect().state {
        let effect = told(&mut kept, Observation::Absent);
        assert!(matches!(effect.state, EffectState::Pending { .. }), "{effect:?}");
    }
    assert!(kept.effect().may_still_arrive(Time(kept.now)).is_none());
}

#[test]
fn a_person_decides_by_herself_when_the_books_can_be_believed() {
    let mut kept = in_doubt(Semantics::NonIdempotent);
    let effect = kept.run(&record(None, Observation::Absent));
    assert!(matches!(effect.state, EffectState::Pending { .. }), "{effect:?}");
}

/// Whoever died with the claim may have asked for it just before: a claim that ran out early does not make the books tell earlier.
#[test]
fn a_compensation_whose_holder_died_is_looked_for_when_the_books_can_tell() {
    const TTL: i64 = 2_000;
    // Who undoes it by means of its own looks itself: for it the claim's end counts.
    for (ttl_ms, free_after, from_outside) in [
        (TTL, BOOKS_LAG_MS, false),
        (3 * BOOKS_LAG_MS, 3 * BOOKS_LAG_MS, false),
        (TTL, TTL, true),
    ] {
        let mut kept = Kept::new(Semantics::NonIdempotent);
        kept.attempt(Outcome::Confirmed {
            external_ref: "w-1".into(),
            response_json: "{}".into(),
        });
        let register = RegisterCompensation {
            run: run_id(),
            effect: key(),
            handle: Handle::default(),
            attempts_max: 0,
        };
        let seq = kept.run(&register).seq;
        let claim = |owner: &str| ClaimObligation {
            run: run_id(),
            seq,
            owner: owner.into(),
            ttl_ms,
            at_once: true,
            from_outside,
        };
        let claimed_at = kept.now;
        let dead = kept.run(&claim("dead"));
        assert!(dead.acquired && !dead.obligation.in_doubt);
        let due = dead.obligation.due().map(|due| due.at);
        assert_eq!(due, Some(Time(claimed_at + free_after.max(BOOKS_LAG_MS))));
        kept.now = claimed_at + free_after - 1;
        assert!(!kept.run(&claim("next")).acquired, "the books cannot tell yet");
        kept.now += 1;
        let next = kept.run(&claim("next"));
        assert!(next.acquired && next.obligation.in_doubt);
    }
}

/// What undoes may be under way as well: whether it did is looked for when the books can tell, and only then it is repeated.
#[test]
fn a_compensation_in_doubt_waits_until_the_books_can_tell() {
    for (in_doubt, waits) in [(true, true), (false, false)] {
        let mut kept = Kept::new(Semantics::NonIdempotent);
        kept.attempt(Outcome::Confirmed {
            external_ref: "w-1".into(),
            response_json: "{}".into(),
        });
        let handle = Handle {
            connector: "bank".into(),
            ..Handle::default()
        };
        let seq = kept
            .run(&RegisterCompensation {
                run: run_id(),
                effect: key(),
                handle,
                attempts_max: 0,
            })
            .seq;
        let claim = ClaimObligation {
            run: run_id(),
            seq,
            owner: "c".into(),
            ttl_ms: 0,
            at_once: false,
            from_outside: false,
        };
        assert!(kept.run(&claim).acquired);
        let settled = kept.run(&SettleObligation {
            run: run_id(),
            seq,
            owner: Some("c".into()),
            outcome: Undone::TryAgain {
                error: "cut".into(),
                in_doubt,
                next_ms: None,
            },
            evidence_json: String::new(),
        });
        let ObligationState::Pending { next } = settled.state else {
            panic!("it is tried again: {settled:?}")
        };
        assert_eq!(next.0 >= kept.now + BOOKS_LAG_MS, waits, "{settled:?}");
    }
}
