//! ed25519 over (name, version, digest): somebody vouches that these bytes are this version of this connector.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

const ALGORITHM: &str = "ed25519:";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A description's name and version are short; what claims otherwise is no signature.
const TEXT_BYTES_MAX: usize = 256;
const KEY_ID_BYTES: usize = 8;

/// The key with which an author signs. Does not show itself.
pub struct SigningKey(Ed25519KeyPair);

/// The key by which an operator knows an author: `ed25519:<base64 of 32 bytes>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; KEY_BYTES]);

/// What was vouched for, by which key. As text (a `.sig` file, a manifest's annotation) one JSON object on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The connector's own name, as it describes itself; a deployment may call it otherwise.
    pub name: String,
    /// Its version, as it describes itself.
    pub version: String,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// [`PublicKey::id`] of the key.
    pub key: String,
    /// Base64 of the 64 bytes.
    pub ed25519: String,
}

/// A key that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadKey(String);

/// A signature that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("this is no signature of a connector: {0}; make one with `tape connector sign`")]
pub struct BadSignature(String);

impl SigningKey {
    /// A new one, and the PEM text (PKCS#8) by which it is kept: whoever has that can sign.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<(Self, String), BadKey> {
        let random = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random)
            .map_err(|_| BadKey("the system gives no random bytes for a key".to_owned()))?;
        let base64 = BASE64.encode(pkcs8.as_ref());
        let mut pem = format!("{PEM_BEGIN}\n");
        for line in base64.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem += PEM_END;
        pem.push('\n');
        Ok((Self::from_pem(&pem)?, pem))
    }

    /// Reads a private key in PEM (PKCS#8), as [`generate`](Self::generate) and `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// It is not one.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let bad = |problem: &str| {
            BadKey(format!(
                "this is no ed25519 private key ({problem}); make one with `tape connector sign --new-key FILE`"
            ))
        };
        let (_, rest) = pem.split_once(PEM_BEGIN).ok_or_else(|| bad("not PEM"))?;
        let (base64, _) = rest.split_once(PEM_END).ok_or_else(|| bad("it is cut off"))?;
        let base64: String = base64.chars().filter(|char| !char.is_whitespace()).collect();
        let pkcs8 = BASE64.decode(base64.as_bytes()).map_err(|_| bad("not base64"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|error| bad(&error.to_string()))?;
        Ok(Self(pair))
    }

    /// What operators put into their configuration.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Vouches that `component` is version `version` of connector `name`.
    #[must_use]
    pub fn sign(&self, name: &str, version: &str, component: &[u8]) -> Signature {
        let digest = crate::digest(component);
        let signed = self.0.sign(&statement(name, version, &digest));
        Signature {
            name: name.to_owned(),
            version: version.to_owned(),
            digest,
            key: self.public().id(),
            ed25519: BASE64.encode(signed.as_ref()),
        }
    }
}

impl PublicKey {
    /// A short name of the key, made of its bytes: 16 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.0)[..KEY_ID_BYTES])
    }

    /// Whether this key made the signature. What the signature speaks of is for the caller to compare.
    #[must_use]
    pub fn made(&self, signature: &Signature) -> bool {
        let Some(bytes) = signature.bytes() else { return false };
        let statement = statement(&signature.name, &signature.version, &signature.digest);
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(&statement, &bytes)
            .is_ok()
    }
}

impl Signature {
    /// The 64 bytes.
    fn bytes(&self) -> Option<[u8; SIGNATURE_BYTES]> {
        BASE64.decode(self.ed25519.as_bytes()).ok()?.try_into().ok()
    }
}

/// What is signed. Each part stands with its length, so that no two statements have the same bytes.
fn statement(name: &str, version: &str, digest: &str) -> Vec<u8> {
    let mut bytes = b"tape-connector-signature-1\n".to_vec();
    for part in [name, version, digest] {
        bytes.extend_from_slice(format!("{} {part}\n", part.len()).as_bytes());
    }
    bytes
}

impl FromStr for Signature {
    type Err = BadSignature;

    fn from_str(text: &str) -> Result<Self, BadSignature> {
        let signature: Self = serde_json::from_str(text.trim()).map_err(|error| BadSignature(error.to_string()))?;
        if signature.name.len() > TEXT_BYTES_MAX || signature.version.len() > TEXT_BYTES_MAX {
            return Err(BadSignature(format!(
                "name or version is longer than {TEXT_BYTES_MAX} bytes"
            )));
        }
        if signature.bytes().is_none() {
            return Err(BadSignature("`ed25519` is not 64 bytes in base64".to_owned()));
        }
        Ok(signature)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = text
            .trim()
            .strip_prefix(ALGORITHM)
            .and_then(|base64| BASE64.decode(base64.as_bytes()).ok())
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            BadKey(format!(
                "{text:?} is no public key: write {ALGORITHM} and 32 bytes in base64, as `tape connector sign` prints it"
            ))
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_key_vouches_for_name_version_and_bytes_together() {
        let (key, _) = SigningKey::generate().unwrap();
        let (other, _) = SigningKey::generate().unwrap();
        let signature = key.sign("bank", "1.0.0", COMPONENT);
        assert!(key.public().made(&signature));
        assert!(!other.public().made(&signature));
        assert_eq!((signature.key.len(), &signature.key), (16, &key.public().id()));
        for change in [
            |s: &mut Signature| s.name = "bunk".to_owned(),
            |s: &mut Signature| s.version = "1.0.1".to_owned(),
            |s: &mut Signature| s.digest = crate::digest(b"other"),
            |s: &mut Signature| {
                s.ed25519
                    .replace_range(..1, if s.ed25519.starts_with('A') { "B" } else { "A" });
            },
        ] {
            let mut forged = signature.clone();
            change(&mut forged);
            assert!(!key.public().made(&forged), "{forged}");
        }
        // Moving a byte from one part to the next is another statement.
        assert_ne!(statement("ab", "c", ""), statement("a", "bc", ""));
    }

    #[test]
    fn keys_and_signatures_survive_their_texts() {
        let (key, pem) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(again.public(), key.public());
        let public: PublicKey = key.public().to_string().parse().unwrap();
        let signature: Signature = again.sign("bank", "1.0.0", COMPONENT).to_string().parse().unwrap();
        assert!(public.made(&signature));
        assert!(!format!("{key:?}").contains(&BASE64.encode(pem.as_bytes())[..16]));
    }

    #[test]
    fn what_is_no_key_and_no_signature_is_told() {
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA"] {
            assert!(
                text.parse::<PublicKey>().unwrap_err().to_string().contains("32 bytes"),
                "{text}"
            );
        }
        for text in [
            "",
            "{}",
            r#"{"name":"a","version":"1","digest":"d","key":"k","ed25519":"AAAA"}"#,
        ] {
            let error = text.parse::<Signature>().unwrap_err().to_string();
            assert!(error.contains("tape connector sign"), "{error}");
        }
        for pem in [
            "",
            PEM_BEGIN,
            &format!("{PEM_BEGIN}\n!\n{PEM_END}"),
            &format!("{PEM_BEGIN}\nAAAA\n{PEM_END}"),
        ] {
            let error = SigningKey::from_pem(pem).unwrap_err().to_string();
            assert!(error.contains("no ed25519 private key"), "{error}");
        }
    }
}
