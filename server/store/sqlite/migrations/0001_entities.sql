-- Entities: the units of atomicity, each with a version that every commit raises.
-- `no` is a short name within this file: the rows of an entity lie together, and new entities lie at the end.
CREATE TABLE entities (
    no      INTEGER PRIMARY KEY,
    kind    INTEGER NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    tenant  TEXT    NOT NULL,
    app     TEXT    NOT NULL,
    "user"  TEXT    NOT NULL,
    status  INTEGER NOT NULL,
    created INTEGER NOT NULL
);
CREATE UNIQUE INDEX entities_by_id ON entities (kind, id);
CREATE INDEX entities_by_creation ON entities (kind, created, id);
CREATE INDEX entities_by_status ON entities (kind, status, created, id);

-- Rows of an entity. Work that waits is marked by the row itself; only such rows are in the index.
CREATE TABLE rows (
    no       INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    key      BLOB    NOT NULL,
    due_kind INTEGER,
    due_at   INTEGER,
    body     BLOB    NOT NULL,
    PRIMARY KEY (no, kind, key)
) WITHOUT ROWID;
CREATE INDEX rows_due ON rows (due_kind, due_at) WHERE due_kind IS NOT NULL;

-- The journal. Its row id is the order in which entries were committed: there is one writer.
CREATE TABLE journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    no       INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    body     BLOB    NOT NULL
);
CREATE UNIQUE INDEX journal_by_run ON journal (no, seq);
