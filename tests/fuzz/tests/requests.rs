//! Any bytes as any request: a gRPC status, never a panic, not even in what goes on behind the answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_fuzz::message::Contract;
use tape_fuzz::mutate::mutation;
use tape_fuzz::rpc::Rig;
use tonic::Code;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Names that are used over and over, so that requests meet what earlier ones made.
const NAMES: [(&str, &str); 22] = [
    ("app_name", "treasury"),
    ("user_id", "u"),
    ("session_id", "s"),
    ("invocation_id", "i"),
    ("tenant_id", ""),
    ("lease_owner", "driver"),
    ("request_id", ""),
    ("tool_name", "wire_money"),
    ("idempotency_key", "key"),
    ("gate_name", "approval"),
    ("timer_id", "t"),
    ("reaction_id", "reaction"),
    ("name", "reaction"),
    ("namespace", "n"),
    ("key", "k"),
    ("request_json", "{\"a\":1}"),
    ("response_json", "{\"a\":1}"),
    ("payload_json", "{\"a\":1}"),
    ("value_json", "1"),
    ("subject_pattern", "/tape/**"),
    ("predicate_cel", ""),
    ("claimed_by", "driver"),
];

#[tokio::test(start_paused = true)]
async fn any_bytes_as_a_request_give_a_status() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The CEL library's own are contained, and refused as what cannot be read.
        if !info.location().is_some_and(|at| at.file().contains("/registry/src/")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    let contract = Contract::read();
    let rig = Rig::new();
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let mut answered = std::collections::HashMap::new();
    let run = tape_core::RunId::derive(&tape_core::RunIdentity {
        tenant: String::new(),
        app: "treasury".into(),
        user: "u".into(),
        session: "s".into(),
        invocation: "i".into(),
    });
    let mut known = NAMES.to_vec();
    known.push(("run_id", run.as_str()));
    for round in 0..6_000 {
        let method = &contract.methods[rng.random_range(0..contract.methods.len())];
        let valid = contract.message(&mut rng, &method.asks, &known);
        let message = match round % 3 {
            0 => mutation(&mut rng, &[valid]),
            _ => valid,
        };
        let code = rig.ask(&method.path, &message, method.streams).await;
        let panics = PANICS.load(Ordering::SeqCst);
        assert_eq!(panics, 0, "{} on b\"{}\"", method.path, message.escape_ascii());
        assert_ne!(
            code,
            Some(Code::Unknown),
            "{} on b\"{}\"",
            method.path,
            message.escape_ascii()
        );
        // A message that is one may be refused, but is no fault of the server; what is not even a message, tonic calls INTERNAL.
        let damaged = round % 3 == 0;
        assert!(
            damaged || code != Some(Code::Internal),
            "{} on b\"{}\"",
            method.path,
            message.escape_ascii()
        );
        *answered.entry(code).or_insert(0) += 1;
    }
    println!("{answered:?}");
    assert!(
        answered.get(&Some(Code::Ok)).is_some_and(|ok| *ok > 500),
        "{answered:?}"
    );
    assert!(
        answered.get(&Some(Code::InvalidArgument)).is_some_and(|bad| *bad > 500),
        "{answered:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn any_bytes_as_a_body_give_a_status() {
    let contract = Contract::read();
    let rig = Rig::new();
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let frame = vec![0, 0, 0, 0, 3, 0x0a, 1, b'a'];
    for _ in 0..1_000 {
        let method = &contract.methods[rng.random_range(0..contract.methods.len())];
        let body = mutation(&mut rng, std::slice::from_ref(&frame));
        rig.send(&method.path, body, method.streams).await;
    }
}
