//! Rows and entries in fewer bytes: Zstandard, with a dictionary of what they have in common.
//!
//! A row is a few hundred bytes and says little that others do not say too: names of fields, states, the shape of JSON. With that in a
//! dictionary even a row of some hundred bytes gets smaller, and a long prompt does anyway. `dictionary/1` belongs to format 2 of
//! the [codec](crate::codec) for ever: what it wrote can be read by it alone. Another one would be another format.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::CParameter;

const DICTIONARY: &[u8] = include_bytes!("../dictionary/1");
/// The fastest of zstd's usual levels: the third makes a short run's rows 2 to 3% smaller.
const LEVEL: i32 = 1;
/// What every frame begins with, and is not stored.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What is shorter is stored as it is: journal entries and the heads of runs, which are written with every step, would cost more time than they
/// save room (tests/bench/README.md has the figures).
const LEAST: usize = 192;
/// Most bytes that are packed, and that are unpacked: a damaged length must not take the memory.
const MOST: usize = 64 << 20;

static ENCODER: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The bytes in fewer bytes, behind `format`; none if they would not be fewer, or there is no memory for it.
pub(crate) fn pack(format: u8, plain: &[u8]) -> Option<Vec<u8>> {
    if !(LEAST..=MOST).contains(&plain.len()) {
        return None;
    }
    let mut frame = COMPRESSOR.with_borrow_mut(|kept| compress(kept, plain)).ok()?;
    let (last, magic) = MAGIC.split_last()?;
    let behind = frame.get_mut(magic.len()).filter(|byte| *byte == last)?;
    *behind = format;
    let packed = frame.split_off(magic.len());
    (packed.len() <= plain.len()).then_some(packed)
}

/// The bytes as they were.
pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let frame = [&MAGIC, packed].concat();
    let length = Decompressor::upper_bound(&frame).filter(|length| *length <= MOST);
    let length = length.ok_or("its length is damaged")?;
    DECOMPRESSOR
        .with_borrow_mut(|kept| decompress(kept, &frame, length))
        .map_err(|error| error.to_string())
}

fn compress(kept: &mut Option<Compressor<'static>>, plain: &[u8]) -> io::Result<Vec<u8>> {
    let compressor = match kept {
        Some(compressor) => compressor,
        None => {
            let mut compressor = Compressor::with_prepared_dictionary(&ENCODER)?;
            compressor.set_parameter(CParameter::DictIdFlag(false))?;
            kept.insert(compressor)
        }
    };
    compressor.compress(plain)
}

fn decompress(kept: &mut Option<Decompressor<'static>>, frame: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let decompressor = match kept {
        Some(decompressor) => decompressor,
        None => kept.insert(Decompressor::with_prepared_dictionary(&DECODER)?),
    };
    decompressor.decompress(frame, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_says_little_takes_little() {
        let plain = br#"{"business_key":"","connector":"","tool":"tool"}"#.repeat(8);
        let packed = pack(2, &plain).unwrap();
        assert!(packed.len() * 2 < plain.len(), "{} of {}", packed.len(), plain.len());
        assert_eq!(unpack(&packed[1..]).unwrap(), plain);
    }

    /// Fails if somebody changes the dictionary: what is stored could not be read any more.
    #[test]
    fn what_the_first_version_packed_is_read_for_ever() {
        let plain = r#"{"business_key":"inv-7","connector":"bank","tool":"wire_money","amount":"1200.00","currency":"EUR","memo":"invoice 2026-001","to":"ACME","attempt":1,"external_ref":"w-15","owner":"driver","from":"RUNNABLE","fence":1}"#;
        let packed = [
            0x20, 0xd8, 0xfd, 0x00, 0x00, 0x20, 0x2c, 0x31, 0x35, 0x7d, 0x08, 0xfc, 0x9f, 0xcc, 0x18, 0xe4, 0x29, 0x83,
            0x21, 0x95, 0x72, 0x41, 0x31, 0x61, 0xc5, 0x4d, 0x11, 0xca, 0x4d, 0x16, 0xe3, 0xcd, 0x42, 0xb6, 0x8f, 0xe8,
        ];
        assert_eq!(unpack(&packed).unwrap(), plain.as_bytes());
    }

    #[test]
    fn a_length_that_cannot_be_takes_no_memory() {
        // A frame that says that it holds 2^40 bytes, as a damaged file may.
        let frame = [&[0xe0][..], &(1_u64 << 40).to_le_bytes(), &[0x01, 0x00, 0x00]].concat();
        assert_eq!(unpack(&frame).unwrap_err(), "its length is damaged");
    }

    proptest! {
        #[test]
        fn whatever_is_packed_is_unpacked(plain in prop::collection::vec(any::<u8>(), 0..2_000), times in 1..5_usize) {
            let plain = plain.repeat(times);
            if let Some(packed) = pack(2, &plain) {
                prop_assert_eq!(unpack(&packed[1..]).unwrap(), plain);
            }
        }

        #[test]
        fn bytes_that_nobody_packed_are_refused_or_something(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(unpack(&bytes));
        }
    }
}
