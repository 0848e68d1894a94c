//! A private Postgres cluster: made for a test, gone after it, with fsync on.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};

/// `nobody` on Debian: Postgres refuses to run as root.
const NOBODY: u32 = 65_534;

/// A running cluster.
pub struct Cluster {
    folder: tempfile::TempDir,
    flags: Vec<String>,
    server: Child,
}

impl Cluster {
    /// Makes a cluster that listens on a socket in its own folder only.
    ///
    /// # Panics
    /// Without Postgres on this machine.
    #[must_use]
    pub fn start() -> Self {
        let folder = Self::make();
        let flags = vec!["-c".to_owned(), "listen_addresses=".to_owned()];
        let server = serve(folder.path(), &flags);
        Self { folder, flags, server }
    }

    /// The same, and it listens on a port of localhost too, there over TLS alone, with this certificate and its key (PEM).
    ///
    /// # Panics
    /// Without Postgres on this machine.
    #[must_use]
    pub fn start_with_tls(port: u16, certificate: &str, key: &str) -> Self {
        let folder = Self::make();
        for (name, text) in [
            ("server.crt", certificate),
            ("server.key", key),
            // Who comes over the network without TLS is turned away.
            (
                "data/pg_hba.conf",
                "local all all trust\nhostssl all all 127.0.0.1/32 trust\n",
            ),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of ours");
            chown_if_root(&path);
        }
        let file = |name: &str| folder.path().join(name).display().to_string();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.crt")),
            format!("ssl_key_file={}", file("server.key")),
        ];
        let flags: Vec<_> = settings.into_iter().flat_map(|one| ["-c".to_owned(), one]).collect();
        let server = serve(folder.path(), &flags);
        Self { folder, flags, server }
    }

    /// The folder of a cluster that does not run yet.
    fn make() -> tempfile::TempDir {
        let bin = binaries();
        let folder = tempfile::tempdir().expect("a folder");
        chown_if_root(folder.path());
        let data = folder.path().join("data");
        let made = unprivileged(&bin.join("initdb"))
            .args([
                "--auth=trust",
                "--username=tape",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .output()
            .expect("initdb runs");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        folder
    }

    /// SIGKILL for the database server and all of its processes, as at a loss of power but for the disk's own cache.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&mut self) {
        let postmaster = self.server.id();
        let backends = children(postmaster);
        // The postmaster first: it must not answer the death of a backend by a recovery of its own.
        self.server.kill().expect("it runs");
        self.server.wait().expect("a child of ours");
        for backend in &backends {
            let pid = Pid::from_raw(i32::try_from(*backend).expect("a process id"));
            // One that saw its postmaster die has gone by itself.
            kill(pid, Signal::SIGKILL).ok();
        }
        // The memory that they share must be nobody's before another server may start.
        while backends.iter().any(|pid| alive(*pid)) {
            std::thread::yield_now();
        }
    }

    /// Its processes: the database server's own, and those that it has now.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let postmaster = self.server.id();
        let mut all = children(postmaster);
        all.push(postmaster);
        all
    }

    /// SIGKILL for one process of the database server that serves a client: it then recovers by itself. False if there is none.
    pub fn kill_a_backend(&self) -> bool {
        let clients = children(self.server.id()).into_iter().find(|pid| {
            let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.contains(" tape ")
        });
        let pid = clients.and_then(|pid| i32::try_from(pid).ok());
        pid.is_some_and(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok())
    }

    /// SIGSTOP for all processes of the database server: it answers nothing, and its connections stay open.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pause(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets what was paused go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resume(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, signal: Signal) {
        let postmaster = self.server.id();
        for pid in children(postmaster).into_iter().chain([postmaster]) {
            let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
            // A backend may have just gone by itself.
            kill(pid, signal).ok();
        }
    }

    /// Starts the database server again on the same data.
    pub fn restart(&mut self) {
        self.server = serve(self.folder.path(), &self.flags);
    }

    /// A fresh database of this name, and its URL.
    ///
    /// # Panics
    /// When the cluster does not start within ten seconds.
    pub async fn database(&self, name: &str) -> String {
        for _ in 0..200 {
            let made = self.program("createdb").arg(name).output().expect("createdb runs");
            if made.status.success() {
                let port = self.port().map_or_else(String::new, |port| format!("&port={port}"));
                return format!(
                    "postgres://tape@localhost/{name}?host={}{port}",
                    self.folder.path().display()
                );
            }
            let problem = String::from_utf8_lossy(&made.stderr).into_owned();
            let starting = problem.contains("No such file")
                || problem.contains("starting up")
                || problem.contains("Connection refused");
            assert!(starting, "createdb: {problem}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!("the cluster does not start within ten seconds");
    }
}

impl Cluster {
    /// One of Postgres's own programs, told where this cluster is.
    ///
    /// # Panics
    /// Without Postgres on this machine.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut program = Command::new(binaries().join(name));
        program.arg("--username=tape").arg("--host").arg(self.folder.path());
        if let Some(port) = self.port() {
            program.args(["--port", port]);
        }
        program
    }

    /// The port, if it is not the usual one: the socket is named after it.
    fn port(&self) -> Option<&str> {
        self.flags.iter().find_map(|flag| flag.strip_prefix("port="))
    }

    /// A session of its own in a database, as another server would have.
    ///
    /// # Panics
    /// Without `psql`.
    pub async fn session(&self, name: &str) -> Session {
        let mut psql = tokio::process::Command::new(binaries().join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--username=tape", "--host"])
            .arg(self.folder.path())
            .args(["--dbname", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("psql runs");
        Session {
            input: psql.stdin.take().expect("piped"),
            output: BufReader::new(psql.stdout.take().expect("piped")).lines(),
            _psql: psql,
        }
    }
}

/// A session of a cluster.
pub struct Session {
    _psql: tokio::process::Child,
    input: tokio::process::ChildStdin,
    output: Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Session {
    /// Runs statements, and returns once they are done.
    ///
    /// # Panics
    /// When one fails.
    pub async fn run(&mut self, sql: &str) {
        let text = format!("{sql}\n\\echo done\n");
        self.input.write_all(text.as_bytes()).await.expect("psql reads");
        let line = self.output.next_line().await.expect("psql writes");
        assert_eq!(line.as_deref(), Some("done"), "{sql}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Immediate: nobody needs what is in it.
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Where Debian, or the PATH, has the server's programs.
fn binaries() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = debian.chain(std::env::split_paths(&path)).collect();
    places.retain(|place| place.join("initdb").exists() && place.join("postgres").exists());
    places
        .into_iter()
        .next()
        .expect("Postgres is not installed: apt-get install postgresql")
}

/// Starts the server on the data in `folder`.
fn serve(folder: &Path, flags: &[String]) -> Child {
    unprivileged(&binaries().join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(flags)
        .args(["-c", "fsync=on", "-c", "max_connections=200", "-k"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("postgres runs")
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// Whether a process runs; one that only waits to be buried does not.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    !(state.is_empty() || state.starts_with('Z') || state.starts_with('X'))
}

fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

fn chown_if_root(folder: &Path) {
    if is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("the folder is handed over");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
