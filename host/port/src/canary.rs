//! Which of two versions a call goes to: always the same for the same effect, in every process, and at every attempt.

/// Whether the effect with this key goes to the canary, if that gets `percent` of the calls. Raising the percentage moves effects
/// to the canary and none away from it.
#[must_use]
pub fn is_canary(key: &str, percent: u8) -> bool {
    bucket(key) < u64::from(percent)
}

/// 0 to 99, evenly: FNV-1a, and then a mix, because its low bits alone say little about short keys that differ in one digit.
fn bucket(key: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash % 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_what_was_asked_for() {
        for percent in [0, 1, 10, 50, 100] {
            let hits = (0..10_000)
                .filter(|n| is_canary(&format!("run-1/d-{n}/wire/0"), percent))
                .count();
            let wanted = usize::from(percent) * 100;
            assert!(hits.abs_diff(wanted) < 150, "{hits} of 10000 at {percent} %");
        }
    }

    #[test]
    fn a_growing_share_takes_no_effect_back() {
        for n in 0..1_000 {
            let key = format!("k-{n}");
            assert!((1..=100).all(|percent| !is_canary(&key, percent - 1) || is_canary(&key, percent)));
        }
    }

    #[test]
    fn the_choice_is_the_same_in_every_version_of_tape() {
        let chosen: Vec<u64> = ["", "a", "r-1/d-0/wire/0"].iter().map(|key| bucket(key)).collect();
        assert_eq!(chosen, [58, 29, 5]);
    }
}
