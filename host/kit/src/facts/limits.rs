//! What the surroundings do not allow.

use super::{came_to, world};
use crate::secrets::leaked;
use crate::{Fault, Grant, Kit, Reply};

/// A call's time in this fact, and how late its end may be seen on a busy machine.
const DEADLINE_MS: i64 = 1_000;
const LATE_MS: u64 = 2_000;

pub(super) async fn hang(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    let mut effect = world.effect();
    effect.deadline_ms = now_ms() + DEADLINE_MS;
    world.fake.break_next(Fault::Hang);
    let told = world.dispatch(&effect).await;
    came_to(&world, &told, &["unknown"])?;
    if told.took_ms > DEADLINE_MS.unsigned_abs() + LATE_MS {
        return Err(format!(
            "the call took {} ms, its deadline was after {DEADLINE_MS} ms",
            told.took_ms
        ));
    }
    Ok(())
}

pub(super) async fn no_grant(kit: &Kit) -> Result<(), String> {
    let world = kit.world(Grant::None, &serde_json::Value::Null).await?;
    let told = world.dispatch(&world.effect()).await;
    came_to(&world, &told, &["failed", "retry"])?;
    match world.fake.received().first() {
        None => Ok(()),
        Some(request) => Err(format!("{} was sent without a grant", request.line())),
    }
}

pub(super) async fn secrets(kit: &Kit) -> Result<(), String> {
    let values = &kit.subject.setup.secrets;
    let echo = |text: String| Reply {
        status: 400,
        text: Some(text),
        ..Reply::default()
    };
    let world = world(kit).await?;
    let first = world.dispatch(&world.effect()).await;
    let arrived: String = world
        .fake
        .received()
        .iter()
        .map(|request| request.raw.as_str())
        .collect();
    if let Some((name, _)) = values.iter().find(|(_, value)| !arrived.contains(value.as_str())) {
        return Err(format!(
            "secret `{name}` never arrived upstream: use {{{{secret:{name}}}}}, or take it out of upstream.yaml"
        ));
    }
    // An upstream that quotes the request in its refusal.
    world.fake.refuse_with(echo(arrived));
    let second = world.dispatch(&world.effect()).await;
    for told in [first, second] {
        let places = [
            ("the answer", told.answer.to_string()),
            ("the evidence", format!("{:?}", told.evidence)),
            ("the log", told.log),
        ];
        for (place, text) in places {
            if let Some(name) = leaked(values, &text) {
                return Err(format!("{place} holds the value of secret `{name}`"));
            }
        }
    }
    Ok(())
}

fn now_ms() -> i64 {
    tape_host::Clock::now_ms(&tape_host::SystemClock)
}
