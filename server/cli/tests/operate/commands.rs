//! `tape tail --where`, `tape tasks` and `tape doctor`, as an operator runs them against a server.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tape_proto::v1 as pb;
use tokio::task::spawn_blocking;

use crate::server::{Server, Start, begin, eventually, file, folder};

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn command(folder: &Path, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tape"));
    command
        .args(["--url", url])
        .args(args)
        .current_dir(folder)
        .env_remove("TAPE_URL")
        .env_remove("TAPE_STORE_URL")
        .stdin(Stdio::null());
    command
}

async fn tape(folder: &Path, url: &str, args: &[&str]) -> Said {
    let mut command = command(folder, url, args);
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    Said {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn url(server: &Server) -> String {
    format!("tape://{}", server.grpc)
}

/// A run that ended so.
async fn ended(server: &Server, invocation: &str, status: pb::RunStatus) -> String {
    let mut tape = server.tape().await;
    let run_id = tape.begin_run(begin(invocation)).await.unwrap().into_inner().run_id;
    let end = pb::EndRunRequest {
        run_id: run_id.clone(),
        status: status.into(),
        ..Default::default()
    };
    tape.end_run(end).await.unwrap();
    run_id
}

#[tokio::test]
async fn tail_shows_the_events_for_which_the_expression_is_true_as_they_come() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let mut expected = vec![ended(&server, "1", pb::RunStatus::Failed).await];
    ended(&server, "2", pb::RunStatus::Terminal).await;

    let wanted = "kind == 'run.ended' && payload.status == 'FAILED'";
    let mut tail = command(
        folder.path(),
        &url(&server),
        &["--output", "json", "tail", "--where", wanted],
    )
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let mut shown = vec![next()];
    // From now on live.
    ended(&server, "3", pb::RunStatus::Terminal).await;
    for number in 4..6 {
        expected.push(ended(&server, &number.to_string(), pb::RunStatus::Failed).await);
        shown.push(next());
    }
    let runs: Vec<_> = shown.iter().map(|event| event["run_id"].as_str().unwrap()).collect();
    assert_eq!(runs, expected);
    assert!(shown.iter().all(|event| event["kind"] == "run.ended"), "{shown:?}");
    // Not SIGINT: a test in the background of a shell hands on that it is ignored.
    kill(Pid::from_raw(i32::try_from(tail.id()).unwrap()), Signal::SIGTERM).unwrap();
    tail.wait().unwrap();

    let wrong = tape(folder.path(), &url(&server), &["tail", "--where", "payload.status =="]).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    for words in ["TAPE-J002", "payload.status ==", "such as"] {
        assert!(wrong.err.contains(words), "{}", wrong.err);
    }
}

#[tokio::test]
async fn tasks_shows_reactions_and_dead_letters_and_opens_them_again() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let url = url(&server);
    let mut client = server.tape().await;
    let reaction = pb::Reaction {
        name: "mail on failure".into(),
        subject_pattern: "/tape/run/ended/**".into(),
        predicate_cel: "payload.status == 'FAILED'".into(),
        ..Default::default()
    };
    let reaction = client
        .register_reaction(reaction)
        .await
        .unwrap()
        .into_inner()
        .reaction_id;
    ended(&server, "1", pb::RunStatus::Failed).await;
    let task = eventually("a task", || {
        let (mut client, reaction_id) = (client.clone(), reaction.clone());
        async move {
            let ask = pb::ClaimTasksRequest {
                reaction_id,
                shard: -1,
                owner: "w".into(),
                ..Default::default()
            };
            client.claim_tasks(ask).await.unwrap().into_inner().tasks.pop()
        }
    })
    .await;
    let nack = pb::NackTaskRequest {
        task_id: task.task_id.clone(),
        owner: "w".into(),
        error: "mailbox full".into(),
        permanent: true,
    };
    client.nack_task(nack).await.unwrap();

    let reactions = tape(folder.path(), &url, &["tasks"]).await;
    let row = reactions.out.lines().find(|line| line.starts_with(&reaction)).unwrap();
    assert!(
        row.contains("mail on failure") && row.contains("payload.status == 'FAILED'"),
        "{row}"
    );
    let dead = ["tasks", "--reaction", &reaction, "--status", "dlq"];
    let letters = tape(folder.path(), &url, &dead).await;
    let row = letters
        .out
        .lines()
        .find(|line| line.starts_with(&task.task_id))
        .unwrap();
    assert!(row.contains("DLQ") && row.contains("mailbox full"), "{row}");
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert!(
        doctor.out.contains("✗ 1 task(s)") && doctor.out.contains("tape tasks --retry"),
        "{}",
        doctor.out
    );

    let retried = tape(folder.path(), &url, &["tasks", "--retry", &task.task_id]).await;
    assert_eq!(retried.code, 0, "{}", retried.err);
    let letters = tape(
        folder.path(),
        &url,
        &["--output", "json", "tasks", "--reaction", &reaction],
    )
    .await;
    let letters: Value = serde_json::from_str(&letters.out).unwrap();
    assert_eq!(letters[0]["status"], "PENDING", "{letters}");
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert!(!doctor.out.contains("task(s)"), "{}", doctor.out);

    let nobody = tape(folder.path(), &url, &["tasks", "--reaction", "nope"]).await;
    assert!(nobody.code == 1 && nobody.err.contains("TAPE-Q001"), "{}", nobody.err);
}

