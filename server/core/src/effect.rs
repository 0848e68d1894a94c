//! An effect: one call to the outside, with what is known about whether it took hold.
//!
//! ```text
//!             ┌───────────── absent, and may go again ────────────┐
//!             ▼                                                    │
//!  (new) ─▶ Pending ── inline: completed ─▶ Confirmed | Failed | Unknown
//!             │  ▲                                               │ │
//!      claim  ▼  │ nothing left, or the claim expired unmarked   │ │
//!          Claimed ──mark──▶ Sent ── answered ─▶ Confirmed | Failed
//!                             │ no answer, or the claim expired    │
//!                             └──────────────────▶ Unknown ◀───────┘
//!                                                   │ present ─▶ Confirmed   absent ─▶ Failed
//!                                                   └ asked too often ─▶ Stuck ── a person ─▶ Confirmed | Failed
//! ```
//!
//! On the wire Claimed and Sent are PENDING with a claim, and Stuck is UNKNOWN with `stuck` set.

use serde::{Deserialize, Serialize};

use crate::id::EffectKey;
use crate::journal::Trace;
use crate::lease::Claim;
use crate::retry::Backoff;
use crate::row::{Due, DueKind};
use crate::time::Time;

/// What happens if the upstream gets the same request twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Semantics {
    /// The upstream deduplicates by the idempotency key: asking again is safe.
    Idempotent,
    /// The upstream does it again.
    NonIdempotent,
    /// It only reads.
    ObserveOnly,
}

/// Who makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The tool's body, in the agent's process.
    Inline,
    /// The outbox, through a connector.
    Outbox,
}

impl Semantics {
    /// The name on the wire, without its prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idempotent => "IDEMPOTENT",
            Self::NonIdempotent => "NON_IDEMPOTENT",
            Self::ObserveOnly => "OBSERVE_ONLY",
        }
    }
}

impl Mode {
    /// The name on the wire, without its prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "INLINE",
            Self::Outbox => "OUTBOX",
        }
    }
}

/// How an effect could be undone. Not an obligation: a healthy run's effects are never undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// Connector that undoes it; empty if a function does.
    pub connector: String,
    /// `module:attr` of an SDK function that undoes it; empty if a connector does.
    pub function: String,
    /// What kind of undoing it is, for people.
    pub kind: String,
    /// Handed to whoever undoes it, as JSON.
    pub payload_json: String,
}

/// One effect of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// What was asked for. Never changes.
    pub intent: Intent,
    /// Seq of the entry that began it.
    pub seq: i64,
    /// When it began.
    pub begun: Time,
    /// When its row last changed.
    pub changed: Time,
    /// Where it stands.
    pub state: EffectState,
    /// Every attempt to dispatch it, oldest first.
    pub attempts: Vec<Attempt>,
    /// The upstream's name for it.
    pub external_ref: String,
    /// The upstream's answer, as JSON.
    pub response_json: String,
    /// The error, as JSON.
    pub error_json: String,
    /// Position in the order of confirmation, if it has a handle.
    pub confirmed_order: Option<u32>,
    /// The trace of the request that began it: what is done for it later goes on in it.
    #[serde(default)]
    pub trace: Option<Trace>,
}

/// What an effect is meant to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Idempotency key.
    pub key: EffectKey,
    /// Decision from which it follows.
    pub decision_index: i64,
    /// Tool that the agent called.
    pub tool: String,
    /// The n-th call of that tool for that decision.
    pub call_index: i32,
    /// The call's arguments or payload, as JSON.
    pub request_json: String,
    /// What a second request would do.
    pub semantics: Semantics,
    /// Who makes the call.
    pub mode: Mode,
    /// The caller's own name for it, by which the upstream can be asked.
    pub business_key: String,
    /// Connector that dispatches and observes it.
    pub connector: String,
    /// Operation of the connector.
    pub operation: String,
    /// Scope that the run must have been granted.
    pub scope: String,
    /// Latest time for an answer; zero = the connector's own limit.
    pub deadline: Time,
    /// How it could be undone.
    pub handle: Option<Handle>,
    /// `module:attr` of an SDK function that can ask the upstream.
    pub status_check: String,
    /// Nothing can settle doubt about it, and the caller insisted.
    pub unsafe_allowed: bool,
}

