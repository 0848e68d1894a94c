//! What can go wrong with one request.

use serde::{Deserialize, Serialize};

/// A fault. Which of them leave the effect in the upstream's books is the point of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The connection is reset before the request was read. Nothing happens upstream.
    ResetBefore,
    /// The request is read, then the connection is reset. Nothing happens upstream.
    ResetAfter,
    /// It happens, and the answer is lost: the connection closes without a byte.
    Lose,
    /// It happens, and the answer ends after so many bytes.
    Cut(usize),
    /// It happens, and the answer comes so many milliseconds late.
    DelayMs(u64),
    /// It happens, and no answer ever comes.
    Hang,
    /// It happens, and the answer is sent twice on the connection.
    AnswerTwice,
    /// It happens twice: the upstream's own retry doubled it.
    BookTwice,
}
