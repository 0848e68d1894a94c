//! A dispatcher that finds the connector at rest, or gets no turn from a limit, has tried nothing: the effect waits, however often that
//! happens, and neither fails nor grows.

use tape_core::command::dispatch::{Outcome, SettleDispatch};
use tape_core::effect::{Attempt, EffectState, Semantics};
use tape_core::{Command as _, Context, Draft, Snapshot, Time};

use crate::kept::{Kept, key, run_id};

fn nobody() -> Outcome {
    Outcome::Nobody {
        reason: "resting".into(),
        retry_after_ms: Some(1_000),
    }
}

#[test]
fn a_refused_turn_is_no_attempt() {
    let mut kept = Kept::new(Semantics::NonIdempotent);
    for _ in 0..100 {
        let effect = kept.attempt(nobody());
        assert!(matches!(effect.state, EffectState::Pending { .. }));
        assert_eq!((effect.tries(), effect.attempts.len()), (0, 1), "it does not grow");
    }
    let number = kept.effect().attempt().expect("it was claimed").number;
    assert_eq!(number, 100, "the fence goes on all the same");
    let first = kept.now;
    kept.attempt(nobody());
    assert!(
        (1_000..=60_000).contains(&(kept.now - first)),
        "it is asked less and less often"
    );

    // Five attempts are its own, whatever lies between them.
    for tries in 1..=5 {
        kept.attempt(nobody());
        let effect = kept.attempt(Outcome::NothingSent {
            reason: "refused".into(),
            retry_after_ms: Some(0),
        });
        assert_eq!(effect.tries(), tries);
        assert_eq!(matches!(effect.state, EffectState::Failed), tries == 5, "{tries}");
    }
}

#[test]
fn a_late_word_about_a_refused_turn_settles_nothing() {
    let mut kept = Kept::new(Semantics::NonIdempotent);
    let refused = kept.attempt(nobody());
    let stale = refused.attempt().expect("it was claimed").number;
    let EffectState::Pending { next } = refused.state else {
        unreachable!("it waits")
    };
    kept.now = next.0;
    kept.claim();
    let mut draft = Draft::new(
        Snapshot {
            version: 1,
            rows: kept.rows.clone(),
        },
        Context {
            now: Time(kept.now),
            ..Context::default()
        },
    );
    let late = SettleDispatch {
        run: run_id(),
        key: key(),
        owner: "o".into(),
        attempt: stale,
        outcome: nobody(),
        evidence_json: String::new(),
        version: String::new(),
        digest: String::new(),
    };
    assert!(late.decide(&mut draft).is_err());
    assert_eq!(
        refused.attempt().map(|last| last.outcome.as_str()),
        Some(Attempt::NOBODY)
    );
}
