//! A `tape-server` process that can be killed and started again on the same store and the same port.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tape_proto::v1 as pb;
use tokio::time::Instant;

use crate::call::Caller;

/// Longest wait for a server to serve.
const START_MAX: Duration = Duration::from_secs(60);

/// A server's process, now or again.
pub struct Server {
    binary: PathBuf,
    store: String,
    reactors: &'static str,
    claim_ms: u32,
    grpc: u16,
    http: u16,
    log: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// A server over `store`, not started yet. What it says goes into a file in `folder`.
    ///
    /// # Panics
    /// When the server does not build.
    #[must_use]
    pub fn over(store: &str, reactors: &'static str, folder: &Path) -> Self {
        let grpc = tape_e2e::free_port();
        Self {
            binary: std::env::var_os("TAPE_TRIAL_SERVER")
                .map_or_else(|| tape_e2e::binary("tape-server"), PathBuf::from),
            store: store.to_owned(),
            reactors,
            claim_ms: 60_000,
            grpc,
            http: tape_e2e::free_port(),
            log: folder.join(format!("server-{grpc}.log")),
            process: None,
        }
    }

    /// The same, whose reactors' claims run out soon: what they held when they were killed is taken up by others then.
    #[must_use]
    pub fn claiming_for(mut self, claim_ms: u32) -> Self {
        self.claim_ms = claim_ms;
        self
    }

    /// Starts it and waits until it serves. How long that took, from the start of its process to its first answer.
    ///
    /// # Panics
    /// When it ends, or does not serve within a minute; with its last words.
    pub async fn start(&mut self) -> Duration {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log");
        let begun = Instant::now();
        let process = Command::new(&self.binary)
            .args([
                "--listen",
                &self.address(),
                "--http",
                &format!("127.0.0.1:{}", self.http),
            ])
            .args(["--store", &self.store, "--reactors", self.reactors])
            .args(["--claim-ttl-ms", &self.claim_ms.to_string()])
            .env_remove("TAPE_STORE_URL")
            .env("TAPE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("tape-server can be started");
        self.process = Some(process);
        while tokio::net::TcpStream::connect(self.address()).await.is_err() {
            self.look(begun);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        loop {
            let request = pb::GetValueRequest {
                key: "is it there".into(),
                ..Default::default()
            };
            if self.caller().tape.get_value(request).await.is_ok() {
                return begun.elapsed();
            }
            self.look(begun);
        }
    }

    fn look(&mut self, begun: Instant) {
        let ended = self
            .process
            .as_mut()
            .and_then(|process| process.try_wait().expect("a child of ours"));
        assert!(ended.is_none(), "the server ended by itself:\n{}", self.said());
        assert!(
            begun.elapsed() < START_MAX,
            "the server does not serve:\n{}",
            self.said()
        );
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it was started");
        let ended = process.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "the server ended by itself:\n{}", self.said());
        process.kill().expect("it runs");
        process.wait().expect("a child of ours");
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal(&process, Signal::SIGTERM);
        let ended = process.wait().expect("a child of ours");
        assert!(ended.success(), "{ended}:\n{}", self.said());
    }

    /// Holds its process still, or lets it go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn hold(&self, still: bool) {
        let process = self.process.as_ref().expect("it was started");
        signal(process, if still { Signal::SIGSTOP } else { Signal::SIGCONT });
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    /// A fresh connection to it.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::to(&self.address())
    }

    /// What it has said.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

fn signal(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("a child of ours");
}

/// The URL of a SQLite store in `folder`.
#[must_use]
pub fn store_of_sqlite(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("tape.db").display())
}

/// The URL of a fresh database.
pub async fn store_of_postgres(cluster: &tape_store_tests::cluster::Cluster) -> String {
    cluster.database("trial").await
}
