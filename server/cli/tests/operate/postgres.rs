//! Postgres that hangs, several servers on one database, and schemas that are too new.

use std::time::Duration;

use tape_proto::v1 as pb;
use tape_store_tests::cluster::Cluster;
use tokio::time::Instant;
use tonic::Code;

use crate::server::{Start, begin, eventually, folder};

#[tokio::test]
async fn a_database_that_hangs_is_told_in_time_and_found_again() {
    let folder = folder();
    let cluster = Cluster::start();
    let url = cluster.database("hangs").await + "&statement_timeout_ms=1000&connect_timeout_ms=3000";
    let server = Start::new(folder.path()).args(&["--store", &url]).run().await;
    let mut tape = server.tape().await;
    tape.begin_run(begin("before")).await.unwrap();

    cluster.pause();
    let asked = Instant::now();
    let hung = tape.begin_run(begin("meanwhile")).await.unwrap_err();
    assert_eq!(hung.code(), Code::Unavailable, "{hung:?}");
    assert!(hung.message().contains("TAPE-A001"), "{hung:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let (status, text) = server.get("/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert_eq!(server.get("/healthz").await.0, 200, "the process is well");

    cluster.resume();
    eventually("it serves again", || {
        let mut tape = tape.clone();
        async move { tape.begin_run(begin("after")).await.ok() }
    })
    .await;
    eventually("it is ready again", async || {
        (server.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    // Repeating the request whose answer was lost is safe, whether it took hold or not.
    tape.begin_run(begin("meanwhile")).await.unwrap();
}

/// Returns when somebody has waited for a lock for more than 1.5 s.
const WAITED_FOR_LONG: &str = "DO $$ BEGIN LOOP
    PERFORM pg_stat_clear_snapshot();
    EXIT WHEN EXISTS (SELECT FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND clock_timestamp() - query_start > interval '1500 ms');
    PERFORM pg_sleep(0.02);
END LOOP; END $$;";

/// What waits for a lock, or rewrites a large table, is given more time than a statement of every day.
#[tokio::test]
async fn a_migration_takes_as_long_as_it_takes() {
    let folder = folder();
    let cluster = Cluster::start();
    let url = cluster.database("slow").await + "&statement_timeout_ms=1000";
    let mut other = cluster.session("slow").await;
    other.run("BEGIN; CREATE TABLE entities (in_the_way int);").await;
    let start = Start::new(folder.path()).args(&["--store", &url]);
    // It gives way once the server has waited for longer than a statement may.
    let in_the_way = async {
        other.run(WAITED_FOR_LONG).await;
        other.run("ROLLBACK;").await;
    };
    let (server, ()) = tokio::join!(start.run(), in_the_way);
    server.tape().await.begin_run(begin("after")).await.unwrap();
}

#[tokio::test]
async fn a_commit_wakes_who_follows_on_another_server() {
    const ENTRIES: i64 = 12;
    let folder = folder();
    let cluster = Cluster::start();
    let url = cluster.database("several").await;
    let start = || {
        Start::new(folder.path())
            .args(&["--store", &url, "--reactors", "none"])
            .run()
    };
    // Both migrate the fresh database: one waits for the other.
    let (here, there) = tokio::join!(start(), start());
    let (mut writer, mut reader) = (here.tape().await, there.tape().await);
    let run_id = writer.begin_run(begin("followed")).await.unwrap().into_inner().run_id;
    let follow = pb::SubscribeRunRequest {
        run_id: run_id.clone(),
        from_seq: 0,
    };
    let mut journal = reader.subscribe_run(follow).await.unwrap().into_inner();
    let mut seen = 0;
    let began = Instant::now();
    for index in 0..ENTRIES {
        let decision = pb::RecordDecisionRequest {
            run_id: run_id.clone(),
            decision_index: index,
            model: "m".into(),
            request_json: "{}".into(),
            response_json: "{}".into(),
            ..Default::default()
        };
        let seq = writer.record_decision(decision).await.unwrap().into_inner().seq;
        while seen < seq {
            seen = journal.message().await.unwrap().unwrap().seq;
        }
    }
    // By polling, once a second, it would take half a second for each on average.
    assert!(
        began.elapsed() < Duration::from_millis(400 * ENTRIES.unsigned_abs()),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_database_of_a_newer_server_is_refused_with_both_versions() {
    let folder = folder();
    let cluster = Cluster::start();
    let url = cluster.database("newer").await;
    drop(Start::new(folder.path()).args(&["--store", &url]).run().await);
    let mut session = cluster.session("newer").await;
    session
        .run("INSERT INTO _sqlx_migrations SELECT 9999, 'later', now(), true, checksum, 1 FROM _sqlx_migrations LIMIT 1;")
        .await;
    let (status, words) = Start::new(folder.path()).args(&["--store", &url]).refused();
    assert_eq!(status.code(), Some(1));
    assert!(
        words.contains("TAPE-N002") && words.contains("9999") && words.contains("newer"),
        "{words}"
    );
}
