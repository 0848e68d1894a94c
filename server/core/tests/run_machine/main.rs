//! A run under requests at random, in any order and from anybody: what must hold after each of them does.
//!
//! A refusal changes nothing; the journal has no holes; what has ended stays so, but for a redrive; the fence counts the
//! take-overs and shuts former drivers out; what is confirmed, decided, undone or resolved never changes; what may have
//! left goes again only after somebody who can know said that it did not take hold; no admission is past the cap; no
//! timer is early; and the same request again is answered from the record.
#![allow(clippy::panic, reason = "a step that cannot go on has failed, and says where")]

mod asking;
mod effects;
mod kept;
mod names;
mod spending;
mod steps;
mod undoing;
mod waiting;

use kept::Kept;
use proptest::prelude::*;
use steps::{Step, dispatch, spending, step};

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_keeps_its_promises_whatever_is_asked(steps in prop::collection::vec(step(), 1..120)) {
        ask(&steps);
    }

    #[test]
    fn nothing_goes_twice_however_it_is_dispatched(steps in prop::collection::vec(dispatch(), 1..80)) {
        ask(&steps);
    }

    #[test]
    fn no_cap_is_passed_however_it_is_spent(steps in prop::collection::vec(spending(), 1..40)) {
        ask(&steps);
    }
}

fn ask(steps: &[Step]) {
    let mut kept = Kept::new();
    kept.step(&Step::Begin(0));
    for step in steps {
        kept.step(step);
    }
}