/// Where an effect stands. States hold what is true only in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EffectState {
    /// Not sent, as far as anybody knows.
    Pending {
        /// Not to be dispatched before this.
        next: Time,
    },
    /// A dispatcher holds it; nothing has left yet.
    Claimed(Claim),
    /// The mark is durable: the request may have left.
    Sent(Claim),
    /// It took hold. Final.
    Confirmed,
    /// It did not. Final, unless the server opens a new attempt.
    Failed,
    /// It may or may not have.
    Unknown(Doubt),
    /// The upstream could not say in time: a person must.
    Stuck {
        /// Why.
        reason: String,
    },
}

/// What is known about an effect in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Why it is in doubt.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// How many times the upstream was asked in vain.
    pub checks: u32,
    /// When to ask (again).
    pub next: Time,
    /// Who is asking.
    pub claim: Option<Claim>,
}

/// One attempt to dispatch an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1. It is also the fence of its claim: an older attempt can settle nothing.
    pub number: u32,
    /// Who made it.
    pub owner: String,
    /// When it was claimed.
    pub claimed: Time,
    /// When the mark became durable: after this the request may have left.
    pub sent: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Version of the connector.
    pub version: String,
    /// How it ended: one of `confirmed`, `failed`, `retry`, `unknown`, `expired`, `nobody`.
    pub outcome: String,
    /// What the host saw leave and come back, as JSON.
    pub evidence_json: String,
    /// What went wrong.
    pub error: String,
    /// Digest of the connector's component: `sha256:<hex>`.
    #[serde(default)]
    pub digest: String,
}

impl Attempt {
    /// How an attempt ended that was none: nobody could be asked.
    pub const NOBODY: &'static str = "nobody";
}

/// What can happen to an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectEvent {
    /// A dispatcher takes it.
    Claimed(Claim),
    /// The mark is being written: from here the request may have left.
    Marked,
    /// The host knows that nothing left: try again later.
    NothingSent {
        /// When.
        next: Time,
    },
    /// The upstream said yes.
    Confirmed,
    /// The upstream said no.
    Failed,
    /// It may have left, and nobody knows how it ended.
    Unanswered(Doubt),
    /// It may have left, and the upstream deduplicates: the same key may go again.
    Resend {
        /// When.
        next: Time,
    },
    /// The upstream's books have it.
    Present,
    /// The upstream's books do not have it, and it will not be tried again.
    Absent,
    /// The upstream's books do not have it, and it may be dispatched again.
    AbsentRedispatch {
        /// When.
        next: Time,
    },
    /// The upstream could not say.
    Inconclusive {
        /// When to ask again.
        next: Time,
    },
    /// Somebody is asking the upstream.
    Checking(Claim),
    /// Asked too often, or by policy a person has to decide.
    GaveUp {
        /// Why.
        reason: String,
    },
    /// A person settled it.
    SettledAs {
        /// Whether it took hold.
        confirmed: bool,
    },
    /// The run was cancelled or is being compensated before anything left.
    Cancelled,
    /// An operator opens a new attempt on a failed effect, or does not want to wait for the next one.
    Retried {
        /// When.
        next: Time,
    },
}

