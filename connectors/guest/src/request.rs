//! Building and sending one request.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::bindings::tape::connector::http;
use crate::{HttpError, Response};

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request that is being put together. Nothing leaves before [`send`](Request::send).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub timeout_ms: Option<u32>,
}

impl Request {
    /// Reads; must not change anything upstream.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    pub fn patch(url: impl Into<String>) -> Self {
        Self::new("PATCH", url)
    }

    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Any method, in upper case.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            timeout_ms: None,
        }
    }

    /// Adds `name=value` to the query, both encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        self.url.push_str(&format!("{}={}", segment(name), segment(value)));
        self
    }

    /// Adds a header. The value may hold `{{secret:NAME}}`.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        // Serializing plain structs with string keys cannot fail; a body of `null` is what the upstream then refuses.
        self.body = Some(serde_json::to_vec(body).unwrap_or_else(|_| b"null".to_vec()));
        self.header("content-type", "application/json")
    }

    /// Sets a form body, both names and values encoded.
    #[must_use]
    pub fn form<'a>(mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let pairs = fields
            .into_iter()
            .map(|(name, value)| format!("{}={}", segment(name), segment(value)));
        self.body = Some(pairs.collect::<Vec<_>>().join("&").into_bytes());
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sends it and waits for the whole answer, whatever its status.
    ///
    /// # Errors
    /// The host's word on how far it got; [`read_request`](crate::read_request) turns it into an answer.
    pub fn send(self) -> Result<Response, HttpError> {
        http::send(&http::Request {
            method: self.method,
            url: self.url,
            headers: self.headers,
            body: self.body,
            timeout_ms: self.timeout_ms,
        })
    }
}

/// `text` as one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_url_is_encoded() {
        let request = Request::get("http://bank/wires")
            .query("reference", "a b&c=d/é")
            .query("n", "1");
        assert_eq!(request.url, "http://bank/wires?reference=a%20b%26c%3Dd%2F%C3%A9&n=1");
    }
}
