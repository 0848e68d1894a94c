//! What can be asked of a run, at random.

use proptest::prelude::*;
use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::{BeginRun, LeaseRequest, RenewLease, ResumeRun};
use tape_core::command::budget::{AdmitBudget, ChargeBudget, SetBudget};
use tape_core::command::compensate::{CompensateRun, StepCompensation};
use tape_core::command::complete_effect::{CompleteEffect, Completion};
use tape_core::command::decision::RecordDecision;
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, RenewDispatch, SettleDispatch};
use tape_core::command::end_run::{CancelRun, EndRun};
use tape_core::command::gate::{AwaitSignal, SendSignal};
use tape_core::command::obligation::{ClaimObligation, RegisterCompensation, SettleObligation, Undone};
use tape_core::command::observe::{Booking, ClaimCheck, IfAbsent, Observation, RecordObservation};
use tape_core::command::operator::{Redrive, ResolveEffect, ResolveObligation, RetryEffect};
use tape_core::command::recovery::{ClaimRecovery, LoseLease};
use tape_core::command::timer::{CancelTimer, ClaimTimer, FireTimer, ReleaseTimer, SetTimer};
use tape_core::effect::{EffectState, Handle, Mode, Semantics};
use tape_core::gate::timeout_timer_id;
use tape_core::lease::Driver;
use tape_core::obligation::ObligationState;
use tape_core::run::{Caller, CompensationPolicy, Ending, RunState};
use tape_core::timer::{KIND_RECONCILE, KIND_REDRIVE};
use tape_core::{Command, EffectKey, Refusal, RowKey, Time};

use crate::kept::{Again, Kept, id, identity};

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
    ClaimUndo(usize, u8),
    SettleUndo(usize, Option<u8>, Undone),
    ResolveUndo(usize, bool),
    Await(u8, u32, i64, Fence),
    Signal(u8, Option<u8>),
    SetTimer(u8, i64),
    CancelTimer(u8),
    ClaimTimer(u8, u8),
    FireTimer(u8, u8),
    ReleaseTimer(u8, u8),
    SetBudget(i64),
    Admit(Option<u8>, i64, Fence),
    Charge(Option<u8>, i64, Fence),
    End(Ending, Fence),
    Cancel,
    Compensate(bool),
    UndoNext,
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
        (n.clone(), o.clone()).prop_map(|(n, o)| Step::ClaimUndo(n, o)),
        (n.clone(), prop::option::of(o), undone()).prop_map(|(n, o, how)| Step::SettleUndo(n, o, how)),
        (n, any::<bool>()).prop_map(|(n, done)| Step::ResolveUndo(n, done)),
        Just(Step::UndoNext),
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
        3 => (t.clone(), o.clone()).prop_map(|(t, o)| Step::ClaimTimer(t, o)),
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

const EFFECTS: u8 = 4;
const TIMERS: u8 = 4;

fn owner(n: u8) -> String {
    format!("owner-{n}")
}

fn lease(n: u8) -> LeaseRequest {
    LeaseRequest {
        owner: owner(n),
        ttl_ms: 0,
        fenced: n < 2,
    }
}

fn gate(n: u8) -> String {
    format!("gate-{n}")
}

/// Two of the users' own, one of a built-in kind, and the one that guards the first gate.
fn timer(n: u8) -> String {
    match n {
        3 => timeout_timer_id(&gate(0), 0),
        n => format!("timer-{n}"),
    }
}

fn request(n: Option<u8>) -> String {
    n.map_or_else(String::new, |n| format!("request-{n}"))
}

/// Inline; outbox that must not go twice, with a handle; outbox that may; outbox that must not, observed by nobody.
fn effect(n: u8, driver: Driver) -> BeginEffect {
    let handle = Handle {
        function: "app:undo".into(),
        payload_json: "{}".into(),
        ..Handle::default()
    };
    BeginEffect {
        run: id(),
        driver,
        decision_index: i64::from(n),
        tool: format!("tool-{n}"),
        call_index: 0,
        request_json: "{}".into(),
        custom_key: String::new(),
        semantics: match n {
            1 | 3 => Semantics::NonIdempotent,
            _ => Semantics::Idempotent,
        },
        mode: if n == 0 { Mode::Inline } else { Mode::Outbox },
        business_key: String::new(),
        connector: if n == 0 { String::new() } else { "bank".into() },
        operation: "wire".into(),
        scope: String::new(),
        deadline: Time::ZERO,
        handle: (n < 2).then_some(handle),
        status_check: String::new(),
        allow_unsafe: n == 3,
        known: Known::default(),
    }
}

