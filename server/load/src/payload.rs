//! What a driver writes into the journal: JSON that is never the same twice.

use std::fmt::Write as _;

/// Length of a payload in bytes, as the sizes of the targets are given.
pub const PAYLOAD_BYTES: usize = 200;

const NAMES: [&str; 16] = [
    "amount", "account", "city", "currency", "customer", "due", "invoice", "item", "method", "note", "order", "owner",
    "price", "quantity", "region", "summary",
];
const WORDS: [&str; 64] = [
    "about",
    "after",
    "again",
    "all",
    "already",
    "and",
    "answer",
    "ask",
    "bank",
    "before",
    "book",
    "by",
    "carrier",
    "check",
    "client",
    "contract",
    "copy",
    "could",
    "day",
    "delivery",
    "every",
    "first",
    "for",
    "from",
    "goods",
    "has",
    "instead",
    "it",
    "last",
    "later",
    "letter",
    "made",
    "march",
    "monday",
    "new",
    "no",
    "not",
    "of",
    "office",
    "on",
    "open",
    "other",
    "paid",
    "part",
    "please",
    "port",
    "refund",
    "reply",
    "sent",
    "ship",
    "since",
    "store",
    "the",
    "their",
    "then",
    "ticket",
    "to",
    "two",
    "until",
    "was",
    "we",
    "week",
    "with",
    "yesterday",
];

/// JSON of [`PAYLOAD_BYTES`] bytes as tools take and give it: numbers, ids and words under names. The same seed gives the same.
#[must_use]
pub fn payload(seed: u64) -> String {
    let mut random = Random(seed);
    let mut json = String::from("{");
    while json.len() < PAYLOAD_BYTES - 70 {
        let name = random.one_of(&NAMES);
        let at = random.below(10_000);
        let written = match random.below(3) {
            0 => write!(json, "\"{name}_{at}\":{},", random.below(10_000_000)),
            1 => write!(json, "\"{name}\":\"{:x}\",", random.next() >> 16),
            _ => {
                let words = [(); 4].map(|()| random.one_of(&WORDS));
                write!(json, "\"{name}\":\"{}\",", words.join(" "))
            }
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    json.push_str("\"text\":\"");
    while json.len() < PAYLOAD_BYTES - 2 {
        json.push_str(random.one_of(&WORDS));
        json.push(' ');
    }
    json.truncate(PAYLOAD_BYTES - 2);
    json.push_str("\"}");
    json
}

/// `SplitMix64`: enough for text that nobody has to guess.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(words.len() as u64)).unwrap_or_default();
        words.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_of_its_size_and_never_the_same() {
        let made: Vec<_> = (0..1_000).map(payload).collect();
        for json in &made {
            assert_eq!(json.len(), PAYLOAD_BYTES);
            assert!(
                serde_json::from_str::<serde_json::Value>(json).is_ok_and(|value| value.is_object()),
                "{json}"
            );
        }
        let different: std::collections::BTreeSet<_> = made.iter().collect();
        assert_eq!(different.len(), made.len());
        assert_eq!(payload(7), payload(7));
    }
}
