//! What every connector must hold, whatever its upstream: tried over the model of `upstream.yaml`.

mod doubt;
mod honesty;
mod limits;
mod undo;

use std::pin::Pin;

use serde_json::Value;
use tape_connector_port::{Operation, Semantics};

use crate::world::aside;
use crate::{Grant, Kit, Told, World};

/// Whether it holds, and what was seen if not.
type Held<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// One fact.
pub(crate) struct Fact {
    /// A sentence that is true of a good connector.
    pub name: &'static str,
    /// Why it says nothing about this one.
    pub applies: fn(&Kit) -> Result<(), String>,
    /// Tries it.
    pub hold: for<'a> fn(&'a Kit) -> Held<'a>,
}

macro_rules! fact {
    ($name:literal, $applies:expr, $hold:path) => {
        Fact {
            name: $name,
            applies: $applies,
            hold: |kit| Box::pin($hold(kit)),
        }
    };
}

/// All of them, the plainest first: when the first breaks, the others will, too.
pub(crate) const ALL: &[Fact] = &[
    fact!("the sample effect is confirmed, once", always, honesty::confirmed),
    fact!("it is who its manifest says", always, honesty::introduces_itself),
    fact!(
        "it reaches no host that it does not ask for",
        needs_upstream,
        honesty::asks
    ),
    fact!(
        "an operation that it does not have is refused",
        always,
        honesty::unknown_operation
    ),
    fact!(
        "a payload that lacks something is refused",
        needs_required,
        honesty::bad_payload
    ),
    fact!(
        "the same key twice is one effect",
        needs_idempotent,
        doubt::same_key_twice
    ),
    fact!(
        "what never left may be tried again, and is absent",
        needs_upstream,
        doubt::never_left
    ),
    fact!(
        "a lost answer is unknown, and what happened is found",
        needs_upstream,
        doubt::lost_answer
    ),
    fact!(
        "an answer cut short is unknown, and what happened is found",
        needs_upstream,
        doubt::cut_answer
    ),
    fact!(
        "a connection reset before the request was read is unknown, and nothing is found",
        needs_upstream,
        doubt::reset_before
    ),
    fact!(
        "a connection reset after the request was read is unknown, and nothing is found",
        needs_upstream,
        doubt::reset_after
    ),
    fact!(
        "an answer sent twice is one effect",
        needs_upstream,
        doubt::answer_twice
    ),
    fact!(
        "an effect that was doubled upstream is found as a duplicate",
        needs_duplicates,
        doubt::duplicate
    ),
    fact!(
        "an answer that makes no sense is unknown",
        needs_upstream,
        honesty::nonsense
    ),
    fact!("every status comes to what it means", needs_upstream, honesty::statuses),
    fact!("undone twice is undone once", needs_compensate, undo::twice),
    fact!(
        "an undoing whose answer is lost can be repeated",
        needs_compensate,
        undo::lost
    ),
    fact!(
        "undoing what the upstream does not know changes nothing",
        needs_compensate,
        undo::unknown
    ),
    fact!(
        "an upstream that never answers does not hold the call",
        needs_upstream,
        limits::hang
    ),
    fact!("without a grant nothing leaves", needs_upstream, limits::no_grant),
    fact!("secrets arrive, and come out nowhere", needs_secrets, limits::secrets),
];

fn always(_: &Kit) -> Result<(), String> {
    Ok(())
}

fn needs_upstream(kit: &Kit) -> Result<(), String> {
    if kit.description().offline {
        return Err("it is offline: it needs no upstream".to_owned());
    }
    Ok(())
}

fn needs_required(kit: &Kit) -> Result<(), String> {
    if required(kit).is_empty() {
        return Err("the payload's schema requires nothing".to_owned());
    }
    Ok(())
}

fn needs_idempotent(kit: &Kit) -> Result<(), String> {
    needs_upstream(kit)?;
    match operation(kit).map(|operation| operation.semantics) {
        Some(Semantics::Idempotent) => Ok(()),
        _ => Err("the operation is not IDEMPOTENT".to_owned()),
    }
}

fn needs_duplicates(kit: &Kit) -> Result<(), String> {
    needs_upstream(kit)?;
    if !kit.description().supports.observe {
        return Err("it does not support observe".to_owned());
    }
    match operation(kit).map(|operation| operation.semantics) {
        Some(Semantics::NonIdempotent) => Ok(()),
        _ => Err("the upstream deduplicates".to_owned()),
    }
}

fn needs_compensate(kit: &Kit) -> Result<(), String> {
    needs_upstream(kit)?;
    if kit.description().supports.compensate {
        return Ok(());
    }
    Err("it does not support compensate".to_owned())
}

fn needs_secrets(kit: &Kit) -> Result<(), String> {
    needs_upstream(kit)?;
    if kit.subject.setup.secrets.is_empty() {
        return Err("upstream.yaml has no secrets".to_owned());
    }
    Ok(())
}

/// The sample effect's operation.
fn operation(kit: &Kit) -> Option<&Operation> {
    kit.description().operation(&kit.subject.setup.effect.operation)
}

/// The keys that the payload must have.
fn required(kit: &Kit) -> Vec<String> {
    let schema = operation(kit).map_or("", |operation| &operation.payload_schema);
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let keys = schema["required"].as_array().into_iter().flatten();
    keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

/// A world as the cases set it up.
async fn world(kit: &Kit) -> Result<World, String> {
    kit.world(Grant::All, &Value::Null).await
}

/// That `told` came to one of `wanted`.
fn came_to(world: &World, told: &Told, wanted: &[&str]) -> Result<(), String> {
    if let Some(unexpected) = world.fake.unexpected().first() {
        return Err(format!(
            "{unexpected}\ncure: say it in cases/upstream.yaml, or correct the request"
        ));
    }
    if wanted.contains(&told.outcome()) {
        return Ok(());
    }
    Err(format!(
        "it came to {:?}, expected {}{}",
        told.outcome(),
        wanted.join(" or "),
        aside(world, told)
    ))
}

/// That the upstream's books hold `wanted` entries.
fn booked(world: &World, wanted: usize, when: &str) -> Result<(), String> {
    let entries = world.fake.entries();
    if entries == wanted {
        return Ok(());
    }
    let books = serde_json::to_string(&world.fake.books()).unwrap_or_default();
    Err(format!(
        "{when} the upstream's books hold {entries} entries, expected {wanted}: {books}"
    ))
}
