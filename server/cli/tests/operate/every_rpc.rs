//! Every RPC of the contract, asked in the name of one tenant for what belongs to another.
//!
//! Requests are made from the contract's own descriptors: each field that can name something of the other tenant does, once
//! with that tenant's id and once without. So an RPC that is added later is tried too.

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The contract.
pub struct Contract {
    files: FileDescriptorSet,
}

/// One RPC.
pub struct Rpc {
    pub path: String,
    input: String,
    streams_in: bool,
}

/// What names things in requests: field and value.
pub type Names<'a> = &'a [(&'a str, &'a str)];

impl Contract {
    pub fn read() -> Self {
        let files = FileDescriptorSet::decode(tape_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
        Self { files }
    }

    /// All RPCs of all services.
    pub fn rpcs(&self) -> Vec<Rpc> {
        let mut rpcs = Vec::new();
        for file in &self.files.file {
            for service in &file.service {
                for method in &service.method {
                    rpcs.push(Rpc {
                        path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                        input: method.input_type().to_owned(),
                        streams_in: method.client_streaming(),
                    });
                }
            }
        }
        rpcs
    }

    fn message(&self, name: &str) -> &DescriptorProto {
        let found = self.files.file.iter().find_map(|file| {
            let within = name.strip_prefix(&format!(".{}.", file.package()))?;
            let mut parts = within.split('.');
            let first = parts.next()?;
            let top = file.message_type.iter().find(|message| message.name() == first)?;
            parts.try_fold(top, |outer, part| {
                outer.nested_type.iter().find(|inner| inner.name() == part)
            })
        });
        found.expect("a message of the contract")
    }

    /// Whether its request can name a tenant.
    pub fn names_tenant(&self, rpc: &Rpc) -> bool {
        self.message(&rpc.input)
            .field
            .iter()
            .any(|field| field.name() == "tenant_id")
    }

    /// What is sent: text fields have these names, numbers are 1. On a stream each alternative is a message of its own.
    pub fn requests(&self, rpc: &Rpc, names: Names<'_>) -> Vec<Bytes> {
        let fields = &self.message(&rpc.input).field;
        let of_oneof = |index: i32| fields.iter().filter(|field| field.oneof_index == Some(index)).count();
        let alternatives = (0..).map(of_oneof).take_while(|count| *count > 0).max();
        let messages = if rpc.streams_in { alternatives.unwrap_or(1) } else { 1 };
        (0..messages)
            .map(|alternative| self.filled(&rpc.input, names, 0, alternative))
            .collect()
    }

    fn filled(&self, message: &str, names: Names<'_>, depth: u32, alternative: usize) -> Bytes {
        let mut bytes = Vec::new();
        let mut seen: Vec<i32> = Vec::new();
        for field in &self.message(message).field {
            if let Some(oneof) = field.oneof_index {
                let before = seen.iter().filter(|other| **other == oneof).count();
                seen.push(oneof);
                if before != alternative {
                    continue;
                }
            }
            self.fill(&mut bytes, field, names, depth);
        }
        bytes.into()
    }

    fn fill(&self, bytes: &mut Vec<u8>, field: &FieldDescriptorProto, names: Names<'_>, depth: u32) {
        let number = u32::try_from(field.number()).expect("a number");
        let mut whole = |content: &[u8]| {
            encode_key(number, WireType::LengthDelimited, bytes);
            encode_varint(content.len() as u64, bytes);
            bytes.extend_from_slice(content);
        };
        match field.r#type() {
            Type::String => {
                let named = names.iter().find(|(name, _)| *name == field.name());
                let unnamed = if field.name().ends_with("_json") { "{}" } else { "" };
                let text = named.map_or(unnamed, |(_, value)| value);
                if !text.is_empty() {
                    whole(text.as_bytes());
                }
            }
            Type::Message if depth < 2 && field.label() != prost_types::field_descriptor_proto::Label::Repeated => {
                let inner = self.filled(field.type_name(), names, depth + 1, 0);
                whole(&inner);
            }
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Bool | Type::Enum => {
                // What narrows a listing or is a lease's own is left out.
                let value = match field.name() {
                    "status" => 4,
                    "fence" | "shard" | "lease_ttl_ms" | "older_than_ms" | "from_ts_ms" | "decision_index"
                    | "call_index" | "status_filter" | "if_version" | "max_events" | "only_unresolved"
                    | "await_index" => return,
                    name if name.ends_with("_at_ms") || name == "before_ms" || name == "now_ms" => i64::MAX / 4,
                    _ if matches!(field.r#type(), Type::Enum) => 2,
                    "limit" | "page_size" | "max" => 100,
                    _ => 1,
                };
                encode_key(number, WireType::Varint, bytes);
                encode_varint(value.cast_unsigned(), bytes);
            }
            _ => {}
        }
    }
}

/// Calls `rpc` with these messages. What came: messages as bytes, until the stream ends, fails or is quiet; and how it ended.
pub async fn call(channel: &Channel, rpc: &Rpc, token: &str, requests: Vec<Bytes>) -> (Vec<Bytes>, Option<Status>) {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("the channel is open");
    let path = rpc.path.parse().expect("a path");
    let authorization = format!("Bearer {token}").parse().expect("a header");
    let answer = if rpc.streams_in {
        let messages = stream::iter(requests).chain(stream::pending());
        let mut asked = Request::new(messages);
        asked.metadata_mut().insert("authorization", authorization);
        grpc.streaming(asked, path, Raw).await
    } else {
        let mut asked = Request::new(requests.into_iter().next().unwrap_or_default());
        asked.metadata_mut().insert("authorization", authorization);
        grpc.server_streaming(asked, path, Raw).await
    };
    let mut answer = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (Vec::new(), Some(status)),
    };
    let mut messages = Vec::new();
    loop {
        // A feed has no end: what is not there by now is not in the store.
        match tokio::time::timeout(std::time::Duration::from_millis(400), answer.message()).await {
            Ok(Ok(Some(message))) => messages.push(message),
            Ok(Ok(None)) | Err(_) => return (messages, None),
            Ok(Err(status)) => return (messages, Some(status)),
        }
    }
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
