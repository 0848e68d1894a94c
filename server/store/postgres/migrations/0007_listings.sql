-- Listings are served by the index of what they ask for. Equals in time come in the order of their ids, which are few: the index
-- need not hold the ids.
DROP INDEX entities_by_creation;
DROP INDEX entities_by_status;
CREATE INDEX entities_by_creation ON entities (kind, created);
CREATE INDEX entities_by_status ON entities (kind, status, created);
CREATE INDEX entities_by_app ON entities (kind, app, created);
CREATE INDEX entities_by_user ON entities (kind, "user", created);
