//! A version of a deployed connector, as whoever deploys it says it to the host.

use crate::Description;

/// What a version may do and reads, without its bytes. Documents are the host's own: grants and limits as it writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployable {
    pub tenant: String,
    /// What runs call it.
    pub name: String,
    /// Under which name the version is deployed; empty = what the component calls itself.
    pub version: String,
    /// `sha256:<hex>` of the component; empty = not known yet.
    pub digest: String,
    /// A JSON object; empty = `{}`.
    pub config_json: String,
    /// `{"hosts": [...], "methods": [...], "secrets": [...]}`; empty = nothing is granted.
    pub grants_json: String,
    /// `{"timeout_ms": ...}`; empty = the defaults.
    pub limits_json: String,
}

/// Who vouches for a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// These signatures, one on a line; empty = nobody. Where a signature is required, that is not enough.
    By(String),
    /// It was judged before: whoever was asked then.
    Before,
}

/// A component that the host would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it says of itself.
    pub description: Description,
    /// `sha256:<hex>`.
    pub digest: String,
    /// The key whose signature was verified; empty = none was.
    pub signed_by: String,
    /// What it asks for and was not granted, or was granted and is not there, in words that name the cure.
    pub missing: Vec<String>,
}

/// Why the host does not take a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Misfit {
    /// The stable code.
    pub code: &'static str,
    /// What of the deployment is wrong; empty where the host itself is.
    pub field: &'static str,
    /// For people, with the cure.
    pub message: String,
}
