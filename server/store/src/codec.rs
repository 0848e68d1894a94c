//! Bytes <-> domain: how rows, their keys and journal entries are stored.
//!
//! A row is MessagePack with structs as arrays, behind one byte for the format: 1 plain, 2 [packed](crate::packed) where that is
//! shorter. The rule of change: fields are only added at the end of a struct, with `#[serde(default)]`; anything else needs a
//! new format and a decoder for the old ones.
//! Keys are ordered bytes: numbers big-endian, so that a range comes in the order of its numbers.

use serde::de::DeserializeOwned;
use tape_core::row::RowKind;
use tape_core::{EffectKey, Entry, Row, RowKey};

use crate::error::StoreError;
use crate::packed::{pack, unpack};

/// First byte of what is stored as it is.
const PLAIN: u8 = 1;
/// First byte of what is stored in fewer bytes.
const PACKED: u8 = 2;

/// A row as bytes.
///
/// # Errors
/// [`StoreError::Corrupt`] if it cannot be encoded, which would be a defect of ours.
pub fn encode_row(row: &Row) -> Result<Vec<u8>, StoreError> {
    encode(row)
}

/// A row from bytes.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not a row that this version knows.
pub fn decode_row(bytes: &[u8]) -> Result<Row, StoreError> {
    decode(bytes)
}

/// A journal entry as bytes.
///
/// # Errors
/// [`StoreError::Corrupt`] if it cannot be encoded, which would be a defect of ours.
pub fn encode_entry(entry: &Entry) -> Result<Vec<u8>, StoreError> {
    encode(entry)
}

/// A journal entry from bytes.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not an entry that this version knows.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, StoreError> {
    decode(bytes)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![PLAIN];
    rmp_serde::encode::write(&mut bytes, value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(match bytes.split_first().and_then(|(_, plain)| pack(PACKED, plain)) {
        Some(packed) => packed,
        None => bytes,
    })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&PLAIN, plain)) => read(plain),
        Some((&PACKED, packed)) => {
            read(&unpack(packed).map_err(|problem| StoreError::Corrupt(format!("cannot be unpacked: {problem}")))?)
        }
        Some((format, _)) => Err(StoreError::Corrupt(format!(
            "format {format} is newer than this server"
        ))),
        None => Err(StoreError::Corrupt("empty".to_owned())),
    }
}

fn read<T: DeserializeOwned>(plain: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(plain).map_err(|error| StoreError::Corrupt(format!("not decodable: {error}")))
}

/// A key as its kind's number and ordered bytes.
#[must_use]
pub fn encode_key(key: &RowKey) -> (u8, Vec<u8>) {
    let bytes = match key {
        RowKey::Head | RowKey::Budget => Vec::new(),
        // Indexes and seqs are never negative: their order as bytes is their order as numbers.
        RowKey::Decision(index) | RowKey::Obligation(index) => index.to_be_bytes().to_vec(),
        RowKey::Effect(key) => key.0.as_bytes().to_vec(),
        RowKey::Gate(name, index) => [name.as_bytes(), &[0], &index.to_be_bytes()].concat(),
        RowKey::Timer(id)
        | RowKey::Request(id)
        | RowKey::Revoked(id)
        | RowKey::SessionEventId(id)
        | RowKey::State(id)
        | RowKey::TaskWindow(id)
        | RowKey::ConnectorVersion(id) => id.as_bytes().to_vec(),
        RowKey::Lease(number) | RowKey::Confirmed(number) | RowKey::Chunk(number) => number.to_be_bytes().to_vec(),
        RowKey::SessionEvent(number) | RowKey::ValueVersion(number) => number.to_be_bytes().to_vec(),
        RowKey::Task(shard, position) => [&shard_prefix(*shard)[..], &position.to_be_bytes()].concat(),
    };
    (key.kind() as u8, bytes)
}

/// The first bytes of the keys of a shard's tasks: a store keeps a shard's queue by them.
#[must_use]
pub const fn shard_prefix(shard: u32) -> [u8; SHARD_BYTES] {
    shard.to_be_bytes()
}

/// Length of [`shard_prefix`].
pub const SHARD_BYTES: usize = 4;

