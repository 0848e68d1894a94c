-- The queues of a reaction's tasks: by status and time, over all shards and for one. Only tasks (row kind 15) are in them.
-- The first four bytes of a task's key are its shard.
CREATE INDEX rows_tasks ON rows (no, due_kind, due_at) WHERE kind = 15;
CREATE INDEX rows_tasks_by_shard ON rows (no, due_kind, substr(key, 1, 4), due_at) WHERE kind = 15;
