//! A disk that fails under SQLite: a write, the sync of the log, or the sync of what is written back from it. Nothing that was
//! acknowledged is lost, not even by a loss of power right after; what could not be made durable is not acknowledged; and the store goes
//! on, as it is open, once the disk does.
//!
//! The disk is `disk.c`, built here and put under a process of its own, this test's file again: it forgets what a failed sync should
//! have made durable, as Linux does, and keeps apart what a loss of power would leave.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure is a failed test, and its text says what was wrong"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tape_core::RowKey;
use tape_store::{Store, StoreError};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::{commit, head, row, run};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Where the process over the disk has its store.
const STORE: &str = "TAPE_DISK_STORE";
const WRITERS: u32 = 8;
/// So large that the log is written back every few hundred commits.
const ROW_BYTES: usize = 60_000;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Not a test: what runs over the disk, until it is killed. It tells each commit and how that ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_over_the_disk() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let path = PathBuf::from(path);
    let store = Arc::new(SqliteStore::open(&SqliteConfig::new(&path)).await.expect("a store"));
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let value = "x".repeat(ROW_BYTES);
            for number in 0.. {
                let name = format!("{writer}-{number}");
                let rows = vec![head("1"), row("k", &value, None)];
                match store.commit(commit(&run(&name), 0, rows)).await {
                    Ok(_) => println!("there {name}"),
                    Err(StoreError::Unavailable(_) | StoreError::InDoubt(_)) => println!("refused {name}"),
                    Err(error) => println!("wrong {name}: {error}"),
                }
            }
        });
    }
    // Somebody reads all the time, each for a while: what is written back is written back in parts.
    let url = format!("sqlite:{}", path.display());
    tasks.spawn(async move {
        let mut reader = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
            .await
            .expect("the file");
        loop {
            let read = "BEGIN; SELECT count(*) FROM entities";
            sqlx::raw_sql(read).execute(&mut reader).await.ok();
            tokio::time::sleep(Duration::from_millis(30)).await;
            sqlx::raw_sql("COMMIT").execute(&mut reader).await.ok();
        }
    });
    tasks.spawn(async move {
        while store.concern().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("concern raised");
        std::future::pending::<()>().await;
    });
    tasks.join_next().await;
}

/// What that process told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    There,
    Refused,
}

struct Stage {
    _folder: tempfile::TempDir,
    disk: PathBuf,
    process: Child,
    told: Receiver<(String, Told)>,
    all: Arc<Mutex<BTreeMap<String, Told>>>,
    /// A person has to see to the store.
    concern: Arc<AtomicBool>,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("disk.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/disk.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(built.expect("a C compiler is there").success(), "disk.c does not build");
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).expect("a folder");
        let mut process = Command::new(std::env::current_exe().expect("the test's own file"))
            .args(["--exact", "the_process_over_the_disk", "--nocapture"])
            .env(STORE, folder.path().join("tape.db"))
            .env("LD_PRELOAD", library)
            .env("TAPE_DISK", &disk)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this file can be started");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let (tell, told) = channel();
        let all = Arc::new(Mutex::new(BTreeMap::new()));
        let heard = all.clone();
        let concern = Arc::new(AtomicBool::new(false));
        let raised = concern.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (word, name) = line.split_once(' ').unwrap_or_default();
                let said = match word {
                    "there" => Told::There,
                    "refused" => Told::Refused,
                    "wrong" => panic!("{line}"),
                    "concern" => {
                        raised.store(true, Ordering::Relaxed);
                        continue;
                    }
                    _ => continue,
                };
                let all = &mut heard.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(name.to_owned(), said);
                // Nobody listens any more at the end.
                drop(tell.send((name.to_owned(), said)));
            }
        });
        Self {
            _folder: folder,
            disk,
            process,
            told,
            all,
            concern,
        }
    }

    /// From now on this fails: "wal" or "db" = their syncs, "write" = every write.
    fn fails(&self, what: &str) {
        // At once, whole: who reads it half-way reads nothing.
        let written = self.disk.join("will fail");
        std::fs::write(&written, what).expect("the folder is there");
        std::fs::rename(written, self.disk.join("fails")).expect("the folder is there");
    }

    fn heals(&self) {
        std::fs::remove_file(self.disk.join("fails")).expect("it failed");
    }

    /// How often it has failed.
    fn failures(&self) -> u64 {
        std::fs::metadata(self.disk.join("failures")).map_or(0, |file| file.len())
    }

    /// Waits for so many commits that ended like this.
    fn hears(&self, times: usize, of: Told) {
        let until = Instant::now() + PATIENCE;
        let mut heard = 0;
        while heard < times {
            let left = until.saturating_duration_since(Instant::now());
            let (_, said) = self.told.recv_timeout(left).expect("the process goes on");
            heard += usize::from(said == of);
        }
    }

    /// Waits until it has failed, while commits go on.
    fn has_failed(&self) {
        let (before, until) = (self.failures(), Instant::now() + PATIENCE);
        while self.failures() == before {
            assert!(Instant::now() < until, "nothing was asked of the disk that failed");
            self.told.recv_timeout(PATIENCE).expect("the process goes on");
        }
    }

    /// The power goes. The commits that were acknowledged, and those that are there.
    async fn after_a_loss_of_power(mut self) -> (Vec<String>, Vec<String>) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a child of ours");
        while self.told.recv().is_ok() {}
        let after = tempfile::tempdir().expect("a folder");
        for name in ["tape.db", "tape.db-wal"] {
            let from = self.disk.join(name);
            if from.exists() {
                std::fs::copy(from, after.path().join(name)).expect("a copy");
            }
        }
        let config = SqliteConfig::new(after.path().join("tape.db"));
        let store = SqliteStore::open(&config).await.expect("what is left is a store");
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut acknowledged, mut there) = (Vec::new(), Vec::new());
        for (name, told) in all.into_iter().filter(|(_, told)| *told == Told::There) {
            assert_eq!(told, Told::There);
            let loaded = store.load(&run(&name), &[RowKey::State("k".into())], &[]).await;
            if loaded.expect("it can be read").rows.len() == 2 {
                there.push(name.clone());
            }
            acknowledged.push(name);
        }
        store.close().await;
        (acknowledged, there)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Commits, a disk that fails, commits that go on once it does not, and then the power goes.
async fn nothing_is_lost(what: &str, refuses: bool) {
    let stage = Stage::set();
    stage.hears(50, Told::There);
    stage.fails(what);
    stage.has_failed();
    if refuses {
        stage.hears(20, Told::Refused);
    }
    stage.heals();
    // It goes on by itself, for longer than the log is before it is written back.
    stage.hears(600, Told::There);
    let failures = stage.failures();
    // Only a log that cannot be written back stays so once the disk is well.
    assert_eq!(stage.concern.load(Ordering::Relaxed), what == "db", "{what}");
    let (acknowledged, there) = stage.after_a_loss_of_power().await;
    assert!(acknowledged.len() >= 650);
    assert_eq!(acknowledged, there, "acknowledged, and gone with the power");
    println!("{what}: {failures} failures, {} acknowledged", acknowledged.len());
}

#[tokio::test]
async fn a_log_that_cannot_be_synced_loses_nothing_that_was_acknowledged() {
    nothing_is_lost("wal", true).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_synced_loses_nothing_that_was_acknowledged() {
    nothing_is_lost("db", false).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_to_loses_nothing_that_was_acknowledged() {
    nothing_is_lost("write", true).await;
}
