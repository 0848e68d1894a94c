//! Reactions and tasks: an event becomes one task, and a task is done once it was done.

use tape_engine::{AgentStarter, Matcher};
use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, decision, end, inline, refused};

/// Makes tasks of everything that happened until now.
async fn matched(server: &TestServer) {
    let mut matcher = Matcher::new(server.engine.clone());
    while matcher.pass().await.unwrap() {}
}

async fn register(server: &TestServer, reaction: pb::Reaction) -> pb::Reaction {
    server
        .tape
        .clone()
        .register_reaction(reaction)
        .await
        .unwrap()
        .into_inner()
}

/// A reaction to decisions, with bounds that do not matter.
fn on_decisions() -> pb::Reaction {
    pb::Reaction {
        subject_pattern: "/tape/decision/recorded/**".into(),
        max_concurrency: 1_000,
        ..Default::default()
    }
}

async fn claim_as(server: &TestServer, owner: &str, request: pb::ClaimTasksRequest) -> Vec<pb::Task> {
    let request = pb::ClaimTasksRequest {
        owner: owner.into(),
        ..request
    };
    let answer = server.tape.clone().claim_tasks(request).await.unwrap();
    answer.into_inner().tasks
}

async fn claim(server: &TestServer, owner: &str, reaction: &str) -> Vec<pb::Task> {
    claim_as(server, owner, of(reaction, -1)).await
}

fn of(reaction: &str, shard: i32) -> pb::ClaimTasksRequest {
    pb::ClaimTasksRequest {
        reaction_id: reaction.into(),
        shard,
        ..Default::default()
    }
}

async fn complete(server: &TestServer, task: &str, owner: &str) -> Result<pb::Task, tonic::Status> {
    let request = pb::CompleteTaskRequest {
        task_id: task.into(),
        owner: owner.into(),
    };
    let answer = server.tape.clone().complete_task(request).await?;
    Ok(answer.into_inner().task.unwrap())
}

async fn nack(server: &TestServer, task: &str, owner: &str, permanent: bool) -> Result<pb::Task, tonic::Status> {
    let request = pb::NackTaskRequest {
        task_id: task.into(),
        owner: owner.into(),
        error: "the printer is out of paper".into(),
        permanent,
    };
    let answer = server.tape.clone().nack_task(request).await?;
    Ok(answer.into_inner().task.unwrap())
}

async fn tasks(server: &TestServer, reaction: &str, status: pb::TaskStatus) -> Vec<pb::Task> {
    let request = pb::ListTasksRequest {
        reaction_id: reaction.into(),
        status: status.into(),
        ..Default::default()
    };
    server
        .tape
        .clone()
        .list_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .tasks
}

async fn retry(server: &TestServer, task: &str) -> Result<pb::Task, tonic::Status> {
    let request = pb::RetryTaskRequest { task_id: task.into() };
    Ok(server.admin.clone().retry_task(request).await?.into_inner())
}

/// A run with `count` decisions.
async fn decided(server: &TestServer, invocation: &str, count: i64) -> String {
    let run = server.begin(invocation, "x", false).await.run_id;
    for index in 0..count {
        server
            .tape
            .clone()
            .record_decision(decision(&run, index, "1"))
            .await
            .unwrap();
    }
    run
}

