//! A batch as statements: few texts, each prepared once and run for row after row. On SQLite's own thread a statement more
//! costs no switch between threads and no parsing.

use rusqlite::{Connection, params};

use crate::batch::{Batch, Relisted, Written};

const CREATE: &str =
    "INSERT INTO entities (no, kind, id, version, tenant, app, \"user\", status, created) VALUES (?,?,?,?,?,?,?,?,?)";
const MOVE: &str = "UPDATE entities SET version = ? WHERE no = ?";
const STATUS: &str = "UPDATE entities SET version = ?, status = ? WHERE no = ?";
const RELIST: &str =
    "UPDATE entities SET version = ?, tenant = ?, app = ?, \"user\" = ?, status = ?, created = ? WHERE no = ?";
const DELETE: &str = "DELETE FROM rows WHERE no = ? AND kind = ? AND key = ?";
const BODY: &str = "UPDATE rows SET body = ? WHERE no = ? AND kind = ? AND key = ?";
const WHOLE: &str = "INSERT INTO rows (no, kind, key, due_kind, due_at, due_by, body) VALUES (?,?,?,?,?,?,?) \
                     ON CONFLICT (no, kind, key) DO UPDATE SET due_kind = excluded.due_kind, due_at = excluded.due_at, \
                     due_by = excluded.due_by, body = excluded.body";
const JOURNAL: &str = "INSERT INTO journal (no, seq, body) VALUES (?,?,?)";

/// Writes a batch in one transaction, which is durable afterwards. Nothing to write is no transaction.
///
/// # Errors
/// What SQLite says. The transaction may still be open, unless SQLite has rolled it back.
pub(crate) fn write(connection: &Connection, batch: Batch) -> rusqlite::Result<()> {
    if batch.entities.is_empty() && batch.rows.is_empty() && batch.entries.is_empty() {
        return Ok(());
    }
    run(connection, "BEGIN IMMEDIATE")?;
    entities(connection, &batch)?;
    rows(connection, batch.rows)?;
    let mut journal = connection.prepare_cached(JOURNAL)?;
    for (no, seq, body) in batch.entries {
        journal.execute(params![no, seq, body])?;
    }
    drop(journal);
    run(connection, "COMMIT")
}

fn run(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(text)?.execute([]).map(drop)
}

fn entities(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    for (no, moved) in &batch.entities {
        let version = moved.version.cast_signed();
        match &moved.listing {
            Relisted::Created(id, listing) => connection.prepare_cached(CREATE)?.execute(params![
                no,
                id.kind as u8,
                id.id,
                version,
                listing.tenant,
                listing.app,
                listing.user,
                listing.status,
                listing.created.0
            ])?,
            Relisted::Same => connection.prepare_cached(MOVE)?.execute(params![version, no])?,
            Relisted::Status(status) => connection
                .prepare_cached(STATUS)?
                .execute(params![version, status, no])?,
            Relisted::Whole(listing) => connection.prepare_cached(RELIST)?.execute(params![
                version,
                listing.tenant,
                listing.app,
                listing.user,
                listing.status,
                listing.created.0,
                no
            ])?,
        };
    }
    Ok(())
}

fn rows(
    connection: &Connection,
    rows: impl IntoIterator<Item = ((i64, u8, Vec<u8>), Written)>,
) -> rusqlite::Result<()> {
    for ((no, kind, key), row) in rows {
        match row {
            Written::Deleted => connection.prepare_cached(DELETE)?.execute(params![no, kind, key])?,
            Written::Body(body) => connection.prepare_cached(BODY)?.execute(params![body, no, kind, key])?,
            Written::Whole((due, by), body) => connection.prepare_cached(WHOLE)?.execute(params![
                no,
                kind,
                key,
                due.map(|due| due.kind as u8),
                due.map(|due| due.at.0),
                by,
                body
            ])?,
        };
    }
    Ok(())
}
