//! Following all runs.

use tape_proto::v1 as pb;
use tonic::{Code, Streaming};

use crate::support::{TestServer, decision, end, inline, refused, soon};

async fn follow(server: &TestServer, request: pb::SubscribeEventsRequest) -> Streaming<pb::EventEntry> {
    server
        .tape
        .clone()
        .subscribe_events(request)
        .await
        .unwrap()
        .into_inner()
}

async fn take(stream: &mut Streaming<pb::EventEntry>, count: usize) -> Vec<pb::EventEntry> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(
            soon(stream.message())
                .await
                .unwrap()
                .expect("a feed over all runs has no end"),
        );
    }
    taken
}

fn named(events: &[pb::EventEntry]) -> Vec<(&str, i64, &str)> {
    events
        .iter()
        .map(|event| (event.run_id.as_str(), event.seq, event.kind.as_str()))
        .collect()
}

#[tokio::test]
async fn the_entries_of_all_runs_come_in_the_order_of_their_commits_and_live() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let a = server.begin("i-a", "x", false).await.run_id;
    let b = server.begin("i-b", "x", false).await.run_id;
    let mut stream = follow(&server, pb::SubscribeEventsRequest::default()).await;
    let mut seen = take(&mut stream, 4).await;
    tape.record_decision(decision(&a, 0, "1")).await.unwrap();
    seen.extend(take(&mut stream, 1).await);
    tape.end_run(end(&b, pb::RunStatus::Terminal)).await.unwrap();
    seen.extend(take(&mut stream, 1).await);

    assert_eq!(
        named(&seen),
        [
            (a.as_str(), 1, "run.begun"),
            (a.as_str(), 2, "run.attached"),
            (b.as_str(), 1, "run.begun"),
            (b.as_str(), 2, "run.attached"),
            (a.as_str(), 3, "decision.recorded"),
            (b.as_str(), 3, "run.ended"),
        ]
    );
    assert!(seen.is_sorted_by(|one, next| one.global_seq < next.global_seq));
    assert!(seen[0].global_seq > 0 && seen[0].ts_ms > 0);
    assert_eq!(seen[5].subject, format!("/tape/run/ended/{b}"));
    // The same entry as in the run's own journal.
    let own = crate::feed::whole(&server, &b, 3).await;
    assert_eq!(
        (&own[0].payload_json, own[0].schema_version),
        (&seen[5].payload_json, seen[5].schema_version)
    );
}

#[tokio::test]
async fn a_reader_goes_on_from_its_cursor() {
    let server = TestServer::start().await;
    for name in ["i-a", "i-b", "i-c"] {
        server.begin(name, "x", false).await;
    }
    let mut all = follow(&server, pb::SubscribeEventsRequest::default()).await;
    let all = take(&mut all, 6).await;
    let request = pb::SubscribeEventsRequest {
        from_global_seq: all[2].global_seq + 1,
        ..Default::default()
    };
    let rest = take(&mut follow(&server, request).await, 3).await;
    assert_eq!(rest, all[3..]);
}

#[tokio::test]
async fn filters_narrow_what_comes() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let a = server.begin("i-a", "x", false).await.run_id;
    server.clock.turn(10);
    let b = server.begin("i-b", "x", false).await.run_id;
    let began = server.get(&b).await.started_at_ms;
    for run in [&a, &b] {
        tape.begin_effect(inline(run, 0)).await.unwrap();
    }
    let all = pb::SubscribeEventsRequest::default();
    let own = pb::SubscribeEventsRequest {
        run_id: b.clone(),
        ..all.clone()
    };
    let of_b = take(&mut follow(&server, own).await, 3).await;
    assert!(of_b.iter().all(|event| event.run_id == b));

    let kind = pb::SubscribeEventsRequest {
        kind: "effect.begun".into(),
        ..all.clone()
    };
    let begun = take(&mut follow(&server, kind).await, 2).await;
    assert_eq!(
        named(&begun),
        [(a.as_str(), 3, "effect.begun"), (b.as_str(), 3, "effect.begun")]
    );

    let late = pb::SubscribeEventsRequest {
        from_ts_ms: began,
        ..all.clone()
    };
    let late = take(&mut follow(&server, late).await, 4).await;
    assert_eq!((late[0].run_id.as_str(), late[0].seq), (b.as_str(), 1));

    let subject = pb::SubscribeEventsRequest {
        subject_pattern: format!("/tape/*/*/{a}/**"),
        ..all
    };
    let subject = take(&mut follow(&server, subject).await, 3).await;
    assert!(subject.iter().all(|event| event.run_id == a));

    let by_subject = pb::SubscribeBySubjectRequest {
        subject_pattern: "/tape/effect/*/**".into(),
        from_global_seq: begun[0].global_seq + 1,
        ..Default::default()
    };
    let mut stream = tape.subscribe_by_subject(by_subject).await.unwrap().into_inner();
    assert_eq!(take(&mut stream, 1).await, begun[1..]);
}