/// An event that cannot happen in this state. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalMove {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl EffectState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalMove`] if `event` cannot happen in this state.
    pub fn apply(self, event: EffectEvent) -> Result<Self, IllegalMove> {
        use EffectEvent as E;
        Ok(match (self, event) {
            (Self::Pending { .. } | Self::Claimed(_), E::Claimed(claim)) => Self::Claimed(claim),
            (Self::Claimed(claim), E::Marked) => Self::Sent(claim),
            // A mark without a byte: the host saw the connection fail.
            (Self::Claimed(_) | Self::Sent(_), E::NothingSent { next }) => Self::Pending { next },
            (Self::Claimed(_) | Self::Sent(_), E::Resend { next }) => Self::Pending { next },
            (Self::Pending { .. } | Self::Claimed(_) | Self::Sent(_), E::Confirmed) => Self::Confirmed,
            (Self::Pending { .. } | Self::Claimed(_) | Self::Sent(_), E::Failed) => Self::Failed,
            (Self::Pending { .. } | Self::Sent(_), E::Unanswered(doubt)) => Self::Unknown(doubt),
            // Only an answer of the upstream's books settles doubt: a blind retry could double the effect.
            (Self::Pending { .. } | Self::Unknown(_) | Self::Stuck { .. }, E::Present) => Self::Confirmed,
            (Self::Pending { .. } | Self::Unknown(_) | Self::Stuck { .. }, E::Absent) => Self::Failed,
            (Self::Unknown(_) | Self::Stuck { .. }, E::AbsentRedispatch { next }) => Self::Pending { next },
            (Self::Unknown(doubt), E::Inconclusive { next }) => Self::Unknown(Doubt {
                checks: doubt.checks + 1,
                next,
                claim: None,
                ..doubt
            }),
            (Self::Unknown(doubt), E::Checking(claim)) => Self::Unknown(Doubt {
                next: claim.expires,
                claim: Some(claim),
                ..doubt
            }),
            (Self::Unknown(_) | Self::Pending { .. }, E::GaveUp { reason }) => Self::Stuck { reason },
            (Self::Unknown(_) | Self::Stuck { .. }, E::SettledAs { confirmed: true }) => Self::Confirmed,
            (Self::Unknown(_) | Self::Stuck { .. } | Self::Pending { .. }, E::SettledAs { confirmed: false }) => {
                Self::Failed
            }
            (Self::Pending { .. }, E::Cancelled) => Self::Failed,
            (Self::Failed | Self::Pending { .. }, E::Retried { next }) => Self::Pending { next },
            (state, event) => {
                return Err(IllegalMove {
                    state: state.name(),
                    event: event.name(),
                });
            }
        })
    }

    /// The state's name, for people and tests.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "PENDING",
            Self::Claimed(_) => "CLAIMED",
            Self::Sent(_) => "SENT",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
            Self::Unknown(_) => "UNKNOWN",
            Self::Stuck { .. } => "STUCK",
        }
    }

    /// Whether it is settled.
    #[must_use]
    pub const fn settled(&self) -> bool {
        matches!(self, Self::Confirmed | Self::Failed)
    }
}

impl EffectEvent {
    const fn name(&self) -> &'static str {
        match self {
            Self::Claimed(_) => "claimed",
            Self::Marked => "marked",
            Self::NothingSent { .. } => "nothing sent",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Unanswered(_) => "unanswered",
            Self::Resend { .. } => "resend",
            Self::Present => "present",
            Self::Absent => "absent",
            Self::AbsentRedispatch { .. } => "absent, redispatch",
            Self::Inconclusive { .. } => "inconclusive",
            Self::Checking(_) => "checking",
            Self::GaveUp { .. } => "gave up",
            Self::SettledAs { .. } => "settled by hand",
            Self::Cancelled => "cancelled",
            Self::Retried { .. } => "retried",
        }
    }
}

/// How long after a request left "not there" may still become "there": it can be under way, or wait in the upstream's queue. An
/// upstream whose books lag further behind is for its connector to know, which answers `inconclusive`.
pub const BOOKS_LAG_MS: i64 = 10_000;

/// How long an inline effect may stay PENDING before the upstream is asked about it.
pub const INLINE_PENDING_MS: i64 = 10 * 60 * 1000;

impl Attempt {
    /// Remembers who makes it. What is known already is not forgotten.
    pub(crate) fn by(&mut self, version: &str, digest: &str) {
        if !version.is_empty() {
            version.clone_into(&mut self.version);
            digest.clone_into(&mut self.digest);
        }
    }
}

