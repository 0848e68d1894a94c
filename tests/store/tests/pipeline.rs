//! Commands on one run, many at once, over real stores: each is decided on the state that the one before it leaves, and
//! none is answered before it is durable.

use std::sync::Arc;
use std::time::Duration;

use tape_connector_port::NoConnectors;
use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::{BeginRun, LeaseRequest, ResumeRun, StartRun};
use tape_core::command::complete_effect::{CompleteEffect, Completion};
use tape_core::command::decision::RecordDecision;
use tape_core::command::operator::RetryEffect;
use tape_core::command::reserve::{BusinessKey, RESERVATION_REVOKED, Reserve, Revoke};
use tape_core::command::timer::SetTimer;
use tape_core::command::value::{Guard, WriteValue};
use tape_core::effect::{Mode, Semantics};
use tape_core::lease::Driver;
use tape_core::run::{Caller, Run};
use tape_core::value::{VERSIONS_KEPT, ValueName};
use tape_core::{DueKind, EntityId, RowKey, RunIdentity, Time};
use tape_engine::{Engine, EngineConfig, RunFilter, ValueFeed};
use tape_port::{Clock, Luck, TapeError};
use tape_store::Store;
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Time {
        Time(1_000)
    }
}

impl Luck for Fixed {
    fn fresh(&self) -> String {
        "fresh".into()
    }

    fn jitter(&self) -> u16 {
        500
    }
}

fn engine(store: Arc<dyn Store>) -> Arc<Engine> {
    let connectors = Arc::new(NoConnectors);
    Arc::new(Engine::new(
        store,
        Arc::new(Fixed),
        Arc::new(Fixed),
        connectors,
        EngineConfig::default(),
    ))
}

async fn begin(engine: &Engine, owner: &str) -> Run {
    begin_as(engine, owner, "i").await
}

async fn begin_as(engine: &Engine, owner: &str, invocation: &str) -> Run {
    let identity = RunIdentity {
        app: "app".into(),
        invocation: invocation.into(),
        ..RunIdentity::default()
    };
    let lease = LeaseRequest {
        owner: owner.into(),
        ttl_ms: 0,
        fenced: true,
    };
    let command = BeginRun {
        identity,
        caller: Caller::default(),
        input_json: String::new(),
        lease,
    };
    engine.execute(&command, None).await.expect("begun").run
}

fn decision(run: &Run, index: i64) -> RecordDecision {
    RecordDecision {
        run: run.id.clone(),
        driver: Driver {
            fence: Some(run.fence),
            owner: None,
        },
        index,
        model: "m".into(),
        request_json: "{}".into(),
        response_json: index.to_string(),
        rationale: String::new(),
        policy_version: String::new(),
    }
}

