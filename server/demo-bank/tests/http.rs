//! The bank over a real connection.

use std::future::pending;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const WIRE: &str = r#"{"to":"acme","amount":"250.00","currency":"EUR","reference":"inv-7"}"#;

struct Bank {
    address: std::net::SocketAddr,
    _server: JoinSet<()>,
}

impl Bank {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            tape_demo_bank::serve(listener, pending())
                .await
                .expect("the listener lives");
        });
        Self {
            address,
            _server: server,
        }
    }

    /// Everything that comes back until the connection closes.
    async fn send(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("the bank listens");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bank\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("the bank reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the bank closes cleanly");
        answer
    }
}

#[tokio::test]
async fn every_wire_is_booked() {
    let bank = Bank::open().await;
    assert!(bank.send("POST", "/wires", WIRE).await.contains(r#""id":"w-1""#));
    assert!(bank.send("POST", "/wires", WIRE).await.contains(r#""id":"w-2""#));
    let ledger = bank.send("GET", "/wires?reference=inv-7", "").await;
    assert!(ledger.contains("w-1") && ledger.contains("w-2"), "{ledger}");
    assert!(
        bank.send("GET", "/wires?reference=other", "")
            .await
            .contains(r#"{"wires":[]}"#)
    );
}

#[tokio::test]
async fn a_lost_answer_is_a_booked_wire() {
    let bank = Bank::open().await;
    assert!(
        bank.send("POST", "/control", r#"{"next_answer":"lose"}"#)
            .await
            .starts_with("HTTP/1.1 204")
    );
    assert_eq!(bank.send("POST", "/wires", WIRE).await, "");
    assert!(bank.send("GET", "/wires", "").await.contains(r#""id":"w-1""#));
}

#[tokio::test]
async fn a_held_answer_does_not_hold_the_books() {
    let bank = Bank::open().await;
    bank.send("POST", "/control", r#"{"next_answer":"hold","hold_ms":60000}"#)
        .await;
    let held = bank.send("POST", "/wires", WIRE);
    let booked = async {
        while !bank.send("GET", "/wires", "").await.contains("w-1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = held => panic!("answered at once: {answer}"),
        () = booked => {}
    }
}

#[tokio::test]
async fn bad_input_is_refused_in_json() {
    let bank = Bank::open().await;
    let answer = bank.send("POST", "/wires", r#"{"to":"acme"}"#).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains(r#""code":"bad-request""#),
        "{answer}"
    );
    let answer = bank.send("POST", "/wires", &WIRE.replace("250.00", "lots")).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains(r#""code":"bad-amount""#),
        "{answer}"
    );
}
