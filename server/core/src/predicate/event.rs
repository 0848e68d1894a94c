//! An event as a predicate sees it.

use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Value};

use super::NoAnswer;

/// Largest payload that is looked into, in bytes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Most values (of objects and lists, with these themselves) in a payload that is looked into.
pub(super) const PAYLOAD_VALUES_MAX: usize = 4_096;

/// What an expression can ask for: each field is a variable of its name, but for `payload_json`, which is `payload`.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// `noun.verb`.
    pub kind: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The run.
    pub run_id: &'a str,
    /// The number in the run's journal.
    pub seq: i64,
    /// Unix milliseconds.
    pub ts_ms: i64,
    /// The decision to which it belongs; none = -1.
    pub decision_index: Option<i64>,
    /// The run's app.
    pub app: &'a str,
    /// The run's tenant.
    pub tenant: &'a str,
    /// The details as JSON; empty = null.
    pub payload_json: &'a str,
}

/// The variables and the names of their types.
pub(super) const VARIABLES: [(&str, &str); 9] = [
    ("kind", "string"),
    ("subject", "string"),
    ("run_id", "string"),
    ("seq", "int"),
    ("ts_ms", "int"),
    ("decision_index", "int"),
    ("app", "string"),
    ("tenant", "string"),
    (PAYLOAD, ""),
];

pub(super) const PAYLOAD: &str = "payload";

impl Seen<'_> {
    /// One to try an expression on.
    pub(super) const EXAMPLE: Seen<'static> = Seen {
        kind: "run.begun",
        subject: "/tape/run/begun/r-0",
        run_id: "r-0",
        seq: 1,
        ts_ms: 1,
        decision_index: None,
        app: "app",
        tenant: "",
        payload_json: "{}",
    };

    pub(super) fn declare(&self, context: &mut Context<'_, '_>, payload: bool) -> Result<(), NoAnswer> {
        let texts = [
            ("kind", self.kind),
            ("subject", self.subject),
            ("run_id", self.run_id),
            ("app", self.app),
            ("tenant", self.tenant),
        ];
        for (name, text) in texts {
            context.add_variable_from_value(name, text);
        }
        let numbers = [
            ("seq", self.seq),
            ("ts_ms", self.ts_ms),
            ("decision_index", self.decision_index.unwrap_or(-1)),
        ];
        for (name, number) in numbers {
            context.add_variable_from_value(name, number);
        }
        if payload {
            context.add_variable_from_value(PAYLOAD, self.payload()?);
        }
        Ok(())
    }

    fn payload(&self) -> Result<Value, NoAnswer> {
        if self.payload_json.is_empty() {
            return Ok(Value::Null);
        }
        if self.payload_json.len() > PAYLOAD_BYTES_MAX {
            return Err(NoAnswer::Payload("it has more than 64 KiB"));
        }
        // It nests no deeper than the library's reader goes.
        let json = serde_json::from_str(self.payload_json)
            .map_err(|_| NoAnswer::Payload("it is no JSON, or nests too deep"))?;
        let mut left = PAYLOAD_VALUES_MAX;
        value(json, &mut left).ok_or(NoAnswer::Payload("it has more than 4096 values"))
    }
}

/// JSON as CEL has it, as long as there are not too many values. Whole numbers are ints where they fit.
fn value(json: serde_json::Value, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(1)?;
    Some(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Bool(bool),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Arc::new(text)),
        serde_json::Value::Array(items) => {
            let items = items.into_iter().map(|item| value(item, left));
            Value::List(Arc::new(items.collect::<Option<_>>()?))
        }
        serde_json::Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, field)| Some((Key::String(Arc::new(name)), value(field, left)?)));
            Value::Map(Map {
                map: Arc::new(fields.collect::<Option<HashMap<_, _>>>()?),
            })
        }
    })
}
