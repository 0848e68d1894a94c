//! The statements that look for work and list entities: what they cost does not grow with what is stored. `verb` is
//! `SELECT`, or asks for the plan.

use sqlx::{Postgres, QueryBuilder};
use tape_core::row::RowKind;
use tape_core::{DueKind, EntityId, EntityKind, Time};
use tape_store::{DueQuery, ListQuery, Position, QueueQuery, codec};

/// The statement of [`Store::due`](tape_store::Store::due). Of each of `by` the oldest are taken from the index, so that
/// what others have to do is not looked at.
pub(crate) fn due(verb: &str, query: &DueQuery) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::<Postgres>::new(verb);
    sql.push(" e.kind, e.id, r.kind, r.key, r.due_at, e.tenant, e.app FROM ");
    if let Some(by) = &query.by {
        let by: Vec<String> = [String::new()].into_iter().chain(by.iter().cloned()).collect();
        sql.push("unnest(")
            .push_bind(by)
            .push("::text[]) AS b (by) CROSS JOIN LATERAL (SELECT * FROM rows WHERE due_kind = ")
            .push_bind(i16::from(query.kind as u8))
            .push(" AND due_by = b.by AND due_at <= ")
            .push_bind(query.until.0)
            .push(" ORDER BY due_at");
        if query.tenants.is_none() && query.apps.is_none() {
            sql.push(" LIMIT ").push_bind(i64::from(query.limit));
        }
        sql.push(") r JOIN entities e ON e.no = r.no WHERE true");
    } else {
        sql.push("rows r JOIN entities e ON e.no = r.no WHERE r.due_kind = ")
            .push_bind(i16::from(query.kind as u8));
    }
    sql.push(" AND r.due_at <= ").push_bind(query.until.0);
    for (column, wanted) in [
        (" AND e.tenant = ANY(", &query.tenants),
        (" AND e.app = ANY(", &query.apps),
    ] {
        if let Some(wanted) = wanted {
            sql.push(column).push_bind(wanted.clone()).push(")");
        }
    }
    sql.push(" ORDER BY r.due_at, e.kind, e.id COLLATE \"C\" LIMIT ")
        .push_bind(i64::from(query.limit));
    sql
}

/// The statement of [`Store::next_due`](tape_store::Store::next_due).
pub(crate) fn next_due(verb: &str, kind: DueKind, after: i64) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::<Postgres>::new(verb);
    sql.push(" min(due_at) FROM rows WHERE due_kind = ")
        .push_bind(i16::from(kind as u8))
        .push(" AND due_at > ")
        .push_bind(after);
    sql
}

/// The statement of [`Store::count_due`](tape_store::Store::count_due).
pub(crate) fn count_due(verb: &str, kind: DueKind, now: i64) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::<Postgres>::new(verb);
    sql.push(" count(*), min(due_at) FROM rows WHERE due_kind = ")
        .push_bind(i16::from(kind as u8))
        .push(" AND due_at <= ")
        .push_bind(now);
    sql
}

/// The statement of [`Store::tasks_due`](tape_store::Store::tasks_due). Which index serves it depends on its literals: the
/// row kind is one.
pub(crate) fn tasks_due(verb: &str, query: &QueueQuery) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(verb);
    sql.push(" r.key FROM rows r WHERE r.kind = ")
        .push(RowKind::Task as u8)
        .push(" AND r.no = (SELECT no FROM entities WHERE kind = ")
        .push_bind(i16::from(query.entity.kind as u8))
        .push(" AND id = ")
        .push_bind(query.entity.id.clone())
        .push(") AND r.due_kind = ")
        .push_bind(i16::from(query.kind as u8));
    if let Some(shard) = query.shard {
        sql.push(" AND substring(r.key FROM 1 FOR 4) = ")
            .push_bind(codec::shard_prefix(shard).to_vec());
    }
    sql.push(" AND r.due_at <= ").push_bind(query.until.0);
    sql.push(" ORDER BY r.due_at, r.key LIMIT ")
        .push_bind(i64::from(query.limit));
    sql
}