#[tokio::test]
async fn every_event_makes_one_task_that_is_done_once() {
    let server = TestServer::start().await;
    let reaction = register(&server, on_decisions()).await;
    let run = decided(&server, "i-1", 3).await;
    matched(&server).await;
    // Whoever reads on or again finds them made.
    matched(&server).await;
    let claimed = claim(&server, "w", &reaction.reaction_id).await;
    assert_eq!(claimed.len(), 3);
    let first = &claimed[0];
    assert_eq!(
        (
            first.status(),
            first.attempts,
            first.lease_owner.as_str(),
            first.source_run_id.as_str()
        ),
        (pb::TaskStatus::Claimed, 1, "w", run.as_str())
    );
    assert_eq!(first.subject, format!("/tape/decision/recorded/{run}"));
    assert!(first.payload_json.contains("model") && first.source_global_seq > 0);
    assert_eq!(first.lease_expires_at_ms, first.created_at_ms + 60_000);
    assert!(claim(&server, "other", &reaction.reaction_id).await.is_empty());

    let done = complete(&server, &first.task_id, "w").await.unwrap();
    assert_eq!((done.status(), done.lease_owner.as_str()), (pb::TaskStatus::Done, "w"));
    assert_eq!(
        complete(&server, &first.task_id, "w").await.unwrap(),
        done,
        "the same again"
    );
    let (_, detail) = refused(
        complete(&server, &first.task_id, "other").await,
        Code::Aborted,
        "TAPE-Q003",
    );
    assert_eq!(detail.owner, "w");
    let (_, detail) = refused(
        nack(&server, &claimed[1].task_id, "other", false).await,
        Code::Aborted,
        "TAPE-Q003",
    );
    assert_eq!(detail.owner, "w");
    refused(
        nack(&server, &first.task_id, "w", false).await,
        Code::Aborted,
        "TAPE-Q003",
    );

    let id = &reaction.reaction_id;
    assert_eq!(tasks(&server, id, pb::TaskStatus::Done).await, [done]);
    assert_eq!(tasks(&server, id, pb::TaskStatus::Claimed).await.len(), 2);
    assert_eq!(tasks(&server, id, pb::TaskStatus::Unspecified).await.len(), 3);
    assert!(tasks(&server, id, pb::TaskStatus::Failed).await.is_empty());
}

#[tokio::test]
async fn the_same_registration_is_the_same_reaction() {
    let server = TestServer::start().await;
    decided(&server, "i-0", 2).await;
    let first = register(&server, on_decisions()).await;
    assert!(first.reaction_id.starts_with("rx-"));
    assert_eq!(
        (
            first.num_shards,
            first.retry_max,
            first.retry_backoff_ms,
            first.dlq_after_n
        ),
        (1, 5, 1_000, 5)
    );
    assert_eq!(first.handler_kind(), pb::HandlerKind::Task);
    server.clock.turn(5);
    assert_eq!(register(&server, on_decisions()).await, first);
    matched(&server).await;
    // Under its id another order replaces it, and keeps place and tasks.
    let narrowed = pb::Reaction {
        predicate_cel: "decision_index > 2".into(),
        ..first.clone()
    };
    let replaced = register(&server, narrowed.clone()).await;
    assert_eq!(replaced, narrowed);
    decided(&server, "i-1", 4).await;
    matched(&server).await;
    assert_eq!(claim(&server, "w", &first.reaction_id).await.len(), 2 + 1);

    let other = pb::Reaction {
        name: "another".into(),
        ..on_decisions()
    };
    assert_ne!(register(&server, other).await.reaction_id, first.reaction_id);
    let listed = |pattern: &str| {
        let request = pb::ListReactionsRequest {
            subject_pattern: pattern.into(),
        };
        let mut tape = server.tape.clone();
        async move { tape.list_reactions(request).await.unwrap().into_inner().reactions.len() }
    };
    assert_eq!(listed("").await, 2);
    assert_eq!(listed("/tape/decision/recorded/**").await, 2);
    assert_eq!(listed("/tape/**").await, 0);
}

#[tokio::test]
async fn one_that_begins_at_the_head_gets_what_comes() {
    let server = TestServer::start().await;
    decided(&server, "i-0", 2).await;
    let head = pb::Reaction {
        bootstrap_from_head: true,
        ..on_decisions()
    };
    let head = register(&server, head).await.reaction_id;
    let all = register(&server, on_decisions()).await.reaction_id;
    decided(&server, "i-1", 3).await;
    matched(&server).await;
    assert_eq!(claim(&server, "w", &head).await.len(), 3);
    assert_eq!(claim(&server, "w", &all).await.len(), 5);
}

