//! Writing the log back into the database file.
//!
//! SQLite could do it by itself, and would tell nobody how it ended. That matters: a part that was written back counts as done before it is
//! synced, and the sync that should make it durable comes with the last part. If that sync fails, Linux takes the pages of all parts
//! for clean; written again is the last part alone, and the log is used anew. What was acknowledged is then in the page cache and not on the
//! disk, and gone with the power. So after one failure nothing is written back any more as long as this process lives: all that was
//! acknowledged since is in the log, which is synced. Who opens the file next writes back the whole log, from its beginning.

use std::cell::Cell;
use std::ffi::c_int;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// The log is written back every 16 MiB: a page that is written often in between goes back once.
const PAGES: c_int = 4_096;

thread_local! {
    /// Pages in the log after the last commit of this thread, which has one connection that writes.
    static LOG: Cell<c_int> = const { Cell::new(0) };
}

/// From now on commits of this connection are followed by whoever asks [`due`] on the thread that makes them.
pub(crate) fn watch(connection: &Connection) {
    connection.wal_hook(Some(|_: &Wal, pages| {
        LOG.set(pages);
        Ok(())
    }));
}

/// Whether the log is long enough.
pub(crate) fn due() -> bool {
    LOG.get() >= PAGES
}

/// Writes back what nobody reads any more. Whoever reads is not waited for.
///
/// # Errors
/// It, or the sync after it, failed: it must not be tried again on this file as it is open.
pub(crate) fn write_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