impl Effect {
    /// Whether the upstream may get the same request twice without harm.
    #[must_use]
    pub fn repeatable(&self) -> bool {
        self.intent.semantics != Semantics::NonIdempotent
    }

    /// Until when "not there" is no answer yet; none = it is one, because nothing left, or may leave again without harm.
    #[must_use]
    pub fn may_still_arrive(&self, now: Time) -> Option<Time> {
        let sent = self.attempts.last().and_then(|attempt| attempt.sent)?;
        let until = sent.after(BOOKS_LAG_MS);
        (!self.repeatable() && until > now).then_some(until)
    }

    /// Whether anybody can be asked how it ended.
    #[must_use]
    pub fn observable(&self) -> bool {
        !self.intent.connector.is_empty() || !self.intent.status_check.is_empty()
    }

    /// Whether it waits in the outbox and nobody works on it.
    #[must_use]
    pub fn unsent(&self) -> bool {
        self.intent.mode == Mode::Outbox && matches!(self.state, EffectState::Pending { .. })
    }

    /// Whether a driver has begun it and not said how it ended.
    #[must_use]
    pub fn begun_inline(&self) -> bool {
        self.intent.mode == Mode::Inline && matches!(self.state, EffectState::Pending { .. })
    }

    /// The claim on it, if it has one.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        match &self.state {
            EffectState::Claimed(claim) | EffectState::Sent(claim) => Some(claim),
            EffectState::Unknown(doubt) => doubt.claim.as_ref(),
            _ => None,
        }
    }

    /// The attempt that is under way, or the last one.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// How many attempts were made: claims under which nobody could be asked are none.
    #[must_use]
    pub fn tries(&self) -> u32 {
        let tries = self.attempts.iter().filter(|one| one.outcome != Attempt::NOBODY);
        u32::try_from(tries.count()).unwrap_or(u32::MAX)
    }

    /// How long it rests when nobody could be asked, in milliseconds: a quarter of the time for which it has been tried already, so that
    /// it is looked for less and less often.
    #[must_use]
    pub fn nobody_wait_ms(&self, now: Time) -> i64 {
        const MIN_MS: i64 = 250;
        const MAX_MS: i64 = 60_000;
        let first = self.attempts.first().map_or(now, |first| first.claimed);
        (now.since(first) / 4).clamp(MIN_MS, MAX_MS)
    }

    /// Keeps one of the attempts in a row under which nobody could be asked: they may be many.
    pub(crate) fn fold_refusals(&mut self) {
        let [.., before, last] = &mut self.attempts[..] else {
            return;
        };
        if before.outcome == Attempt::NOBODY && last.outcome == Attempt::NOBODY {
            last.claimed = before.claimed;
            self.attempts.remove(self.attempts.len() - 2);
        }
    }

    /// The last attempt of which is known which version of its connector made it: that version is asked about the effect, as
    /// long as it is there.
    #[must_use]
    pub fn dispatched_by(&self) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| !attempt.version.is_empty())
    }

    /// When to look at an effect in doubt first: at once, the upstream has usually booked by then.
    #[must_use]
    pub fn doubt(reason: impl Into<String>, now: Time) -> Doubt {
        Doubt {
            reason: reason.into(),
            since: now,
            checks: 0,
            next: now,
            claim: None,
        }
    }

    /// When the next question to the upstream is due after an inconclusive one.
    #[must_use]
    pub fn next_check(doubt: &Doubt, jitter: u16, now: Time) -> Option<Time> {
        let checks = doubt.checks + 1;
        Backoff::RECONCILE
            .more(checks)
            .then(|| now.after(Backoff::RECONCILE.wait_ms(checks, jitter)))
    }

    /// The connector that its work waits for; see [`Row::waits_for`](crate::row::Row::waits_for). A claim that ran out can be
    /// ended by anybody, and an app's function may know what the connector does not.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        let connector = self.intent.connector.as_str();
        match &self.state {
            EffectState::Confirmed | EffectState::Failed => None,
            EffectState::Claimed(_) | EffectState::Sent(_) => Some(""),
            EffectState::Pending { .. } if self.intent.mode == Mode::Outbox => Some(connector),
            _ if self.intent.status_check.is_empty() => Some(connector),
            _ => Some(""),
        }
    }

    /// When and for whom it is work that waits.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        match &self.state {
            EffectState::Pending { next } if self.intent.mode == Mode::Outbox => Some(Due {
                kind: DueKind::Outbox,
                at: *next,
            }),
            EffectState::Claimed(claim) | EffectState::Sent(claim) => Some(Due {
                kind: DueKind::Outbox,
                at: claim.expires,
            }),
            EffectState::Unknown(doubt) => Some(Due {
                kind: DueKind::Reconcile,
                at: doubt.next,
            }),
            // Nobody's work, but a person's: kept among the doubtful so that it is found without looking into every run.
            EffectState::Stuck { .. } => Some(Due {
                kind: DueKind::Reconcile,
                at: Time::NEVER,
            }),
            EffectState::Pending { .. } if self.observable() && !self.repeatable() => Some(Due {
                kind: DueKind::Reconcile,
                at: self.begun.after(INLINE_PENDING_MS),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            owner: "a".into(),
            expires: Time(10),
        }
    }

    /// Every state x event: what is not in this table must be refused.
    #[test]
    fn every_state_meets_every_event() {
        let doubt = || Effect::doubt("lost", Time(1));
        let states = [
            EffectState::Pending { next: Time(0) },
            EffectState::Claimed(claim()),
            EffectState::Sent(claim()),
            EffectState::Confirmed,
            EffectState::Failed,
            EffectState::Unknown(doubt()),
            EffectState::Stuck { reason: "r".into() },
        ];
        let next = Time(5);
        let events = [
            EffectEvent::Claimed(claim()),
            EffectEvent::Marked,
            EffectEvent::NothingSent { next },
            EffectEvent::Confirmed,
            EffectEvent::Failed,
            EffectEvent::Unanswered(doubt()),
            EffectEvent::Resend { next },
            EffectEvent::Present,
            EffectEvent::Absent,
            EffectEvent::AbsentRedispatch { next },
            EffectEvent::Inconclusive { next },
            EffectEvent::Checking(claim()),
            EffectEvent::GaveUp { reason: "r".into() },
            EffectEvent::SettledAs { confirmed: true },
            EffectEvent::SettledAs { confirmed: false },
            EffectEvent::Cancelled,
            EffectEvent::Retried { next },
        ];
        // Columns in the order of `events`; P C S + F U X are the states, "-" is refused.
        let table = [
            ("PENDING", "C - - + F U - + F - - - X - F F P"),
            ("CLAIMED", "C S P + F - P - - - - - - - - - -"),
            ("SENT", "- - P + F U P - - - - - - - - - -"),
            ("CONFIRMED", "- - - - - - - - - - - - - - - - -"),
            ("FAILED", "- - - - - - - - - - - - - - - - P"),
            ("UNKNOWN", "- - - - - - - + F P U U X + F - -"),
            ("STUCK", "- - - - - - - + F P - - - + F - -"),
        ];
        let letter = |name: &str| match name {
            "PENDING" => "P",
            "CLAIMED" => "C",
            "SENT" => "S",
            "CONFIRMED" => "+",
            "FAILED" => "F",
            "UNKNOWN" => "U",
            _ => "X",
        };
        for (state, (name, row)) in states.iter().zip(table) {
            assert_eq!(state.name(), name);
            let cells: Vec<_> = row.split(' ').collect();
            assert_eq!(cells.len(), events.len(), "{name}");
            for (event, expected) in events.iter().zip(cells) {
                let after = state
                    .clone()
                    .apply(event.clone())
                    .map_or("-", |next| letter(next.name()));
                assert_eq!(after, expected, "{name} + {}", event.name());
            }
        }
    }
}
