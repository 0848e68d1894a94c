-- Whom work waits for: a connector of a tenant, or '' for nobody in particular. Whoever looks for what it can do finds that
-- without looking at what others have to do. Kinds of work that are anybody's have none, and are not in the index.
ALTER TABLE rows ADD COLUMN due_by TEXT;
-- What is there already: whoever looks at it writes it again, and then it is known whom it waits for.
UPDATE rows SET due_by = '' WHERE due_kind IN (2, 3, 5);
CREATE INDEX rows_due_by ON rows (due_kind, due_by, due_at) WHERE due_by IS NOT NULL;