fn key(n: u8) -> EffectKey {
    effect(n, Driver::default()).key()
}

fn tell<T: std::fmt::Debug>(reply: &T) -> String {
    format!("{reply:?}")
}

fn same<C: Command>() -> Again<C>
where
    C::Reply: std::fmt::Debug,
{
    Again::Same(tell)
}

/// Granted or refused: what matters is checked where it was asked.
fn either<T>(_: Result<T, Refusal>) {}

impl Kept {
    fn driver(&self, fence: Fence) -> Driver {
        let in_force = self.head().map_or(0, |run| run.fence);
        let fence = match fence {
            Fence::InForce => Some(in_force),
            Fence::Older => Some(in_force.saturating_sub(1)),
            Fence::None => None,
        };
        Driver { fence, owner: None }
    }

    /// A driver's write: an older fence is refused, whatever the state.
    fn drive<C: Command>(&mut self, fence: Fence, command: &C, again: &Again<C>) -> Option<C::Reply> {
        let known = self.head().is_some();
        let reply = self.ask(command, again);
        if fence == Fence::Older && known {
            let code = reply.as_ref().err().map(|refusal| refusal.code);
            assert_eq!(code, Some("TAPE-R002"), "an older fence");
        }
        reply.ok()
    }

    /// The number of the effect's last attempt, or of the one before it.
    fn attempt(&self, key: &EffectKey, last: bool) -> u32 {
        let number = self
            .effect(key)
            .and_then(|effect| effect.attempt())
            .map_or(0, |a| a.number);
        if last { number } else { number.saturating_sub(1) }
    }

