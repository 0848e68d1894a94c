//! The demo bank on a free port.

use std::future::pending;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Bank {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Bank {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            tape_demo_bank::serve(listener, pending())
                .await
                .expect("the listener lives");
        });
        Self {
            address,
            _serving: serving,
        }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the next wire's answer comes to: `lose`, `hold`.
    pub async fn next_answer(&self, fault: &str) {
        let body = format!(r#"{{"next_answer":"{fault}","hold_ms":60000}}"#);
        let answer = self.http("POST", "/control", &body).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    /// The bank's own books, in which tests count.
    pub async fn ledger(&self) -> Vec<Value> {
        let answer = self.http("GET", "/wires", "").await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let ledger: Value = serde_json::from_str(body).expect("the bank answers in JSON");
        ledger["wires"].as_array().expect("a ledger has wires").clone()
    }

    async fn http(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("the bank listens");
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: bank\r\nconnection: close\r\ncontent-type: application/json");
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.expect("the bank reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the bank answers");
        answer
    }
}
