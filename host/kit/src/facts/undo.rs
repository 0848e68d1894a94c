//! Undoing.

use super::{came_to, world};
use crate::{Fault, Kit};

pub(super) async fn twice(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    let done = world.dispatch(&world.effect()).await;
    came_to(&world, &done, &["confirmed"])?;
    let before = world.fake.books();
    came_to(
        &world,
        &world.compensate(&world.effect(), done.receipt.clone()).await,
        &["resolved"],
    )?;
    let once = world.fake.books();
    if once == before {
        return Err("it says resolved, and the upstream's books are as they were".to_owned());
    }
    came_to(
        &world,
        &world.compensate(&world.effect(), done.receipt).await,
        &["resolved"],
    )?;
    let twice = world.fake.books();
    if twice != once {
        return Err(format!(
            "undone twice, the books changed twice: after once {once:?}, after twice {twice:?}"
        ));
    }
    Ok(())
}

pub(super) async fn lost(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    let done = world.dispatch(&world.effect()).await;
    came_to(&world, &done, &["confirmed"])?;
    world.fake.break_next(Fault::Lose);
    came_to(
        &world,
        &world.compensate(&world.effect(), done.receipt.clone()).await,
        &["unknown"],
    )?;
    let once = world.fake.books();
    came_to(
        &world,
        &world.compensate(&world.effect(), done.receipt).await,
        &["resolved"],
    )?;
    let twice = world.fake.books();
    if twice != once {
        return Err(format!("the repetition undid it again: {once:?}, then {twice:?}"));
    }
    Ok(())
}

pub(super) async fn unknown(kit: &Kit) -> Result<(), String> {
    let receipt = {
        let world = world(kit).await?;
        world.dispatch(&world.effect()).await.receipt
    };
    // A receipt as the upstream writes them, of an effect that this upstream never saw.
    let world = world(kit).await?;
    let told = world.compensate(&world.effect(), receipt).await;
    came_to(&world, &told, &["resolved", "failed"])?;
    if world.fake.entries() != 0 {
        return Err(format!(
            "the upstream's books hold something now: {:?}",
            world.fake.books()
        ));
    }
    Ok(())
}
