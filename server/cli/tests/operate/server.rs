//! A `tape-server` process of a test, on ports of its own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

/// Everything that a test waits for comes within this.
pub const SOON: Duration = Duration::from_secs(30);

/// A server that runs until it is dropped.
pub struct Server {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub grpc: String,
    pub http: String,
}

/// What to start.
pub struct Start {
    command: Command,
}

impl Start {
    /// A server in `folder`, on free ports, with its store in `tape.db`.
    pub fn new(folder: &std::path::Path) -> Self {
        Self::at(folder, "127.0.0.1:0", "127.0.0.1:0")
    }

    /// The same on other addresses.
    pub fn at(folder: &std::path::Path, grpc: &str, http: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tape-server"));
        command
            .args(["--listen", grpc, "--http", http])
            .env_remove("TAPE_OTLP_ENDPOINT")
            .env("TAPE_LOG_FORMAT", "json")
            .env("TAPE_COUNT_INTERVAL_MS", "50")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self { command }
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it under another program, for example one that limits it.
    pub fn under(self, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(args)
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self { command }
    }

    /// Starts it, and expects it to refuse: its exit code and last words.
    pub fn refused(mut self) -> (ExitStatus, String) {
        let output = self.command.output().expect("the server runs");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts it and waits until it serves.
    pub async fn run(mut self) -> Server {
        let mut child = self.command.process_group(0).spawn().expect("the server starts");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("the log").push(line);
            }
        });
        let mut server = Server {
            child,
            log,
            grpc: String::new(),
            http: String::new(),
        };
        let deadline = Instant::now() + SOON;
        let fields = loop {
            let serving = server.log().into_iter().find_map(|line| {
                let line: Value = serde_json::from_str(&line).ok()?;
                (line["fields"]["message"] == "serving").then(|| line["fields"].clone())
            });
            if let Some(fields) = serving {
                break fields;
            }
            let ended = server.child.try_wait().expect("its state");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "no server: {:#?}",
                server.log()
            );
            sleep(Duration::from_millis(10)).await;
        };
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        server.grpc = text("grpc");
        // Logged as `Some(127.0.0.1:1)`.
        server.http = text("http")
            .trim_start_matches("Some(")
            .trim_end_matches(')')
            .to_owned();
        server
    }
}

impl Server {
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("the server lives");
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:#?}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).expect("an address");
        endpoint.tcp_nodelay(true).connect().await.expect("it listens")
    }

    pub async fn tape(&self) -> TapeClient<Channel> {
        TapeClient::new(self.channel().await)
    }

    /// An answer of its HTTP port: status and text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let url = format!("http://{}{path}", self.http).parse().expect("a URL");
        let answer = client.get(url).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Its metrics: `name{labels}` and value.
    pub async fn metrics(&self) -> HashMap<String, f64> {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until `look` finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A run of app `app`.
pub fn begin(invocation: &str) -> pb::BeginRunRequest {
    pb::BeginRunRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: "session".into(),
        invocation_id: invocation.into(),
        lease_owner: "driver".into(),
        ..Default::default()
    }
}

/// A folder for a server.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A file of `folder` with this content.
pub fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("a file");
    path
}
