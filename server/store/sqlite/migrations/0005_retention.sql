-- Runs that have ended are work for retention, from when they ended, by their status. Of those that are there already, only
-- when they were created is known here: whoever looks at one too early writes it again, and then it is known.
UPDATE rows SET due_kind = 11, due_by = '', due_at = (SELECT created FROM entities e WHERE e.no = rows.no)
WHERE kind = 0 AND no IN (SELECT no FROM entities WHERE kind = 1 AND status IN (4, 5, 7, 8));
