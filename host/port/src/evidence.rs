//! What the host saw leave and come back during one call. It, not the guest, says how far a request got.

use serde::{Deserialize, Serialize};

/// Every exchange of one call, in the order in which they began. Journalled with the attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub exchanges: Vec<Exchange>,
    /// The worker that was asked, where the connector lives in its process: nobody saw what left there, and what it answered is its
    /// word alone. None: all that left is in `exchanges`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_in_worker: Option<String>,
}

/// One request and what became of it. Bodies are not kept, and no field holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    pub method: String,
    /// `host:port`, without user information.
    pub authority: String,
    /// Path without query: queries tend to carry what logs should not.
    pub path: String,
    /// The answer's status. None unless the head of an answer arrived.
    pub status: Option<u16>,
    /// Size of the request's body.
    pub request_bytes: u64,
    /// Size of the answer's body as far as it was read.
    pub response_bytes: u64,
    pub duration_ms: u64,
    pub progress: Progress,
    /// `sha256:<hex>` of the answer's body. None unless it arrived in full.
    pub response_digest: Option<String>,
    /// Whether the request may change something upstream: not GET, HEAD, OPTIONS, or a path granted as read-only.
    pub unsafe_method: bool,
}

/// How far a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Refused by policy, or resolving or connecting failed. Nothing can have happened.
    NotSent,
    /// Bytes may have left and no full answer came. Anything can have happened.
    Sent,
    /// A full answer came.
    Answered,
}

impl Evidence {
    /// How far the call's unsafe requests got, taken together.
    ///
    /// One that was sent and never answered outweighs all that were answered: as long as a single request is in doubt, so is the call.
    #[must_use]
    pub fn furthest(&self) -> Progress {
        let unsafe_ones = || self.exchanges.iter().filter(|exchange| exchange.unsafe_method);
        if unsafe_ones().any(|exchange| exchange.progress == Progress::Sent) {
            Progress::Sent
        } else if unsafe_ones().any(|exchange| exchange.progress == Progress::Answered) {
            Progress::Answered
        } else {
            Progress::NotSent
        }
    }

    /// Whether the upstream answered at least one request that only reads: grounds for saying "it is already so".
    #[must_use]
    pub fn has_read(&self) -> bool {
        self.exchanges
            .iter()
            .any(|exchange| !exchange.unsafe_method && exchange.progress == Progress::Answered)
    }

    /// What left by unsafe methods, for people: `POST bank:8080/wires`. Empty if nothing left.
    #[must_use]
    pub fn sent_summary(&self) -> String {
        let mut lines = Vec::new();
        for exchange in self.exchanges.iter().filter(|exchange| exchange.unsafe_method) {
            if exchange.progress != Progress::NotSent {
                lines.push(format!("{} {}{}", exchange.method, exchange.authority, exchange.path));
            }
        }
        lines.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(unsafe_method: bool, progress: Progress) -> Exchange {
        Exchange {
            method: if unsafe_method { "POST" } else { "GET" }.to_owned(),
            authority: "bank:80".to_owned(),
            path: "/wires".to_owned(),
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration_ms: 0,
            progress,
            response_digest: None,
            unsafe_method,
        }
    }

    fn furthest(exchanges: &[(bool, Progress)]) -> Progress {
        let exchanges = exchanges
            .iter()
            .map(|&(unsafe_method, progress)| exchange(unsafe_method, progress))
            .collect();
        let evidence = Evidence {
            exchanges,
            ..Evidence::default()
        };
        evidence.furthest()
    }

    #[test]
    fn a_request_in_doubt_outweighs_every_answer() {
        assert_eq!(furthest(&[]), Progress::NotSent);
        assert_eq!(
            furthest(&[(true, Progress::NotSent), (true, Progress::Answered)]),
            Progress::Answered
        );
        assert_eq!(
            furthest(&[(true, Progress::Answered), (true, Progress::Sent)]),
            Progress::Sent
        );
        assert_eq!(
            furthest(&[(true, Progress::Sent), (true, Progress::Answered)]),
            Progress::Sent
        );
    }

    #[test]
    fn reading_never_counts_as_sending() {
        assert_eq!(
            furthest(&[(false, Progress::Answered), (false, Progress::Sent)]),
            Progress::NotSent
        );
        assert_eq!(
            furthest(&[(false, Progress::Sent), (true, Progress::Answered)]),
            Progress::Answered
        );
    }

    #[test]
    fn evidence_survives_its_encoding() {
        let evidence = Evidence {
            exchanges: vec![exchange(true, Progress::Sent)],
            ..Evidence::default()
        };
        let text = serde_json::to_string(&evidence).unwrap();
        assert!(text.contains(r#""progress":"sent""#), "{text}");
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
    }
}
