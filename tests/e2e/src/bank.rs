//! The demo bank as a process, and its books as the bank itself tells them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::{Deadline, binaries, free_port};

/// A bank that runs until this is dropped.
pub struct Bank {
    port: u16,
    process: Child,
}

impl Bank {
    /// Opens one.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self::at(folder, free_port())
    }

    /// It does not answer any more.
    ///
    /// # Panics
    /// When it is closed already.
    pub fn close(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a child of ours");
    }

    /// At the same address, with new books.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn reopen(&mut self, folder: &Path) {
        *self = Self::at(folder, self.port);
    }

    fn at(folder: &Path, port: u16) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let mut command = binaries::command(folder);
        command
            .args(["demo-bank", "--listen", &listen])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().expect("the bank can be started");
        let bank = Self { port, process };
        let deadline = Deadline::start();
        while bank.ask("/wires").is_none() {
            assert!(!deadline.is_over(), "the bank does not answer at {listen}");
            thread::yield_now();
        }
        bank
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The wires in its books.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn wires(&self) -> Vec<Value> {
        let books = self.ask("/wires").expect("the bank answers");
        books["wires"].as_array().expect("a list of wires").clone()
    }

    /// Says how it answers the next order.
    ///
    /// # Panics
    /// When it does not take that.
    pub fn control(&self, json: &str) {
        let said = self.send("POST", "/control", json).expect("the bank answers");
        assert!(said.starts_with("HTTP/1.1 204"), "{said}");
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = self.send("GET", path, "")?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    fn send(&self, method: &str, path: &str, json: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let length = json.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: bank\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{json}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