/// A key from its kind's number and bytes.
///
/// # Errors
/// [`StoreError::Corrupt`] if they are no key that this version knows.
pub fn decode_key(kind: u8, bytes: &[u8]) -> Result<RowKey, StoreError> {
    let bad = || StoreError::Corrupt(format!("no row key: kind {kind}, {} bytes", bytes.len()));
    let text = || String::from_utf8(bytes.to_vec()).map_err(|_| bad());
    let eight = || <[u8; 8]>::try_from(bytes).map_err(|_| bad());
    let four = || <[u8; 4]>::try_from(bytes).map_err(|_| bad());
    Ok(match kind {
        k if k == RowKind::Head as u8 && bytes.is_empty() => RowKey::Head,
        k if k == RowKind::Decision as u8 => RowKey::Decision(i64::from_be_bytes(eight()?)),
        k if k == RowKind::Effect as u8 => RowKey::Effect(EffectKey(text()?)),
        k if k == RowKind::Obligation as u8 => RowKey::Obligation(i64::from_be_bytes(eight()?)),
        k if k == RowKind::Gate as u8 => {
            let (name, index) = bytes.split_last_chunk().ok_or_else(bad)?;
            let name = name.strip_suffix(&[0]).ok_or_else(bad)?;
            let name = String::from_utf8(name.to_vec()).map_err(|_| bad())?;
            RowKey::Gate(name, u32::from_be_bytes(*index))
        }
        k if k == RowKind::Timer as u8 => RowKey::Timer(text()?),
        k if k == RowKind::Budget as u8 && bytes.is_empty() => RowKey::Budget,
        k if k == RowKind::Lease as u8 => RowKey::Lease(u32::from_be_bytes(four()?)),
        k if k == RowKind::Confirmed as u8 => RowKey::Confirmed(u32::from_be_bytes(four()?)),
        k if k == RowKind::Request as u8 => RowKey::Request(text()?),
        k if k == RowKind::Revoked as u8 => RowKey::Revoked(text()?),
        k if k == RowKind::SessionEvent as u8 => RowKey::SessionEvent(u64::from_be_bytes(eight()?)),
        k if k == RowKind::SessionEventId as u8 => RowKey::SessionEventId(text()?),
        k if k == RowKind::State as u8 => RowKey::State(text()?),
        k if k == RowKind::ValueVersion as u8 => RowKey::ValueVersion(u64::from_be_bytes(eight()?)),
        k if k == RowKind::Task as u8 => {
            let (shard, position) = bytes.split_at_checked(SHARD_BYTES).ok_or_else(bad)?;
            let shard = shard.try_into().map_err(|_| bad())?;
            let position = position.try_into().map_err(|_| bad())?;
            RowKey::Task(u32::from_be_bytes(shard), i64::from_be_bytes(position))
        }
        k if k == RowKind::TaskWindow as u8 => RowKey::TaskWindow(text()?),
        k if k == RowKind::ConnectorVersion as u8 => RowKey::ConnectorVersion(text()?),
        k if k == RowKind::Chunk as u8 => RowKey::Chunk(u32::from_be_bytes(four()?)),
        _ => return Err(bad()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tape_core::time::Time;

    #[test]
    fn every_key_survives_the_store() {
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
            RowKey::ConnectorVersion("1.4.0+0a1b2c3d".into()),
            RowKey::Chunk(127),
        ];
        for key in keys {
            let (kind, bytes) = encode_key(&key);
            assert_eq!(decode_key(kind, &bytes).unwrap(), key);
        }
    }

    #[test]
    fn bytes_that_are_not_quite_a_key_are_refused() {
        let gate = encode_key(&RowKey::Gate("approval".into(), 3)).1;
        let separator = gate.len() - 5;
        let other = [&gate[..separator], &[1], &gate[separator + 1..]].concat();
        for (kind, bytes) in [
            (RowKind::Head, &[0][..]),
            (RowKind::Budget, b"x"),
            (RowKind::Gate, &other),
            (RowKind::Gate, &gate[separator + 1..]),
        ] {
            assert!(decode_key(kind as u8, bytes).is_err(), "{kind:?} {bytes:?}");
        }
    }

    #[test]
    fn numbers_keep_their_order_as_bytes() {
        let bytes = |n| encode_key(&RowKey::SessionEvent(n)).1;
        assert!(bytes(2) < bytes(10) && bytes(10) < bytes(300));
    }

    #[test]
    fn a_newer_format_is_named_and_not_guessed() {
        let row = Row::State(tape_core::session::StateValue {
            key: "k".into(),
            value_json: "1".into(),
        });
        let mut bytes = encode_row(&row).unwrap();
        assert_eq!(decode_row(&bytes).unwrap(), row);
        bytes[0] = 9;
        assert!(
            decode_row(&bytes)
                .unwrap_err()
                .to_string()
                .contains("format 9 is newer")
        );
        assert!(decode_row(&[]).is_err());
    }

    #[test]
    fn rows_of_before_a_field_was_added_are_read() {
        let mut bytes = encode_row(&Row::Decision(Box::new(tape_core::decision::Decision {
            index: 0,
            seq: 1,
            model: "m".into(),
            request_json: "1".into(),
            response_json: "2".into(),
            rationale: String::new(),
            policy_version: String::new(),
            at: Time(5),
            dropped_request: None,
        })))
        .unwrap();
        let whole = decode_row(&bytes).unwrap();
        assert_eq!(bytes[0], PLAIN, "too short to be packed");
        // The same row without its newest field: one element less, and no nil at the end.
        let header = 3 + "Decision".len();
        assert_eq!((bytes[header], bytes.pop()), (0x99, Some(0xc0)));
        bytes[header] = 0x98;
        assert_eq!(decode_row(&bytes).unwrap(), whole);
    }

    #[test]
    fn what_an_older_version_wrote_plain_is_read_and_what_is_long_is_packed() {
        let row = Row::State(tape_core::session::StateValue {
            key: "summary".into(),
            value_json: format!("\"{}\"", "the customer asked for it again, and ".repeat(20)),
        });
        let packed = encode_row(&row).unwrap();
        let mut plain = vec![PLAIN];
        rmp_serde::encode::write(&mut plain, &row).unwrap();
        assert_eq!((packed[0], decode_row(&packed).unwrap()), (PACKED, row.clone()));
        assert_eq!(decode_row(&plain).unwrap(), row);
        assert!(packed.len() * 4 < plain.len(), "{} of {}", packed.len(), plain.len());
        let cut = decode_row(&packed[..packed.len() - 1]).unwrap_err().to_string();
        assert!(cut.contains("cannot be unpacked"), "{cut}");
    }

    #[test]
    fn an_entry_survives_the_store() {
        let entry = Entry {
            seq: 1,
            at: Time(5),
            kind: tape_core::journal::Kind::RunBegun,
            decision_index: Some(0),
            about: String::new(),
            payload_json: "{}".into(),
            trace: None,
        };
        assert_eq!(decode_entry(&encode_entry(&entry).unwrap()).unwrap(), entry);
    }
}
