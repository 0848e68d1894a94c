//! Few names for everything, so that steps meet; and what a step says when it is asked again.

use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::LeaseRequest;
use tape_core::effect::{Handle, Mode, Semantics};
use tape_core::gate::timeout_timer_id;
use tape_core::lease::Driver;
use tape_core::{Command, EffectKey, Refusal, Time};

use crate::kept::{Again, id};

pub(crate) const EFFECTS: u8 = 4;
pub(crate) const TIMERS: u8 = 4;

pub(crate) fn owner(n: u8) -> String {
    format!("owner-{n}")
}

pub(crate) fn lease(n: u8) -> LeaseRequest {
    LeaseRequest {
        owner: owner(n),
        ttl_ms: 0,
        fenced: n < 2,
    }
}

pub(crate) fn gate(n: u8) -> String {
    format!("gate-{n}")
}

/// Two of the users' own, one of a built-in kind, and the one that guards the first gate.
pub(crate) fn timer(n: u8) -> String {
    match n {
        3 => timeout_timer_id(&gate(0), 0),
        n => format!("timer-{n}"),
    }
}

pub(crate) fn request(n: Option<u8>) -> String {
    n.map_or_else(String::new, |n| format!("request-{n}"))
}

/// Inline; outbox that must not go twice, with a handle; outbox that may; outbox that must not, observed by nobody.
pub(crate) fn effect(n: u8, driver: Driver) -> BeginEffect {
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

pub(crate) fn key(n: u8) -> EffectKey {
    effect(n, Driver::default()).key()
}

pub(crate) fn tell<T: std::fmt::Debug>(reply: &T) -> String {
    format!("{reply:?}")
}

pub(crate) fn same<C: Command>() -> Again<C>
where
    C::Reply: std::fmt::Debug,
{
    Again::Same(tell)
}

/// Granted or refused: what matters is checked where it was asked.
pub(crate) fn either<T>(_: Result<T, Refusal>) {}
