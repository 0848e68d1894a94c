//! A batch as one statement: what each entity comes to, and the arrays in which the database takes it.
//!
//! ```text
//! commits ─▶ groups: one per entity, its commits one on the other ─▶ WRITE ─▶ which groups' guards held
//!        └▶ put off: commits that do not follow on the one before; they are decided once that one is
//! ```

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use tape_core::EntityId;
use tape_store::{Commit, Listing, StoredRow, codec};

/// Writes the groups whose guard holds, and names them. Statement and transaction are one: no other round trip, and what it
/// says is durable.
///
/// Entities are locked in one order, before anything is written. They are found one by one by their index, and then by their
/// place: a plan that was made while the tables were small is good when they are large. A guard is asked of the newest
/// version: who waits for another server's lock asks again. The journal comes last of what is
/// written (the last of these is run first): it takes the lock of all journals' order.
pub(crate) const WRITE: &str = r#"
WITH g AS MATERIALIZED (
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[], $7::text[], $8::text[],
                         $9::smallint[], $10::bigint[])
    WITH ORDINALITY AS t (kind, id, expected, version, listed, tenant, app, usr, status, created, g)
), locked AS MATERIALIZED (
    SELECT g.g, e.at FROM g, LATERAL (
        SELECT e.ctid AS at FROM entities e WHERE e.kind = g.kind AND e.id = g.id AND e.version = g.expected FOR NO KEY UPDATE
    ) e WHERE g.expected > 0
), moved AS (
    UPDATE entities e SET version = g.version,
        tenant = CASE WHEN g.listed THEN g.tenant ELSE e.tenant END, app = CASE WHEN g.listed THEN g.app ELSE e.app END,
        "user" = CASE WHEN g.listed THEN g.usr ELSE e."user" END, status = CASE WHEN g.listed THEN g.status ELSE e.status END,
        created = CASE WHEN g.listed THEN g.created ELSE e.created END
    FROM locked l JOIN g ON g.g = l.g WHERE e.ctid = l.at
    RETURNING g.g, e.no
), created AS (
    INSERT INTO entities AS e (kind, id, version, tenant, app, "user", status, created)
    SELECT kind, id, version, tenant, app, usr, status, created FROM g WHERE expected = 0 ORDER BY g.g
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, tenant = excluded.tenant, app = excluded.app,
        "user" = excluded."user", status = excluded.status, created = excluded.created WHERE e.version = 0
    RETURNING kind, id, no
), done AS MATERIALIZED (
    SELECT g, no FROM moved UNION ALL SELECT g.g, c.no FROM created c JOIN g ON g.kind = c.kind AND g.id = c.id
), noted AS (
    INSERT INTO journal (no, seq, body)
    SELECT done.no, x.seq, x.body FROM unnest($11::bigint[], $12::bigint[], $13::bytea[]) WITH ORDINALITY AS x (g, seq, body, n)
    JOIN done ON done.g = x.g ORDER BY x.n
), put AS (
    INSERT INTO rows (no, kind, key, due_kind, due_at, due_by, body)
    SELECT done.no, x.kind, x.key, x.due_kind, x.due_at, x.due_by, x.body
    FROM unnest($14::bigint[], $15::smallint[], $16::bytea[], $17::smallint[], $18::bigint[], $19::text[], $20::bytea[])
         AS x (g, kind, key, due_kind, due_at, due_by, body)
    JOIN done ON done.g = x.g
    ON CONFLICT (no, kind, key) DO UPDATE
    SET due_kind = excluded.due_kind, due_at = excluded.due_at, due_by = excluded.due_by, body = excluded.body
), gone AS (
    DELETE FROM rows r USING unnest($21::bigint[], $22::smallint[], $23::bytea[]) AS x (g, kind, key)
    JOIN done ON done.g = x.g, LATERAL (
        SELECT o.ctid AS at FROM rows o WHERE o.no = done.no AND o.kind = x.kind AND o.key = x.key OFFSET 0
    ) o WHERE r.ctid = o.at
)
SELECT g FROM done"#;

/// The commits of one entity, one on the other.
pub(crate) struct Group<'a> {
    /// The version at which the entity must be.
    pub(crate) expected: u64,
    /// Which of the batch's commits these are, in order.
    pub(crate) commits: Vec<usize>,
    /// By what the entity is listed after them; none = as before.
    listing: Option<&'a Listing>,
    /// The last state of each row counts.
    rows: HashMap<(i16, Vec<u8>), Option<&'a StoredRow>>,
    entries: Vec<(i64, &'a [u8])>,
}