#[tokio::test]
async fn a_reaction_that_was_taken_back_makes_no_more_tasks() {
    let server = TestServer::start().await;
    let id = register(&server, on_decisions()).await.reaction_id;
    decided(&server, "i-0", 2).await;
    matched(&server).await;
    let take_back = |id: &str| {
        let request = pb::DeregisterReactionRequest { reaction_id: id.into() };
        let mut tape = server.tape.clone();
        async move {
            tape.deregister_reaction(request)
                .await
                .unwrap()
                .into_inner()
                .deregistered
        }
    };
    assert!(take_back(&id).await && take_back(&id).await);
    assert!(!take_back("rx-none").await);
    decided(&server, "i-1", 2).await;
    matched(&server).await;
    let listed = server
        .tape
        .clone()
        .list_reactions(pb::ListReactionsRequest::default())
        .await;
    assert!(listed.unwrap().into_inner().reactions[0].deleted);
    let claimed = claim(&server, "w", &id).await;
    assert_eq!(claimed.len(), 2, "what it made is still there to be done");
    complete(&server, &claimed[0].task_id, "w").await.unwrap();
    // Registered again, it goes on where it stopped.
    assert!(!register(&server, on_decisions()).await.deleted);
    matched(&server).await;
    assert_eq!(claim(&server, "w", &id).await.len(), 2);
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_and_at_last_a_dead_letter() {
    let server = TestServer::start().await;
    let reaction = pb::Reaction {
        retry_backoff_ms: 100,
        dlq_after_n: 3,
        ..on_decisions()
    };
    let id = register(&server, reaction).await.reaction_id;
    decided(&server, "i-0", 1).await;
    matched(&server).await;
    for (attempt, wait_ms) in [(1, 100), (2, 200)] {
        let task = claim(&server, "w", &id).await.remove(0);
        assert_eq!(task.attempts, attempt);
        let failed = nack(&server, &task.task_id, "w", false).await.unwrap();
        assert_eq!(failed.status(), pb::TaskStatus::Pending);
        assert_eq!(failed.last_error, "the printer is out of paper");
        assert_eq!(
            nack(&server, &task.task_id, "w", false).await.unwrap(),
            failed,
            "the same again"
        );
        refused(complete(&server, &task.task_id, "w").await, Code::Aborted, "TAPE-Q003");
        server.clock.turn(wait_ms - 1);
        assert!(claim(&server, "w", &id).await.is_empty());
        // A caller with a clock of its own may say what is due.
        let ahead = pb::ClaimTasksRequest {
            now_ms: failed.next_attempt_at_ms - 1,
            ..of(&id, -1)
        };
        assert!(claim_as(&server, "w", ahead).await.is_empty());
        server.clock.turn(1);
    }
    let task = claim(&server, "w", &id).await.remove(0);
    let dead = nack(&server, &task.task_id, "w", false).await.unwrap();
    assert_eq!((dead.status(), dead.attempts), (pb::TaskStatus::Dlq, 3));
    server.clock.turn(1_000_000);
    assert!(claim(&server, "w", &id).await.is_empty());
    assert_eq!(
        tasks(&server, &id, pb::TaskStatus::Dlq).await,
        std::slice::from_ref(&dead)
    );
    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stats.dead_tasks, 1);
    assert!(stats.oldest_dead_task_at_ms > 0);
    // A person opens it again.
    let again = retry(&server, &dead.task_id).await.unwrap();
    assert_eq!((again.status(), again.attempts), (pb::TaskStatus::Pending, 0));
    assert_eq!(retry(&server, &dead.task_id).await.unwrap(), again);
    let task = claim(&server, "w", &id).await.remove(0);
    refused(
        retry(&server, &dead.task_id).await,
        Code::FailedPrecondition,
        "TAPE-Q004",
    );
    let dead = nack(&server, &task.task_id, "w", true).await.unwrap();
    assert_eq!(dead.status(), pb::TaskStatus::Dlq, "permanently: at once");
    assert_eq!(nack(&server, &task.task_id, "w", true).await.unwrap(), dead);
}