/// An effect through a connector that nobody serves, whose dispatcher lost its answer.
async fn in_doubt(server: &Server, run_id: &str, call_index: i32) -> String {
    let mut client = server.tape().await;
    let effect = pb::BeginEffectRequest {
        run_id: run_id.to_owned(),
        tool_name: "wire".into(),
        call_index,
        request_json: "{}".into(),
        semantics: pb::EffectSemantics::NonIdempotent.into(),
        dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
        business_key: format!("invoice-{call_index}"),
        connector: "bank".into(),
        ..Default::default()
    };
    let key = client.begin_effect(effect).await.unwrap().into_inner().idempotency_key;
    let claim = pb::ClaimEffectDispatchRequest {
        run_id: run_id.to_owned(),
        idempotency_key: key.clone(),
        claimer: "x".into(),
        ..Default::default()
    };
    client.claim_effect_dispatch(claim).await.unwrap();
    let lost = pb::RecordDispatchAttemptRequest {
        run_id: run_id.to_owned(),
        idempotency_key: key.clone(),
        error: "the upstream hung up".into(),
        lease_owner: "x".into(),
        ..Default::default()
    };
    client.record_dispatch_attempt(lost).await.unwrap();
    key
}

/// The crosses: what is wrong, and the line below it.
fn crosses(out: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = out.lines().collect();
    let at = |index: usize| lines.get(index).copied().unwrap_or_default();
    let crosses = (0..lines.len()).filter(|index| at(*index).starts_with('✗'));
    crosses
        .map(|index| (at(index).to_owned(), at(index + 1).to_owned()))
        .collect()
}

#[tokio::test]
async fn each_cross_of_the_doctor_says_what_to_do_next() {
    let folder = folder();
    let nowhere = tape(folder.path(), "tape://127.0.0.1:1", &["doctor"]).await;
    assert_eq!(nowhere.code, 1);
    assert!(crosses(&nowhere.out)[0].1.contains("TAPE-A006"), "{}", nowhere.out);

    let server = Start::new(folder.path()).args(&["--reactors", "none"]).run().await;
    let (mut client, url) = (server.tape().await, url(&server));
    let run_id = client.begin_run(begin("1")).await.unwrap().into_inner().run_id;
    let unknown = in_doubt(&server, &run_id, 0).await;
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert_eq!(doctor.code, 3, "something is UNKNOWN:\n{}", doctor.out);

    let stuck = in_doubt(&server, &run_id, 1).await;
    let give_up = pb::RecordExternalObservationRequest {
        run_id: run_id.clone(),
        idempotency_key: stuck.clone(),
        resolution: pb::EffectResolution::Stuck.into(),
        error_json: "\"books closed\"".into(),
        ..Default::default()
    };
    client.record_external_observation(give_up).await.unwrap();
    let waiting = pb::BeginEffectRequest {
        run_id: run_id.clone(),
        tool_name: "mail".into(),
        semantics: pb::EffectSemantics::Idempotent.into(),
        dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
        business_key: "letter".into(),
        connector: "post".into(),
        ..Default::default()
    };
    client.begin_effect(waiting).await.unwrap();
    let project = "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {name: p}\n\
                   agent: {app_name: treasury, runner_factory: 'a:b', command: [/bin/true]}\n\
                   tape: {connectors: {bank: {source: bank.wasm}}}\n";
    file(&folder, "tape.yaml", project);
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert_eq!(doctor.code, 4, "something is STUCK:\n{}", doctor.out);
    let found = crosses(&doctor.out);
    for (what, next) in [
        ("reactor outbox does not run", "tape-server --reactors all"),
        ("connector `bank` has no component", "tape.connectors.bank.source"),
        ("connector `bank` is not loaded", "--config tape.yaml"),
        ("no worker of `treasury` is attached", "tape dev"),
        ("nobody serves connector `post`", "Add the connector"),
        (&format!("{unknown} is UNKNOWN"), "start the reconciler"),
        (
            &format!("{stuck} is STUCK"),
            &format!("books closed. Look into the upstream's books, then: tape resolve --effect {stuck}"),
        ),
    ] {
        let cross = found.iter().find(|(cross, _)| cross.contains(what));
        let (_, cure) = cross.unwrap_or_else(|| panic!("no cross for {what}:\n{}", doctor.out));
        assert!(cure.starts_with("    ") && cure.contains(next), "{what}: {cure}");
    }
    // None stands alone.
    assert!(found.iter().all(|(_, cure)| cure.starts_with("    ")), "{}", doctor.out);
    let json = tape(folder.path(), &url, &["--output", "json", "doctor"]).await;
    let checks: Vec<Value> = serde_json::from_str(&json.out).unwrap();
    assert!(
        checks.iter().all(|check| check["ok"] == true || check["cure"] != ""),
        "{}",
        json.out
    );

    // What it says is what helps.
    let resolved = ["resolve", "--effect", &stuck, "--as", "confirmed", "--reason", "seen"];
    let resolved = tape(folder.path(), &url, &resolved).await;
    assert_eq!(resolved.code, 0, "{}{}", resolved.out, resolved.err);
    file(
        &folder,
        "tape.yaml",
        "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {nmae: p}\n",
    );
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert_eq!(doctor.code, 3, "{}", doctor.out);
    let slip = crosses(&doctor.out).remove(0);
    assert!(
        slip.0.contains("tape.yaml") && slip.1.contains("Did you mean `name`"),
        "{slip:?}"
    );
}

