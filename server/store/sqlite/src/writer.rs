//! The one writer: takes the commits that wait, writes them in one transaction, answers them after its COMMIT. It is a thread
//! of its own, on which SQLite runs: between a commit's arrival and its answer there is no other switch.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tape_core::Time;
use tape_store::{Commit, Listing, StoreError, measure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::batch::{Answers, Batch};
use crate::condition::Condition;
use crate::error::failed;
use crate::places::{Place, Places};
use crate::statements;
use crate::written_back;

/// One commit and where its answer goes.
pub(crate) struct Waiting {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<u64, StoreError>>,
}

const FIND: &str = "SELECT no, version, tenant, app, \"user\", status, created FROM entities WHERE kind = ? AND id = ?";
const NEXT_NO: &str = "SELECT coalesce(max(no), 0) + 1 FROM entities";

/// Runs until the queue is closed and empty.
pub(crate) fn run(
    connection: Connection,
    mut queue: mpsc::Receiver<Waiting>,
    batch_max: usize,
    condition: Arc<Condition>,
) {
    let mut writer = Writer {
        connection,
        places: Places::default(),
        next_no: None,
        condition,
    };
    let mut waiting = Vec::with_capacity(batch_max);
    while queue.blocking_recv_many(&mut waiting, batch_max) > 0 {
        let endings: Vec<_> = waiting.iter().map(|waiting| waiting.commit.chain.own.clone()).collect();
        let (commits, answers): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|waiting| (waiting.commit, waiting.answer))
            .unzip();
        let (count, began) = (commits.len(), Instant::now());
        let written = writer.write(commits);
        measure::batch("sqlite", count, began.elapsed(), written.is_ok());
        // Said once, however long it lasts.
        match (&written, writer.condition.set_failing(written.is_err())) {
            (Err(error), false) => tracing::error!(%error, "nothing can be written; callers are told UNAVAILABLE"),
            (Ok(_), true) => tracing::warn!("what is written is durable again"),
            _ => {}
        }
        for (index, answer) in answers.into_iter().enumerate() {
            let told = match &written {
                Ok(told) => {
                    if told[index].is_ok() {
                        endings[index].stand();
                    }
                    told[index].clone()
                }
                Err(error) => {
                    endings[index].fall();
                    Err(error.clone())
                }
            };
            // A caller that is gone does not need to know; the commit stands.
            drop(answer.send(told));
        }
        writer.write_back();
    }
    if writer.condition.grows() {
        // As long as one connection is open, the last one that is closed does not write the log back.
        std::mem::forget(writer.connection);
        return;
    }
    if let Err((_, error)) = writer.connection.close() {
        tracing::warn!(%error, "closing the database");
    }
}

struct Writer {
    connection: Connection,
    places: Places,
    /// The number of the next new entity; none = to be asked for.
    next_no: Option<i64>,
    condition: Arc<Condition>,
}

impl Writer {
    /// Writes a batch: all commits whose guard holds, in one transaction. One answer for each.
    fn write(&mut self, commits: Vec<Commit>) -> Result<Answers, StoreError> {
        let written = self.try_write(commits);
        if let Err(error) = &written {
            tracing::debug!(%error, "rolling back");
            // SQLite may have rolled back by itself: then there is nothing to do.
            drop(self.connection.execute_batch("ROLLBACK"));
            self.places.forget();
            self.next_no = None;
        }
        written.map_err(failed)
    }

    /// Writes the log back into the file when it is long enough.
    fn write_back(&self) {
        if self.condition.grows() || !written_back::due() {
            return;
        }
        if let Err(error) = written_back::write_back(&self.connection) {
            self.condition.set_grows();
            tracing::error!(
                %error,
                "the log cannot be written back into the database file; nothing is lost, but the log grows until the server is \
                 started again: see to the disk"
            );
        }
    }

    fn try_write(&mut self, commits: Vec<Commit>) -> rusqlite::Result<Answers> {
        self.places.age();
        self.find(&commits)?;
        let mut next_no = match self.next_no {
            Some(no) => no,
            None => self.connection.query_row(NEXT_NO, [], |row| row.get(0))?,
        };
        let mut batch = Batch::default();
        let answers = commits
            .into_iter()
            .map(|commit| batch.add(commit, &mut self.places, &mut next_no))
            .collect();
        statements::write(&self.connection, batch)?;
        self.next_no = Some(next_no);
        Ok(answers)
    }

    /// Asks the file for the entities of a batch that are not remembered.
    fn find(&mut self, commits: &[Commit]) -> rusqlite::Result<()> {
        let mut find = None;
        for Commit { entity, .. } in commits {
            if self.places.knows(entity) {
                continue;
            }
            let find = match &mut find {
                Some(find) => find,
                None => find.insert(self.connection.prepare_cached(FIND)?),
            };
            if let Some(place) = find
                .query_row(params![entity.kind as u8, entity.id], place)
                .optional()?
            {
                self.places.put(entity.clone(), place);
            }
        }
        Ok(())
    }
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place {
        no: row.get(0)?,
        version: row.get::<_, i64>(1)?.unsigned_abs(),
        listing: Listing {
            tenant: row.get(2)?,
            app: row.get(3)?,
            user: row.get(4)?,
            status: row.get(5)?,
            created: Time(row.get(6)?),
        },
        head_hint: None,
    })
}