/// The statement of [`Store::list`](tape_store::Store::list). Of several statuses the newest of each are taken, each from
/// its place in the index, unless an app's or a user's are asked for.
pub(crate) fn list(verb: &str, query: &ListQuery) -> QueryBuilder<Postgres> {
    let each_status = query.app.is_none() && query.user.is_none() && !query.statuses.is_empty();
    let parts: Vec<&[u8]> = if each_status {
        query.statuses.chunks(1).collect()
    } else {
        vec![&query.statuses]
    };
    let mut sql = QueryBuilder::<Postgres>::new(verb);
    sql.push(" e.id, e.tenant, e.app, e.\"user\", e.status, e.created, r.body FROM (");
    for (number, statuses) in parts.into_iter().enumerate() {
        sql.push(if number == 0 { "" } else { " UNION ALL " });
        newest(&mut sql, query, statuses);
    }
    sql.push(
        ") e JOIN rows r ON r.no = e.no AND r.kind = 0 AND r.key = ''::bytea ORDER BY e.created DESC, e.id DESC LIMIT ",
    )
    .push_bind(i64::from(query.limit));
    sql
}

fn newest(sql: &mut QueryBuilder<Postgres>, query: &ListQuery, statuses: &[u8]) {
    sql.push("(SELECT * FROM entities WHERE kind = ")
        .push_bind(i16::from(query.kind as u8));
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
        [status] => drop(sql.push(" AND status = ").push_bind(i16::from(*status))),
        several => {
            let several: Vec<i16> = several.iter().map(|status| i16::from(*status)).collect();
            sql.push(" AND status = ANY(").push_bind(several).push(")");
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
        .push_bind(i64::from(query.limit))
        .push(")");
}

/// Every kind of these statements, by what it asks for.
pub(crate) fn all(verb: &str) -> Vec<(String, QueryBuilder<Postgres>)> {
    let mut all = Vec::new();
    for kind in
        DueKind::ALL
            .into_iter()
            .chain([DueKind::Task, DueKind::TaskWindow, DueKind::Retention, DueKind::Request])
    {
        let anybodys = DueQuery {
            kind,
            until: Time(9),
            tenants: None,
            apps: None,
            by: None,
            limit: 10,
        };
        let mine = DueQuery {
            by: Some(vec!["t/c".to_owned()]),
            ..anybodys.clone()
        };
        all.push((format!("due {kind:?}"), due(verb, &anybodys)));
        all.push((format!("due {kind:?} by"), due(verb, &mine)));
        all.push((format!("next {kind:?}"), next_due(verb, kind, 9)));
        all.push((format!("count {kind:?}"), count_due(verb, kind, 9)));
    }
    for shard in [None, Some(2)] {
        let query = QueueQuery {
            entity: EntityId::named(EntityKind::Reaction, &["", "rx"]),
            kind: DueKind::Task,
            until: Time(9),
            shard,
            limit: 16,
        };
        all.push((format!("tasks {shard:?}"), tasks_due(verb, &query)));
    }
    let listing = ListQuery {
        created_until: Some(Time(9)),
        ..ListQuery::all(EntityKind::Run, 10)
    };
    let after = Position {
        created: Time(5),
        id: "r".to_owned(),
    };
    let listings = [
        ("list", listing.clone()),
        (
            "list after",
            ListQuery {
                after: Some(after),
                ..listing.clone()
            },
        ),
        (
            "list statuses",
            ListQuery {
                statuses: vec![4, 5],
                ..listing.clone()
            },
        ),
        (
            "list app",
            ListQuery {
                app: Some("a".to_owned()),
                ..listing.clone()
            },
        ),
        (
            "list user",
            ListQuery {
                user: Some("u".to_owned()),
                ..listing
            },
        ),
    ];
    all.extend(listings.map(|(name, query)| (name.to_owned(), list(verb, &query))));
    all
}
