//! What must hold once everybody has finished.

use std::collections::BTreeMap;

use tape_connector_port::is_canary;
use tape_proto::v1 as pb;
use tape_trials::Caller;
use tokio::time::{Instant, sleep};

use crate::load::{effect_of, never_left};
use crate::swapper::Swapper;
use crate::{LOOK_AGAIN, PATIENCE};

/// Checks it, and says in one sentence what was seen.
pub(crate) async fn check(
    swapper: &Swapper<'_>,
    caller: &Caller,
    questions: &[(String, String)],
    killed: bool,
) -> String {
    let begun = swapper.load.begun.lock().unwrap().clone();
    let until = Instant::now() + PATIENCE;
    let mut effects = BTreeMap::new();
    let mut absent = Vec::new();
    for (reference, (run, key)) in &begun {
        let effect = loop {
            let effect = effect_of(caller, run, key).await;
            if effect.status() == pb::EffectStatus::Confirmed || killed && never_left(&effect) {
                break effect;
            }
            assert!(
                effect.status() != pb::EffectStatus::Failed && !effect.stuck && Instant::now() < until,
                "an effect is lost: {effect:#?}"
            );
            sleep(LOOK_AGAIN).await;
        };
        if effect.status() == pb::EffectStatus::Failed {
            absent.push(reference.clone());
        } else {
            effects.insert(reference.clone(), effect);
        }
    }

    // The bank's own books: each wire once, and none that nobody asked for.
    let mut booked: BTreeMap<String, usize> = BTreeMap::new();
    for wire in swapper.bank.wires() {
        *booked
            .entry(wire["reference"].as_str().expect("a reference").to_owned())
            .or_default() += 1;
    }
    let twice: Vec<_> = booked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "wired twice: {twice:?}");
    let unbooked: Vec<_> = effects
        .keys()
        .filter(|reference| !booked.contains_key(*reference))
        .collect();
    assert!(
        unbooked.is_empty(),
        "confirmed and not in the bank's books: {unbooked:?}"
    );
    let denied: Vec<_> = absent
        .iter()
        .filter(|reference| booked.contains_key(*reference))
        .collect();
    assert!(
        denied.is_empty(),
        "said to be absent, and in the bank's books: {denied:?}"
    );
    let asked = swapper.load.asked.lock().unwrap().clone();
    assert!(
        booked.keys().all(|reference| asked.contains(reference)),
        "wires that nobody asked for"
    );

    // Every attempt that sent something says which component did, and it is the one of that name.
    let mut by_key = BTreeMap::new();
    let (mut checked, mut canaries) = (0, 0);
    for effect in effects.values() {
        for attempt in &effect.attempts {
            if attempt.sent_at_ms == 0 {
                continue;
            }
            let known = swapper.digests.get(&attempt.connector_version);
            assert_eq!(known, Some(&attempt.connector_digest), "{effect:#?}");
            // Where nothing was changed around the attempt, it went where it was told to go.
            let window = swapper
                .windows
                .iter()
                .find(|window| attempt.claimed_at_ms >= window.from && attempt.sent_at_ms < window.until);
            if let Some(window) = window {
                let expected = match &window.canary {
                    Some((canary, share)) if is_canary(&effect.idempotency_key, *share) => {
                        canaries += 1;
                        canary
                    }
                    _ => &window.stable,
                };
                assert_eq!(&attempt.connector_version, expected, "{effect:#?}");
                checked += 1;
            }
            by_key.insert(effect.idempotency_key.clone(), attempt.connector_version.clone());
        }
    }

    // The version that dispatched an effect answers for it, as long as it is there.
    let mut own = 0;
    for (key, version) in questions {
        let Some(dispatched_by) = by_key.get(key) else { continue };
        if !swapper.removed.contains(dispatched_by) {
            assert_eq!(version, dispatched_by, "another version was asked about {key}");
            own += 1;
        }
    }
    let traps = swapper.traps;
    assert!(
        checked > 0 && canaries > 0,
        "no attempt could be checked: {checked}, {canaries}"
    );
    format!(
        "{} wires confirmed, each booked once; {} absent after a kill, none of them booked; {checked} attempts in settled windows went where they should ({canaries} to a canary); \
         {own} questions in doubt answered by the version that dispatched; {traps} trapping versions",
        effects.len(),
        absent.len()
    )
}
