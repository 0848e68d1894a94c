//! Whom an operator trusts, and whether a component has somebody's word who is.

use thiserror::Error;

use crate::{PublicKey, Signature};

/// The keys that an operator knows, and whether a component needs the word of one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    pub keys: Vec<PublicKey>,
    /// Whether what nobody vouches for is refused (`require_signature`).
    pub required: bool,
}

/// Why a component is not accepted. Nothing of it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Untrusted {
    #[error(
        "it is not signed, and require_signature is on: sign it with `tape connector sign`, by a key that is configured here ({known})"
    )]
    Unsigned { known: String },
    #[error(
        "it is signed by {signers}, and none of these keys is configured here ({known}): add the public key if you trust it"
    )]
    Unknown { signers: String, known: String },
    #[error(
        "its signature by key {key} is for other bytes: for {signed}, and these are {digest}; it was changed, or mixed up"
    )]
    OtherBytes {
        key: String,
        signed: String,
        digest: String,
    },
    #[error("its signature claims to be by key {key}, which did not make it: it is forged or damaged")]
    Forged { key: String },
    #[error("key {key} vouches for {name} {version}, and the component describes itself as {is}: sign what it is")]
    OtherName {
        key: String,
        name: String,
        version: String,
        is: String,
    },
}

impl Trust {
    /// The signature by a known key on these bytes, before anything else is done with them. None if there is none and none is required.
    ///
    /// A signature by a key that is known here has to hold, required or not: one that does not is a sign of tampering.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub fn check<'a>(&self, digest: &str, signatures: &'a [Signature]) -> Result<Option<&'a Signature>, Untrusted> {
        let mut vouched = None;
        for signature in signatures {
            let Some(key) = self.keys.iter().find(|key| key.id() == signature.key) else {
                continue;
            };
            if !key.made(signature) {
                return Err(Untrusted::Forged { key: key.id() });
            }
            if signature.digest != digest {
                return Err(Untrusted::OtherBytes {
                    key: key.id(),
                    signed: signature.digest.clone(),
                    digest: digest.to_owned(),
                });
            }
            vouched = vouched.or(Some(signature));
        }
        if vouched.is_some() || !self.required {
            return Ok(vouched);
        }
        let known = self.known();
        if signatures.is_empty() {
            return Err(Untrusted::Unsigned { known });
        }
        let signers: Vec<_> = signatures.iter().map(|signature| signature.key.as_str()).collect();
        Err(Untrusted::Unknown {
            signers: signers.join(", "),
            known,
        })
    }

    /// The same once the component has said who it is: a signature is for one name and one version.
    ///
    /// # Errors
    /// [`Untrusted::OtherName`].
    pub fn check_name(vouched: &Signature, name: &str, version: &str) -> Result<(), Untrusted> {
        if (vouched.name.as_str(), vouched.version.as_str()) == (name, version) {
            return Ok(());
        }
        Err(Untrusted::OtherName {
            key: vouched.key.clone(),
            name: vouched.name.clone(),
            version: vouched.version.clone(),
            is: format!("{name} {version}"),
        })
    }

    fn known(&self) -> String {
        let ids: Vec<_> = self.keys.iter().map(PublicKey::id).collect();
        if ids.is_empty() {
            "no key is".to_owned()
        } else {
            ids.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SigningKey, digest};

    #[test]
    fn only_a_known_key_s_word_on_these_very_bytes_counts() {
        let (ours, _) = SigningKey::generate().unwrap();
        let (theirs, _) = SigningKey::generate().unwrap();
        let strict = Trust {
            keys: vec![ours.public()],
            required: true,
        };
        let (bytes, other) = (digest(b"a"), digest(b"b"));
        let good = ours.sign("bank", "1.0.0", b"a");
        let foreign = theirs.sign("bank", "1.0.0", b"a");
        let forged = Signature {
            key: good.key.clone(),
            ..foreign.clone()
        };

        assert_eq!(strict.check(&bytes, &[foreign.clone(), good.clone()]), Ok(Some(&good)));
        assert!(matches!(strict.check(&bytes, &[]), Err(Untrusted::Unsigned { .. })));
        assert!(matches!(
            strict.check(&bytes, std::slice::from_ref(&foreign)),
            Err(Untrusted::Unknown { .. })
        ));
        assert!(matches!(
            strict.check(&other, std::slice::from_ref(&good)),
            Err(Untrusted::OtherBytes { .. })
        ));
        let lenient = Trust {
            required: false,
            ..strict
        };
        assert_eq!(lenient.check(&bytes, &[]), Ok(None));
        assert_eq!(lenient.check(&bytes, &[foreign]), Ok(None));
        assert!(
            matches!(lenient.check(&bytes, &[forged]), Err(Untrusted::Forged { .. })),
            "required or not"
        );
        assert!(Trust::check_name(&good, "bank", "1.0.0").is_ok());
        assert!(Trust::check_name(&good, "bank", "1.0.1").is_err());
    }
}
