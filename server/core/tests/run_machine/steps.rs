//! What can be asked of a run, at random.

use proptest::prelude::*;
use tape_core::command::complete_effect::Completion;
use tape_core::command::dispatch::Outcome;
use tape_core::command::obligation::Undone;
use tape_core::command::observe::{Booking, IfAbsent, Observation};
use tape_core::run::Ending;

use crate::names::{EFFECTS, TIMERS};

/// Whose fence a driver's write carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    InForce,
    Older,
    None,
}

/// One request. Small numbers name owners, effects, gates, timers and requests, so that steps meet each other.
#[derive(Clone, Debug)]
pub enum Step {
    Pass(i64),
    Begin(u8),
    Resume(u8),
    Renew(u8, Fence),
    Lose(u8),
    Recover(bool),
    Decide(i64, u8, Fence),
    BeginEffect(u8, Fence),
    Complete(u8, Completion, Fence),
    Claim(u8, u8, bool),
    Mark(u8, u8, bool),
    RenewClaim(u8, u8),
    Settle(u8, u8, bool, Outcome),
    Check(u8, u8),
    Observe(u8, Option<u8>, Observation, IfAbsent),
    Resolve(u8, bool),
    Retry(u8),
    Register(u8),
    ClaimUndo(usize, u8, bool),
    SettleUndo(usize, Option<u8>, Undone),
    ResolveUndo(usize, bool),
    Await(u8, u32, i64, Fence),
    Signal(u8, Option<u8>),
    SetTimer(u8, i64),
    CancelTimer(u8),
    ClaimTimer(u8, u8, bool),
    FireTimer(u8, u8),
    ReleaseTimer(u8, u8),
    SetBudget(i64),
    Admit(Option<u8>, i64, Fence),
    Charge(Option<u8>, i64, Fence),
    End(Ending, Fence),
    Cancel,
    Compensate(bool),
    UndoNext(bool),
    Redrive,
}

