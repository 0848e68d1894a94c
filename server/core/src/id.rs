//! Identities: of runs, and of the effects within them.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What makes a run unique: the same five names are the same run, forever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunIdentity {
    /// Tenant; empty in single-tenant mode.
    pub tenant: String,
    /// Name of the app (deployment unit).
    pub app: String,
    /// User on whose behalf the agent acts.
    pub user: String,
    /// Session (conversation).
    pub session: String,
    /// Invocation within the session.
    pub invocation: String,
}

/// `r-` and 26 characters, derived from the [`RunIdentity`].
///
/// Deriving the id makes "the same identity is the same run" a property of the key: no index has to be kept unique
/// beside the run, and two servers that begin the same run at once collide on one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl RunId {
    /// The id of the run with this identity.
    #[must_use]
    pub fn derive(identity: &RunIdentity) -> Self {
        let mut hash = Sha256::new();
        for part in [
            &identity.tenant,
            &identity.app,
            &identity.user,
            &identity.session,
            &identity.invocation,
        ] {
            // Lengths keep ("a", "bc") and ("ab", "c") apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut text = BASE32_NOPAD.encode(&digest[..16]);
        text.make_ascii_lowercase();
        Self(format!("r-{text}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The idempotency key of an effect: `<run>/d-<decision>/<tool>/<call>`, or the caller's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectKey(pub String);

impl EffectKey {
    /// The key that follows from the journal: never from the inputs, which may differ on replay.
    #[must_use]
    pub fn derive(run: &RunId, decision_index: i64, tool: &str, call_index: i32) -> Self {
        Self(format!("{run}/d-{decision_index}/{tool}/{call_index}"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_join_alike_are_different_runs() {
        let of = |user: &str, session: &str| {
            RunId::derive(&RunIdentity {
                user: user.into(),
                session: session.into(),
                ..RunIdentity::default()
            })
        };
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_eq!(of("a", "bc"), of("a", "bc"));
        assert_eq!(of("a", "b").0.len(), 28);
    }
}
