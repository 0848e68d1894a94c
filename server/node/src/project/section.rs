//! One mapping of the file, read key by key. Made with the keys that it may have; others are refused right there.

use std::path::Path;

use serde_json::{Map, Value};
use strsim::damerau_levenshtein;

/// Something in `tape.yaml` that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TAPE-V010: {} {problem}. {cure}", place(.file.as_deref(), .key, .value))]
pub struct ProjectError {
    /// The file, once it is known.
    pub file: Option<String>,
    /// The key, as a path (`tape.store.url`); empty = the file as a whole.
    pub key: String,
    /// Its value, or empty.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub cure: String,
}

impl ProjectError {
    pub(super) fn new(key: &str, value: &str, problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            file: None,
            key: key.to_owned(),
            value: value.to_owned(),
            problem: problem.into(),
            cure: cure.into(),
        }
    }

    pub(super) fn in_file(self, file: &Path) -> Self {
        Self {
            file: Some(file.display().to_string()),
            ..self
        }
    }
}

/// Which key of which file, as far as it is about one.
fn place(file: Option<&str>, key: &str, value: &str) -> String {
    match (file, key.is_empty()) {
        (Some(file), true) => file.to_owned(),
        (None, true) => "the project's file".to_owned(),
        (Some(file), false) => format!("{file}: `{key}`{}", shown(value)),
        (None, false) => format!("`{key}`{}", shown(value)),
    }
}

fn shown(value: &str) -> String {
    const SHOWN_MAX: usize = 80;
    match value.char_indices().nth(SHOWN_MAX) {
        _ if value.is_empty() => String::new(),
        Some((end, _)) => format!(" ({}…)", &value[..end]),
        None => format!(" ({value})"),
    }
}

/// `path.key`, or `key` at the top.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A mapping and where it stands. A mapping that is not there is an empty one.
pub struct Section<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn top(tree: &'a Value, known: &[&str]) -> Result<Self, ProjectError> {
        Self::open(String::new(), Some(tree), known)
    }

    /// The mapping under `key`, with `known` as its only keys.
    pub fn section(&self, key: &str, known: &[&str]) -> Result<Self, ProjectError> {
        Self::open(join(&self.path, key), self.get(key), known)
    }

    /// The same, if it must be there.
    pub fn need_section(&self, key: &str, known: &[&str]) -> Result<Self, ProjectError> {
        if self.has(key) {
            self.section(key, known)
        } else {
            Err(self.missing(key, "a section"))
        }
    }

    /// The mapping under `key`, whose keys are names.
    pub fn names(&self, key: &str) -> Result<Self, ProjectError> {
        let path = join(&self.path, key);
        let map = mapping(&path, self.get(key))?;
        Ok(Self { path, map })
    }

    fn open(path: String, value: Option<&'a Value>, known: &[&str]) -> Result<Self, ProjectError> {
        let map = mapping(&path, value)?;
        for key in map.into_iter().flat_map(Map::keys) {
            if !known.contains(&key.as_str()) {
                return Err(unknown(&join(&path, key), key, known));
            }
        }
        Ok(Self { path, map })
    }

    /// Where it stands.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// What stands under `key`; null counts as nothing.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A text. Numbers and truth values count as theirs, because YAML does not quote.
    pub fn text(&self, key: &str) -> Result<Option<String>, ProjectError> {
        self.get(key).map(|value| text(&self.path(key), value)).transpose()
    }

    /// A text that must be there and not be empty.
    pub fn need_text(&self, key: &str) -> Result<String, ProjectError> {
        self.text(key)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.missing(key, "a text"))
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ProjectError> {
        let Some(items) = self.list(key)? else { return Ok(None) };
        let one = |(at, item)| text(&format!("{}[{at}]", self.path(key)), item);
        items.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
    }

    /// A list of anything.
    pub fn list(&self, key: &str) -> Result<Option<&'a Vec<Value>>, ProjectError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(ProjectError::new(
                &self.path(key),
                &other.to_string(),
                "is not a list",
                format!("Write {key}: [...]."),
            )),
        }
    }

    /// A whole number of at least 1; also as the text that a variable leaves.
    pub fn at_least_one(&self, key: &str) -> Result<Option<u64>, ProjectError> {
        let Some(written) = self.text(key)? else {
            return Ok(None);
        };
        match written.parse() {
            Ok(number) if number >= 1 => Ok(Some(number)),
            _ => Err(ProjectError::new(
                &self.path(key),
                &written,
                "is not a whole number of at least 1",
                format!("Write for example {key}: 1000."),
            )),
        }
    }

    /// Yes or no; also as the text that a variable leaves.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ProjectError> {
        match self.text(key)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ProjectError::new(
                &self.path(key),
                other,
                "is neither true nor false",
                "Write true or false.",
            )),
        }
    }

    /// A text that can only be one.
    pub fn exactly(&self, key: &str, expected: &str) -> Result<(), ProjectError> {
        match self.text(key)? {
            Some(text) if text == expected => Ok(()),
            Some(other) => Err(ProjectError::new(
                &self.path(key),
                &other,
                "is not what this version of Tape reads",
                format!("Write {key}: {expected}."),
            )),
            None => Err(self.missing(key, &format!("`{expected}`"))),
        }
    }

    fn missing(&self, key: &str, what: &str) -> ProjectError {
        ProjectError::new(
            &self.path(key),
            "",
            "is missing",
            format!("Add it: {what} is needed here."),
        )
    }
}

fn mapping<'a>(path: &str, value: Option<&'a Value>) -> Result<Option<&'a Map<String, Value>>, ProjectError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(other) => Err(ProjectError::new(
            path,
            &other.to_string(),
            "is not a section of keys and values",
            "Indent its keys below it.",
        )),
    }
}

fn text(path: &str, value: &Value) -> Result<String, ProjectError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(ProjectError::new(
            path,
            &other.to_string(),
            "is not a text",
            "Write one value, in quotes if need be.",
        )),
    }
}

/// A key that nobody reads: most often a slip of the fingers.
pub fn unknown(path: &str, key: &str, known: &[&str]) -> ProjectError {
    let nearest = known.iter().min_by_key(|candidate| damerau_levenshtein(key, candidate));
    let cure = match nearest {
        Some(near) if damerau_levenshtein(key, near) <= (key.len() / 2).max(2) => format!("Did you mean `{near}`?"),
        _ => format!("Known here: {}.", known.join(", ")),
    };
    ProjectError::new(path, "", "is not a key that Tape knows", cure)
}
