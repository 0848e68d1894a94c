//! A batch as statements: a fixed number of kinds, each for one, two, four ... sixty-four rows, so that SQLite has each
//! text to prepare only once.

use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use crate::batch::{Batch, Relisted, Written};

/// Most rows of one statement. A power of two.
const ROWS_MAX: usize = 64;
/// A transaction of at most so many rows is one text: every text of its own costs a switch to SQLite's thread and back.
/// Larger ones have too many shapes for their texts to be prepared only once.
const ONE_TEXT_ROWS: usize = 24;

/// A text that is run at once, and its arguments in the order of their marks.
#[derive(Default)]
pub(crate) struct Text {
    /// One statement, or several with semicolons between them.
    pub(crate) sql: String,
    /// What it is run with: values are moved into them, not copied.
    pub(crate) arguments: SqliteArguments,
}

/// The text before the rows, one row's marks, and the text behind the rows.
struct Shape {
    before: &'static str,
    row: &'static str,
    after: &'static str,
}

const CREATE: Shape = Shape {
    before: "INSERT INTO entities (no, kind, id, version, tenant, app, \"user\", status, created) VALUES ",
    row: "(?,?,?,?,?,?,?,?,?)",
    after: "",
};
const MOVE: Shape = Shape {
    before: "UPDATE entities SET version = v.column2 FROM (VALUES ",
    row: "(?,?)",
    after: ") AS v WHERE entities.no = v.column1",
};
const STATUS: Shape = Shape {
    before: "UPDATE entities SET version = v.column2, status = v.column3 FROM (VALUES ",
    row: "(?,?,?)",
    after: ") AS v WHERE entities.no = v.column1",
};
const RELIST: Shape = Shape {
    before: "UPDATE entities SET version = v.column2, tenant = v.column3, app = v.column4, \"user\" = v.column5, \
             status = v.column6, created = v.column7 FROM (VALUES ",
    row: "(?,?,?,?,?,?,?)",
    after: ") AS v WHERE entities.no = v.column1",
};
const DELETE: Shape = Shape {
    before: "DELETE FROM rows WHERE (no, kind, key) IN (VALUES ",
    row: "(?,?,?)",
    after: ")",
};
const BODY: Shape = Shape {
    before: "INSERT INTO rows (no, kind, key, body) VALUES ",
    row: "(?,?,?,?)",
    after: " ON CONFLICT (no, kind, key) DO UPDATE SET body = excluded.body",
};
const WHOLE: Shape = Shape {
    before: "INSERT INTO rows (no, kind, key, due_kind, due_at, due_by, body) VALUES ",
    row: "(?,?,?,?,?,?,?)",
    after: " ON CONFLICT (no, kind, key) DO UPDATE SET due_kind = excluded.due_kind, due_at = excluded.due_at, \
            due_by = excluded.due_by, body = excluded.body",
};
const JOURNAL: Shape = Shape {
    before: "INSERT INTO journal (no, seq, body) VALUES ",
    row: "(?,?,?)",
    after: "",
};

/// The transaction that writes a batch: texts to be run one after the other. None if there is nothing to write.
///
/// # Errors
/// If a value cannot be bound, which would be a defect of ours.
pub(crate) fn transaction(batch: Batch) -> Result<Vec<Text>, sqlx::Error> {
    let rows = batch.entities.len() + batch.rows.len() + batch.entries.len();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let mut texts = Texts {
        one: rows <= ONE_TEXT_ROWS,
        texts: Vec::new(),
    };
    texts.next().sql.push_str("BEGIN IMMEDIATE");
    let (mut created, mut moved, mut statuses, mut relisted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (no, entity) in batch.entities {
        let version = entity.version.cast_signed();
        match entity.listing {
            Relisted::Created(id, listing) => created.push((no, id, version, listing)),
            Relisted::Same => moved.push((no, version)),
            Relisted::Status(status) => statuses.push((no, version, status)),
            Relisted::Whole(listing) => relisted.push((no, version, listing)),
        }
    }
    let (mut deleted, mut bodies, mut wholes) = (Vec::new(), Vec::new(), Vec::new());
    for (key, row) in batch.rows {
        match row {
            Written::Deleted => deleted.push(key),
            Written::Body(body) => bodies.push((key, body)),
            Written::Whole(hint, body) => wholes.push((key, hint, body)),
        }
    }
    texts.write(&CREATE, created, |to, (no, id, version, listing)| {
        to.add(no)?;
        to.add(id.kind as u8)?;
        to.add(id.id)?;
        to.add(version)?;
        to.add(listing.tenant)?;
        to.add(listing.app)?;
        to.add(listing.user)?;
        to.add(listing.status)?;
        to.add(listing.created.0)
    })?;
    texts.write(&MOVE, moved, |to, (no, version)| {
        to.add(no)?;
        to.add(version)
    })?;
    texts.write(&STATUS, statuses, |to, (no, version, status)| {
        to.add(no)?;
        to.add(version)?;
        to.add(status)
    })?;
    texts.write(&RELIST, relisted, |to, (no, version, listing)| {
        to.add(no)?;
        to.add(version)?;
        to.add(listing.tenant)?;
        to.add(listing.app)?;
        to.add(listing.user)?;
        to.add(listing.status)?;
        to.add(listing.created.0)
    })?;
    texts.write(&DELETE, deleted, |to, (no, kind, key)| {
        to.add(no)?;
        to.add(kind)?;
        to.add(key)
    })?;
    texts.write(&BODY, bodies, |to, ((no, kind, key), body)| {
        to.add(no)?;
        to.add(kind)?;
        to.add(key)?;
        to.add(body)
    })?;
    texts.write(&WHOLE, wholes, |to, ((no, kind, key), (due, by), body)| {
        to.add(no)?;
        to.add(kind)?;
        to.add(key)?;
        to.add(due.map(|due| due.kind as u8))?;
        to.add(due.map(|due| due.at.0))?;
        to.add(by)?;
        to.add(body)
    })?;
    texts.write(&JOURNAL, batch.entries, |to, (no, seq, body)| {
        to.add(no)?;
        to.add(seq)?;
        to.add(body)
    })?;
    texts.next().sql.push_str("COMMIT");
    Ok(texts.texts)
}

/// Texts as they grow.
struct Texts {
    /// All that follows goes into one.
    one: bool,
    texts: Vec<Text>,
}

impl Texts {
    /// Where the next statement goes.
    fn next(&mut self) -> &mut Text {
        if !self.one || self.texts.is_empty() {
            self.texts.push(Text::default());
        }
        let last = self.texts.len() - 1;
        let text = &mut self.texts[last];
        if !text.sql.is_empty() {
            text.sql.push(';');
        }
        text
    }

    /// Adds statements for all of `rows`, each for a power of two of them.
    fn write<T>(
        &mut self,
        shape: &Shape,
        rows: Vec<T>,
        bind: impl Fn(&mut SqliteArguments, T) -> Result<(), BoxDynError>,
    ) -> Result<(), sqlx::Error> {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while left > 0 {
            let count = (1 << left.ilog2()).min(ROWS_MAX);
            let text = self.next();
            text.sql.push_str(shape.before);
            for (index, row) in rows.by_ref().take(count).enumerate() {
                if index > 0 {
                    text.sql.push(',');
                }
                text.sql.push_str(shape.row);
                bind(&mut text.arguments, row).map_err(sqlx::Error::Encode)?;
            }
            text.sql.push_str(shape.after);
            left -= count;
        }
        Ok(())
    }
}
