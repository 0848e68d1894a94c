//! Deployed connectors: which versions there are, which of them are called, and what each may do.
//!
//! ```text
//! Connector (tenant, name)                        Component (digest)
//!   head: active shares, what was active before     head: size, whether it is whole
//!   a row for each version ── digest ─────────────▶ a row for each chunk of its bytes
//! ```
//!
//! Both are entities. A component is written first, chunk by chunk, and means nothing until a version names its digest: a put
//! that dies half-way leaves bytes that nobody names, which are collected once nobody can be about to name them.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::entity::{EntityId, EntityKind};
use crate::refusal::{Refusal, Status};
use crate::time::Time;

/// Most versions of one connector.
pub const VERSIONS_MAX: usize = 100;
/// How far back `rollback` can go.
pub const FORMER_MAX: usize = 32;
/// Most bytes of a component.
pub const COMPONENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one chunk of a component; the last may be shorter.
pub const CHUNK_BYTES: usize = 512 * 1024;
/// Whoever names a component does so within this time of having found or written it.
pub const UNNAMED_MS: i64 = 60 * 60 * 1000;
/// The share of a version that gets all calls.
pub const ALL: u8 = 100;

const NAME_BYTES_MAX: usize = 64;

/// Names one deployed connector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectorName {
    /// Tenant.
    pub tenant: String,
    /// What runs call it: lower-case letters, digits and hyphens.
    pub name: String,
}

/// A deployed connector: what all its versions have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connector {
    /// Which.
    pub name: ConnectorName,
    /// When its first version was put.
    pub created: Time,
    /// The number of the last entry of its journal. It rises with every change: who knows it knows the state.
    pub seq: i64,
    /// Which versions get calls: none, one with all of them, or two - the one that keeps the rest, then the canary.
    pub active: Vec<Share>,
    /// What was active before, the newest last.
    pub former: Vec<Vec<Share>>,
    /// All versions, in the order in which they were put.
    pub versions: Vec<Known>,
    /// The fingerprint of the project's declaration that was applied last; empty = none was.
    pub declared: String,
}

/// A version's part of the calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which.
    pub version: String,
    /// In percent, from 1 to 100.
    pub weight: u8,
}

/// A version and the bytes that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub version: String,
    /// `sha256:<hex>`.
    pub digest: String,
}

/// One version of a deployed connector. What it may do is a document of the connector host's: the domain does not look into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorVersion {
    /// Its name: what the component calls itself, or what the operator called it.
    pub version: String,
    /// Of the component: `sha256:<hex>`. Never changes.
    pub digest: String,
    /// Bytes of the component.
    pub size: u64,
    /// The contract that it was built against.
    pub contract: String,
    /// What it said of itself, as JSON.
    pub description_json: String,
    /// What it reads as its configuration, as JSON.
    pub config_json: String,
    /// What it may reach, as the host's JSON.
    pub grants_json: String,
    /// What one call may use, as the host's JSON.
    pub limits_json: String,
    /// When it was put.
    pub put_at: Time,
    /// Who put it.
    pub put_by: String,
    /// The key whose signature was verified; empty = unsigned.
    pub signed_by: String,
}

/// The bytes of a component, by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// `sha256:<hex>`.
    pub digest: String,
    /// All its bytes.
    pub size: u64,
    /// Whether all of them are there.
    pub whole: bool,
    /// When somebody last said that it was about to be named.
    pub touched: Time,
}

/// Some bytes of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// A connector with all its versions, as a host follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// What they have in common.
    pub connector: Connector,
    /// In the order in which they were put.
    pub versions: Vec<ConnectorVersion>,
}

impl ConnectorName {
    /// A connector of a tenant.
    #[must_use]
    pub fn new(tenant: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            name: name.into(),
        }
    }

    /// Its entity.
    #[must_use]
    pub fn entity(&self) -> EntityId {
        EntityId::named(EntityKind::Connector, &[&self.tenant, &self.name])
    }

    /// Checks that it is a name.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, TAPE-C020.
    pub fn check(&self) -> Result<(), Refusal> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !self.name.is_empty() && self.name.len() <= NAME_BYTES_MAX && self.name.bytes().all(plain) {
            return Ok(());
        }
        Err(Refusal::invalid(
            "name",
            &self.name,
            "This is not a connector's name.",
            format!("Use lower-case letters, digits and hyphens, at most {NAME_BYTES_MAX} bytes."),
        )
        .coded("TAPE-C020"))
    }
}