    pub fn step(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::Pass(ms) => self.now = self.now.after(ms),
            Step::Begin(o) => {
                let command = BeginRun {
                    identity: identity(),
                    caller: Caller::default(),
                    input_json: String::new(),
                    lease: lease(o),
                };
                let again = Again::Same(|begun: &tape_core::command::begin_run::Begun| tell(&begun.run));
                either(self.ask(&command, &again));
            }
            Step::Resume(o) => {
                either(self.ask(&ResumeRun { run, lease: lease(o) }, &same()));
            }
            Step::Renew(o, fence) => {
                let command = RenewLease {
                    run,
                    fence: self.driver(fence).fence.unwrap_or_default(),
                    lease: lease(o),
                };
                either(self.ask(&command, &same()));
            }
            Step::Lose(o) => {
                let command = LoseLease {
                    run,
                    owner: owner(o),
                    reason: "gone".into(),
                };
                either(self.ask(&command, &Again::Quiet));
            }
            Step::Recover(at_once) => {
                either(self.ask(&ClaimRecovery { run, at_once }, &Again::Quiet));
            }
            Step::Decide(index, answer, fence) => {
                let command = RecordDecision {
                    run,
                    driver: self.driver(fence),
                    index,
                    model: "m".into(),
                    request_json: "{}".into(),
                    response_json: answer.to_string(),
                    rationale: String::new(),
                    policy_version: String::new(),
                };
                self.drive(fence, &command, &same());
            }
            Step::End(ending, fence) => self.end(ending, fence),
            Step::Cancel => {
                let reason = "enough".into();
                either(self.ask(&CancelRun { run, reason }, &same()));
            }
            Step::Compensate(go_on) => {
                let policy = if go_on {
                    CompensationPolicy::GoOn
                } else {
                    CompensationPolicy::StopAtStuck
                };
                let reason = "wrong".into();
                either(self.ask(&CompensateRun { run, reason, policy }, &same()));
            }
            Step::UndoNext => {
                either(self.ask(&StepCompensation { run }, &same()));
            }
            Step::Redrive => {
                let reason = "again".into();
                either(self.ask(&Redrive { run, reason }, &same()));
            }
            step @ (Step::SetBudget(_) | Step::Admit(..) | Step::Charge(..)) => self.spend(&step),
            step @ (Step::Register(_) | Step::ClaimUndo(..) | Step::SettleUndo(..) | Step::ResolveUndo(..)) => {
                self.undo(&step);
            }
            step @ (Step::Await(..)
            | Step::Signal(..)
            | Step::SetTimer(..)
            | Step::CancelTimer(_)
            | Step::ClaimTimer(..)
            | Step::FireTimer(..)
            | Step::ReleaseTimer(..)) => self.wait(&step),
            step => self.touch(&step),
        }
    }

    fn end(&mut self, ending: Ending, fence: Fence) {
        let command = EndRun {
            run: id(),
            driver: self.driver(fence),
            ending,
            detail_json: String::new(),
        };
        let compensated = matches!(self.head().map(|run| &run.state), Some(RunState::Compensating { .. }));
        let reply = self.drive(fence, &command, &same());
        // A driver that gives up does not end what is being undone: that is for who comes from outside, without a fence.
        assert!(!(compensated && fence != Fence::None && reply.is_some()), "{reply:?}");
    }

    fn touch(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::BeginEffect(e, fence) => {
                let command = effect(e, self.driver(fence));
                let again = Again::Same(|begun: &tape_core::command::begin_effect::BegunEffect| tell(&begun.effect));
                self.drive(fence, &command, &again);
            }
            Step::Complete(e, completion, fence) => {
                let command = CompleteEffect {
                    run,
                    driver: self.driver(fence),
                    key: key(e),
                    completion,
                    response_json: "1".into(),
                    error_json: String::new(),
                };
                // A cancel lets the open effect land once, under any fence.
                let cancelled = self.head().is_some_and(|run| run.cancelled.is_some());
                if cancelled || self.effect(&key(e)).is_none() {
                    either(self.ask(&command, &Again::Counts));
                } else {
                    self.drive(fence, &command, &same());
                }
            }
            Step::Claim(e, o, two_phase) => {
                let command = ClaimDispatch {
                    run,
                    key: key(e),
                    owner: owner(o),
                    ttl_ms: 0,
                    two_phase,
                    connectors: None,
                };
                let held = self.effect(&key(e)).and_then(|effect| effect.claim().cloned());
                let claimed = self.ask(&command, &Again::Quiet);
                if claimed.is_ok_and(|claimed| claimed.acquired) {
                    assert!(!self.marked.contains(&key(e)), "it may have taken hold, and goes again");
                    assert!(held.is_none_or(|held| !held.lives(self.now)), "two dispatchers hold it");
                }
                self.note_mark(e);
            }
            Step::Mark(e, o, last) => {
                let command = MarkSent {
                    run,
                    key: key(e),
                    owner: owner(o),
                    attempt: self.attempt(&key(e), last),
                    version: "1".into(),
                    digest: "sha256:1".into(),
                };
                let open = self.effect(&key(e)).and_then(|effect| effect.attempt().cloned());
                if self.ask(&command, &same()).is_ok() {
                    let ours = open.is_some_and(|a| a.owner == command.owner && a.number == command.attempt);
                    assert!(ours, "marked without its claim");
                }
                self.note_mark(e);
            }
            Step::RenewClaim(e, o) => {
                let command = RenewDispatch {
                    run,
                    key: key(e),
                    owner: owner(o),
                    attempt: self.attempt(&key(e), true),
                    ttl_ms: 0,
                };
                either(self.ask(&command, &same()));
            }
            Step::Settle(e, o, last, outcome) => self.settle(e, o, last, outcome),
            Step::Check(e, o) => {
                let command = ClaimCheck {
                    run,
                    key: key(e),
                    owner: owner(o),
                    ttl_ms: 0,
                };
                let unsent = self
                    .effect(&key(e))
                    .is_some_and(|effect| effect.intent.mode == Mode::Outbox && effect.state.name() == "PENDING");
                let asked = self.ask(&command, &Again::Quiet).ok().flatten();
                assert!(asked.is_none() || !unsent, "asked about what has not left");
            }
            Step::Observe(e, o, observation, if_absent) => self.observe(e, o, observation, if_absent),
            Step::Resolve(e, confirmed) => {
                let command = ResolveEffect {
                    run,
                    key: key(e),
                    confirmed,
                    external_ref: "by-hand".into(),
                    response_json: "2".into(),
                    reason: "looked".into(),
                    who: "ann".into(),
                };
                if self.ask(&command, &same()).is_ok() {
                    self.marked.remove(&key(e));
                }
            }
            Step::Retry(e) => {
                let command = RetryEffect {
                    reserved: None,
                    run,
                    key: key(e),
                    reason: "again".into(),
                    who: "ann".into(),
                };
                let failed = self
                    .effect(&key(e))
                    .is_some_and(|effect| effect.state == EffectState::Failed);
                // A person opens a new attempt, and only on what is known to have failed.
                if self.ask(&command, &same()).is_ok() && failed {
                    self.marked.remove(&key(e));
                }
            }
            other => unreachable!("{other:?} is no step of an effect"),
        }
    }

    fn note_mark(&mut self, e: u8) {
        if self.may_double(&key(e)) {
            self.marked.insert(key(e));
        }
    }

    fn settle(&mut self, e: u8, o: u8, last: bool, outcome: Outcome) {
        let command = SettleDispatch {
            run: id(),
            key: key(e),
            owner: owner(o),
            attempt: self.attempt(&key(e), last),
            outcome,
            evidence_json: String::new(),
            version: "1".into(),
            digest: "sha256:1".into(),
        };
        let held = self.effect(&key(e)).is_some_and(|effect| {
            matches!(effect.state, EffectState::Claimed(_) | EffectState::Sent(_))
                && effect
                    .attempt()
                    .is_some_and(|a| a.owner == command.owner && a.number == command.attempt)
        });
        if self.ask(&command, &same()).is_err() || !held {
            return;
        }
        match command.outcome {
            // The host saw that nothing left, or the upstream's no.
            Outcome::NothingSent { .. } | Outcome::Nobody { .. } | Outcome::Failed { .. } => {
                self.marked.remove(&key(e));
            }
            Outcome::Unknown { .. } if self.effect(&key(e)).is_some_and(|effect| !effect.repeatable()) => {
                self.marked.insert(key(e));
            }
            _ => {}
        }
    }

    fn observe(&mut self, e: u8, o: Option<u8>, observation: Observation, if_absent: IfAbsent) {
        let absent = matches!(observation, Observation::Absent | Observation::Failed { .. });
        let counts = matches!(observation, Observation::Inconclusive { .. }) || absent;
        let command = RecordObservation {
            run: id(),
            key: key(e),
            owner: o.map(owner),
            observation,
            if_absent,
            surplus: None,
            evidence_json: String::new(),
        };
        let again = if o.is_none() && counts { Again::Counts } else { same() };
        let before = self.effect(&key(e)).cloned();
        let Ok(effect) = self.ask(&command, &again) else { return };
        if absent && before.is_some_and(|before| before.state != effect.state) {
            self.marked.remove(&key(e));
        }
    }

    fn undo(&mut self, step: &Step) {
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
            Step::ClaimUndo(n, o) => {
                let command = ClaimObligation {
                    run,
                    seq: seq(n),
                    owner: owner(o),
                    ttl_ms: 0,
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

    fn wait(&mut self, step: &Step) {
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
            Step::ClaimTimer(t, o) => {
                let command = ClaimTimer {
                    run,
                    id: timer(t),
                    owner: owner(o),
                    ttl_ms: 0,
                    ahead_ms: 0,
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

    fn spend(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::SetBudget(cap) => {
                let command = SetBudget {
                    run,
                    usd_cap_micros: cap,
                    token_cap: cap * 2,
                };
                either(self.ask(&command, &same()));
            }
            Step::Admit(r, amount, fence) => {
                let command = AdmitBudget {
                    run,
                    driver: self.driver(fence),
                    request_id: request(r),
                    usd_micros: amount,
                    tokens: amount,
                };
                let before = self.rows.get(&RowKey::Budget).cloned();
                // Refused or granted: the same request is no news. One without identity is another each time.
                let again = if r.is_none() { Again::Counts } else { same() };
                let admitted = self.drive(fence, &command, &again).is_some_and(|reply| reply.admitted);
                if !admitted || before.as_ref() == self.rows.get(&RowKey::Budget) {
                    return;
                }
                let after = self.budget();
                let (usd, tokens) = after.reserved.values().fold((0, 0), |(usd, tokens), held| {
                    (usd + held.usd_micros, tokens + held.tokens)
                });
                let fits = |cap: i64, sum: i64| cap == 0 || sum <= cap;
                assert!(fits(after.usd_cap_micros, after.usd_spent_micros + usd), "{after:?}");
                assert!(fits(after.token_cap, after.tokens_spent + tokens), "{after:?}");
            }
            Step::Charge(r, amount, fence) => {
                let command = ChargeBudget {
                    run,
                    driver: self.driver(fence),
                    request_id: request(r),
                    usd_micros: amount,
                    tokens: amount,
                };
                let again = if r.is_none() { Again::Counts } else { same() };
                self.drive(fence, &command, &again);
            }
            other => unreachable!("{other:?} is no step of a budget"),
        }
    }
}
