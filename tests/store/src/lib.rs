//! The suite: facts that every store must keep. A case gets a fresh store and panics with what it saw.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a case that cannot go on has failed, and says where"
)]

pub mod cluster;
pub mod mortal;
pub mod world;

use std::sync::Arc;

use tape_core::command::Range;
use tape_core::row::RowKind;
use tape_core::session::StateValue;
use tape_core::{Due, DueKind, EntityId, EntityKind, Row, RowKey, Time};
use tape_store::{
    Chain, Commit, DueQuery, ListQuery, Listing, Position, QueueQuery, Store, StoreError, StoredRow, codec,
};

/// A row with some content.
#[must_use]
pub fn row(key: &str, value: &str, due: Option<Due>) -> StoredRow {
    let state = Row::State(StateValue {
        key: key.into(),
        value_json: value.into(),
    });
    StoredRow {
        key: RowKey::State(key.into()),
        body: codec::encode_row(&state).unwrap(),
        due,
        by: None,
    }
}

/// The head of an entity, with this content.
#[must_use]
pub fn head(value: &str) -> StoredRow {
    StoredRow {
        key: RowKey::Head,
        ..row("head", value, None)
    }
}

/// The run with this name.
#[must_use]
pub fn run(name: &str) -> EntityId {
    EntityId {
        kind: EntityKind::Run,
        id: name.into(),
    }
}

/// A commit on `entity` at `expected`.
#[must_use]
pub fn commit(entity: &EntityId, expected: u64, puts: Vec<StoredRow>) -> Commit {
    Commit {
        entity: entity.clone(),
        expected,
        listing: None,
        puts,
        deletes: Vec::new(),
        entries: Vec::new(),
        chain: Chain::default(),
    }
}

fn listing(app: &str, status: u8, created: i64) -> Option<Listing> {
    Some(Listing {
        tenant: "t".into(),
        app: app.into(),
        user: "u".into(),
        status,
        created: Time(created),
    })
}

fn due(kind: DueKind, at: i64) -> Option<Due> {
    Some(Due { kind, at: Time(at) })
}

/// What does not exist is at version 0 and has no rows.
pub async fn nothing_is_there_before_the_first_commit(store: &dyn Store) {
    let loaded = store.load(&run("a"), &[RowKey::Head], &[]).await.unwrap();
    assert_eq!((loaded.version, loaded.rows.len()), (0, 0));
    assert!(store.journal(&run("a"), 1, 10).await.unwrap().is_empty());
}

/// A commit raises the version by one and is read back as it was written.
pub async fn a_commit_is_read_back(store: &dyn Store) {
    let version = store
        .commit(commit(&run("a"), 0, vec![head("1"), row("k", "2", None)]))
        .await
        .unwrap();
    assert_eq!(version, 1);
    let loaded = store
        .load(
            &run("a"),
            &[RowKey::State("k".into()), RowKey::State("none".into())],
            &[],
        )
        .await
        .unwrap();
    let keys: Vec<_> = loaded.rows.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(
        (loaded.version, keys),
        (1, vec![RowKey::Head, RowKey::State("k".into())])
    );
    assert_eq!(loaded.rows[1].1, row("k", "2", None).body);
}

/// A commit on another version than the stored one is refused and leaves no trace.
pub async fn a_commit_on_an_old_version_leaves_no_trace(store: &dyn Store) {
    store.commit(commit(&run("a"), 0, vec![head("1")])).await.unwrap();
    for expected in [0, 2, 7] {
        let mut late = commit(
            &run("a"),
            expected,
            vec![head("late"), row("late", "1", due(DueKind::Outbox, 1))],
        );
        late.entries = vec![(1, vec![1])];
        late.listing = listing("late", 1, 1);
        let answer = store.commit(late).await;
        assert!(
            matches!(answer, Err(StoreError::Conflict { found: 1, .. })),
            "{answer:?}"
        );
    }
    let loaded = store
        .load(&run("a"), &[RowKey::State("late".into())], &[])
        .await
        .unwrap();
    assert_eq!((loaded.version, loaded.rows.len()), (1, 1));
    assert_eq!(loaded.rows[0].1, head("1").body);
    assert!(store.journal(&run("a"), 1, 10).await.unwrap().is_empty());
    assert!(due_keys(store, DueKind::Outbox, 10, None).await.is_empty());
}

