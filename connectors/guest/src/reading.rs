//! The honest reading of what came back: took hold, did not, or nobody knows.
//!
//! A status of the 5xx kind, an answer that makes no sense, and a connection that broke are doubt, not failure: the upstream
//! may have done it before it stumbled.

use serde::de::DeserializeOwned;

use crate::{CompensateAnswer, DispatchAnswer, Doubt, Failure, FailureKind, HttpError, Receipt, Response};

/// What a request that was to change something came to.
#[derive(Debug)]
pub enum Reading<T> {
    Done(T),
    Failed(Failure),
    Unknown(Doubt),
}

/// Why an answer of the 2xx kind gives no receipt, in words for people.
pub type NoReceipt = String;

/// Reads the answer to a request that was to change something. `done` makes sense of a 2xx answer; if it cannot, that is doubt.
pub fn read_request<T>(
    answer: Result<Response, HttpError>,
    done: impl FnOnce(&Response) -> Result<T, NoReceipt>,
) -> Reading<T> {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return read_error(error),
    };
    match response.status {
        200..=299 => match done(&response) {
            Ok(value) => Reading::Done(value),
            Err(why) => Reading::Unknown(doubt(format!("the upstream said {}, but {why}", response.status))),
        },
        300..=399 => Reading::Failed(failure(FailureKind::Invalid, &response, false)),
        401 | 403 => Reading::Failed(failure(FailureKind::Unauthorized, &response, false)),
        429 => Reading::Failed(failure(FailureKind::RateLimited, &response, true)),
        // The upstream stopped waiting for the request, or never began.
        408 | 425 => Reading::Unknown(doubt(summary(&response))),
        400..=499 => Reading::Failed(failure(FailureKind::Rejected, &response, false)),
        _ => Reading::Unknown(doubt(summary(&response))),
    }
}

/// Reads the answer to a request that only looked. Whatever is not a 2xx answer that `found` understands is doubt.
///
/// # Errors
/// The doubt to answer with.
pub fn read_query<T>(
    answer: Result<Response, HttpError>,
    found: impl FnOnce(&Response) -> Result<T, NoReceipt>,
) -> Result<T, Doubt> {
    match answer {
        Ok(response) if (200..=299).contains(&response.status) => found(&response).map_err(doubt),
        Ok(response) => Err(doubt(summary(&response))),
        Err(
            HttpError::Denied(why) | HttpError::NotSent(why) | HttpError::MaybeSent(why) | HttpError::TooLarge(why),
        ) => Err(doubt(why)),
    }
}

/// Reads the answer to a request for one thing by its id: none if the upstream says 404.
///
/// # Errors
/// The doubt to answer with.
pub fn read_lookup<T>(
    answer: Result<Response, HttpError>,
    found: impl FnOnce(&Response) -> Result<T, NoReceipt>,
) -> Result<Option<T>, Doubt> {
    match answer {
        Ok(response) if response.status == 404 => Ok(None),
        answer => read_query(answer, found).map(Some),
    }
}

/// The response's body as JSON of type `T`.
///
/// # Errors
/// What was expected and is not there, in words for people.
pub fn json<T: DeserializeOwned>(response: &Response) -> Result<T, NoReceipt> {
    serde_json::from_slice(&response.body).map_err(|error| format!("its answer makes no sense: {error}"))
}

/// A doubt of which only the reason is known.
pub fn doubt(reason: impl Into<String>) -> Doubt {
    Doubt {
        reason: reason.into(),
        sent: String::new(),
        hint: String::new(),
    }
}

fn read_error<T>(error: HttpError) -> Reading<T> {
    let definite = |kind, code: &str, message, retryable| {
        Reading::Failed(Failure {
            kind,
            code: code.to_owned(),
            message,
            retryable,
            retry_after_ms: None,
        })
    };
    match error {
        HttpError::Denied(why) => definite(FailureKind::Unauthorized, "denied", why, false),
        HttpError::NotSent(why) => definite(FailureKind::Unavailable, "not-sent", why, true),
        HttpError::MaybeSent(why) | HttpError::TooLarge(why) => Reading::Unknown(doubt(why)),
    }
}

/// A definite refusal of the upstream, with the code and the pause that its answer names.
pub fn failure(kind: FailureKind, response: &Response, retryable: bool) -> Failure {
    let code = upstream_code(response).unwrap_or_else(|| format!("http-{}", response.status));
    Failure {
        kind,
        code,
        message: summary(response),
        retryable,
        retry_after_ms: retry_after_ms(response),
    }
}

