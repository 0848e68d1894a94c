//! The statements that look for work and list entities. Each names or implies the index that serves it: what it costs does
//! not grow with what is stored, and a test asks SQLite whether that is so. `verb` is `SELECT`, or asks for the plan.

use sqlx::{QueryBuilder, Sqlite};
use tape_core::DueKind;
use tape_core::row::RowKind;
use tape_store::{DueQuery, ListQuery, QueueQuery, codec};

/// The statement of [`Store::due`](tape_store::Store::due). Of each of `by` the oldest are taken from the index, so that
/// what others have to do is not looked at.
pub(crate) fn due(verb: &str, query: &DueQuery, by: Option<&[&str]>) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::<Sqlite>::new(verb);
    sql.push(" e.kind, e.id, r.kind, r.key, r.due_at, e.tenant, e.app FROM ");
    let filtered = query.tenants.is_some() || query.apps.is_some();
    match by {
        None => drop(
            sql.push("rows r JOIN entities e ON e.no = r.no WHERE r.due_kind = ")
                .push_bind(query.kind as u8),
        ),
        Some(by) => {
            for (index, one) in by.iter().enumerate() {
                sql.push(if index == 0 { "(" } else { " UNION ALL " });
                sql.push("SELECT * FROM (SELECT no, kind, key, due_at FROM rows WHERE due_kind = ")
                    .push_bind(query.kind as u8)
                    .push(" AND due_by = ")
                    .push_bind(*one)
                    .push(" AND due_at <= ")
                    .push_bind(query.until.0);
                if !filtered {
                    sql.push(" ORDER BY due_at LIMIT ").push_bind(query.limit);
                }
                sql.push(")");
            }
            sql.push(") r JOIN entities e ON e.no = r.no WHERE true");
        }
    }
    sql.push(" AND r.due_at <= ").push_bind(query.until.0);
    for (column, wanted) in [(" AND e.tenant IN (", &query.tenants), (" AND e.app IN (", &query.apps)] {
        let Some(wanted) = wanted else { continue };
        let mut list = sql.push(column).separated(", ");
        for one in wanted {
            list.push_bind(one);
        }
        sql.push(")");
    }
    sql.push(" ORDER BY r.due_at, e.kind, e.id LIMIT ")
        .push_bind(query.limit);
    sql
}

/// The statement of [`Store::next_due`](tape_store::Store::next_due).
pub(crate) fn next_due(verb: &str, kind: DueKind, after: i64) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::<Sqlite>::new(verb);
    sql.push(" min(due_at) FROM rows WHERE due_kind = ")
        .push_bind(kind as u8)
        .push(" AND due_at > ")
        .push_bind(after);
    sql
}

/// The statement of [`Store::count_due`](tape_store::Store::count_due).
pub(crate) fn count_due(verb: &str, kind: DueKind, now: i64) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::<Sqlite>::new(verb);
    sql.push(" count(*), min(due_at) FROM rows WHERE due_kind = ")
        .push_bind(kind as u8)
        .push(" AND due_at <= ")
        .push_bind(now);
    sql
}

/// The statement of [`Store::tasks_due`](tape_store::Store::tasks_due). Which index serves it depends on its literals: the
/// row kind is one.
pub(crate) fn tasks_due(verb: &str, query: &QueueQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(verb);
    sql.push(" r.key FROM rows r WHERE r.kind = ")
        .push(RowKind::Task as u8)
        .push(" AND r.no = (SELECT no FROM entities WHERE kind = ")
        .push_bind(query.entity.kind as u8)
        .push(" AND id = ")
        .push_bind(query.entity.id.clone())
        .push(") AND r.due_kind = ")
        .push_bind(query.kind as u8);
    if let Some(shard) = query.shard {
        sql.push(" AND substr(r.key, 1, 4) = ")
            .push_bind(codec::shard_prefix(shard).to_vec());
    }
    sql.push(" AND r.due_at <= ").push_bind(query.until.0);
    // Equals come in the order of their keys, with which the index ends. To ask for that would sort them all first: tasks
    // of one moment may be many.
    sql.push(" ORDER BY r.due_at LIMIT ").push_bind(query.limit);
    sql
}

/// The statement of [`Store::list`](tape_store::Store::list). Of several statuses the newest of each are taken, each from
/// its place in the index.
pub(crate) fn list(verb: &str, query: &ListQuery) -> QueryBuilder<Sqlite> {
    let (index, each_status) = match query {
        ListQuery { user: Some(_), .. } => ("entities_by_user", false),
        ListQuery { app: Some(_), .. } => ("entities_by_app", false),
        ListQuery { statuses, .. } if !statuses.is_empty() => ("entities_by_status", true),
        _ => ("entities_by_creation", false),
    };
    let parts: Vec<&[u8]> = if each_status {
        query.statuses.chunks(1).collect()
    } else {
        vec![&query.statuses]
    };
    let mut sql = QueryBuilder::<Sqlite>::new(verb);
    sql.push(" e.id, e.tenant, e.app, e.\"user\", e.status, e.created, r.body FROM (");
    for (number, statuses) in parts.into_iter().enumerate() {
        sql.push(if number == 0 { "" } else { " UNION ALL " });
        newest(&mut sql, index, query, statuses);
    }
    sql.push(
        ") e CROSS JOIN rows r ON r.no = e.no AND r.kind = 0 AND r.key = x'' ORDER BY e.created DESC, e.id DESC LIMIT ",
    )
    .push_bind(query.limit);
    sql
}

