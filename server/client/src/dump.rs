//! Putting the parts of a dump together.

use serde_json::{Map, Value};

use crate::error::ClientError;

/// What a dump is made of: the section of a part, its key in the whole, and whether there is one or many.
const SECTIONS: [(&str, &str, bool); 9] = [
    ("run", "run", false),
    ("lease", "leases", true),
    ("decision", "decisions", true),
    ("effect", "effects", true),
    ("obligation", "obligations", true),
    ("gate", "gates", true),
    ("timer", "timers", true),
    ("budget", "budget", false),
    ("journal", "journal", true),
];

/// A dump in the making. Every key is there, also without parts.
pub(crate) struct Dump {
    whole: Map<String, Value>,
}

impl Default for Dump {
    fn default() -> Self {
        let empty = |many| {
            if many {
                Value::Array(Vec::new())
            } else {
                Value::Object(Map::new())
            }
        };
        let whole = SECTIONS.map(|(_, key, many)| (key.to_owned(), empty(many)));
        Self {
            whole: whole.into_iter().collect(),
        }
    }
}

impl Dump {
    /// Adds one part. A section of a newer server is kept under its own name.
    pub(crate) fn add(&mut self, section: &str, json: &str) -> Result<(), ClientError> {
        let part: Value = serde_json::from_str(json).map_err(|error| ClientError::Strange {
            operation: "DumpRun",
            problem: format!("a part of section {section:?} is not JSON: {error}"),
        })?;
        let known = SECTIONS.iter().find(|(name, ..)| *name == section);
        let (key, many) = known.map_or((section, true), |(_, key, many)| (*key, *many));
        if !many {
            self.whole.insert(key.to_owned(), part);
            return Ok(());
        }
        let parts = self.whole.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(parts) = parts {
            parts.push(part);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Value {
        Value::Object(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_there_even_if_it_is_empty() {
        let mut dump = Dump::default();
        dump.add("run", r#"{"run_id":"r-1"}"#).unwrap();
        dump.add("journal", r#"{"seq":1}"#).unwrap();
        dump.add("journal", r#"{"seq":2}"#).unwrap();
        dump.add("novelty", "1").unwrap();
        assert_eq!(dump.add("journal", "{").unwrap_err().code(), "TAPE-A007");
        let whole = dump.finish();
        assert_eq!(whole["run"]["run_id"], "r-1");
        assert_eq!(whole["journal"][1]["seq"], 2);
        assert_eq!(whole["effects"], Value::Array(Vec::new()));
        assert_eq!(whole["budget"], Value::Object(Map::new()));
        assert_eq!(whole["novelty"][0], 1);
    }
}
