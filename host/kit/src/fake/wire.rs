//! Requests and answers as bytes.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 128 * 1024;
const HEADERS_MAX: usize = 128;

/// A request that reached the upstream in full.
#[derive(Debug, Clone)]
pub struct Received {
    /// In upper case.
    pub method: String,
    /// Decoded, without query.
    pub path: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// JSON as it is, a form as an object of texts, anything else as a text; null without a body.
    pub body: Value,
    /// Head and body as they came.
    pub raw: String,
}

impl Received {
    /// `POST /wires`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// What templates see of it.
    pub(crate) fn scope(&self) -> Value {
        json!({"query": self.query, "header": self.headers, "body": self.body})
    }
}

/// Reads one request; none if the other side went away, or sent what is none.
pub(crate) async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if let Some((received, head, length)) = parse_head(&bytes) {
            if bytes.len() >= head + length {
                return Some(with_body(received, &bytes[..head], &bytes[head..head + length]));
            }
        } else if bytes.len() > HEAD_BYTES_MAX {
            return None;
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// The method of the request that has begun to arrive, without reading it.
pub(crate) async fn peek_method(stream: &TcpStream) -> io::Result<String> {
    let mut start = [0; 16];
    loop {
        let seen = stream.peek(&mut start).await?;
        let text = String::from_utf8_lossy(&start[..seen]).into_owned();
        match text.split_once(' ') {
            Some((method, _)) => return Ok(method.to_owned()),
            None if seen == 0 || seen == start.len() => return Ok(text),
            None => tokio::task::yield_now().await,
        }
    }
}

fn parse_head(bytes: &[u8]) -> Option<(Received, usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).ok()? else {
        return None;
    };
    let url = url::Url::parse(&format!("http://upstream{}", request.path?)).ok()?;
    let path = percent_encoding::percent_decode_str(url.path())
        .decode_utf8_lossy()
        .into_owned();
    let headers: BTreeMap<String, String> = request
        .headers
        .iter()
        .map(|header| {
            (
                header.name.to_ascii_lowercase(),
                String::from_utf8_lossy(header.value).into_owned(),
            )
        })
        .collect();
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let received = Received {
        method: request.method?.to_owned(),
        path,
        query: url.query_pairs().into_owned().collect(),
        headers,
        body: Value::Null,
        raw: String::new(),
    };
    Some((received, head, length))
}

fn with_body(mut received: Received, head: &[u8], body: &[u8]) -> Received {
    let text = String::from_utf8_lossy(body).into_owned();
    let form = received
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    received.raw = format!("{}{text}", String::from_utf8_lossy(head));
    received.body = match () {
        () if body.is_empty() => Value::Null,
        () if form => {
            let pairs = url::form_urlencoded::parse(body).into_owned();
            Value::Object(
                pairs
                    .map(|(name, value)| (name, Value::String(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        () => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    };
    received
}

/// A complete answer.
pub(crate) fn answer(status: u16, headers: &BTreeMap<String, String>, kind: &str, body: &str) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("-");
    let mut head = format!(
        "HTTP/1.1 {status} {reason}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !kind.is_empty() && !headers.contains_key("content-type") {
        head.push_str(&format!("content-type: {kind}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}\r\n{body}").into_bytes()
}