#[tokio::test]
async fn a_claim_that_runs_out_is_free_for_others_and_counts() {
    let server = TestServer::start().await;
    let reaction = pb::Reaction {
        max_concurrency: 1,
        dlq_after_n: 2,
        num_shards: 2,
        ..on_decisions()
    };
    let id = register(&server, reaction).await.reaction_id;
    decided(&server, "i-0", 1).await;
    matched(&server).await;
    let lost = claim(&server, "a", &id).await.remove(0);
    server.clock.turn(59_999);
    assert!(claim(&server, "b", &id).await.is_empty());
    server.clock.turn(1);
    let taken = claim(&server, "b", &id).await.remove(0);
    assert_eq!((taken.task_id.as_str(), taken.attempts), (lost.task_id.as_str(), 2));
    assert!(taken.last_error.contains("the claim of a ran out"));
    let (_, detail) = refused(complete(&server, &lost.task_id, "a").await, Code::Aborted, "TAPE-Q003");
    assert_eq!(detail.owner, "b");
    server.clock.turn(60_000);
    // Who asks for the other shard frees it all the same: it would block the only slot.
    let other = pb::ClaimTasksRequest {
        shard: 1 - lost.shard,
        ..of(&id, 0)
    };
    assert!(claim_as(&server, "c", other).await.is_empty());
    let dead = tasks(&server, &id, pb::TaskStatus::Dlq).await;
    assert_eq!(dead.len(), 1, "a task that kills its workers does not do so forever");
    // Late, but nobody took it: what was done counts.
    decided(&server, "i-1", 1).await;
    matched(&server).await;
    let late = claim(&server, "a", &id).await.remove(0);
    server.clock.turn(100_000);
    assert_eq!(
        complete(&server, &late.task_id, "a").await.unwrap().status(),
        pb::TaskStatus::Done
    );
}

#[tokio::test]
async fn claims_keep_within_concurrency_and_rate() {
    let server = TestServer::start().await;
    let bounded = pb::Reaction {
        max_concurrency: 3,
        ..on_decisions()
    };
    let id = register(&server, bounded).await.reaction_id;
    let rated = pb::Reaction {
        rate_limit_per_s: 4,
        ..on_decisions()
    };
    let rated = register(&server, rated).await.reaction_id;
    decided(&server, "i-0", 10).await;
    matched(&server).await;
    let claimed = claim(&server, "a", &id).await;
    assert_eq!(claimed.len(), 3);
    assert!(claim(&server, "b", &id).await.is_empty());
    complete(&server, &claimed[0].task_id, "a").await.unwrap();
    nack(&server, &claimed[1].task_id, "a", true).await.unwrap();
    assert_eq!(claim(&server, "b", &id).await.len(), 2);

    assert_eq!(claim(&server, "a", &rated).await.len(), 4, "a second's worth at once");
    assert!(claim(&server, "b", &rated).await.is_empty());
    server.clock.turn(249);
    assert!(claim(&server, "b", &rated).await.is_empty());
    server.clock.turn(1);
    assert_eq!(claim(&server, "b", &rated).await.len(), 1);
    server.clock.turn(10_000);
    assert_eq!(
        claim(&server, "b", &rated).await.len(),
        4,
        "never more than a second's worth"
    );
}

#[tokio::test]
async fn a_runs_tasks_are_in_one_shard() {
    let server = TestServer::start().await;
    let sharded = pb::Reaction {
        num_shards: 4,
        ..on_decisions()
    };
    let id = register(&server, sharded).await.reaction_id;
    for run in 0..12 {
        decided(&server, &format!("i-{run}"), 2).await;
    }
    matched(&server).await;
    let mut shard_of = std::collections::BTreeMap::new();
    let mut claimed = 0;
    for shard in 0..4 {
        for task in claim_as(&server, "w", of(&id, shard)).await {
            assert_eq!(task.shard, shard);
            assert_eq!(*shard_of.entry(task.source_run_id).or_insert(shard), shard);
            claimed += 1;
        }
    }
    assert_eq!(claimed, 24);
    let used: std::collections::BTreeSet<i32> = shard_of.into_values().collect();
    assert!(used.len() > 1, "{used:?}");
    let (_, detail) = refused(
        server
            .tape
            .clone()
            .claim_tasks(pb::ClaimTasksRequest {
                owner: "w".into(),
                ..of(&id, 4)
            })
            .await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("shard", "4"));
}