#[tokio::test]
async fn a_predicate_narrows_what_comes() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let a = server.begin("i-a", "x", false).await.run_id;
    for index in 0..4 {
        tape.record_decision(decision(&a, index, "1")).await.unwrap();
    }
    tape.begin_effect(inline(&a, 0)).await.unwrap();
    let ask = |predicate: &str| pb::SubscribeBySubjectRequest {
        subject_pattern: "/tape/**".into(),
        predicate_cel: predicate.into(),
        ..Default::default()
    };
    let odd = "kind == 'decision.recorded' && decision_index % 2 == 1 && app == 'app' && payload.model == 'm'";
    let mut stream = tape.subscribe_by_subject(ask(odd)).await.unwrap().into_inner();
    let odd: Vec<i64> = take(&mut stream, 2).await.iter().map(|event| event.seq).collect();
    assert_eq!(odd, [4, 6]);
    // Most entries have no such field: they do not come, and the feed goes on.
    let mut stream = tape
        .subscribe_by_subject(ask("payload.tool == 'charge'"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(take(&mut stream, 1).await[0].kind, "effect.begun");
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let server = TestServer::start().await;
    let mut stream = follow(&server, pb::SubscribeEventsRequest::default()).await;
    let run = server.begin("i-a", "x", false).await.run_id;
    // More than is told to followers that do not listen, and more than is read at once.
    for index in 0..1500 {
        server
            .tape
            .clone()
            .record_decision(decision(&run, index, "1"))
            .await
            .unwrap();
    }
    let seqs: Vec<i64> = take(&mut stream, 1502).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=1502).collect::<Vec<i64>>());
}

#[tokio::test]
async fn the_feed_ends_when_the_server_goes_away() {
    let server = TestServer::start().await;
    let mut stream = follow(&server, pb::SubscribeEventsRequest::default()).await;
    server.hub.drain().await;
    refused(soon(stream.message()).await, Code::Unavailable, "TAPE-A004");
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    for (request, code, field) in [
        (
            pb::SubscribeEventsRequest {
                subject_pattern: "/tape/eff*".into(),
                ..Default::default()
            },
            "TAPE-J001",
            "subject_pattern",
        ),
        (
            pb::SubscribeEventsRequest {
                from_global_seq: -1,
                ..Default::default()
            },
            "TAPE-V001",
            "from_global_seq",
        ),
        (
            pb::SubscribeEventsRequest {
                from_ts_ms: -1,
                ..Default::default()
            },
            "TAPE-V001",
            "from_ts_ms",
        ),
        (
            pb::SubscribeEventsRequest {
                kind: "effect.bogus".into(),
                ..Default::default()
            },
            "TAPE-V001",
            "kind",
        ),
    ] {
        let (_, detail) = refused(tape.subscribe_events(request).await, Code::InvalidArgument, code);
        assert_eq!(detail.field, field);
    }
    for (pattern, predicate, code) in [("", "", "TAPE-J001"), ("/tape/**", "kind = 'run.begun'", "TAPE-J002")] {
        let request = pb::SubscribeBySubjectRequest {
            subject_pattern: pattern.into(),
            predicate_cel: predicate.into(),
            ..Default::default()
        };
        refused(tape.subscribe_by_subject(request).await, Code::InvalidArgument, code);
    }
}