/// `engines` are servers over the same store.
async fn everybody_at_once(engines: &[Arc<Engine>], store: &dyn Store) {
    const DECISIONS: i64 = 200;
    let run = begin(&engines[0], "a").await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..DECISIONS {
        // Each twice: the second is answered from the record, and not before the record is durable.
        for copy in 0..2 {
            let engine = engines[(usize::try_from(index).expect("small") + copy) % engines.len()].clone();
            let command = decision(&run, index);
            tasks.spawn(async move {
                engine
                    .execute(&command, None)
                    .await
                    .map(|decision| (index, decision.response_json))
            });
        }
    }
    for answer in tasks.join_all().await {
        let (index, response) = answer.expect("recorded");
        assert_eq!(response, index.to_string());
    }
    let journal = store
        .journal(&EntityId::run(&run.id), 1, 10_000)
        .await
        .expect("journal");
    let seqs: Vec<i64> = journal.iter().map(|entry| entry.seq).collect();
    // Begun, attached, and each decision once.
    assert_eq!(seqs, (1..=DECISIONS + 2).collect::<Vec<_>>());
    assert_eq!(engines[0].run(&run.id).await.expect("run").decisions, DECISIONS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("tape.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config).await.expect("a store"));
    everybody_at_once(&[engine(store.clone())], store.as_ref()).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_on_postgres() {
    let cluster = cluster::Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("pipeline").await).expect("a URL");
    let one: Arc<dyn Store> = Arc::new(PostgresStore::open(&config).await.expect("a store"));
    let other: Arc<dyn Store> = Arc::new(PostgresStore::open(&config).await.expect("a store"));
    everybody_at_once(&[engine(one.clone()), engine(other.clone())], one.as_ref()).await;
    one.close().await;
    other.close().await;
}

/// A server whose copy of a run is old does not answer from it.
#[tokio::test]
async fn a_copy_that_another_server_has_outdated_is_not_answered_from() {
    let cluster = cluster::Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("stale").await).expect("a URL");
    let stores: [Arc<dyn Store>; 2] = [
        Arc::new(PostgresStore::open(&config).await.expect("a store")),
        Arc::new(PostgresStore::open(&config).await.expect("a store")),
    ];
    let (here, there) = (engine(stores[0].clone()), engine(stores[1].clone()));
    let run = begin(&here, "a").await;
    here.execute(&decision(&run, 0), None)
        .await
        .expect("recorded, and copied");
    // Taken over there, where the lease is known to be lost.
    let lost = tape_core::command::recovery::LoseLease {
        run: run.id.clone(),
        owner: "a".into(),
        reason: "gone".into(),
    };
    there.execute(&lost, None).await.expect("lost");
    let lease = LeaseRequest {
        owner: "b".into(),
        ttl_ms: 0,
        fenced: true,
    };
    there
        .execute(
            &ResumeRun {
                run: run.id.clone(),
                lease,
            },
            None,
        )
        .await
        .expect("taken over");
    // A replay of the former driver writes nothing; it has to be refused all the same.
    let refused = here.execute(&decision(&run, 0), None).await;
    assert!(
        matches!(&refused, Err(TapeError::Refused(refusal)) if refusal.code == "TAPE-R002"),
        "{refused:?}"
    );
    for store in stores {
        store.close().await;
    }
}

#[tokio::test]
async fn values_written_at_once_are_all_watched_and_the_oldest_are_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tape.db")))
        .await
        .expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let engine = engine(store.clone());
    let name = ValueName {
        tenant: String::new(),
        namespace: "n".into(),
        key: "k".into(),
    };
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..VERSIONS_KEPT + 5 {
        let (engine, name) = (engine.clone(), name.clone());
        writes.spawn(async move {
            let write = WriteValue {
                name,
                json: n.to_string(),
                guard: Guard::Any,
                writer: String::new(),
                request_id: String::new(),
            };
            engine.execute(&write, None).await.expect("a version").version
        });
    }
    let mut versions = writes.join_all().await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=VERSIONS_KEPT + 5).collect::<Vec<_>>());

    let mut gone = ValueFeed::open(engine.clone(), &name, 5).expect("a feed");
    let refused = gone.next().await;
    assert!(
        matches!(&refused, Err(TapeError::Refused(refusal)) if refusal.version == Some(6)),
        "{refused:?}"
    );
    let mut feed = ValueFeed::open(engine, &name, 6).expect("a feed");
    for version in 6..=VERSIONS_KEPT + 5 {
        let change = feed.next().await.expect("a version");
        let previous = change.previous.map(|previous| previous.version);
        assert_eq!((change.value.version, previous), (version, Some(version - 1)));
    }
    let rows = [4, 5, 6].map(RowKey::ValueVersion);
    let kept = store.load(&name.entity(), &rows, &[]).await.expect("an entity").rows;
    let kept: Vec<_> = kept.into_iter().map(|(key, _)| key).collect();
    assert_eq!(kept, [RowKey::Head, RowKey::ValueVersion(5), RowKey::ValueVersion(6)]);
    store.close().await;
}

fn wire(run: &Run) -> BeginEffect {
    BeginEffect {
        run: run.id.clone(),
        driver: Driver {
            fence: Some(run.fence),
            owner: None,
        },
        decision_index: 0,
        tool: "wire".into(),
        call_index: 0,
        request_json: "{}".into(),
        custom_key: String::new(),
        semantics: Semantics::NonIdempotent,
        mode: Mode::Outbox,
        business_key: "invoice".into(),
        connector: "bank".into(),
        operation: "wire".into(),
        scope: String::new(),
        deadline: Time::ZERO,
        handle: None,
        status_check: String::new(),
        allow_unsafe: false,
        known: Known::default(),
    }
}

