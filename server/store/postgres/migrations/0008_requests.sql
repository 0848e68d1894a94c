-- Answers to request ids are forgotten after a day (due_kind 12). Those that an older version wrote are nobody's work yet: a day
-- from now each of them is old enough.
UPDATE rows SET due_kind = 12, due_at = (extract(epoch FROM now()) * 1000)::bigint + 86400000
WHERE kind = 9 AND due_kind IS NULL;
