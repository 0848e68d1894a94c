//! Floors: what the machine, the database and gRPC cost by themselves, measured beside what stands on them.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, QueryBuilder, Sqlite, SqliteConnection};
use tokio::time::Instant;

use crate::samples::Samples;

/// The latency of making 4 KiB at the end of a file durable, as a database's log does.
///
/// # Errors
/// If the file cannot be written.
pub fn fdatasync(folder: &Path, times: u32) -> anyhow::Result<Samples> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let block = [7_u8; 4096];
    let mut samples = Samples::default();
    for _ in 0..times {
        file.write_all(&block)?;
        let begun = Instant::now();
        file.as_file().sync_data()?;
        samples.add(begun.elapsed());
    }
    Ok(samples)
}

/// Rows of the batches that the floor of SQLite is measured with: one from each of 64 clients.
const BATCH: i64 = 64;
/// Their size: about that of ours.
const ROW_BYTES: usize = 300;

/// Rows per second that SQLite itself takes in batches of 64 small rows, each batch one statement and one transaction
/// with `synchronous=FULL`.
///
/// # Errors
/// If the database cannot be written.
pub async fn sqlite_rows(folder: &Path, length: Duration) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(folder)?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("floor.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query("CREATE TABLE floor (no INTEGER NOT NULL, kind INTEGER NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (no, kind, key)) WITHOUT ROWID")
        .execute(&mut connection)
        .await?;
    let body = vec![7_u8; ROW_BYTES];
    let begun = Instant::now();
    let mut rows = 0_i64;
    while begun.elapsed() < length {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO floor (no, kind, key, body) ");
        insert.push_values(rows..rows + BATCH, |mut row, no| {
            row.push_bind(no / 8)
                .push_bind(2)
                .push_bind(no.to_be_bytes().to_vec())
                .push_bind(body.as_slice());
        });
        insert.build().execute(&mut connection).await?;
        sqlx::query("COMMIT").execute(&mut connection).await?;
        rows += BATCH;
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "a rate needs no more digits than a double has"
    )]
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}
