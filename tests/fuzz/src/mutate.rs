//! Damage, by chance: what happens to bytes on a bad disk, in a foreign client or in a hostile one.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Most bytes that a mutation makes.
const BYTES_MAX: usize = 64 * 1024;
/// Headers that claim far more than follows: MessagePack's array, map, text and bytes of 2^32 - 1; protobuf's longest varint.
const CLAIMS: [&[u8]; 5] = [
    &[0xdd, 0xff, 0xff, 0xff, 0xff],
    &[0xdf, 0xff, 0xff, 0xff, 0xff],
    &[0xdb, 0xff, 0xff, 0xff, 0xff],
    &[0xc6, 0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];
/// Bytes that mean something to one of the formats.
const TELLING: [u8; 12] = [0x00, 0x01, 0x7f, 0x80, 0x90, 0x91, 0x9f, 0xc0, 0xff, b'[', b'{', b'*'];

/// One of the seeds, with one to four things done to it.
#[must_use]
pub fn mutation(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        let other = &seeds[rng.random_range(0..seeds.len())];
        damage(rng, &mut bytes, other);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn damage(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.random_range(0..=bytes.len());
    let until = rng.random_range(at..=bytes.len().min(at + 32));
    match rng.random_range(0..8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = TELLING[rng.random_range(0..TELLING.len())],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..until)),
        4 => insert(bytes, at, CLAIMS[rng.random_range(0..CLAIMS.len())]),
        5 => {
            let twice = bytes[at..until].repeat(rng.random_range(1..64));
            insert(bytes, at, &twice);
        }
        6 => {
            let from = rng.random_range(0..=other.len());
            insert(bytes, at, &other[from..other.len().min(from + 64)]);
        }
        _ => {
            let noise: Vec<u8> = (0..rng.random_range(0..16)).map(|_| rng.random()).collect();
            insert(bytes, at, &noise);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, more: &[u8]) {
    drop(bytes.splice(at..at, more.iter().copied()));
}