/// A server died between the reservation of a business key and the effect. Another run takes the key; the first finds
/// that run's effect when it comes back, at whatever point of the taking that is.
#[tokio::test]
async fn a_business_key_has_one_effect_whoever_died_while_taking_it() {
    let engine = engine(Arc::new(MemoryStore::new()));
    let (a, b) = (begin_as(&engine, "a", "one").await, begin_as(&engine, "b", "two").await);
    let key = BusinessKey {
        tenant: String::new(),
        connector: "bank".into(),
        key: "invoice".into(),
    };
    let reserve = Reserve {
        key,
        run: a.id.clone(),
        effect: wire(&a).key(),
        from: None,
    };
    let dangling = engine.execute(&reserve, None).await.expect("reserved");
    // b's server has revoked a's reservation, and not yet taken it.
    let revoke = Revoke {
        run: a.id.clone(),
        business_key: "invoice".into(),
        effect: wire(&a).key(),
        number: dangling.number,
    };
    assert!(engine.execute(&revoke, None).await.expect("revoked").is_none());
    // a comes back just then: what it had reserved is worth nothing, so it reserves anew, and b loses.
    let begun = engine.begin_effect(wire(&a), None).await.expect("begun");
    assert!(!begun.deduplicated && begun.owner == a.id);
    let taking = Reserve {
        run: b.id.clone(),
        effect: wire(&b).key(),
        from: Some(dangling),
        ..reserve
    };
    let owner = engine.execute(&taking, None).await.expect("answered");
    assert_eq!((owner.run, owner.number), (a.id.clone(), 2));
    let other = engine.begin_effect(wire(&b), None).await.expect("answered");
    assert!(other.deduplicated && other.owner == a.id && other.effect.intent.key == wire(&a).key());
}

#[tokio::test]
async fn a_business_key_that_was_reserved_and_never_used_is_free() {
    let engine = engine(Arc::new(MemoryStore::new()));
    let (a, b) = (begin_as(&engine, "a", "one").await, begin_as(&engine, "b", "two").await);
    let key = BusinessKey {
        tenant: String::new(),
        connector: "bank".into(),
        key: "invoice".into(),
    };
    let reserve = Reserve {
        key,
        run: a.id.clone(),
        effect: wire(&a).key(),
        from: None,
    };
    engine.execute(&reserve, None).await.expect("reserved");
    let taken = engine.begin_effect(wire(&b), None).await.expect("begun");
    assert!(!taken.deduplicated && taken.owner == b.id);
    let late = engine.begin_effect(wire(&a), None).await.expect("answered");
    assert!(late.deduplicated && late.owner == b.id);
}

/// The effect under the key, in a form whose failure is definite.
fn inline(run: &Run) -> BeginEffect {
    BeginEffect {
        semantics: Semantics::Idempotent,
        mode: Mode::Inline,
        ..wire(run)
    }
}

async fn fail(engine: &Engine, run: &Run) {
    let fail = CompleteEffect {
        run: run.id.clone(),
        driver: inline(run).driver,
        key: inline(run).key(),
        completion: Completion::Failed,
        response_json: String::new(),
        error_json: "\"no\"".into(),
    };
    engine.execute(&fail, None).await.expect("failed");
}

fn again(run: &Run) -> RetryEffect {
    RetryEffect {
        run: run.id.clone(),
        key: inline(run).key(),
        reserved: None,
        reason: "once more".into(),
        who: "ops".into(),
    }
}

#[tokio::test]
async fn an_effect_that_failed_is_reopened_only_with_its_business_key_in_hand() {
    let engine = engine(Arc::new(MemoryStore::new()));
    let (a, b) = (begin_as(&engine, "a", "one").await, begin_as(&engine, "b", "two").await);
    engine.begin_effect(inline(&a), None).await.expect("begun");
    fail(&engine, &a).await;
    let taken = engine.begin_effect(inline(&b), None).await.expect("begun");
    assert!(!taken.deduplicated && taken.owner == b.id);
    match engine.retry_effect(again(&a), None).await {
        Err(TapeError::Refused(refusal)) => {
            assert_eq!(refusal.code, "TAPE-E014");
            assert!(refusal.message.contains(b.id.as_str()), "{}", refusal.message);
        }
        other => unreachable!("both could be carried out: {other:?}"),
    }
    fail(&engine, &b).await;
    let reopened = engine.retry_effect(again(&a), None).await.expect("the key is free");
    assert_eq!(reopened.state.name(), "PENDING");
    let deduplicated = engine.retry_effect(again(&b), None).await;
    assert!(matches!(deduplicated, Err(TapeError::Refused(refusal)) if refusal.code == "TAPE-E014"));
}