#[tokio::test]
async fn events_of_one_subject_that_follow_each_other_make_one_task() {
    let server = TestServer::start().await;
    let calm = pb::Reaction {
        debounce_ms: 500,
        ..on_decisions()
    };
    let id = register(&server, calm).await.reaction_id;
    let run = decided(&server, "i-0", 2).await;
    matched(&server).await;
    server.clock.turn(400);
    server
        .tape
        .clone()
        .record_decision(decision(&run, 2, "3"))
        .await
        .unwrap();
    let other = decided(&server, "i-1", 1).await;
    matched(&server).await;
    let waiting = tasks(&server, &id, pb::TaskStatus::Pending).await;
    assert_eq!(waiting.len(), 2);
    assert!(claim(&server, "w", &id).await.is_empty(), "not before the window's end");
    server.clock.turn(100);
    let claimed = claim(&server, "w", &id).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].source_run_id, run);
    let feed = crate::feed::whole_so_far(&server, &run, 5).await;
    assert_eq!(claimed[0].payload_json, feed.payload_json, "the newest event's payload");
    server.clock.turn(400);
    assert_eq!(claim(&server, "w", &id).await[0].source_run_id, other);
    // The window is over: the next event opens another one.
    server
        .tape
        .clone()
        .record_decision(decision(&run, 3, "4"))
        .await
        .unwrap();
    matched(&server).await;
    assert_eq!(tasks(&server, &id, pb::TaskStatus::Pending).await.len(), 1);
}

