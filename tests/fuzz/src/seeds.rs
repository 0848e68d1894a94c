//! What is valid, to begin with.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tape_core::{EffectKey, RowKey};
use tape_store::codec;

use crate::valid::any;

/// Rows: every kind in every state, several times over.
#[must_use]
pub fn rows() -> Vec<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..400)
        .map(|_| codec::encode_row(&any(&mut rng)).expect("a row can be written"))
        .collect()
}

/// Journal entries.
#[must_use]
pub fn entries() -> Vec<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    (0..100)
        .map(|_| codec::encode_entry(&any(&mut rng)).expect("an entry can be written"))
        .collect()
}

/// Keys of rows, the number of the kind first.
#[must_use]
pub fn keys() -> Vec<Vec<u8>> {
    let keys = [
        RowKey::Head,
        RowKey::Decision(7),
        RowKey::Effect(EffectKey("r-1/d-0/t/0".into())),
        RowKey::Obligation(9),
        RowKey::Gate("approval".into(), 3),
        RowKey::Timer("t".into()),
        RowKey::Budget,
        RowKey::Lease(1),
        RowKey::Confirmed(2),
        RowKey::Request("q".into()),
        RowKey::Revoked("b".into()),
        RowKey::SessionEvent(300),
        RowKey::SessionEventId("e".into()),
        RowKey::State("k".into()),
        RowKey::ValueVersion(1_001),
        RowKey::Task(7, 1_000_000),
        RowKey::TaskWindow("W".into()),
    ];
    let bytes = |key| {
        let (kind, bytes) = codec::encode_key(key);
        [&[kind], &bytes[..]].concat()
    };
    keys.iter().map(bytes).collect()
}

/// Subject patterns, some with a subject.
#[must_use]
pub fn subjects() -> Vec<Vec<u8>> {
    texts(&[
        "/tape/effect/*/**",
        "/**/a/**/b/*/c\n/a/x/a/b/b/c",
        "/tape/run/ended/r-1\n/tape/run/ended/r-1",
        "/**\n/",
        "/ü/*\n/ü/ï",
    ])
}

/// Predicates, some with a payload.
#[must_use]
pub fn predicates() -> Vec<Vec<u8>> {
    texts(&[
        "kind == 'effect.failed' && payload.tool == 'wire_money'\n{\"tool\":\"wire_money\"}",
        "payload.list.exists(x, x.amount > 10.5) || size(subject) % 3 == 0\n{\"list\":[{\"amount\":1e308}]}",
        "seq + 1 > ts_ms - 9223372036854775807",
        "payload.all(k, k in ['a', \"b\"]) ? true : int(run_id) / decision_index == 0u",
        "{'a': [1, 2.0, b'x', null]}.a[0] == -1 && !(app.startsWith('t') || tenant.contains(''))",
        "((((((((((true))))))))))\n[[[[[[[[null]]]]]]]]",
    ])
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
