//! When the answer does not come.

use tape_connector_port::Semantics;
use tokio::net::TcpListener;

use super::{booked, came_to, operation, world};
use crate::{Fault, Grant, Kit, Told, World};

pub(super) async fn same_key_twice(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    let first = world.dispatch(&world.effect()).await;
    came_to(&world, &first, &["confirmed"])?;
    let mut again = world.effect();
    again.attempt = 2;
    let second = world.dispatch(&again).await;
    came_to(&world, &second, &["confirmed"])?;
    booked(&world, 1, "after two dispatches with one key")?;
    same_reference(&first, &second)
}

pub(super) async fn never_left(kit: &Kit) -> Result<(), String> {
    // Bound and dropped: a port at which nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| error.to_string())?;
    let nobody = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
    drop(listener);
    let away = kit.world(Grant::Nobody(nobody), &serde_json::Value::Null).await?;
    let told = away.dispatch(&away.effect()).await;
    came_to(&away, &told, &["retry"])?;
    let back = world(kit).await?;
    nothing_is_found(kit, &back).await
}

pub(super) async fn lost_answer(kit: &Kit) -> Result<(), String> {
    happened(kit, Fault::Lose).await
}

pub(super) async fn cut_answer(kit: &Kit) -> Result<(), String> {
    // Within the status line, and a few bytes into the head: neither says anything.
    for at in [5, 40] {
        happened(kit, Fault::Cut(at)).await?;
    }
    Ok(())
}

pub(super) async fn reset_before(kit: &Kit) -> Result<(), String> {
    did_not_happen(kit, Fault::ResetBefore).await
}

pub(super) async fn reset_after(kit: &Kit) -> Result<(), String> {
    did_not_happen(kit, Fault::ResetAfter).await
}

pub(super) async fn answer_twice(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    world.fake.break_next(Fault::AnswerTwice);
    let told = world.dispatch(&world.effect()).await;
    came_to(&world, &told, &["confirmed", "unknown"])?;
    booked(&world, 1, "after one dispatch")
}

pub(super) async fn duplicate(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    world.fake.break_next(Fault::BookTwice);
    let told = world.dispatch(&world.effect()).await;
    came_to(&world, &told, &["confirmed"])?;
    let found = world.observe(&world.effect()).await;
    came_to(&world, &found, &["duplicate"])
}

/// The effect took hold and its answer did not arrive.
async fn happened(kit: &Kit, fault: Fault) -> Result<(), String> {
    let world = world(kit).await?;
    world.fake.break_next(fault);
    let told = world.dispatch(&world.effect()).await;
    came_to(&world, &told, &["unknown"])?;
    booked(&world, 1, "after one dispatch")?;
    let supports = kit.description().supports;
    if supports.observe {
        came_to(&world, &world.observe(&world.effect()).await, &["present"])?;
    }
    if supports.status_check {
        let told = world
            .status_check(&world.effect(), &world.effect().idempotency_key)
            .await;
        came_to(&world, &told, &["committed"])?;
    }
    settled_by_repetition(kit, &world, 1).await
}

/// Bytes left, and the effect did not take hold.
async fn did_not_happen(kit: &Kit, fault: Fault) -> Result<(), String> {
    let world = world(kit).await?;
    world.fake.break_next(fault);
    let told = world.dispatch(&world.effect()).await;
    came_to(&world, &told, &["unknown"])?;
    booked(&world, 0, "after a reset connection")?;
    nothing_is_found(kit, &world).await
}

/// The books hold nothing, and the connector says so; then it may be sent.
async fn nothing_is_found(kit: &Kit, world: &World) -> Result<(), String> {
    let supports = kit.description().supports;
    if supports.observe {
        came_to(world, &world.observe(&world.effect()).await, &["absent"])?;
    }
    if supports.status_check {
        let told = world
            .status_check(&world.effect(), &world.effect().idempotency_key)
            .await;
        // One that cannot look a request up by its key may say that it does not know.
        came_to(world, &told, &["not-committed", "inconclusive"])?;
    }
    let told = world.dispatch(&world.effect()).await;
    came_to(world, &told, &["confirmed"])?;
    booked(world, 1, "after it was sent again")
}

/// Where the upstream deduplicates, repeating settles the doubt; where nothing else does, it must.
async fn settled_by_repetition(kit: &Kit, world: &World, entries: usize) -> Result<(), String> {
    let supports = kit.description().supports;
    let repeats = operation(kit).is_some_and(|operation| operation.semantics != Semantics::NonIdempotent);
    if !repeats {
        return if supports.observe || supports.status_check {
            Ok(())
        } else {
            Err(
                "nothing can settle the doubt: support observe or status-check, or make the operation IDEMPOTENT"
                    .to_owned(),
            )
        };
    }
    let mut again = world.effect();
    again.attempt = 2;
    came_to(world, &world.dispatch(&again).await, &["confirmed"])?;
    booked(world, entries, "after it was sent again with the same key")
}

fn same_reference(first: &Told, second: &Told) -> Result<(), String> {
    let (first, second) = (&first.answer["external_ref"], &second.answer["external_ref"]);
    if first == second {
        return Ok(());
    }
    Err(format!(
        "the first dispatch gave {first}, the second {second}: one effect has one reference"
    ))
}
