//! A real server process on ports of its own, and what it costs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

/// How long a start may take before it has failed.
const START: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// Its store.
    pub store_url: String,
    /// A project file, if it is to load connectors.
    pub project: Option<PathBuf>,
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// Where its gRPC listens.
    pub url: String,
    /// From its start until it answered over gRPC.
    pub started_in: Duration,
}

/// What a process used up to now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a processor, in user and system mode.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl Usage {
    /// What a process used up to now.
    ///
    /// # Errors
    /// If the system does not tell, because there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name is in parentheses and may hold blanks; fields are counted behind it.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .context("no VmRSS")?;
        Ok(Self {
            // The kernel counts in hundredths of a second, whatever its own clock.
            cpu: Duration::from_millis(ticks * 10),
            resident: kib * 1024,
        })
    }

    /// What this process used up to now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn own() -> anyhow::Result<Self> {
        Self::of(std::process::id())
    }
}

impl Server {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not serve within a minute; with what it said last.
    pub async fn start(setup: &Setup, log: &Path) -> anyhow::Result<Self> {
        let (grpc, http) = (free_port()?, free_port()?);
        let said = std::fs::File::create(log).with_context(|| format!("{}", log.display()))?;
        let mut command = Command::new(&setup.binary);
        command
            .args([
                "--listen",
                &format!("127.0.0.1:{grpc}"),
                "--http",
                &format!("127.0.0.1:{http}"),
            ])
            .args(["--store", &setup.store_url])
            .env("TAPE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        if let Some(project) = &setup.project {
            command.arg("--config").arg(project);
        }
        let begun = Instant::now();
        let mut child = command.spawn().with_context(|| {
            format!(
                "{}: cannot be started; build it, or name another by --server",
                setup.binary.display()
            )
        })?;
        let address = format!("127.0.0.1:{grpc}");
        let mut pause = tokio::time::interval(Duration::from_millis(1));
        loop {
            pause.tick().await;
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("the server ended with {status} before it served: {}", said.trim());
            }
            // The listener exists before the store is open; only an answer counts.
            if answers(&address).await {
                break;
            }
            if begun.elapsed() > START {
                kill_now(&mut child);
                bail!(
                    "the server does not serve within a minute; its log is {}",
                    log.display()
                );
            }
        }
        Ok(Self {
            child,
            url: format!("http://{address}"),
            started_in: begun.elapsed(),
        })
    }

    /// What it used up to now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.child.id())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a word.
    pub fn kill(mut self) {
        kill_now(&mut self.child);
    }

    /// Asks it to end, and waits until it did.
    ///
    /// # Errors
    /// If it ends otherwise than by itself and well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        let begun = Instant::now();
        loop {
            pause.tick().await;
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < START, "the server does not end within a minute");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_now(&mut self.child);
    }
}

fn kill_now(child: &mut Child) {
    // It may have ended already; then there is nothing to kill and only its status to take.
    drop(child.kill());
    drop(child.wait());
}

async fn answers(address: &str) -> bool {
    let Ok(endpoint) = tonic::transport::Endpoint::from_shared(format!("http://{address}")) else {
        return false;
    };
    let Ok(channel) = endpoint.connect_timeout(Duration::from_secs(1)).connect().await else {
        return false;
    };
    let mut client = tape_proto::v1::tape_client::TapeClient::new(channel);
    let request = tape_proto::v1::GetRunRequest {
        run_id: "r-none".to_owned(),
    };
    matches!(client.get_run(request).await, Err(status) if status.code() == tonic::Code::NotFound)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