/// What one statement writes.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    /// By entity: this is the order in which they are locked.
    pub(crate) groups: BTreeMap<&'a EntityId, Group<'a>>,
}

impl<'a> Batch<'a> {
    /// Takes a commit in. False if it does not follow on what the batch has of its entity.
    pub(crate) fn take(&mut self, index: usize, commit: &'a Commit) -> bool {
        let group = self.groups.entry(&commit.entity).or_insert_with(|| Group {
            expected: commit.expected,
            commits: Vec::new(),
            listing: None,
            rows: HashMap::new(),
            entries: Vec::new(),
        });
        if commit.expected != group.version() {
            return false;
        }
        group.commits.push(index);
        group.listing = commit.listing.as_ref().or(group.listing);
        let key = |key| {
            let (kind, bytes) = codec::encode_key(key);
            (i16::from(kind), bytes)
        };
        group
            .rows
            .extend(commit.deletes.iter().map(|deleted| (key(deleted), None)));
        group
            .rows
            .extend(commit.puts.iter().map(|row| (key(&row.key), Some(row))));
        group
            .entries
            .extend(commit.entries.iter().map(|(seq, body)| (*seq, body.as_slice())));
        true
    }

    /// The statement with its arrays.
    pub(crate) fn query(&self) -> Query<'_, Postgres, PgArguments> {
        let fresh = Listing::default();
        let (mut kinds, mut ids, mut expected, mut versions, mut listed) = (vec![], vec![], vec![], vec![], vec![]);
        let (mut tenants, mut apps, mut users, mut statuses, mut created) = (vec![], vec![], vec![], vec![], vec![]);
        let (mut of_entry, mut seqs, mut entries) = (vec![], vec![], vec![]);
        let (mut of_row, mut row_kinds, mut keys, mut bodies) = (vec![], vec![], vec![], vec![]);
        let (mut due_kinds, mut due_ats, mut due_bys) = (vec![], vec![], vec![]);
        let (mut of_gone, mut gone_kinds, mut gone_keys) = (vec![], vec![], vec![]);
        for (number, (entity, group)) in (1_i64..).zip(&self.groups) {
            let listing = group.listing.unwrap_or(&fresh);
            kinds.push(i16::from(entity.kind as u8));
            ids.push(entity.id.as_str());
            expected.push(group.expected.cast_signed());
            versions.push(group.version().cast_signed());
            listed.push(group.listing.is_some());
            tenants.push(listing.tenant.as_str());
            apps.push(listing.app.as_str());
            users.push(listing.user.as_str());
            statuses.push(i16::from(listing.status));
            created.push(listing.created.0);
            for (seq, body) in &group.entries {
                of_entry.push(number);
                seqs.push(*seq);
                entries.push(*body);
            }
            for ((kind, key), row) in &group.rows {
                let Some(row) = row else {
                    of_gone.push(number);
                    gone_kinds.push(*kind);
                    gone_keys.push(key.as_slice());
                    continue;
                };
                of_row.push(number);
                row_kinds.push(*kind);
                keys.push(key.as_slice());
                due_kinds.push(row.due.map(|due| i16::from(due.kind as u8)));
                due_ats.push(row.due.map(|due| due.at.0));
                due_bys.push(row.waits_for());
                bodies.push(row.body.as_slice());
            }
        }
        sqlx::query(WRITE)
            .bind(kinds)
            .bind(ids)
            .bind(expected)
            .bind(versions)
            .bind(listed)
            .bind(tenants)
            .bind(apps)
            .bind(users)
            .bind(statuses)
            .bind(created)
            .bind(of_entry)
            .bind(seqs)
            .bind(entries)
            .bind(of_row)
            .bind(row_kinds)
            .bind(keys)
            .bind(due_kinds)
            .bind(due_ats)
            .bind(due_bys)
            .bind(bodies)
            .bind(of_gone)
            .bind(gone_kinds)
            .bind(gone_keys)
    }

    /// For each group, in order, whether it was written.
    pub(crate) fn written(&self, answer: &[PgRow]) -> Result<Vec<bool>, sqlx::Error> {
        let mut written = vec![false; self.groups.len()];
        for row in answer {
            let number: i64 = row.try_get(0)?;
            let place = usize::try_from(number - 1)
                .ok()
                .and_then(|index| written.get_mut(index));
            *place.ok_or(sqlx::Error::RowNotFound)? = true;
        }
        Ok(written)
    }
}

impl Group<'_> {
    /// The entity's version after the group.
    pub(crate) fn version(&self) -> u64 {
        self.expected + self.commits.len() as u64
    }
}