#[tokio::test]
async fn what_nobody_can_undo_is_undone_by_hand_as_the_doctor_says() {
    let folder = folder();
    let server = Start::new(folder.path()).args(&["--reactors", "none"]).run().await;
    let (mut client, url) = (server.tape().await, url(&server));
    let run_id = client.begin_run(begin("1")).await.unwrap().into_inner().run_id;
    let mut keys = Vec::new();
    for call_index in 0..2 {
        let effect = pb::BeginEffectRequest {
            run_id: run_id.clone(),
            tool_name: "book".into(),
            call_index,
            compensation: Some(pb::CompensationHandle {
                function: "tools:unbook".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        keys.push(client.begin_effect(effect).await.unwrap().into_inner().idempotency_key);
    }
    let took_hold = pb::CompleteEffectRequest {
        run_id: run_id.clone(),
        idempotency_key: keys[0].clone(),
        status: pb::EffectStatus::Confirmed.into(),
        ..Default::default()
    };
    client.complete_effect(took_hold).await.unwrap();

    // The other one was under way: whether it took hold, a person has to find out first.
    let asked = tape(folder.path(), &url, &["compensate", &run_id, "--reason", "wrong hotel"]).await;
    assert!(
        asked.code == 0 && asked.out.contains("COMPENSATING"),
        "{}{}",
        asked.out,
        asked.err
    );
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    let (_, cure) = crosses(&doctor.out)
        .into_iter()
        .find(|(cross, _)| cross.contains(&keys[1]))
        .unwrap();
    assert!(cure.contains("its driver has not said how it ended"), "{}", doctor.out);
    let settle = [
        "resolve",
        "--effect",
        &keys[1],
        "--as",
        "failed",
        "--reason",
        "the hotel says no",
    ];
    let settled = tape(folder.path(), &url, &settle).await;
    assert_eq!(settled.code, 0, "{}{}", settled.out, settled.err);

    let asked = tape(folder.path(), &url, &["--output", "json", "compensate", &run_id]).await;
    let asked: Value = serde_json::from_str(&asked.out).unwrap();
    let owed = asked["obligations"].as_array().unwrap();
    assert!(owed.len() == 1 && owed[0]["effect"] == keys[0], "{asked}");
    let seq = owed[0]["seq"].as_i64().unwrap();
    let never = pb::ResolveObligationRequest {
        run_id: run_id.clone(),
        obligation_seq: seq,
        status: pb::ObligationStatus::Stuck.into(),
        result_json: "\"the hotel is closed\"".into(),
        ..Default::default()
    };
    client.resolve_obligation(never).await.unwrap();
    tape(folder.path(), &url, &["compensate", &run_id]).await;
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert_eq!(doctor.code, 4, "something is STUCK:\n{}", doctor.out);
    let id = format!("{run_id}/{seq}");
    let found = crosses(&doctor.out);
    let cross = found
        .iter()
        .find(|(cross, _)| cross.contains(&format!("obligation {id} is STUCK")));
    let (_, cure) = cross.unwrap_or_else(|| panic!("no cross:\n{}", doctor.out));
    assert!(
        cure.contains(&format!("tape resolve --obligation {id} --as compensated --reason")),
        "{cure}"
    );

    let resolved = [
        "resolve",
        "--obligation",
        &id,
        "--as",
        "compensated",
        "--reason",
        "by phone",
    ];
    let resolved = tape(folder.path(), &url, &resolved).await;
    assert!(
        resolved.code == 0 && resolved.out.contains("COMPENSATED"),
        "{}{}",
        resolved.out,
        resolved.err
    );
    let doctor = tape(folder.path(), &url, &["doctor"]).await;
    assert!(!doctor.out.contains("obligation"), "{}", doctor.out);
    let wrong = [
        "resolve",
        "--obligation",
        &run_id,
        "--as",
        "compensated",
        "--reason",
        "x",
    ];
    let wrong = tape(folder.path(), &url, &wrong).await;
    assert!(
        wrong.code == 1 && wrong.err.contains("is not RUN/NUMBER"),
        "{}",
        wrong.err
    );
}
