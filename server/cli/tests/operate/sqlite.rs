//! SQLite on a full disk, a file that is open already, and one that is too new.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use tape_proto::v1 as pb;
use tonic::Code;

use crate::server::{SOON, Server, Start, begin, eventually, folder};

/// A server whose folder is a disk of its own, of so many KiB.
async fn on_a_small_disk(folder: &tempfile::TempDir, kib: u32) -> Server {
    let mounted = format!(
        r#"mount -t tmpfs -o size={kib}k tmpfs "{0}" && cd "{0}" && exec "$0" "$@""#,
        folder.path().display()
    );
    let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c", &mounted];
    Start::new(folder.path()).under("unshare", &namespace).run().await
}

/// Fills what is left of the server's disk. The file, to be taken away again.
fn fill(server: &Server, folder: &tempfile::TempDir) -> PathBuf {
    use std::io::Write as _;
    let seen_by_it = PathBuf::from(format!("/proc/{}/root{}", server.pid(), folder.path().display()));
    let path = seen_by_it.join("filler");
    let mut file = std::fs::File::create(&path).expect("its disk can be reached");
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

fn padded(invocation: &str) -> pb::BeginRunRequest {
    pb::BeginRunRequest {
        input_json: format!("\"{}\"", "x".repeat(20_000)),
        ..begin(invocation)
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost() {
    let folder = folder();
    let mut server = on_a_small_disk(&folder, 8_192).await;
    let mut tape = server.tape().await;
    let mut kept = Vec::new();
    for number in 0..5 {
        kept.push(
            tape.begin_run(padded(&format!("before {number}")))
                .await
                .unwrap()
                .into_inner()
                .run_id,
        );
    }
    let filler = fill(&server, &folder);
    let mut number = 0;
    let refused = loop {
        // What the log of the database still has room for is kept.
        match tape.begin_run(padded(&format!("until full {number}"))).await {
            Ok(begun) => kept.push(begun.into_inner().run_id),
            Err(refused) => break refused,
        }
        number += 1;
        assert!(number < 1000, "the disk is never full");
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("disk is full"), "{refused:?}");
    let (status, text) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("disk is full"), "{text}");
    // Reading goes on.
    tape.get_run(pb::GetRunRequest {
        run_id: kept[0].clone(),
    })
    .await
    .unwrap();

    std::fs::remove_file(filler).unwrap();
    eventually("ready once there is room", async || {
        (server.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    kept.push(tape.begin_run(padded("after")).await.unwrap().into_inner().run_id);
    for run_id in &kept {
        tape.get_run(pb::GetRunRequest { run_id: run_id.clone() })
            .await
            .unwrap();
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(
        tokio::time::timeout(SOON, server.ended()).await.unwrap().code(),
        Some(0)
    );
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused_and_the_first_goes_on() {
    let folder = folder();
    let first = Start::new(folder.path()).run().await;
    let (status, words) = Start::new(folder.path()).refused();
    assert_eq!(status.code(), Some(1));
    assert!(
        words.contains("TAPE-N002") && words.contains("another server has"),
        "{words}"
    );
    first.tape().await.begin_run(begin("1")).await.unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_server_is_refused_with_both_versions() {
    let folder = folder();
    let mut server = Start::new(folder.path()).run().await;
    server.signal(Signal::SIGTERM);
    server.ended().await;
    let made = std::process::Command::new("python3")
        .args(["-c", "import sqlite3; c = sqlite3.connect('tape.db'); c.execute(\"INSERT INTO _sqlx_migrations SELECT 9999, 'later', installed_on, 1, checksum, 1 FROM _sqlx_migrations LIMIT 1\"); c.commit()"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    let (status, words) = Start::new(folder.path()).refused();
    assert_eq!(status.code(), Some(1));
    assert!(
        words.contains("TAPE-N002") && words.contains("9999") && words.contains("newer"),
        "{words}"
    );
}
