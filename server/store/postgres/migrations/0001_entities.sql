-- Entities: the units of atomicity, each with a version that every commit raises.
CREATE TABLE entities (
    no      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    SMALLINT NOT NULL,
    id      TEXT     NOT NULL,
    version BIGINT   NOT NULL,
    tenant  TEXT     NOT NULL,
    app     TEXT     NOT NULL,
    "user"  TEXT     NOT NULL,
    status  SMALLINT NOT NULL,
    created BIGINT   NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX entities_by_id ON entities (kind, id);
CREATE INDEX entities_by_creation ON entities (kind, created, id);
CREATE INDEX entities_by_status ON entities (kind, status, created, id);

-- Rows of an entity. Work that waits is marked by the row itself; only such rows are in the index.
CREATE TABLE rows (
    no       BIGINT   NOT NULL,
    kind     SMALLINT NOT NULL,
    key      BYTEA    NOT NULL,
    due_kind SMALLINT,
    due_at   BIGINT,
    body     BYTEA    NOT NULL,
    PRIMARY KEY (no, kind, key)
) WITH (fillfactor = 80);
CREATE INDEX rows_due ON rows (due_kind, due_at) WHERE due_kind IS NOT NULL;

-- The journal. `xid` is the transaction that wrote the entry: a reader of all runs may only pass what can no longer be
-- preceded by an entry of a transaction that is still open.
CREATE TABLE journal (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid      XID8   NOT NULL DEFAULT pg_current_xact_id(),
    no       BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    body     BYTEA  NOT NULL
);
CREATE UNIQUE INDEX journal_by_run ON journal (no, seq);
CREATE INDEX journal_by_commit ON journal (xid, position);