/// Checks the name of a version.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn check_version(field: &'static str, version: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte);
    if !version.is_empty() && version.len() <= NAME_BYTES_MAX && version.bytes().all(plain) {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        version,
        "This is not the name of a version.",
        format!(
            "Use letters, digits and the characters . + - _, at most {NAME_BYTES_MAX} bytes: 1.4.0, or 1.4.0-rc.1."
        ),
    )
    .coded("TAPE-C047"))
}

impl Connector {
    /// A connector that nobody has put a version of.
    #[must_use]
    pub fn new(name: ConnectorName, now: Time) -> Self {
        Self {
            name,
            created: now,
            seq: 0,
            active: Vec::new(),
            former: Vec::new(),
            versions: Vec::new(),
            declared: String::new(),
        }
    }

    /// A version, if there is one of this name.
    #[must_use]
    pub fn known(&self, version: &str) -> Option<&Known> {
        self.versions.iter().find(|known| known.version == version)
    }

    /// A version that must be there.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-C040, naming those that are there.
    pub fn need(&self, version: &str) -> Result<&Known, Refusal> {
        self.known(version).ok_or_else(|| {
            let mut newest: Vec<&str> = self.versions.iter().rev().map(|known| known.version.as_str()).collect();
            newest.truncate(5);
            let cure = if newest.is_empty() {
                "Put one: tape connector put.".to_owned()
            } else {
                format!("The newest are {}.", newest.join(", "))
            };
            Refusal::new(
                Status::NotFound,
                "TAPE-C040",
                format!("Connector {:?} has no version {version:?}.", self.name.name),
                cure,
            )
            .at("version", version)
        })
    }

    /// The part of the calls that a version gets; 0 if it is not active.
    #[must_use]
    pub fn weight(&self, version: &str) -> u8 {
        let share = self.active.iter().find(|share| share.version == version);
        share.map_or(0, |share| share.weight)
    }

    /// The version that gets most calls; the older one if both get the same.
    #[must_use]
    pub fn main(&self) -> Option<&str> {
        let greatest = self.active.iter().map(|share| share.weight).max()?;
        let main = self.active.iter().find(|share| share.weight == greatest);
        main.map(|share| share.version.as_str())
    }

    /// Directs calls to other versions, and remembers where they went. Returns whether that is a change.
    pub(crate) fn direct(&mut self, active: Vec<Share>) -> bool {
        if self.active == active {
            return false;
        }
        let before = std::mem::replace(&mut self.active, active);
        if !before.is_empty() {
            self.former.push(before);
        }
        if self.former.len() > FORMER_MAX {
            self.former.remove(0);
        }
        true
    }

    /// How calls are shared once `version` gets `weight` percent of them.
    ///
    /// # Errors
    /// FAILED_PRECONDITION, TAPE-C042, if nothing is active that could keep the rest.
    pub(crate) fn shares(&self, version: &str, weight: u8) -> Result<Vec<Share>, Refusal> {
        if weight >= ALL {
            return Ok(vec![Share {
                version: version.to_owned(),
                weight: ALL,
            }]);
        }
        if self.active.len() == 2 && self.weight(version) > 0 {
            // Those two go on, in their order: only the line between them moves.
            let share = |share: &Share| Share {
                version: share.version.clone(),
                weight: if share.version == version { weight } else { ALL - weight },
            };
            return Ok(self.active.iter().map(share).collect());
        }
        let Some(keeps) = self.active.first().filter(|share| share.version != version) else {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-C042",
                format!(
                    "Version {version:?} cannot get {weight} % of the calls of connector {:?}: no other version is active to keep the rest.",
                    self.name.name
                ),
                "Activate it for all calls, without a weight; or activate the version first that keeps the rest.",
            )
            .at("weight", &weight.to_string()));
        };
        Ok(vec![
            Share {
                version: keeps.version.clone(),
                weight: ALL - weight,
            },
            Share {
                version: version.to_owned(),
                weight,
            },
        ])
    }
}

impl Component {
    /// The entity of the component with this digest.
    #[must_use]
    pub fn entity(digest: &str) -> EntityId {
        EntityId::named(EntityKind::Component, &[digest])
    }

    /// How many chunks it has.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.size.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
    }
}

/// The digest of a component's bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

/// A refusal for a connector that is not there; `nearest` is a name that resembles it.
#[must_use]
pub fn no_connector(name: &str, nearest: Option<&str>) -> Refusal {
    let cure = nearest.map_or_else(
        || "Put it: tape connector put; or see which there are: tape connector list.".to_owned(),
        |nearest| format!("Did you mean {nearest:?}? See which there are: tape connector list."),
    );
    Refusal::new(
        Status::NotFound,
        "TAPE-C040",
        format!("There is no connector {name:?}."),
        cure,
    )
    .at("name", name)
}
