//! The contract's names, numbers and types, held against tables that are written down by hand: whoever renumbers, renames
//! or retypes something breaks clients that are already out there, and this test first.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const CONTRACT: &str = include_str!("numbers/contract.txt");
const ADDITIONS: &str = include_str!("numbers/additions.txt");
const ENUMS: &str = include_str!("numbers/enums.txt");
const RPCS: &str = include_str!("numbers/rpcs.txt");

/// The first number that is ours.
const ADDITIONS_FROM: i32 = 100;

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(tape_proto::FILE_DESCRIPTOR_SET).expect("the descriptor set is one");
    set.file
        .into_iter()
        .filter(|file| file.package() == "tape.v1")
        .collect()
}

/// The rows of a table: what stands before the first bar, and the rest.
fn rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" | ").expect("a row has two columns"))
}

/// "number:type name" of each field, as in the tables.
fn fields(table: &str) -> BTreeMap<String, BTreeSet<String>> {
    rows(table)
        .map(|(message, fields)| (message.to_owned(), split(fields)))
        .collect()
}

fn split(list: &str) -> BTreeSet<String> {
    list.split(", ").map(str::to_owned).collect()
}

/// A field as the tables write it.
fn written(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let name = |full: &str| full.trim_start_matches(".tape.v1.").to_owned();
    let entry = message.nested_type.iter().find(|nested| {
        field
            .type_name()
            .ends_with(&format!(".{}.{}", message.name(), nested.name()))
    });
    let kind = match (entry, field.r#type()) {
        (Some(entry), _) => {
            let side = |index: usize| written(entry, &entry.field[index]);
            let kind = |field: String| field.split([':', ' ']).nth(1).expect("a type").to_owned();
            format!("map<{},{}>", kind(side(0)), kind(side(1)))
        }
        (None, Type::Message | Type::Enum) => name(field.type_name()),
        (None, scalar) => format!("{scalar:?}").to_lowercase(),
    };
    let repeated = if entry.is_none() && field.label() == Label::Repeated {
        "rep "
    } else {
        ""
    };
    format!("{}:{repeated}{kind} {}", field.number(), field.name())
}

/// Every message of the package with its fields below, or from, the first number that is ours.
fn messages(ours: bool) -> BTreeMap<String, BTreeSet<String>> {
    let fields_of = |message: &DescriptorProto| {
        let wanted = message
            .field
            .iter()
            .filter(|field| (field.number() >= ADDITIONS_FROM) == ours);
        (
            message.name().to_owned(),
            wanted.map(|field| written(message, field)).collect(),
        )
    };
    files()
        .iter()
        .flat_map(|file| &file.message_type)
        .map(fields_of)
        .collect()
}

#[test]
fn every_message_of_the_contract_has_its_numbers_names_and_types() {
    let actual = messages(false);
    let expected = fields(CONTRACT);
    assert_eq!(expected.len(), 96, "rows of the contract");
    for (message, fields) in expected {
        assert_eq!(actual.get(&message), Some(&fields), "{message}");
    }
}

#[test]
fn every_addition_stands_at_its_number_and_none_is_unlisted() {
    let mut actual = messages(true);
    actual.retain(|_, fields| !fields.is_empty());
    assert_eq!(actual, fields(ADDITIONS));
}

#[test]
fn every_enum_has_its_values() {
    let files = files();
    let enums: BTreeMap<_, _> = files
        .iter()
        .flat_map(|file| &file.enum_type)
        .map(|an_enum| (an_enum.name(), an_enum))
        .collect();
    for (name, values) in rows(ENUMS) {
        let prefix = screaming(name);
        let actual: BTreeSet<_> = enums
            .get(name)
            .unwrap_or_else(|| panic!("no enum {name}"))
            .value
            .iter()
            .map(|value| {
                let short = value
                    .name()
                    .strip_prefix(&prefix)
                    .expect("a value begins with its enum's name");
                format!("{} {short}", value.number())
            })
            .collect();
        assert_eq!(actual, split(values), "{name}");
    }
}

/// `RunStatus` as `RUN_STATUS_`.
fn screaming(name: &str) -> String {
    let mut screaming = String::new();
    for (index, letter) in name.char_indices() {
        if index > 0 && letter.is_uppercase() {
            screaming.push('_');
        }
        screaming.push(letter.to_ascii_uppercase());
    }
    screaming + "_"
}

#[test]
fn every_service_has_its_rpcs_and_no_others() {
    let streamed = |stream: bool, name: &str| {
        let name = name.trim_start_matches(".tape.v1.");
        if stream {
            format!("stream {name}")
        } else {
            name.to_owned()
        }
    };
    let mut actual = BTreeSet::new();
    for file in files() {
        for service in &file.service {
            for method in &service.method {
                actual.insert(format!(
                    "{} {} | {} | {}",
                    service.name(),
                    method.name(),
                    streamed(method.client_streaming(), method.input_type()),
                    streamed(method.server_streaming(), method.output_type()),
                ));
            }
        }
    }
    let expected: BTreeSet<_> = rows(RPCS).map(|(rpc, types)| format!("{rpc} | {types}")).collect();
    assert_eq!(actual, expected);
}

#[test]
fn the_driver_service_is_found_under_its_known_path() {
    let names: Vec<_> = files().iter().map(|file| file.name().to_owned()).collect();
    assert!(names.contains(&"tape/v1/tape.proto".to_owned()), "{names:?}");
    assert_eq!(tape_proto::v1::tape_server::SERVICE_NAME, "tape.v1.Tape");
}

/// What a client that knows no additions sends is read as it was meant, and what it does not know does not disturb it.
#[test]
fn a_plain_client_and_ours_read_each_other() {
    #[derive(Clone, PartialEq, Message)]
    struct Plain {
        #[prost(string, tag = "1")]
        run_id: String,
        #[prost(int32, tag = "2")]
        status: i32,
        #[prost(string, tag = "3")]
        detail_json: String,
    }
    let plain = Plain {
        run_id: "r-1".into(),
        status: 4,
        detail_json: "{}".into(),
    };
    let ours = tape_proto::v1::EndRunRequest::decode(plain.encode_to_vec().as_slice()).unwrap();
    assert_eq!(ours.status(), tape_proto::v1::RunStatus::Terminal);
    assert_eq!((ours.fence, ours.lease_owner.as_str()), (0, ""));

    let ours = tape_proto::v1::EndRunRequest {
        fence: 7,
        lease_owner: "a".into(),
        ..ours
    };
    assert_eq!(Plain::decode(ours.encode_to_vec().as_slice()).unwrap(), plain);
}
