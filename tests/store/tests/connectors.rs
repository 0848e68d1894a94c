//! Deployed connectors over real stores: whatever dies, a version is there with all its bytes or not at all, and what nobody
//! names is collected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tape_connector_port::NoConnectors;
use tape_core::command::connector::{ActivateVersion, By, PutVersion, RemoveVersion, Rollback, Taken};
use tape_core::connector::{
    CHUNK_BYTES, COMPONENT_BYTES_MAX, Connector, ConnectorName, ConnectorVersion, UNNAMED_MS, digest_of,
};
use tape_engine::{Engine, EngineConfig};
use tape_port::TapeError;
use tape_store::Store;
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;
use tape_store_tests::mortal::Mortal;
use tape_store_tests::world::World;
use tokio::task::JoinSet;

/// A server over a store.
fn engine(world: &Arc<World>, store: Arc<dyn Store>) -> Arc<Engine> {
    let connectors = Arc::new(NoConnectors);
    let config = EngineConfig::default();
    Arc::new(Engine::new(store, world.clone(), world.clone(), connectors, config))
}

/// Two servers over a store that takes two; otherwise one, twice.
fn servers(world: &Arc<World>, store: &Arc<dyn Store>) -> [Arc<Engine>; 2] {
    let one = engine(world, store.clone());
    let other = if store.shared() {
        engine(world, store.clone())
    } else {
        one.clone()
    };
    [one, other]
}

fn bank() -> ConnectorName {
    ConnectorName::new("t", "bank")
}

/// Bytes that no other seed gives, of any length.
fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).map(|byte: u8| byte ^ seed).collect()
}

fn version(name: &str, component: &[u8]) -> PutVersion {
    PutVersion {
        name: bank(),
        version: ConnectorVersion {
            version: name.into(),
            digest: digest_of(component),
            size: component.len() as u64,
            ..ConnectorVersion::default()
        },
        taken: Taken::Refuse,
        activate: false,
        declared: None,
        by: By::default(),
    }
}

async fn put(engine: &Engine, name: &str, component: &[u8]) -> bool {
    let put = version(name, component);
    engine.put_connector(&put, component).await.expect("put").created
}

async fn activate(engine: &Engine, version: &str, weight: i32) -> Connector {
    let command = ActivateVersion {
        name: bank(),
        version: version.into(),
        weight,
        by: By::default(),
    };
    engine.activate_version(&command).await.expect("activated")
}

/// The largest component there may be comes back as it was put, whatever server is asked.
async fn the_largest_component_is_read_back(store: Arc<dyn Store>) {
    let world = World::new();
    let component = bytes(1, COMPONENT_BYTES_MAX);
    put(&engine(&world, store.clone()), "1", &component).await;
    let read = engine(&world, store.clone()).component(&digest_of(&component)).await;
    assert!(read.expect("read") == component);
    let too_large = bytes(1, COMPONENT_BYTES_MAX + 1);
    let refused = engine(&world, store)
        .put_connector(&version("2", &too_large), &too_large)
        .await
        .expect_err("too large");
    assert_eq!(refused.code(), "TAPE-C046");
}

/// A server dies after each of the commits of a put. Either the version is there and its bytes are, or neither counts; the
/// same put again makes it whole.
async fn a_put_that_dies_half_way_leaves_nothing_that_counts(store: Arc<dyn Store>) {
    let world = World::new();
    let mut died = 0;
    for left in 0..8_u8 {
        for last_counts in [false, true] {
            let component = bytes(2 * left + u8::from(last_counts), 2 * CHUNK_BYTES + 7);
            let name = format!("{left}-{last_counts}");
            let mortal = Mortal::new(store.clone(), left.into(), last_counts);
            let answer = engine(&world, mortal)
                .put_connector(&version(&name, &component), &component)
                .await;
            let next = engine(&world, store.clone());
            let known = next
                .connector(&bank())
                .await
                .is_ok_and(|found| found.connector.known(&name).is_some());
            if known {
                assert!(next.component(&digest_of(&component)).await.expect("whole") == component);
            } else {
                assert!(answer.is_err(), "it said that it was put");
            }
            died += usize::from(answer.is_err());
            put(&next, &name, &component).await;
            assert!(next.component(&digest_of(&component)).await.expect("whole") == component);
        }
    }
    assert_eq!(died, 12, "a put has six commits");
}

/// Bytes go once no version names them and nobody can be about to; those that two versions name stay until both are gone.
async fn bytes_that_nobody_names_are_collected(store: Arc<dyn Store>) {
    let world = World::new();
    let engine = engine(&world, store.clone());
    let (shared, half) = (bytes(1, CHUNK_BYTES + 1), bytes(2, 3 * CHUNK_BYTES));
    put(&engine, "1", &shared).await;
    put(&engine, "2", &shared).await;
    let mortal = Mortal::new(store.clone(), 2, true);
    let dying = self::engine(&world, mortal)
        .put_connector(&version("3", &half), &half)
        .await;
    assert!(dying.is_err());
    let collect = async || engine.collect_components(UNNAMED_MS).await.expect("collected");
    let later = || world.now.fetch_add(2 * UNNAMED_MS, Ordering::SeqCst);

    assert_eq!(collect().await, 0, "somebody may be about to name them");
    later();
    assert_eq!(collect().await, 1, "the half one");
    let gone = engine.component(&digest_of(&half)).await.expect_err("gone");
    assert!(matches!(gone, TapeError::Corrupt(_)));
    for (version, dropped) in [("1", 0), ("2", 1)] {
        let remove = RemoveVersion {
            name: bank(),
            version: version.into(),
            by: By::default(),
        };
        assert!(engine.remove_connector(&remove).await.expect("removed"));
        assert_eq!(collect().await, dropped, "after {version}");
    }
    // What was collected can be put again.
    assert!(put(&engine, "4", &half).await);
    later();
    assert_eq!(collect().await, 0);
    assert!(engine.component(&digest_of(&half)).await.expect("whole") == half);
}