#[tokio::test]
async fn an_agent_is_started_once_for_each_event() {
    let server = TestServer::start().await;
    let agent = pb::Reaction {
        reaction_id: "auditor".into(),
        subject_pattern: "/tape/run/**".into(),
        predicate_cel: "kind == 'run.ended' || app == 'audit'".into(),
        handler_kind: pb::HandlerKind::Agent.into(),
        agent_app: "audit".into(),
        ..Default::default()
    };
    register(&server, agent).await;
    let run = server.begin("i-0", "x", false).await.run_id;
    server
        .tape
        .clone()
        .end_run(end(&run, pb::RunStatus::Terminal))
        .await
        .unwrap();
    let starter = AgentStarter::new(server.engine.clone(), "starter".into());
    for _ in 0..3 {
        matched(&server).await;
        starter.pass().await.unwrap();
    }
    let request = pb::ListRunsRequest {
        app_name: "audit".into(),
        ..Default::default()
    };
    let runs = server.admin.clone().list_runs(request).await.unwrap().into_inner().runs;
    assert_eq!(runs.len(), 1, "its own runs are no events for it: it would never end");
    let started = runs[0].clone();
    assert_eq!(
        (started.user_id.as_str(), started.session_id.as_str()),
        ("reaction/auditor", "auditor")
    );
    assert_eq!(started.labels.get("tape.source_run"), Some(&run));
    assert_eq!(started.status(), pb::RunStatus::Runnable);
    assert_eq!(tasks(&server, "auditor", pb::TaskStatus::Done).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_reaction_is_named() {
    let server = TestServer::start().await;
    let good = on_decisions;
    for (reaction, code, field, value) in [
        (
            pb::Reaction {
                subject_pattern: String::new(),
                ..good()
            },
            "TAPE-J001",
            "subject_pattern",
            "",
        ),
        (
            pb::Reaction {
                subject_pattern: "/tape/de*".into(),
                ..good()
            },
            "TAPE-J001",
            "subject_pattern",
            "/tape/de*",
        ),
        (
            pb::Reaction {
                predicate_cel: "seq + 1".into(),
                ..good()
            },
            "TAPE-J002",
            "predicate_cel",
            "seq + 1",
        ),
        (
            pb::Reaction {
                handler_kind: 9,
                ..good()
            },
            "TAPE-V001",
            "handler_kind",
            "9",
        ),
        (
            pb::Reaction {
                handler_kind: 1,
                ..good()
            },
            "TAPE-V001",
            "agent_app",
            "",
        ),
        (
            pb::Reaction {
                handler_kind: 3,
                ..good()
            },
            "TAPE-V001",
            "publish_target",
            "",
        ),
        (
            pb::Reaction {
                max_concurrency: -1,
                ..good()
            },
            "TAPE-V001",
            "max_concurrency",
            "-1",
        ),
        (
            pb::Reaction {
                rate_limit_per_s: -7,
                ..good()
            },
            "TAPE-V001",
            "rate_limit_per_s",
            "-7",
        ),
        (
            pb::Reaction {
                debounce_ms: 86_400_001,
                ..good()
            },
            "TAPE-V001",
            "debounce_ms",
            "86400001",
        ),
        (
            pb::Reaction {
                retry_max: -1,
                ..good()
            },
            "TAPE-V001",
            "retry_max",
            "-1",
        ),
        (
            pb::Reaction {
                retry_backoff_ms: -1,
                ..good()
            },
            "TAPE-V001",
            "retry_backoff_ms",
            "-1",
        ),
        (
            pb::Reaction {
                dlq_after_n: -1,
                ..good()
            },
            "TAPE-V001",
            "dlq_after_n",
            "-1",
        ),
        (
            pb::Reaction {
                num_shards: 1_025,
                ..good()
            },
            "TAPE-V001",
            "num_shards",
            "1025",
        ),
        (
            pb::Reaction {
                name: "\n".into(),
                ..good()
            },
            "TAPE-V001",
            "name",
            "\\n",
        ),
        (
            pb::Reaction {
                reaction_id: "\n".into(),
                ..good()
            },
            "TAPE-V001",
            "reaction_id",
            "\\n",
        ),
    ] {
        let answer = server.tape.clone().register_reaction(reaction).await;
        let (_, detail) = refused(answer, Code::InvalidArgument, code);
        assert_eq!((detail.field.as_str(), detail.value.as_str()), (field, value));
    }
    let id = register(&server, good()).await.reaction_id;
    for (request, code, tape_code, field) in [
        (
            pb::ClaimTasksRequest {
                owner: "w".into(),
                ..of("rx-none", -1)
            },
            Code::NotFound,
            "TAPE-Q001",
            "reaction_id",
        ),
        (
            pb::ClaimTasksRequest {
                owner: "w".into(),
                ..of("", -1)
            },
            Code::InvalidArgument,
            "TAPE-V001",
            "reaction_id",
        ),
        (of(&id, -1), Code::InvalidArgument, "TAPE-V001", "owner"),
        (
            pb::ClaimTasksRequest {
                owner: "w".into(),
                lease_ms: -1,
                ..of(&id, -1)
            },
            Code::InvalidArgument,
            "TAPE-V001",
            "lease_ms",
        ),
        (
            pb::ClaimTasksRequest {
                owner: "w".into(),
                now_ms: -1,
                ..of(&id, -1)
            },
            Code::InvalidArgument,
            "TAPE-V001",
            "now_ms",
        ),
    ] {
        let (_, detail) = refused(server.tape.clone().claim_tasks(request).await, code, tape_code);
        assert_eq!(detail.field, field);
    }
    for task in ["rx-none/0/1", &format!("{id}/0/1"), "nonsense"] {
        refused(complete(&server, task, "w").await, Code::NotFound, "TAPE-Q002");
        refused(nack(&server, task, "w", true).await, Code::NotFound, "TAPE-Q002");
        refused(retry(&server, task).await, Code::NotFound, "TAPE-Q002");
    }
    refused(complete(&server, "", "w").await, Code::InvalidArgument, "TAPE-V001");
    let request = pb::ListTasksRequest {
        reaction_id: id,
        status: 9,
        limit: 0,
    };
    refused(
        server.tape.clone().list_tasks(request).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
}

#[tokio::test]
async fn a_predicate_without_an_answer_takes_nothing_and_stops_nothing() {
    let server = TestServer::start().await;
    let picky = pb::Reaction {
        subject_pattern: "/tape/**".into(),
        predicate_cel: "payload.model == 'm'".into(),
        max_concurrency: 9,
        ..Default::default()
    };
    let id = register(&server, picky).await.reaction_id;
    let run = decided(&server, "i-0", 1).await;
    server.tape.clone().begin_effect(inline(&run, 0)).await.unwrap();
    server
        .tape
        .clone()
        .record_decision(decision(&run, 1, "2"))
        .await
        .unwrap();
    matched(&server).await;
    assert_eq!(claim(&server, "w", &id).await.len(), 2);
}