fn newest(sql: &mut QueryBuilder<Sqlite>, index: &str, query: &ListQuery, statuses: &[u8]) {
    sql.push("SELECT * FROM (SELECT * FROM entities INDEXED BY ")
        .push(index)
        .push(" WHERE kind = ")
        .push_bind(query.kind as u8);
    for (column, wanted) in [
        ("tenant", &query.tenant),
        ("app", &query.app),
        ("\"user\"", &query.user),
    ] {
        if let Some(wanted) = wanted {
            sql.push(" AND ").push(column).push(" = ").push_bind(wanted.clone());
        }
    }
    match statuses {
        [] => {}
        [status] => drop(sql.push(" AND status = ").push_bind(*status)),
        several => {
            sql.push(" AND status IN (");
            let mut list = sql.separated(", ");
            for status in several {
                list.push_bind(*status);
            }
            sql.push(")");
        }
    }
    let after = query.after.as_ref();
    let until = query
        .created_until
        .into_iter()
        .chain(after.map(|after| after.created))
        .min();
    if let Some(until) = until {
        sql.push(" AND created <= ").push_bind(until.0);
    }
    if let Some(after) = after {
        sql.push(" AND (created, id) < (")
            .push_bind(after.created.0)
            .push(", ")
            .push_bind(after.id.clone())
            .push(")");
    }
    sql.push(" ORDER BY created DESC, id DESC LIMIT ")
        .push_bind(query.limit)
        .push(")");
}

#[cfg(test)]
mod tests {
    use sqlx::{Row as _, SqliteConnection};
    use tape_core::{EntityId, EntityKind, Time};
    use tape_store::Position;

    use super::*;
    use crate::SqliteConfig;
    use crate::driver;

    const EXPLAIN: &str = "EXPLAIN QUERY PLAN SELECT";

    /// What SQLite would do, step by step.
    async fn plan(connection: &mut SqliteConnection, mut sql: QueryBuilder<Sqlite>) -> Vec<String> {
        let steps = sql.build().fetch_all(connection).await.unwrap();
        steps.iter().map(|step| step.get(3)).collect()
    }

    async fn with_schema(check: impl AsyncFnOnce(&mut SqliteConnection)) {
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(folder.path().join("tape.db"));
        driver::migrate(&config).await.unwrap();
        let pool = driver::readers(&config).await.unwrap();
        check(&mut *pool.acquire().await.unwrap()).await;
        pool.close().await;
    }

    /// Nothing of the stored is gone through from end to end; a part of a listing or the answer itself may be.
    fn searched(steps: &[String], index: &str) {
        assert!(steps.iter().any(|step| step.contains(index)), "{index}: {steps:?}");
        for table in ["SCAN entities", "SCAN rows", "SCAN r ", "SCAN r\n"] {
            assert!(!steps.iter().any(|step| step.contains(table)), "{steps:?}");
        }
    }

    #[tokio::test]
    async fn a_queue_is_read_by_its_index_in_its_order() {
        with_schema(async |connection| {
            for (shard, index) in [(None, "rows_tasks ("), (Some(2), "rows_tasks_by_shard (")] {
                let query = QueueQuery {
                    entity: EntityId::named(EntityKind::Reaction, &["", "rx"]),
                    kind: DueKind::Task,
                    until: Time(9),
                    shard,
                    limit: 16,
                };
                let steps = plan(connection, tasks_due(EXPLAIN, &query)).await;
                assert!(steps[0].contains(index), "{steps:?}");
                let sorted = steps.iter().any(|step| step.contains("B-TREE"));
                assert!(!sorted, "sorted after all: {steps:?}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn due_work_is_found_by_its_index() {
        with_schema(async |connection| {
            for kind in DueKind::ALL
                .into_iter()
                .chain([DueKind::TaskWindow, DueKind::Retention, DueKind::Request])
            {
                for (tenants, by) in [
                    (None, None),
                    (Some(vec!["t".to_owned()]), None),
                    (None, Some(["", "t/c"])),
                ] {
                    let query = DueQuery {
                        kind,
                        until: Time(9),
                        tenants,
                        apps: None,
                        by: None,
                        limit: 10,
                    };
                    let steps = plan(connection, due(EXPLAIN, &query, by.as_ref().map(<[_; 2]>::as_slice))).await;
                    searched(&steps, if by.is_some() { "rows_due_by (" } else { "rows_due (" });
                }
                searched(&plan(connection, next_due(EXPLAIN, kind, 9)).await, "rows_due (");
                searched(&plan(connection, count_due(EXPLAIN, kind, 9)).await, "rows_due (");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn listings_are_served_by_the_index_of_what_they_ask_for() {
        let all = ListQuery {
            created_until: Some(Time(9)),
            ..ListQuery::all(EntityKind::Run, 10)
        };
        let after = Some(Position {
            created: Time(5),
            id: "r".to_owned(),
        });
        let queries = [
            (
                ListQuery {
                    tenant: Some("t".into()),
                    ..all.clone()
                },
                "entities_by_creation (",
            ),
            (ListQuery { after, ..all.clone() }, "entities_by_creation ("),
            (
                ListQuery {
                    statuses: vec![4, 5],
                    ..all.clone()
                },
                "entities_by_status (",
            ),
            (
                ListQuery {
                    app: Some("a".into()),
                    statuses: vec![4, 5],
                    ..all.clone()
                },
                "entities_by_app (",
            ),
            (
                ListQuery {
                    app: Some("a".into()),
                    user: Some("u".into()),
                    ..all
                },
                "entities_by_user (",
            ),
        ];
        with_schema(async |connection| {
            for (query, index) in queries {
                let steps = plan(connection, list(EXPLAIN, &query)).await;
                searched(&steps, index);
                // Ties are sorted, and the parts' newest; never all that the index has.
                let of_index = steps.iter().position(|step| step.contains(index)).unwrap();
                let sorted = steps[of_index + 1].contains("B-TREE FOR ORDER BY");
                assert!(!sorted, "all are sorted first: {steps:?}");
            }
        })
        .await;
    }
}
