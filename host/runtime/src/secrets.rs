//! Secrets stay outside: the guest writes `{{secret:NAME}}`, the host puts the value in on the way out and takes it out of all that
//! comes back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::egress::{Denied, Policy};

const OPEN: &[u8] = b"{{secret:";
const CLOSE: &[u8] = b"}}";

/// Where a deployment's secrets come from. Asked once per call for each granted name, so that rotation needs no redeployment;
/// implementations that fetch from afar keep a copy.
pub trait Secrets: Send + Sync {
    /// The present value of `name`, or None if there is none.
    fn get(&self, name: &str) -> Option<Secret>;

    /// How to give `name` a value, for people.
    fn cure(&self, name: &str) -> String {
        format!("give secret {name} a value where this server is started")
    }
}

/// A value that does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// No secrets at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

/// Secrets that are known when the connector is loaded.
#[derive(Debug, Clone, Default)]
pub struct FixedSecrets(BTreeMap<String, Secret>);

/// One call's secrets: those that are granted, by name.
pub struct Vault {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    value: Option<Secret>,
    /// The value as it may come back: plain, and as it stands inside a JSON string.
    traces: Vec<Vec<u8>>,
}

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Only the way out has business with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Vault {
    /// Fetches what `policy` grants.
    pub fn open(policy: &Policy, secrets: &Arc<dyn Secrets>) -> Self {
        let entries = policy
            .secret_names()
            .map(|name| Entry::new(name, secrets.get(name)))
            .collect();
        Self { entries }
    }

    /// `template` with every `{{secret:NAME}}` replaced.
    ///
    /// # Errors
    /// [`Denied`] if `may_travel` says so for one of the names, or if there is no value for it.
    pub fn fill(&self, template: &Bytes, may_travel: impl Fn(&str) -> Result<(), Denied>) -> Result<Bytes, Denied> {
        let Some(first) = find(template, OPEN) else {
            return Ok(template.clone());
        };
        let mut filled = template[..first].to_vec();
        let mut rest = &template[first..];
        while let Some(start) = find(rest, OPEN) {
            let after = &rest[start + OPEN.len()..];
            let Some(end) = find(after, CLOSE) else {
                return Err(Denied("`{{secret:` is not closed by `}}`".to_owned()));
            };
            let name =
                std::str::from_utf8(&after[..end]).map_err(|_| Denied("a secret's name is not text".to_owned()))?;
            may_travel(name)?;
            let value = self
                .value(name)
                .ok_or_else(|| Denied(format!("secret `{name}` is granted but has no value")))?;
            filled.extend_from_slice(&rest[..start]);
            filled.extend_from_slice(value.expose().as_bytes());
            rest = &after[end + CLOSE.len()..];
        }
        filled.extend_from_slice(rest);
        Ok(filled.into())
    }

    /// `text` with every secret's value replaced by its name.
    pub fn redact(&self, text: &str) -> String {
        let redacted = self.redact_bytes(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8_lossy(&redacted).into_owned()
    }

    /// The same for bytes. Costs one search per secret if there is nothing to redact.
    pub fn redact_bytes(&self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes;
        for entry in &self.entries {
            for trace in &entry.traces {
                if find(&bytes, trace).is_some() {
                    bytes = replace(&bytes, trace, format!("{{{{secret:{}}}}}", entry.name).as_bytes());
                }
            }
        }
        bytes
    }

    fn value(&self, name: &str) -> Option<&Secret> {
        self.entries.iter().find(|entry| entry.name == name)?.value.as_ref()
    }
}

impl Entry {
    fn new(name: &str, value: Option<Secret>) -> Self {
        let mut traces = Vec::new();
        if let Some(Secret(plain)) = value.as_ref().filter(|Secret(plain)| !plain.is_empty()) {
            traces.push(plain.clone().into_bytes());
            let escaped = serde_json::Value::from(plain.as_str()).to_string();
            let inside = escaped.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
            if !inside.is_empty() && inside != plain {
                traces.push(inside.to_owned().into_bytes());
            }
        }
        Self {
            name: name.to_owned(),
            value,
            traces,
        }
    }
}

impl Secrets for NoSecrets {
    fn get(&self, _: &str) -> Option<Secret> {
        None
    }
}

impl Secrets for FixedSecrets {
    fn get(&self, name: &str) -> Option<Secret> {
        self.0.get(name).cloned()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for FixedSecrets {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), Secret::new(value)))
                .collect(),
        )
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn replace(bytes: &[u8], trace: &[u8], with: &[u8]) -> Bytes {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = find(rest, trace) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(with);
        rest = &rest[at + trace.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        let entries = [("token", "s3cr\"et"), ("empty", "")];
        Vault {
            entries: entries
                .iter()
                .map(|(name, value)| Entry::new(name, Some(Secret::new(*value))))
                .collect(),
        }
    }

    fn fill(template: &'static str) -> Result<String, Denied> {
        let filled = vault().fill(&Bytes::from_static(template.as_bytes()), |_| Ok(()))?;
        Ok(String::from_utf8(filled.to_vec()).unwrap())
    }

    #[test]
    fn a_name_becomes_its_value_on_the_way_out() {
        assert_eq!(fill("Bearer {{secret:token}}!").unwrap(), "Bearer s3cr\"et!");
        assert_eq!(fill("{{secret:token}}{{secret:token}}").unwrap(), "s3cr\"ets3cr\"et");
        assert_eq!(fill("nothing {{here}}").unwrap(), "nothing {{here}}");
    }

    #[test]
    fn a_name_that_cannot_be_filled_in_stops_the_request() {
        assert!(fill("{{secret:other}}").unwrap_err().0.contains("`other`"));
        assert!(fill("{{secret:token").is_err());
        let refused = vault().fill(&Bytes::from_static(b"{{secret:token}}"), |_| {
            Err(Denied("no".to_owned()))
        });
        assert!(refused.is_err());
    }

    #[test]
    fn a_value_becomes_its_name_on_the_way_back() {
        assert_eq!(
            vault().redact("got s3cr\"et and s3cr\"et"),
            "got {{secret:token}} and {{secret:token}}"
        );
        assert_eq!(
            vault().redact(r#"{"echo":"s3cr\"et"}"#),
            r#"{"echo":"{{secret:token}}"}"#
        );
        assert_eq!(vault().redact("nothing"), "nothing");
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert!(!format!("{:?}", Secret::new("s3cret")).contains("s3cret"));
    }
}