/// `{"error": {"code": "..."}}` or `{"code": "..."}`, where the upstream is kind enough.
fn upstream_code(response: &Response) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
    let code = body.pointer("/error/code").or_else(|| body.get("code"))?;
    code.as_str().map(str::to_owned)
}

/// The header's form in seconds; the form with a date is left to the caller's own backoff.
fn retry_after_ms(response: &Response) -> Option<u64> {
    let (_, value) = response.headers.iter().find(|(name, _)| name == "retry-after")?;
    value
        .trim()
        .parse::<u64>()
        .ok()
        .map(|seconds| seconds.saturating_mul(1000))
}

fn summary(response: &Response) -> String {
    const SHOWN_CHARS: usize = 200;
    let body = String::from_utf8_lossy(&response.body);
    let shown: String = body.chars().take(SHOWN_CHARS).collect();
    format!("the upstream said {}: {shown}", response.status)
}

impl<T> Reading<T> {
    /// The same with what was done turned into something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Done(value) => Reading::Done(change(value)),
            Self::Failed(failure) => Reading::Failed(failure),
            Self::Unknown(doubt) => Reading::Unknown(doubt),
        }
    }
}

impl From<Reading<Receipt>> for DispatchAnswer {
    fn from(reading: Reading<Receipt>) -> Self {
        match reading {
            Reading::Done(receipt) => Self::Confirmed(receipt),
            Reading::Failed(failure) => Self::Failed(failure),
            Reading::Unknown(doubt) => Self::Unknown(doubt),
        }
    }
}

impl From<Reading<Receipt>> for CompensateAnswer {
    fn from(reading: Reading<Receipt>) -> Self {
        match reading {
            Reading::Done(receipt) => Self::Resolved(receipt),
            Reading::Failed(failure) => Self::Failed(failure),
            Reading::Unknown(doubt) => Self::Unknown(doubt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            headers: vec![("retry-after".to_owned(), "3".to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }

    fn read(answer: Result<Response, HttpError>) -> Reading<()> {
        read_request(answer, |response| {
            if response.body.is_empty() {
                Err("it is empty".to_owned())
            } else {
                Ok(())
            }
        })
    }

    #[test]
    fn only_an_understood_success_is_done() {
        assert!(matches!(read(Ok(response(201, "{}"))), Reading::Done(())));
        assert!(matches!(read(Ok(response(201, ""))), Reading::Unknown(doubt) if doubt.reason.contains("it is empty")));
    }

    #[test]
    fn a_refusal_is_a_failure_with_the_upstreams_code() {
        let Reading::Failed(failure) = read(Ok(response(422, r#"{"error":{"code":"no-funds"}}"#))) else {
            panic!()
        };
        assert_eq!(
            (failure.kind, failure.code.as_str(), failure.retryable),
            (FailureKind::Rejected, "no-funds", false)
        );
        let Reading::Failed(failure) = read(Ok(response(429, ""))) else {
            panic!()
        };
        assert_eq!(
            (failure.code.as_str(), failure.retryable, failure.retry_after_ms),
            ("http-429", true, Some(3000))
        );
    }

    #[test]
    fn a_stumbling_upstream_is_doubt() {
        for status in [408, 500, 502, 503, 504] {
            assert!(
                matches!(read(Ok(response(status, "{}"))), Reading::Unknown(_)),
                "{status}"
            );
        }
        assert!(matches!(
            read(Err(HttpError::MaybeSent("cut".to_owned()))),
            Reading::Unknown(_)
        ));
    }

    #[test]
    fn what_was_not_sent_may_be_sent_again() {
        assert!(matches!(read(Err(HttpError::NotSent("refused".to_owned()))), Reading::Failed(f) if f.retryable));
        assert!(matches!(read(Err(HttpError::Denied("no grant".to_owned()))), Reading::Failed(f) if !f.retryable));
    }

    #[test]
    fn a_question_that_fails_is_inconclusive() {
        assert!(read_query(Ok(response(404, "")), |_| Ok(())).is_err());
        assert!(read_query(Err(HttpError::NotSent("refused".to_owned())), |_| Ok(())).is_err());
        assert!(read_query(Ok(response(200, "")), |_| Ok(())).is_ok());
    }
}
