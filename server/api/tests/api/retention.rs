//! Compacting runs that have ended.

use tape_core::{Due, DueKind, EntityId, RowKey, RunId, Time};
use tape_engine::Retention;
use tape_proto::v1 as pb;
use tape_store::{Commit, Store, StoredRow};
use tonic::Code;

use crate::feed::whole;
use crate::support::{TestServer, decision, end, inline, refused};

impl TestServer {
    /// A run with a decision and a confirmed effect, ended as `status`.
    async fn ended(&self, invocation: &str, status: pb::RunStatus) -> (String, String) {
        let mut tape = self.tape.clone();
        let run = self.begin(invocation, "a", false).await.run_id;
        tape.record_decision(decision(&run, 0, r#"{"say":"hi"}"#))
            .await
            .unwrap();
        let key = tape.begin_effect(inline(&run, 0)).await.unwrap();
        let key = key.into_inner().idempotency_key;
        let done = pb::CompleteEffectRequest {
            run_id: run.clone(),
            idempotency_key: key.clone(),
            status: pb::EffectStatus::Confirmed.into(),
            response_json: "[7]".into(),
            ..Default::default()
        };
        tape.complete_effect(done).await.unwrap();
        tape.end_run(end(&run, status)).await.unwrap();
        (run, key)
    }

    async fn compact(&self, run: &str) -> pb::CompactRunResponse {
        let compacted = self.tape.clone().compact_run(ask(run)).await;
        compacted.expect("a run that has ended").into_inner()
    }

    async fn compactable(&self, before_ms: i64, limit: i64) -> Vec<String> {
        let request = pb::ListCompactableRunsRequest { before_ms, limit };
        let listed = self.tape.clone().list_compactable_runs(request).await;
        let runs = listed.expect("a list").into_inner().runs;
        runs.into_iter().map(|run| run.run_id).collect()
    }

    async fn decided(&self, run: &str) -> pb::DecisionRecord {
        let request = pb::GetDecisionRequest {
            run_id: run.into(),
            decision_index: 0,
            ..Default::default()
        };
        let answer = self.tape.clone().get_decision(request).await;
        answer.expect("an answer").into_inner().decision.expect("a decision")
    }
}

fn ask(run: &str) -> pb::CompactRunRequest {
    pb::CompactRunRequest {
        run_id: run.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_finished_run_keeps_its_envelope_alone() {
    let server = TestServer::start().await;
    let (run, key) = server.ended("i-1", pb::RunStatus::Terminal).await;
    let compacted = server.compact(&run).await;
    let bytes = r#"{"prompt":"p"}{"say":"hi"}{}[7]"#.len() as i64;
    assert_eq!(
        compacted,
        pb::CompactRunResponse {
            decisions_zeroed: 1,
            effects_zeroed: 1,
            bytes_saved: bytes,
            already_compacted: false,
        }
    );
    let decided = server.decided(&run).await;
    assert_eq!(
        (decided.request_json.as_str(), decided.response_json.as_str()),
        ("", "")
    );
    assert_eq!(decided.model, "m");
    let effect = server.effect(&run, &key).await;
    assert_eq!((effect.request_json.as_str(), effect.response_json.as_str()), ("", ""));
    assert_eq!(effect.status(), pb::EffectStatus::Confirmed);
    let entries = whole(&server, &run, 1).await;
    assert_eq!(entries.last().unwrap().kind, "run.compacted");

    let again = server.compact(&run).await;
    assert!(again.already_compacted && again.bytes_saved == 0);
    assert_eq!(server.seq(&run).await, entries.len() as i64);
}

#[tokio::test]
async fn a_failed_run_can_still_be_replayed() {
    let server = TestServer::start().await;
    let (run, key) = server.ended("i-1", pb::RunStatus::Failed).await;
    assert_eq!(server.compact(&run).await.decisions_zeroed, 1);
    let redrive = pb::RedriveRequest {
        run_id: run.clone(),
        reason: "fixed".into(),
    };
    server.admin.clone().redrive(redrive).await.unwrap();
    let mut tape = server.tape.clone();
    server.begin("i-1", "b", false).await;
    // The replay records what is recorded, and does again what was done.
    let same = tape
        .record_decision(decision(&run, 0, r#"{"say":"hi"}"#))
        .await
        .unwrap();
    assert_eq!(same.into_inner().response_json, r#"{"say":"hi"}"#);
    let other = pb::RecordDecisionRequest {
        request_json: r#"{"prompt":"q"}"#.into(),
        ..decision(&run, 0, r#"{"say":"hi"}"#)
    };
    refused(tape.record_decision(other).await, Code::AlreadyExists, "TAPE-D001");
    let replayed = tape.begin_effect(inline(&run, 0)).await.unwrap().into_inner();
    assert_eq!(replayed.idempotency_key, key);
    assert_eq!(server.effect(&run, &key).await.response_json, "[7]");

    server.clock.turn(1);
    tape.end_run(end(&run, pb::RunStatus::Terminal)).await.unwrap();
    assert!(!server.compact(&run).await.already_compacted);
    assert_eq!(server.effect(&run, &key).await.response_json, "");
}

#[tokio::test]
async fn the_first_that_ended_is_compacted_first() {
    let server = TestServer::start().await;
    let mut ended = Vec::new();
    for n in 0..5 {
        server.clock.turn(10);
        ended.push(server.ended(&format!("i-{n}"), pb::RunStatus::Terminal).await.0);
    }
    server.begin("i-going", "a", false).await;
    assert_eq!(server.compactable(1_000_031, 2).await, ended[..2]);
    server.compact(&ended[0]).await;
    server.compact(&ended[1]).await;
    assert_eq!(server.compactable(1_000_031, 2).await, ended[2..3]);
    // Now itself is not before now.
    assert_eq!(server.compactable(0, 0).await, ended[2..4]);
    server.clock.turn(1);
    assert_eq!(server.compactable(0, 0).await, ended[2..]);
}

#[tokio::test]
async fn a_run_that_has_not_ended_is_not_compacted() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    refused(tape.compact_run(ask(&run)).await, Code::FailedPrecondition, "TAPE-R007");
    refused(tape.compact_run(ask("r-none")).await, Code::NotFound, "TAPE-R001");
}

/// TERMINAL after 100 ms, FAILED after a second; CANCELLED never.
fn kept() -> Retention {
    Retention {
        ages: vec![(4, 100), (5, 1_000)],
    }
}

#[tokio::test]
async fn what_is_old_enough_is_compacted_and_what_is_not_hides_nothing() {
    let server = TestServer::start().await;
    for n in 0..20 {
        server.ended(&format!("failed-{n}"), pb::RunStatus::Failed).await;
        server.ended(&format!("cancelled-{n}"), pb::RunStatus::Cancelled).await;
    }
    let mut terminal = Vec::new();
    for n in 0..7 {
        terminal.push(server.ended(&format!("terminal-{n}"), pb::RunStatus::Terminal).await.0);
    }
    let pass = async || server.engine.compact_old_runs(&kept(), 5).await.unwrap();
    server.clock.turn(99);
    assert_eq!(pass().await.runs, 0);
    server.clock.turn(1);
    let first = pass().await;
    assert!(first.runs == 5 && first.more && first.bytes > 0, "{first:?}");
    let second = pass().await;
    assert!(second.runs == 2 && !second.more, "{second:?}");
    assert_eq!(pass().await.runs, 0);
    for run in &terminal {
        assert!(server.decided(run).await.response_json.is_empty());
    }
    server.clock.turn(900);
    let mut failed = 0;
    for _ in 0..5 {
        failed += pass().await.runs;
    }
    assert_eq!(failed, 20, "and the cancelled ones stay whole");
    assert_eq!(server.compactable(0, 100).await.len(), 20);
}

#[tokio::test]
async fn a_hint_of_an_older_version_is_mended_by_whoever_finds_it() {
    let server = TestServer::start().await;
    let mut runs = Vec::new();
    for n in 0..6 {
        runs.push(server.ended(&format!("i-{n}"), pb::RunStatus::Terminal).await.0);
    }
    // As the migration leaves them: due since they were created, by nobody in particular.
    for run in &runs {
        let entity = EntityId::run(&RunId(run.clone()));
        let loaded = server.store.load(&entity, &[], &[]).await.unwrap();
        let head = StoredRow {
            key: RowKey::Head,
            body: loaded.rows[0].1.clone(),
            due: Some(Due {
                kind: DueKind::Retention,
                at: Time(0),
            }),
            by: Some(String::new()),
        };
        let commit = Commit {
            entity,
            expected: loaded.version,
            listing: None,
            puts: vec![head],
            deletes: Vec::new(),
            entries: Vec::new(),
            chain: Default::default(),
        };
        server.store.commit(commit).await.unwrap();
    }
    // Named too early, they hide nothing and are not compacted too early.
    assert!(server.compactable(1_000_000, 2).await.is_empty());
    server.clock.turn(99);
    assert_eq!(server.engine.compact_old_runs(&kept(), 4).await.unwrap().runs, 0);
    server.clock.turn(1);
    let pass = server.engine.compact_old_runs(&kept(), 100).await.unwrap();
    assert_eq!(pass.runs, 6);
}
