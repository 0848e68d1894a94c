//! A message of any type of the contract, by chance, from the contract's own descriptors: what is added there is covered.

use std::collections::BTreeMap;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Deepest message within messages.
const DEPTH_MAX: usize = 4;
/// Texts that mean something somewhere.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "d-1",
    "/tape/**",
    "/tape/*/x",
    "kind == 'run.begun'",
    "payload.a > 1",
    "{\"a\":[1,null]}",
    "{\"a\":",
    "MTAwMDAwMCByLTE",
    "9223372036854775807",
    "-1",
    "USD",
    "1e309",
    "ünï\u{0}",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
];
const NUMBERS: [i64; 12] = [
    0,
    1,
    2,
    3,
    -1,
    100,
    1_000_000,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1_000_000,
];
const DOUBLES: [f64; 7] = [0.0, 1.5, -1.0, 1e308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// A call of the contract: its path, and the type of what it asks.
#[derive(Clone, Debug)]
pub struct Method {
    /// `/tape.v1.Tape/BeginRun`.
    pub path: String,
    /// `.tape.v1.BeginRunRequest`.
    pub asks: String,
    /// Whether the answer, or the question, is a stream.
    pub streams: bool,
}

/// The messages of the contract by name, and its calls.
pub struct Contract {
    messages: BTreeMap<String, DescriptorProto>,
    /// All calls of all services.
    pub methods: Vec<Method>,
}

impl Contract {
    /// As this build speaks it.
    #[must_use]
    pub fn read() -> Self {
        let set = FileDescriptorSet::decode(tape_proto::FILE_DESCRIPTOR_SET).expect("the contract has descriptors");
        let mut contract = Self {
            messages: BTreeMap::new(),
            methods: Vec::new(),
        };
        for file in set.file {
            for message in &file.message_type {
                contract.add(&format!(".{}", file.package()), message);
            }
            for service in &file.service {
                contract.methods.extend(service.method.iter().map(|method| Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    asks: method.input_type().to_owned(),
                    streams: method.client_streaming() || method.server_streaming(),
                }));
            }
        }
        contract
    }

    fn add(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, message.clone());
    }

    /// A message of this type, encoded. `known` has likely values of fields, by the field's name.
    #[must_use]
    pub fn message(&self, rng: &mut ChaCha8Rng, name: &str, known: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(rng, name, known, DEPTH_MAX, &mut bytes);
        bytes
    }

    fn write(&self, rng: &mut ChaCha8Rng, name: &str, known: &[(&str, &str)], depth: usize, into: &mut Vec<u8>) {
        for field in &self.messages[name].field {
            let times = match field.label() {
                Label::Repeated => rng.random_range(0..3),
                _ => usize::from(rng.random_ratio(3, 4)),
            };
            for _ in 0..times {
                self.field(rng, field, known, depth, into);
            }
        }
    }

    fn field(
        &self,
        rng: &mut ChaCha8Rng,
        field: &FieldDescriptorProto,
        known: &[(&str, &str)],
        depth: usize,
        into: &mut Vec<u8>,
    ) {
        let number = u32::try_from(field.number()).expect("the numbers of fields are positive");
        let bytes = match field.r#type() {
            Type::String | Type::Bytes => text(rng, field.name(), known).into_bytes(),
            Type::Message if depth == 0 => return,
            Type::Message => {
                let mut bytes = Vec::new();
                self.write(rng, field.type_name(), known, depth - 1, &mut bytes);
                bytes
            }
            Type::Double => {
                encode_key(number, WireType::SixtyFourBit, into);
                return into.extend(DOUBLES[rng.random_range(0..DOUBLES.len())].to_le_bytes());
            }
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Bool | Type::Enum => {
                let value = if rng.random() {
                    rng.random_range(0..8)
                } else {
                    NUMBERS[rng.random_range(0..NUMBERS.len())]
                };
                encode_key(number, WireType::Varint, into);
                return encode_varint(value.cast_unsigned(), into);
            }
            other => panic!("the contract has a field of a type that is not made here: {other:?}"),
        };
        encode_key(number, WireType::LengthDelimited, into);
        encode_varint(bytes.len() as u64, into);
        into.extend(bytes);
    }
}

fn text(rng: &mut ChaCha8Rng, field: &str, known: &[(&str, &str)]) -> String {
    let likely = known.iter().find(|(name, _)| *name == field);
    match likely {
        Some((_, value)) if rng.random_ratio(9, 10) => (*value).to_owned(),
        _ if rng.random_ratio(1, 50) => "x".repeat(5_000),
        _ => TEXTS[rng.random_range(0..TEXTS.len())].to_owned(),
    }
}
