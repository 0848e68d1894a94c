//! The demo bank's counter: what is in its books, and what happens to its next answer.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};

/// One wire in the books.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Wire {
    /// `w-1`.
    pub id: String,
    /// What the sender called it.
    pub reference: String,
    /// `booked` or `reversed`.
    pub status: String,
}

/// What happens to the answer to the next wire.
#[derive(Clone, Copy, Debug)]
pub enum NextAnswer {
    /// It never comes.
    Lose,
    /// It comes after so many milliseconds.
    Hold(u64),
}

/// A connection to a bank.
#[derive(Clone)]
pub struct BankClient {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl BankClient {
    /// The bank at `http://host:port`.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All wires in its books.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn wires(&self) -> anyhow::Result<Vec<Wire>> {
        #[derive(Deserialize)]
        struct Books {
            wires: Vec<Wire>,
        }
        let books: Books = serde_json::from_slice(&self.ask(Method::GET, "/wires", None).await?)?;
        Ok(books.wires)
    }

    /// Decides what happens to the next answer. The wire itself is booked either way.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn next_answer(&self, next: NextAnswer) -> anyhow::Result<()> {
        let body = match next {
            NextAnswer::Lose => json!({ "next_answer": "lose" }),
            NextAnswer::Hold(hold_ms) => json!({ "next_answer": "hold", "hold_ms": hold_ms }),
        };
        self.ask(Method::POST, "/control", Some(body)).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Bytes> {
        let body = body.map(|value| value.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let answer = self
            .client
            .request(request)
            .await
            .with_context(|| format!("ask the bank at {}", self.url))?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!(
                "the bank at {} says {status}: {}",
                self.url,
                String::from_utf8_lossy(&body)
            );
        }
        Ok(body)
    }
}
