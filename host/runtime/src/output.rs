//! What a guest says: log lines into tracing, standard output and error into a tail that explains a crash. Both are cut at the call's
//! limit, never an error: a guest that floods hears nothing of it, and nobody else does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// How much of standard output and error is kept to explain a crash.
const TAIL_BYTES: usize = 2 * 1024;
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// A call's allowance of log bytes.
pub struct Allowance {
    left: usize,
    noted: bool,
}

/// What may be logged of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Allowed {
    Yes,
    /// The line that goes beyond: say once that the rest is cut.
    Cut,
    No,
}

impl Allowance {
    pub fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            noted: false,
        }
    }

    pub fn take(&mut self, bytes: usize) -> Allowed {
        if let Some(left) = self.left.checked_sub(bytes) {
            self.left = left;
            return Allowed::Yes;
        }
        self.left = 0;
        if std::mem::replace(&mut self.noted, true) {
            Allowed::No
        } else {
            Allowed::Cut
        }
    }
}

/// A guest's text as it may stand in a log: on one line, so that it cannot pass for a line of somebody else's.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control()
            || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// The last bytes that a guest wrote to standard output and error.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// The tail as text, without blank ends.
    pub fn text(&self) -> String {
        let mut kept = self.lock();
        String::from_utf8_lossy(kept.make_contiguous()).trim().to_owned()
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        let news = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (kept.len() + news.len()).saturating_sub(TAIL_BYTES);
        kept.drain(..surplus);
        kept.extend(news);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Tail {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Tail {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Tail {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_end() {
        let tail = Tail::default();
        for line in 0..1000 {
            tail.push(format!("line {line}\n").as_bytes());
        }
        tail.push(&vec![b'x'; 3 * TAIL_BYTES]);
        tail.push(b"the end\n");
        let text = tail.text();
        assert!(text.ends_with("xthe end") && text.len() <= TAIL_BYTES, "{text}");
    }

    #[test]
    fn a_guests_line_is_one_line() {
        assert_eq!(one_line("plain \u{e9}\u{4e2d}"), "plain \u{e9}\u{4e2d}");
        assert_eq!(
            one_line("a\n2026 ERROR \u{1b}[31mforged\r"),
            "a\\n2026 ERROR \\u{1b}[31mforged\\r"
        );
        assert_eq!(one_line("\u{202e}abc\u{2028}"), "\\u{202e}abc\\u{2028}");
    }

    #[test]
    fn an_allowance_is_cut_once() {
        let mut allowance = Allowance::new(10);
        let taken: Vec<_> = [6, 6, 1].into_iter().map(|bytes| allowance.take(bytes)).collect();
        assert_eq!(taken, [Allowed::Yes, Allowed::Cut, Allowed::No]);
    }
}
