//! Tokens that were handed out by name, and the book of those that count now.

use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::{Grant, Verified, Verify};

type Sha = [u8; 32];

/// Tokens that were handed out by name. Only their digests are kept.
#[derive(Default)]
pub struct Tokens {
    known: Vec<(Sha, Arc<Grant>)>,
}

impl Tokens {
    /// Adds a token.
    pub fn add(&mut self, token: &str, grant: Grant) {
        self.add_digest(digest(token), grant);
    }

    /// Adds a token of which only the SHA-256 is known.
    pub fn add_digest(&mut self, digest: [u8; 32], grant: Grant) {
        self.known.push((digest, Arc::new(grant)));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// What the token with this digest is worth, if it is known.
    fn grant(&self, presented: &Sha) -> Option<Arc<Grant>> {
        // All of them, each in the same time: how long it takes says nothing about any.
        let mut found = None;
        for (known, grant) in &self.known {
            if bool::from(known.ct_eq(presented)) {
                found = Some(grant.clone());
            }
        }
        found
    }
}

fn digest(token: &str) -> Sha {
    Sha256::digest(token.as_bytes()).into()
}

/// The tokens that count now. They can be exchanged while calls are under way.
pub struct TokenBook {
    tokens: watch::Sender<Arc<Tokens>>,
}

impl TokenBook {
    /// A book with these tokens.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Self {
            tokens: watch::Sender::new(Arc::new(tokens)),
        }
    }

    /// From now on these count, and no others. Calls and streams of a token that is not among them any more, or grants
    /// something else, are ended.
    pub fn exchange(&self, tokens: Tokens) {
        self.tokens.send_replace(Arc::new(tokens));
    }
}

impl Verify for TokenBook {
    fn verify(&self, token: &str) -> Option<Verified> {
        let presented = digest(token);
        let mut current = self.tokens.subscribe();
        let grant = current.borrow_and_update().grant(&presented)?;
        let given = grant.clone();
        let taken_back = async move {
            while current.changed().await.is_ok() {
                if current.borrow_and_update().grant(&presented).as_ref() != Some(&given) {
                    return;
                }
            }
            // The book is gone, and with it the server.
            std::future::pending::<()>().await;
        };
        Some(Verified {
            grant,
            taken_back: Box::pin(taken_back) as Pin<Box<_>>,
        })
    }
}

/// The token of `authorization: Bearer …`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
