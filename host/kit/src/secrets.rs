//! The values of secrets in tests, and whether one of them came out.

use std::collections::BTreeMap;

/// Name to value.
pub(crate) type Values = BTreeMap<String, String>;

/// The name of the first secret whose value stands in `text`.
pub(crate) fn leaked<'a>(values: &'a Values, text: &str) -> Option<&'a str> {
    let found = values
        .iter()
        .find(|(_, value)| !value.is_empty() && text.contains(value.as_str()));
    found.map(|(name, _)| name.as_str())
}

/// `text` with every value replaced by `{{secret:NAME}}`.
pub(crate) fn hidden(values: &Values, text: &str) -> String {
    let mut text = text.to_owned();
    for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
        text = text.replace(value.as_str(), &format!("{{{{secret:{name}}}}}"));
    }
    text
}
