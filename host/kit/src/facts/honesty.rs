//! What it says of itself, and of what it was told.

use serde_json::{Value, json};

use super::{booked, came_to, required, world};
use crate::fake::Reply;
use crate::{Kit, World, shape};

pub(super) async fn confirmed(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    let told = world.dispatch(&world.effect()).await;
    came_to(&world, &told, &["confirmed"])?;
    if kit.description().offline {
        return Ok(());
    }
    booked(&world, 1, "after one dispatch").map_err(|why| {
        format!("{why}\ncure: the route of cases/upstream.yaml that takes the effect needs `adds`, and only that one")
    })
}

pub(super) async fn introduces_itself(kit: &Kit) -> Result<(), String> {
    let (manifest, description) = (&kit.subject.manifest, kit.description());
    let pairs = [
        ("name", &manifest.name, &description.name),
        ("version", &manifest.version, &description.version),
        ("contract", &manifest.contract, &description.contract),
    ];
    for (key, written, said) in pairs {
        if written != said {
            return Err(format!(
                "connector.toml has {key} {written:?}, describe() says {said:?}"
            ));
        }
    }
    if super::operation(kit).is_none() {
        let names: Vec<_> = description
            .operations
            .iter()
            .map(|operation| operation.name.as_str())
            .collect();
        let wanted = &kit.subject.setup.effect.operation;
        return Err(format!(
            "upstream.yaml's effect is a {wanted:?}, and the operations are {names:?}"
        ));
    }
    Ok(())
}

pub(super) async fn asks(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    world.dispatch(&world.effect()).await;
    let origin = world.fake.origin();
    let config = shape::with_upstream(&kit.subject.setup.config, &origin);
    let asked = |host: &str| match host.strip_prefix("config:") {
        Some(key) => config
            .pointer(&format!("/{}", key.replace('.', "/")))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .starts_with(&origin),
        None => host == origin,
    };
    if !kit.description().asks.hosts.iter().any(|ask| asked(&ask.host)) {
        return Err("no host in describe()'s asks is the one that it reaches: ask for `config:KEY`, where KEY is the configuration's key that holds the origin".to_owned());
    }
    if !kit.subject.manifest.asks.hosts.iter().any(|ask| asked(&ask.host)) {
        return Err(
            "describe() asks for the host, and connector.toml does not: add it under [[asks.hosts]]".to_owned(),
        );
    }
    for name in kit.subject.setup.secrets.keys() {
        if !kit.description().asks.secrets.iter().any(|ask| ask.name == *name) {
            return Err(format!(
                "secret `{name}` is used in the cases, and describe() does not ask for it"
            ));
        }
    }
    Ok(())
}

pub(super) async fn unknown_operation(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    let mut effect = world.effect();
    effect.operation = "no-such-operation".to_owned();
    refused_as_invalid(&world, &effect).await
}

pub(super) async fn bad_payload(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    for key in required(kit) {
        let mut payload = world.setup.effect.payload.clone();
        if let Some(fields) = payload.as_object_mut() {
            fields.remove(&key);
        }
        let mut effect = world.effect();
        effect.payload_json = payload.to_string();
        refused_as_invalid(&world, &effect)
            .await
            .map_err(|why| format!("without `{key}`: {why}"))?;
    }
    Ok(())
}

async fn refused_as_invalid(world: &World, effect: &tape_connector_port::EffectCall) -> Result<(), String> {
    let told = world.dispatch(effect).await;
    came_to(world, &told, &["failed"])?;
    shape::covers(&json!({"kind": "invalid", "retryable": false}), &told.answer, "answer")?;
    if !world.fake.received().is_empty() {
        return Err(format!("{} was sent all the same", world.fake.received()[0].line()));
    }
    Ok(())
}

pub(super) async fn nonsense(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    for text in ["<html>a proxy's page</html>", ""] {
        world.fake.refuse_with(Reply {
            text: Some(text.to_owned()),
            ..Reply::default()
        });
        let told = world.dispatch(&world.effect()).await;
        came_to(&world, &told, &["unknown"]).map_err(|why| format!("200 with {text:?}: {why}"))?;
    }
    Ok(())
}

/// Status to what it comes to, unless `statuses` in upstream.yaml says otherwise.
const MEANINGS: [(u16, &str, &str); 13] = [
    (302, "failed", "invalid"),
    (400, "failed", ""),
    (401, "failed", "unauthorized"),
    (403, "failed", "unauthorized"),
    (404, "failed", ""),
    (408, "unknown", ""),
    (409, "failed", ""),
    (422, "failed", ""),
    (429, "failed", "rate-limited"),
    (500, "unknown", ""),
    (502, "unknown", ""),
    (503, "unknown", ""),
    (504, "unknown", ""),
];

pub(super) async fn statuses(kit: &Kit) -> Result<(), String> {
    let world = world(kit).await?;
    for (status, outcome, kind) in MEANINGS {
        world.fake.refuse_with(Reply {
            status,
            headers: [
                ("retry-after".to_owned(), "7".to_owned()),
                ("location".to_owned(), "http://127.0.0.1:1/".to_owned()),
            ]
            .into(),
            json: Some(json!({})),
            ..Reply::default()
        });
        let told = world.dispatch(&world.effect()).await;
        let exception = kit.subject.setup.statuses.get(&status);
        let wanted = exception.map_or(outcome, String::as_str);
        came_to(&world, &told, &[wanted]).map_err(|why| format!("{status}: {why}"))?;
        if exception.is_none() && !kind.is_empty() {
            shape::covers(&json!({"kind": kind}), &told.answer, "answer").map_err(|why| format!("{status}: {why}"))?;
        }
        if exception.is_none() && status == 429 {
            let expected = json!({"retryable": true, "retry_after_ms": 7000});
            shape::covers(&expected, &told.answer, "answer")
                .map_err(|why| format!("429 with Retry-After: 7: {why}"))?;
        }
    }
    Ok(())
}
