//! Where an artifact is: `oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]`.

use std::fmt;
use std::str::FromStr;

use crate::ArtifactError;

const SCHEME: &str = "oci://";

/// A place in a registry. The host is always named: nothing is pulled from a registry by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(pub(crate) oci_client::Reference);

impl Reference {
    /// Whether `text` means a place in a registry.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// `HOST[:PORT]`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.registry()
    }

    /// The last part of the artifact's name: `bank` of `oci://registry.example/tape/bank:1.0.0`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.repository().rsplit('/').next().unwrap_or_default()
    }

    /// The manifest's digest, if the place is pinned to one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The same place, pinned to the manifest with this digest.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> Self {
        Self(self.0.clone_with_digest(digest.to_owned()))
    }
}

impl FromStr for Reference {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let bad = |problem: &str| ArtifactError::Reference {
            text: text.to_owned(),
            problem: problem.to_owned(),
        };
        let place = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| bad("it does not begin with oci://"))?;
        let (host, _) = place.split_once('/').ok_or_else(|| bad("it names no artifact"))?;
        // Otherwise the first part is taken for a name at a registry that nobody named.
        if host != "localhost" && !host.contains(['.', ':']) {
            return Err(bad("its host is neither a domain, an address nor localhost"));
        }
        let reference: oci_client::Reference = place.parse().map_err(|error| bad(&format!("{error}")))?;
        Ok(Self(reference))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_a_name() {
        for text in [
            "oci://registry.example/tape/bank:1.0.0",
            "oci://127.0.0.1:5000/bank:latest",
            "oci://localhost/bank:1",
        ] {
            let place: Reference = text.parse().unwrap();
            assert_eq!(
                (place.to_string().as_str(), place.name(), place.digest()),
                (text, "bank", None)
            );
        }
        let pinned = format!("oci://registry.example/bank@sha256:{}", "0".repeat(64));
        assert_eq!(pinned.parse::<Reference>().unwrap().to_string(), pinned);
        for (text, problem) in [
            ("bank.wasm", "oci://"),
            ("oci://bank", "names no artifact"),
            ("oci://library/bank", "its host"),
            ("oci://registry.example/BANK", "invalid reference"),
            ("oci://registry.example/bank@sha256:12", ""),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(
                error.code() == "TAPE-C061" && error.to_string().contains(problem),
                "{error}"
            );
        }
    }
}
