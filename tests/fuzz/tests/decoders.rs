//! Damaged bytes into each decoder: none panics, none takes much more memory than what it was given.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tape_fuzz::{mutate, seeds, targets};

/// What a decoder may hold at once: for each byte of the input, and whatever the input. The constant covers what serde reserves
/// ahead for a list whose header claims more than follows.
const PER_BYTE: u64 = 64;
const ALWAYS: u64 = 2 * 1024 * 1024;

/// Feeds the seeds themselves, and then so many mutations of them.
fn feed(target: fn(&[u8]), seeds: &[Vec<u8>], times: usize, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mutations = (0..times).map(|_| mutate::mutation(&mut rng, seeds));
    for bytes in seeds.iter().cloned().chain(mutations.collect::<Vec<_>>()) {
        let used = allocation_counter::measure(|| {
            let fine = std::panic::catch_unwind(|| target(&bytes));
            assert!(fine.is_ok(), "on {}", shown(&bytes));
        });
        let limit = ALWAYS + PER_BYTE * bytes.len() as u64;
        assert!(used.bytes_max <= limit, "{} bytes on {}", used.bytes_max, shown(&bytes));
    }
}

fn shown(bytes: &[u8]) -> String {
    format!("{} bytes: b\"{}\"", bytes.len(), bytes.escape_ascii())
}

#[test]
fn a_damaged_row_is_refused() {
    feed(targets::row, &seeds::rows(), 30_000, 11);
}

#[test]
fn a_damaged_entry_is_refused() {
    feed(targets::entry, &seeds::entries(), 20_000, 12);
}

#[test]
fn a_damaged_key_is_refused_and_no_key_has_two_forms() {
    feed(targets::key, &seeds::keys(), 50_000, 13);
}

#[test]
fn a_damaged_subject_pattern_is_refused() {
    feed(targets::subject, &seeds::subjects(), 20_000, 14);
}

#[test]
fn a_damaged_predicate_is_refused_or_has_an_answer() {
    feed(targets::predicate, &seeds::predicates(), 1_500, 15);
}

/// A list of a row, and the row itself, claiming four billion elements.
#[test]
fn a_header_that_claims_four_billion_elements_reserves_nothing_for_them() {
    let list = [&[1, 0x81, 0xa7], &b"Session"[..], &[0xdd, 0xff, 0xff, 0xff, 0xff]].concat();
    let text = [&[1, 0x81, 0xa9], &b"Confirmed"[..], &[0xdb, 0xff, 0xff, 0xff, 0xff]].concat();
    feed(targets::row, &[list, text, vec![1, 0xdd, 0xff, 0xff, 0xff, 0xff]], 0, 0);
}

/// As deep as a message can be: the stack does not end first.
#[test]
fn what_is_nested_deeply_is_refused() {
    for open in [0x91_u8, 0x81] {
        let mut bytes = vec![open; 1_000_000];
        bytes[0] = 1;
        targets::row(&bytes);
        targets::entry(&bytes);
    }
    for open in ["(", "[", "!", "-", "{1:", "a?"] {
        targets::predicate(open.repeat(1_024 / open.len()).as_bytes());
    }
    let payload = format!("payload == 1\n{}", "[".repeat(60_000));
    targets::predicate(payload.as_bytes());
}