/// Of commits on one version that race, one wins; a conflict does not fail the others of its batch.
pub async fn one_of_many_racing_commits_wins(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for racer in 0..32 {
        let (store, other) = (store.clone(), store.clone());
        tasks.spawn(async move {
            store
                .commit(commit(&run("shared"), 0, vec![row("k", &racer.to_string(), None)]))
                .await
        });
        tasks.spawn(async move {
            other
                .commit(commit(&run(&format!("own-{racer}")), 0, vec![head("1")]))
                .await
        });
    }
    let answers = tasks.join_all().await;
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(won, 32 + 1, "32 on entities of their own, and one of the racers");
    assert_eq!(store.load(&run("shared"), &[], &[]).await.unwrap().version, 1);
}

/// Commits of one entity that are sent one after the other without waiting are written in that order.
pub async fn commits_sent_in_order_are_written_in_order(store: Arc<dyn Store>) {
    let mut pending = Vec::new();
    for step in 0..50_u64 {
        let mut next = commit(&run("a"), step, vec![row("k", &step.to_string(), None)]);
        next.entries = vec![(i64::try_from(step).unwrap() + 1, vec![1])];
        pending.push(store.commit(next));
    }
    // Polled in order: each is handed over before the next.
    let mut tasks = Vec::new();
    for commit in pending {
        tasks.push(commit.await.unwrap());
    }
    assert_eq!(tasks, (1..=50).collect::<Vec<u64>>());
    let seqs: Vec<i64> = store
        .journal(&run("a"), 1, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.seq)
        .collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<i64>>());
}

/// The journal is read from a seq on, in order, no more than asked for.
pub async fn the_journal_is_read_from_a_place_on(store: &dyn Store) {
    let mut first = commit(&run("a"), 0, vec![head("1")]);
    first.entries = vec![(1, vec![11]), (2, vec![22]), (3, vec![33])];
    store.commit(first).await.unwrap();
    let read = store.journal(&run("a"), 2, 1).await.unwrap();
    assert_eq!((read.len(), read[0].seq, read[0].body.as_slice()), (1, 2, &[22_u8][..]));
    let rest = store.journal(&run("a"), 2, 10).await.unwrap();
    assert_eq!(rest.len(), 2);
    // Its positions are those of the tail.
    let tail = store.tail(read[0].position - 1, 10).await.unwrap();
    let places = |seq: i64, position: i64| (seq, position);
    assert_eq!(
        tail.iter()
            .map(|entry| places(entry.seq, entry.position))
            .collect::<Vec<_>>(),
        rest.iter()
            .map(|entry| places(entry.seq, entry.position))
            .collect::<Vec<_>>()
    );
    assert!(store.journal(&run("b"), 1, 10).await.unwrap().is_empty());
}

/// A commit that was decided on one that was refused is refused too, and whatever was decided on it: even where somebody else
/// has made the version that it was decided on.
pub async fn a_commit_falls_with_the_one_before_it(store: &dyn Store) {
    let entity = run("a");
    let on = |expected: u64, before: &Commit, value: &str| {
        let mut next = commit(&entity, expected, vec![row("k", value, None)]);
        next.chain.before = Some(before.chain.own.fate());
        next
    };
    store
        .commit(commit(&entity, 0, vec![row("k", "theirs", None)]))
        .await
        .unwrap();
    let refused = commit(&entity, 0, vec![row("k", "ours", None)]);
    let hanging = on(1, &refused, "ours, later");
    let last = on(2, &hanging, "ours, last");
    // Sent together, they may be in one batch or in three.
    let (refused, hanging, last) = (
        store.submit(refused).await,
        store.submit(hanging).await,
        store.submit(last).await,
    );
    for answer in [refused.await, hanging.await, last.await] {
        assert!(matches!(answer, Err(StoreError::Conflict { .. })), "{answer:?}");
    }
    let loaded = store.load(&entity, &[RowKey::State("k".into())], &[]).await.unwrap();
    assert_eq!(loaded.version, 1);
    let written = commit(&entity, 1, vec![row("k", "ours again", None)]);
    let hanging = on(2, &written, "and later");
    let (written, hanging) = (store.submit(written).await, store.submit(hanging).await);
    assert_eq!((written.await.unwrap(), hanging.await.unwrap()), (2, 3));
}