/// Between the reservation and the reopening somebody else may take the key: then what was reserved is worth nothing.
#[tokio::test]
async fn a_reservation_that_is_taken_before_the_effect_is_reopened_is_worth_nothing() {
    let engine = engine(Arc::new(MemoryStore::new()));
    let (a, b) = (begin_as(&engine, "a", "one").await, begin_as(&engine, "b", "two").await);
    engine.begin_effect(inline(&a), None).await.expect("begun");
    fail(&engine, &a).await;
    let reserve = Reserve {
        key: BusinessKey {
            tenant: String::new(),
            connector: "bank".into(),
            key: "invoice".into(),
        },
        run: a.id.clone(),
        effect: inline(&a).key(),
        from: None,
    };
    let reserved = engine.execute(&reserve, None).await.expect("reserved");
    engine.begin_effect(inline(&b), None).await.expect("begun");
    let late = RetryEffect {
        reserved: Some(("invoice".into(), reserved.number)),
        ..again(&a)
    };
    match engine.execute(&late, None).await {
        Err(TapeError::Refused(refusal)) => assert_eq!(refusal.code, RESERVATION_REVOKED),
        other => unreachable!("both could be carried out: {other:?}"),
    }
}

/// Whoever asked for a write goes away while it is on its way to the disk. What is decided meanwhile may be decided on the state
/// before it or after it, but once somebody has seen it, nobody is told of the state before.
#[tokio::test]
async fn a_write_whose_caller_is_gone_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tape.db")))
        .await
        .expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let engine = engine(store.clone());
    let name = ValueName {
        tenant: String::new(),
        namespace: "n".into(),
        key: "k".into(),
    };
    let write = |guard| WriteValue {
        name: name.clone(),
        json: "1".into(),
        guard,
        writer: String::new(),
        request_id: String::new(),
    };
    engine.execute(&write(Guard::Any), None).await.expect("a version");
    for version in 2..=20 {
        let (other, command) = (engine.clone(), write(Guard::Any));
        let mut caller = tokio::task::JoinSet::new();
        caller.spawn(async move { other.execute(&command, None).await });
        // Until it is with the store.
        tokio::task::yield_now().await;
        caller.shutdown().await;
        // Refused, on whichever version.
        engine
            .execute(&write(Guard::Version(999)), None)
            .await
            .expect_err("refused");
        while engine
            .value(&name)
            .await
            .expect("read")
            .is_none_or(|value| value.version < version)
        {
            tokio::task::yield_now().await;
        }
        let refused = engine.execute(&write(Guard::Version(999)), None).await;
        assert!(
            matches!(&refused, Err(TapeError::Refused(refusal)) if refusal.version == Some(version)),
            "at version {version}: {refused:?}"
        );
    }
    store.close().await;
}

/// The same, but it is work: whoever does it is told, and need not find it by looking now and then.
#[tokio::test]
async fn work_whose_caller_is_gone_wakes_its_reactor() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tape.db")))
        .await
        .expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let engine = engine(store.clone());
    let run = begin(&engine, "a").await;
    for n in 0..20 {
        let mut told = engine.watch_due(DueKind::Timers);
        let command = SetTimer {
            run: run.id.clone(),
            id: format!("timer-{n}"),
            fire_at: Time(1_000),
            kind: "mine".into(),
            payload_json: String::new(),
        };
        let other = engine.clone();
        let mut caller = tokio::task::JoinSet::new();
        caller.spawn(async move { other.execute(&command, None).await });
        // Until it is with the store.
        tokio::task::yield_now().await;
        caller.shutdown().await;
        let waking = tokio::time::timeout(Duration::from_secs(20), told.changed()).await;
        waking.expect("nobody was woken").expect("the engine is there");
    }
    store.close().await;
}

/// Apps and labels are not indexed: what is rare is found all the same, page by page, and no page looks at everything.
#[tokio::test]
async fn a_page_of_something_rare_has_an_end() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = engine(store.clone());
    let rare = begin_as(&engine, "a", "rare").await;
    for n in 0..20_500 {
        let command = StartRun {
            identity: RunIdentity {
                app: "common".into(),
                invocation: format!("i-{n}"),
                ..RunIdentity::default()
            },
            caller: Caller::default(),
            input_json: String::new(),
        };
        engine.execute(&command, None).await.expect("a run");
    }
    let mut filter = RunFilter {
        app: Some(rare.identity.app.clone()),
        ..RunFilter::default()
    };
    let first = engine.list_runs(&filter).await.expect("a page");
    assert!(first.next.is_some(), "everything was looked at");
    let (mut found, mut pages) = (first.items, 1);
    filter.after = first.next;
    while filter.after.is_some() {
        let page = engine.list_runs(&filter).await.expect("a page");
        found.extend(page.items);
        filter.after = page.next;
        pages += 1;
    }
    let ids: Vec<_> = found.iter().map(|run| &run.id).collect();
    assert_eq!((ids, pages), (vec![&rare.id], 2));
}
