//! Connectors as artifacts: what they are signed with, and how they travel through OCI registries.
//!
//! ```text
//! author:   component ── sign (name, version, sha256) ── push ──▶ registry (CNCF wasm layout)
//! operator: registry ── pull, bounded, digest checked ── Trust::check ── host: compile, load
//! ```
//!
//! A signature says who vouches for the bytes. What they may do is never in the artifact: that is the operator's grant.
//!
//! This crate knows nothing of wasmtime, runs or stores.

#[cfg(feature = "registry")]
mod cache;
#[cfg(feature = "registry")]
mod error;
#[cfg(feature = "registry")]
mod layout;
#[cfg(feature = "registry")]
mod reference;
#[cfg(feature = "registry")]
mod registry;
mod signature;
mod trust;

#[cfg(feature = "registry")]
pub use cache::{ArtifactCache, Fetched};
#[cfg(feature = "registry")]
pub use error::ArtifactError;
#[cfg(feature = "registry")]
pub use reference::Reference;
#[cfg(feature = "registry")]
pub use registry::{Artifact, Credentials, Pulled, Registry, RegistryConfig};
pub use signature::{BadKey, BadSignature, PublicKey, Signature, SigningKey};
pub use trust::{Trust, Untrusted};

/// The most bytes that a component may have.
pub const COMPONENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `sha256:<hex>` of `bytes`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)))
}