/// The entries of all journals come in the order of their commits, from any cursor on, no more than asked for.
pub async fn the_tail_is_in_commit_order_and_resumes(store: &dyn Store) {
    let mut expected = Vec::new();
    for (name, version, seqs) in [("b", 0, 1..=2), ("a", 0, 1..=1), ("b", 1, 3..=3), ("a", 1, 2..=4)] {
        let mut next = commit(&run(name), version, Vec::new());
        next.entries = seqs
            .map(|seq: u8| (i64::from(seq), vec![name.as_bytes()[0], seq]))
            .collect();
        expected.extend(next.entries.iter().map(|(seq, body)| (run(name), *seq, body.clone())));
        store.commit(next).await.unwrap();
    }
    let refused = Commit {
        entries: vec![(9, vec![9])],
        ..commit(&run("a"), 7, Vec::new())
    };
    assert!(store.commit(refused).await.is_err());
    let (mut seen, mut cursor) = (Vec::new(), 0);
    loop {
        let chunk = store.tail(cursor, 2).await.unwrap();
        assert!(chunk.len() <= 2);
        let Some(last) = chunk.last() else { break };
        assert!(chunk[0].position > cursor && last.position >= chunk[0].position);
        cursor = last.position;
        seen.extend(chunk.into_iter().map(|entry| (entry.entity, entry.seq, entry.body)));
    }
    assert_eq!(seen, expected);
}

/// A reader that goes on from its cursor while `writers` commit through all `servers` sees every entry once, and the
/// entries of each run by rising seq.
pub async fn the_tail_has_no_gap_under_writers(servers: &[Arc<dyn Store>], writers: usize, steps: i64) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = servers[writer % servers.len()].clone();
        tasks.spawn(async move {
            let entity = run(&format!("w-{writer}"));
            for step in 0..steps {
                let mut next = commit(&entity, step.unsigned_abs(), Vec::new());
                next.entries = vec![(2 * step + 1, vec![1]), (2 * step + 2, vec![2])];
                store.commit(next).await.unwrap();
            }
        });
    }
    let mut seen: std::collections::BTreeMap<EntityId, Vec<i64>> = std::collections::BTreeMap::new();
    let mut cursor = 0;
    loop {
        // Asked before reading: what was committed by then is in what is read.
        let done = tasks.is_empty();
        let chunk = servers[0].tail(cursor, 64).await.unwrap();
        for entry in &chunk {
            assert!(entry.position > cursor, "{} after {cursor}", entry.position);
            cursor = entry.position;
            seen.entry(entry.entity.clone()).or_default().push(entry.seq);
        }
        if chunk.is_empty() && done {
            break;
        }
        while let Some(written) = tasks.try_join_next() {
            written.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.len(), writers);
    for (entity, seqs) in seen {
        assert_eq!(seqs, (1..=2 * steps).collect::<Vec<i64>>(), "{entity:?}");
    }
}

/// Ranges come whole or as their last rows; other kinds do not come with them.
pub async fn a_range_can_be_cut_to_its_last_rows(store: &dyn Store) {
    let event = |n: u64| StoredRow {
        key: RowKey::SessionEvent(n),
        ..row("e", &n.to_string(), None)
    };
    let puts = (0..300)
        .map(event)
        .chain([head("1"), row("other", "1", None)])
        .collect();
    store.commit(commit(&run("a"), 0, puts)).await.unwrap();
    let read = |last| {
        let range = Range {
            kind: RowKind::SessionEvent,
            last,
        };
        async move {
            let rows = store.load(&run("a"), &[], &[range]).await.unwrap().rows;
            rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        }
    };
    assert_eq!(read(None).await.len(), 301);
    let last = [
        RowKey::Head,
        RowKey::SessionEvent(297),
        RowKey::SessionEvent(298),
        RowKey::SessionEvent(299),
    ];
    assert_eq!(read(Some(3)).await, last);
}