/// Of two servers that put and collect the same bytes at the same time, neither breaks the other's version.
async fn who_is_about_to_name_bytes_keeps_them(store: Arc<dyn Store>) {
    let world = World::new();
    let [one, other] = servers(&world, &store);
    let component = bytes(3, 2 * CHUNK_BYTES);
    for round in 0..10 {
        put(&one, &format!("a{round}"), &component).await;
        let remove = RemoveVersion {
            name: bank(),
            version: format!("a{round}"),
            by: By::default(),
        };
        one.remove_connector(&remove).await.expect("removed");
        world.now.fetch_add(2 * UNNAMED_MS, Ordering::SeqCst);
        let name = format!("b{round}");
        let again = version(&name, &component);
        let (named, _) = tokio::join!(
            one.put_connector(&again, &component),
            other.collect_components(UNNAMED_MS)
        );
        named.expect("put");
        assert!(other.component(&digest_of(&component)).await.expect("whole") == component);
        let remove = RemoveVersion {
            version: name,
            ..remove
        };
        one.remove_connector(&remove).await.expect("removed");
    }
}

/// Servers direct calls at the same time: each change is one entry, without gaps, and the last of them is in force for all.
async fn changes_at_the_same_time_follow_each_other(store: Arc<dyn Store>) {
    const EACH: usize = 20;
    let world = World::new();
    let servers = servers(&world, &store);
    for name in ["1", "2", "3"] {
        put(&servers[0], name, name.as_bytes()).await;
    }
    activate(&servers[0], "1", 0).await;
    let mut tasks = JoinSet::new();
    for (server, name) in servers.iter().cloned().zip(["2", "3"]) {
        tasks.spawn(async move {
            for _ in 0..EACH {
                activate(&server, name, 0).await;
                let rollback = Rollback {
                    name: bank(),
                    from: name.into(),
                    by: By::default(),
                };
                server.rollback_connector(&rollback).await.expect("rolled back");
            }
        });
    }
    tasks.join_all().await;
    let one = servers[0].connector(&bank()).await.expect("there");
    let other = servers[1].connector(&bank()).await.expect("there");
    assert_eq!(one, other);
    assert_eq!(
        one.connector
            .active
            .iter()
            .map(|share| u32::from(share.weight))
            .sum::<u32>(),
        100
    );
    let history = servers[0]
        .connector_history(&bank(), 0, 10_000)
        .await
        .expect("its journal");
    let seqs: Vec<i64> = history.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=one.connector.seq).collect::<Vec<_>>());
    let last: serde_json::Value = serde_json::from_str(&history.last().expect("one").payload_json).expect("JSON");
    assert_eq!(last["active"][0]["version"], one.connector.active[0].version.as_str());

    // Who follows reads what has changed, and nothing else.
    let mut known = BTreeMap::new();
    for changed in servers[1].connectors_since(None, &known).await.expect("all") {
        known.insert(changed.connector.name.clone(), changed.connector.seq);
    }
    assert!(
        servers[1]
            .connectors_since(None, &known)
            .await
            .expect("none")
            .is_empty()
    );
    activate(&servers[0], "1", 0).await;
    activate(&servers[0], "2", 10).await;
    let changed = servers[1].connectors_since(Some("t"), &known).await.expect("one");
    assert_eq!((changed.len(), changed[0].connector.weight("2")), (1, 10));
    assert!(
        servers[1]
            .connectors_since(Some("other"), &known)
            .await
            .expect("none")
            .is_empty()
    );
    let misnamed = servers[0]
        .connector(&ConnectorName::new("t", "bnak"))
        .await
        .expect_err("no such");
    assert!(misnamed.to_string().contains("Did you mean \"bank\""), "{misnamed}");
}

macro_rules! over_every_store {
    ($($fact:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $fact() {
                super::$fact(std::sync::Arc::new(super::MemoryStore::new())).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $fact() {
                let folder = tempfile::tempdir().expect("a folder");
                let config = super::SqliteConfig::new(folder.path().join("tape.db"));
                let store: std::sync::Arc<dyn super::Store> =
                    std::sync::Arc::new(super::SqliteStore::open(&config).await.expect("a store"));
                super::$fact(store.clone()).await;
                store.close().await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $fact() {
                let cluster = super::Cluster::start();
                let config = super::PostgresConfig::parse(&cluster.database("connectors").await).expect("a URL");
                let store: std::sync::Arc<dyn super::Store> =
                    std::sync::Arc::new(super::PostgresStore::open(&config).await.expect("a store"));
                super::$fact(store.clone()).await;
                store.close().await;
            })*
        }
    };
}

over_every_store!(
    the_largest_component_is_read_back,
    a_put_that_dies_half_way_leaves_nothing_that_counts,
    bytes_that_nobody_names_are_collected,
    who_is_about_to_name_bytes_keeps_them,
    changes_at_the_same_time_follow_each_other,
);