fn fence() -> impl Strategy<Value = Fence> {
    prop_oneof![8 => Just(Fence::InForce), 1 => Just(Fence::Older), 1 => Just(Fence::None)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        2 => (0..3_u8).prop_map(|n| Outcome::Confirmed { external_ref: format!("ref-{n}"), response_json: n.to_string() }),
        1 => any::<bool>().prop_map(|retryable| Outcome::Failed {
            error_json: "{}".into(),
            retryable,
            retry_after_ms: None,
        }),
        1 => Just(Outcome::NothingSent { reason: "refused".into(), retry_after_ms: Some(0) }),
        1 => Just(Outcome::Nobody { reason: "resting".into(), retry_after_ms: Some(0) }),
        2 => Just(Outcome::Unknown { reason: "no answer".into() }),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let booking = |n: u8| Booking {
        external_ref: format!("ref-{n}"),
        response_json: n.to_string(),
    };
    prop_oneof![
        (0..3_u8).prop_map(move |n| Observation::Present(booking(n))),
        Just(Observation::Absent),
        Just(Observation::Duplicate(vec![booking(0), booking(1)])),
        Just(Observation::Failed {
            error_json: "{}".into()
        }),
        Just(Observation::Inconclusive {
            reason: "busy".into(),
            retry_after_ms: Some(0),
        }),
    ]
}

fn undone() -> impl Strategy<Value = Undone> {
    prop_oneof![
        Just(Undone::Compensated {
            result_json: "{}".into()
        }),
        any::<bool>().prop_map(|in_doubt| Undone::TryAgain {
            error: "no".into(),
            in_doubt,
            next_ms: Some(0),
        }),
        Just(Undone::Nobody { error: "nobody".into() }),
        Just(Undone::Stuck { error: "never".into() }),
    ]
}

fn if_absent() -> impl Strategy<Value = IfAbsent> {
    prop_oneof![Just(IfAbsent::Fail), Just(IfAbsent::Redispatch), Just(IfAbsent::Ask)]
}

fn completion() -> impl Strategy<Value = Completion> {
    prop_oneof![
        Just(Completion::Confirmed),
        Just(Completion::Failed),
        Just(Completion::Unknown)
    ]
}

fn of_effects() -> impl Strategy<Value = Step> {
    let (e, o) = (0..EFFECTS, 0..2_u8);
    prop_oneof![
        4 => (e.clone(), fence()).prop_map(|(e, f)| Step::BeginEffect(e, f)),
        2 => (e.clone(), completion(), fence()).prop_map(|(e, c, f)| Step::Complete(e, c, f)),
        6 => (e.clone(), o.clone(), prop::bool::weighted(0.8)).prop_map(|(e, o, t)| Step::Claim(e, o, t)),
        5 => (e.clone(), o.clone(), prop::bool::weighted(0.9)).prop_map(|(e, o, l)| Step::Mark(e, o, l)),
        1 => (e.clone(), o.clone()).prop_map(|(e, o)| Step::RenewClaim(e, o)),
        5 => (e.clone(), o.clone(), prop::bool::weighted(0.9), outcome())
            .prop_map(|(e, o, l, outcome)| Step::Settle(e, o, l, outcome)),
        3 => (e.clone(), o.clone()).prop_map(|(e, o)| Step::Check(e, o)),
        4 => (e.clone(), prop::option::of(o), observation(), if_absent())
            .prop_map(|(e, o, seen, absent)| Step::Observe(e, o, seen, absent)),
        1 => (e.clone(), any::<bool>()).prop_map(|(e, confirmed)| Step::Resolve(e, confirmed)),
        1 => e.prop_map(Step::Retry),
    ]
}

fn of_undoing() -> impl Strategy<Value = Step> {
    let (n, o) = (0..4_usize, 0..2_u8);
    prop_oneof![
        (0..EFFECTS).prop_map(Step::Register),
        (n.clone(), o.clone(), any::<bool>()).prop_map(|(n, o, at_once)| Step::ClaimUndo(n, o, at_once)),
        (n.clone(), prop::option::of(o), undone()).prop_map(|(n, o, how)| Step::SettleUndo(n, o, how)),
        (n, any::<bool>()).prop_map(|(n, done)| Step::ResolveUndo(n, done)),
        any::<bool>().prop_map(Step::UndoNext),
    ]
}

fn of_waiting() -> impl Strategy<Value = Step> {
    let (t, o) = (0..TIMERS, 0..2_u8);
    prop_oneof![
        2 => (0..2_u8, 0..3_u32, prop_oneof![Just(0_i64), Just(500)], fence())
            .prop_map(|(g, n, ms, f)| Step::Await(g, n, ms, f)),
        2 => (0..2_u8, prop::option::of(0..3_u8)).prop_map(|(g, r)| Step::Signal(g, r)),
        2 => (0..TIMERS - 1, 0..2_000_i64).prop_map(|(t, ms)| Step::SetTimer(t, ms)),
        1 => t.clone().prop_map(Step::CancelTimer),
        3 => (t.clone(), o.clone(), any::<bool>()).prop_map(|(t, o, at_once)| Step::ClaimTimer(t, o, at_once)),
        2 => (t.clone(), o.clone()).prop_map(|(t, o)| Step::FireTimer(t, o)),
        1 => (t, o).prop_map(|(t, o)| Step::ReleaseTimer(t, o)),
    ]
}

fn of_driving() -> impl Strategy<Value = Step> {
    let o = 0..3_u8;
    let ending = prop_oneof![Just(Ending::Terminal), Just(Ending::Failed), Just(Ending::Stuck)];
    prop_oneof![
        6 => o.clone().prop_map(Step::Begin),
        6 => o.clone().prop_map(Step::Resume),
        4 => (o.clone(), fence()).prop_map(|(o, f)| Step::Renew(o, f)),
        4 => o.prop_map(Step::Lose),
        4 => any::<bool>().prop_map(Step::Recover),
        6 => (0..4_i64, 0..2_u8, fence()).prop_map(|(n, answer, f)| Step::Decide(n, answer, f)),
        2 => (0..300_i64).prop_map(Step::SetBudget),
        6 => (prop::option::of(0..4_u8), 0..200_i64, fence()).prop_map(|(r, n, f)| Step::Admit(r, n, f)),
        4 => (prop::option::of(0..4_u8), 0..200_i64, fence()).prop_map(|(r, n, f)| Step::Charge(r, n, f)),
        2 => (ending, fence()).prop_map(|(ending, f)| Step::End(ending, f)),
        1 => Just(Step::Cancel),
        1 => any::<bool>().prop_map(Step::Compensate),
        3 => Just(Step::Redrive),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![Just(1_i64), Just(400), Just(1_500), Just(60_000), Just(130_000)];
    prop_oneof![
        3 => ms.prop_map(Step::Pass),
        8 => of_effects(),
        3 => of_undoing(),
        4 => of_waiting(),
        6 => of_driving(),
    ]
}

/// Nothing but dispatching and asking, so that marks, claims that run out and answers meet often.
pub fn dispatch() -> impl Strategy<Value = Step> {
    prop_oneof![1 => Just(Step::Pass(60_000)), 8 => of_effects()]
}

/// Nothing but spending, under a cap that is soon reached.
pub fn spending() -> impl Strategy<Value = Step> {
    let request = || prop::option::weighted(0.8, 0..4_u8);
    prop_oneof![
        1 => (100..300_i64).prop_map(Step::SetBudget),
        4 => (request(), 0..200_i64, fence()).prop_map(|(r, n, f)| Step::Admit(r, n, f)),
        1 => (request(), 0..50_i64, fence()).prop_map(|(r, n, f)| Step::Charge(r, n, f)),
        1 => Just(Step::Lose(0)),
        1 => Just(Step::Begin(0)),
    ]
}