/// A row that is taken away is gone, with its hint; written again in the same batch of a version it is there.
pub async fn a_deleted_row_is_gone(store: &dyn Store) {
    store
        .commit(commit(
            &run("a"),
            0,
            vec![head("1"), row("k", "1", due(DueKind::Outbox, 5))],
        ))
        .await
        .unwrap();
    let mut without = commit(&run("a"), 1, vec![head("2")]);
    without.deletes = vec![RowKey::State("k".into())];
    store.commit(without).await.unwrap();
    assert_eq!(
        store
            .load(&run("a"), &[RowKey::State("k".into())], &[])
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
    assert!(due_keys(store, DueKind::Outbox, 10, None).await.is_empty());
}

/// Work is named oldest first, from its time on, for its kind and its apps, no more than asked for.
pub async fn due_work_is_named_in_order(store: &dyn Store) {
    for (name, app, at) in [("a", "x", 30), ("b", "y", 10), ("c", "x", 20), ("d", "x", 99)] {
        let mut work = commit(&run(name), 0, vec![head("1"), row(name, "1", due(DueKind::Timers, at))]);
        work.listing = listing(app, 1, 1);
        store.commit(work).await.unwrap();
    }
    assert_eq!(due_keys(store, DueKind::Timers, 30, None).await, ["b", "c", "a"]);
    assert_eq!(due_keys(store, DueKind::Timers, 29, None).await, ["b", "c"]);
    assert_eq!(
        due_keys(store, DueKind::Timers, 99, Some(vec!["x".into()])).await,
        ["c", "a", "d"]
    );
    assert!(due_keys(store, DueKind::Outbox, 99, None).await.is_empty());
    assert_eq!(store.next_due(DueKind::Timers, Time(0)).await.unwrap(), Some(Time(10)));
    assert_eq!(store.next_due(DueKind::Timers, Time(20)).await.unwrap(), Some(Time(30)));
    assert_eq!(store.next_due(DueKind::Outbox, Time(0)).await.unwrap(), None);
    assert_eq!(
        store.count_due(DueKind::Timers, Time(30)).await.unwrap(),
        (3, Some(Time(10)))
    );
    let one = DueQuery {
        kind: DueKind::Timers,
        until: Time(99),
        tenants: None,
        apps: None,
        by: None,
        limit: 1,
    };
    let named = store.due(&one).await.unwrap();
    assert_eq!((named.len(), named[0].app.as_str(), named[0].at), (1, "y", Time(10)));
}

/// Work that waits for somebody is found by who that is, however much waits for others; what anybody can do always is.
pub async fn work_of_others_hides_nothing(store: &dyn Store) {
    let waiting = |name: &str, at, by: Option<&str>| StoredRow {
        by: by.map(str::to_owned),
        ..row(name, "1", due(DueKind::Outbox, at))
    };
    let mut puts = vec![head("1")];
    puts.extend((0..1_000).map(|n| waiting(&format!("post-{n}"), n, Some("t/post"))));
    puts.push(waiting("bank-2", 5_002, Some("t/bank")));
    puts.push(waiting("bank-1", 5_001, Some("t/bank")));
    puts.push(waiting("anybody", 5_003, Some("")));
    puts.push(waiting("later", 9_001, Some("t/bank")));
    // Of a kind that is anybody's: not looked for by who.
    puts.push(waiting("unnamed", 1, None));
    let mut work = commit(&run("a"), 0, puts);
    work.listing = listing("x", 1, 1);
    store.commit(work).await.unwrap();
    let ask = |by: &[&str], apps: Option<&str>, limit| DueQuery {
        kind: DueKind::Outbox,
        until: Time(9_000),
        tenants: None,
        apps: apps.map(|app| vec![app.to_owned()]),
        by: Some(by.iter().map(|one| (*one).to_owned()).collect()),
        limit,
    };
    let named = async |query: DueQuery| {
        let rows = store.due(&query).await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    let keys = |names: &[&str]| {
        names
            .iter()
            .map(|name| RowKey::State((*name).into()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(ask(&["t/bank", "t/none"], None, 200)).await,
        keys(&["bank-1", "bank-2", "anybody"])
    );
    assert_eq!(named(ask(&["t/bank"], Some("x"), 2)).await, keys(&["bank-1", "bank-2"]));
    assert_eq!(named(ask(&["t/bank"], Some("y"), 200)).await, keys(&[]));
    assert_eq!(named(ask(&[], None, 200)).await, keys(&["anybody"]));
    assert_eq!(named(ask(&["t/bank", "t/post"], None, 200)).await.len(), 200);
    // More names than one statement of SQLite joins.
    let mut many: Vec<String> = (0..1_000).map(|n| format!("t/c-{n}")).collect();
    many.push("t/bank".to_owned());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        named(ask(&many, None, 200)).await,
        keys(&["bank-1", "bank-2", "anybody"])
    );

    // It moves with its row, like the time.
    let again = vec![waiting("bank-1", 5_001, Some("t/post")), row("bank-2", "2", None)];
    store.commit(commit(&run("a"), 1, again)).await.unwrap();
    assert_eq!(named(ask(&["t/bank"], None, 200)).await, keys(&["anybody"]));
}

/// A hint moves with its row.
pub async fn a_hint_moves_with_its_row(store: &dyn Store) {
    store
        .commit(commit(
            &run("a"),
            0,
            vec![head("1"), row("k", "1", due(DueKind::Outbox, 5))],
        ))
        .await
        .unwrap();
    store
        .commit(commit(&run("a"), 1, vec![row("k", "2", due(DueKind::Reconcile, 9))]))
        .await
        .unwrap();
    assert!(due_keys(store, DueKind::Outbox, 99, None).await.is_empty());
    assert_eq!(due_keys(store, DueKind::Reconcile, 99, None).await, ["k"]);
    store
        .commit(commit(&run("a"), 2, vec![row("k", "3", None)]))
        .await
        .unwrap();
    assert!(due_keys(store, DueKind::Reconcile, 99, None).await.is_empty());
}

/// Listings come newest first, filtered, page by page, without gap or repetition.
pub async fn listings_are_paged(store: &dyn Store) {
    for n in 0..25_u8 {
        let mut one = commit(&run(&format!("r-{n:02}")), 0, vec![head("1")]);
        // Several of the same time: the id decides.
        one.listing = listing(if n % 5 == 0 { "five" } else { "other" }, n % 2, i64::from(n / 4));
        store.commit(one).await.unwrap();
    }
    let mut query = ListQuery::all(EntityKind::Run, 4);
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(Position {
            created: last.listing.created,
            id: last.id.clone(),
        });
        seen.extend(page.iter().map(|listed| listed.id.clone()));
    }
    let expected: Vec<String> = (0..25).rev().map(|n| format!("r-{n:02}")).collect();
    assert_eq!(seen, expected);
    let fives = store
        .list(&ListQuery {
            app: Some("five".into()),
            ..ListQuery::all(EntityKind::Run, 99)
        })
        .await
        .unwrap();
    assert_eq!(fives.len(), 5);
    let odd = store
        .list(&ListQuery {
            statuses: vec![1],
            ..ListQuery::all(EntityKind::Run, 99)
        })
        .await
        .unwrap();
    assert_eq!(odd.len(), 12);
    let early = store
        .list(&ListQuery {
            created_until: Some(Time(0)),
            ..ListQuery::all(EntityKind::Run, 99)
        })
        .await
        .unwrap();
    assert_eq!(early.len(), 4);
    assert_eq!(
        store.count_by_status(EntityKind::Run).await.unwrap(),
        vec![(0, 13), (1, 12)]
    );
    assert!(
        store
            .list(&ListQuery::all(EntityKind::Session, 99))
            .await
            .unwrap()
            .is_empty()
    );
}

/// Tasks are named by queue, in the order of their time and place, from one entity and, if that is asked for, one shard.
pub async fn tasks_are_named_by_queue_and_shard(store: &dyn Store) {
    let reaction = |id: &str| EntityId::named(EntityKind::Reaction, &["t", id]);
    let task = |shard, position, kind, at| StoredRow {
        key: RowKey::Task(shard, position),
        ..row("task", "1", due(kind, at))
    };
    let puts = vec![
        head("1"),
        task(0, 300, DueKind::Task, 10),
        task(0, 2, DueKind::Task, 10),
        task(1, 3, DueKind::Task, 5),
        task(256, 4, DueKind::Task, 7),
        task(1, 5, DueKind::Task, 21),
        task(1, 6, DueKind::TaskClaim, 1),
        // Another kind of row in the same queue of hints.
        StoredRow {
            key: RowKey::TaskWindow("w".into()),
            ..row("w", "1", due(DueKind::Task, 1))
        },
    ];
    store.commit(commit(&reaction("a"), 0, puts)).await.unwrap();
    let other = commit(&reaction("b"), 0, vec![task(0, 9, DueKind::Task, 1)]);
    store.commit(other).await.unwrap();
    let ask = |id: &str, kind, until, shard, limit| {
        let query = QueueQuery {
            entity: reaction(id),
            kind,
            until: Time(until),
            shard,
            limit,
        };
        async move { store.tasks_due(&query).await.unwrap() }
    };
    let keys = |places: &[(u32, i64)]| -> Vec<RowKey> {
        places
            .iter()
            .map(|(shard, position)| RowKey::Task(*shard, *position))
            .collect()
    };
    let all = ask("a", DueKind::Task, 20, None, 9).await;
    assert_eq!(all, keys(&[(1, 3), (256, 4), (0, 2), (0, 300)]));
    assert_eq!(ask("a", DueKind::Task, 20, None, 2).await, all[..2]);
    assert_eq!(ask("a", DueKind::Task, 99, Some(1), 9).await, keys(&[(1, 3), (1, 5)]));
    assert_eq!(ask("a", DueKind::Task, 99, Some(256), 9).await, keys(&[(256, 4)]));
    assert_eq!(ask("a", DueKind::TaskClaim, 1, None, 9).await, keys(&[(1, 6)]));
    assert_eq!(ask("b", DueKind::Task, 99, None, 9).await, keys(&[(0, 9)]));
    assert!(ask("none", DueKind::Task, 99, None, 9).await.is_empty());
    // Claimed, it is in the other queue; gone, in none.
    let mut moved = commit(&reaction("a"), 1, vec![task(1, 3, DueKind::TaskClaim, 2)]);
    moved.deletes = keys(&[(256, 4)]);
    store.commit(moved).await.unwrap();
    assert_eq!(ask("a", DueKind::Task, 20, None, 9).await, keys(&[(0, 2), (0, 300)]));
    assert_eq!(ask("a", DueKind::TaskClaim, 2, None, 9).await, keys(&[(1, 6), (1, 3)]));
}

/// The end of the tail is the position of its last entry; entries say whose run they are of.
pub async fn the_tail_has_an_end_and_says_whose_it_is(store: &dyn Store) {
    assert_eq!(store.tail_end().await.unwrap(), 0);
    let mut first = commit(&run("a"), 0, vec![head("1")]);
    first.entries = vec![(1, vec![1]), (2, vec![2])];
    first.listing = listing("app-a", 1, 1);
    store.commit(first).await.unwrap();
    let end = store.tail_end().await.unwrap();
    let tail = store.tail(0, 9).await.unwrap();
    assert_eq!(tail.last().unwrap().position, end);
    let whose = (tail[0].tenant.as_str(), tail[0].app.as_str(), tail[0].user.as_str());
    assert_eq!(whose, ("t", "app-a", "u"));
    let mut second = commit(&run("b"), 0, vec![head("1")]);
    second.entries = vec![(1, vec![3])];
    store.commit(second).await.unwrap();
    let after = store.tail(end, 9).await.unwrap();
    assert_eq!((after.len(), &after[0].body), (1, &vec![3]));
    assert_eq!(store.tail_end().await.unwrap(), after[0].position);
}

async fn due_keys(store: &dyn Store, kind: DueKind, until: i64, apps: Option<Vec<String>>) -> Vec<String> {
    let rows = store
        .due(&DueQuery {
            kind,
            until: Time(until),
            tenants: None,
            apps,
            by: None,
            limit: 100,
        })
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| match row.key {
            RowKey::State(key) => key,
            other => format!("{other:?}"),
        })
        .collect()
}
