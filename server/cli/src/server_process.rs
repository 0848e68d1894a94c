//! tape-server as a process of its own: where its binary is, how it is started, and when it is up.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tape_client::TapeClient;
use tokio::time::{Instant, sleep};

use crate::ports;
use crate::process::{Process, Sink, Spec, ending};

const NAME: &str = "tape-server";
/// Compiling connectors is part of a start.
const START_MAX: Duration = Duration::from_secs(60);

/// What a server is to do.
#[derive(Clone)]
pub struct ServerSpec {
    /// The binary.
    pub binary: PathBuf,
    /// The project's folder.
    pub folder: PathBuf,
    /// gRPC.
    pub port: u16,
    /// HTTP.
    pub http_port: u16,
    /// `sqlite:...`
    pub store_url: String,
    /// `all`, `none` or a list.
    pub reactors: String,
    /// The project's file, with its connectors; none = no connectors.
    pub config: Option<PathBuf>,
    /// How long reactors' claims last, if not as configured.
    pub claim_ttl_ms: Option<u64>,
    /// Variables on top of ours.
    pub env: Vec<(String, OsString)>,
}

/// A server that answers.
pub struct ServerProcess {
    /// The process.
    pub process: Process,
    /// A connection to it.
    pub client: TapeClient,
}

impl ServerSpec {
    /// Where it will be reached.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tape://{}", ports::loopback(self.port))
    }

    fn command(&self) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![
            self.binary.clone().into(),
            "--listen".into(),
            ports::loopback(self.port).to_string().into(),
            "--http".into(),
            ports::loopback(self.http_port).to_string().into(),
            "--store".into(),
            (&self.store_url).into(),
            "--reactors".into(),
            (&self.reactors).into(),
        ];
        if let Some(config) = &self.config {
            command.extend(["--config".into(), config.into()]);
        }
        if let Some(ttl_ms) = self.claim_ttl_ms {
            command.extend(["--claim-ttl-ms".into(), ttl_ms.to_string().into()]);
        }
        command
    }
}

impl ServerProcess {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time; with its last words.
    pub async fn start(spec: &ServerSpec, sink: Sink) -> anyhow::Result<Self> {
        let mut process = Process::start(Spec {
            name: "server",
            command: spec.command(),
            folder: spec.folder.clone(),
            env: spec.env.clone(),
            sink,
        })?;
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(client) = TapeClient::connect(&spec.url()).await
                && client.stats().await.is_ok()
            {
                return Ok(Self { process, client });
            }
            if let Some(status) = process.has_ended() {
                process.wait().await;
                bail!(
                    "tape-server ended at once ({}):{}",
                    ending(Some(status)),
                    process.last_lines()
                );
            }
            if Instant::now() > deadline {
                bail!("tape-server does not answer at {}:{}", spec.url(), process.last_lines());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The server's binary: the one that was named, the one beside this program, or the one on PATH.
///
/// # Errors
/// When there is none.
pub fn binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        let found = std::path::absolute(named)?;
        if !found.is_file() {
            bail!("--server-binary {}: there is no such file", named.display());
        }
        return Ok(found);
    }
    let beside = env::current_exe()
        .context("find this program's own file")?
        .with_file_name(NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(NAME)).find(|file| file.is_file()).with_context(|| {
        format!(
            "no tape-server binary beside {} or on PATH. Build it (`cargo build -p tape-cli`), or name it: --server-binary PATH",
            beside.display()
        )
    })
}

/// The file of a SQLite store; none for other stores.
#[must_use]
pub fn store_file(store_url: &str, root: &Path) -> Option<PathBuf> {
    let path = store_url
        .strip_prefix("sqlite://")
        .or_else(|| store_url.strip_prefix("sqlite:"))?;
    let path = path.split('?').next().unwrap_or(path);
    Some(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_lies_where_its_url_says() {
        let file = |url| store_file(url, Path::new("/p"));
        assert_eq!(file("sqlite:.tape/dev.db"), Some("/p/.tape/dev.db".into()));
        assert_eq!(file("sqlite:///abs/dev.db?x=1"), Some("/abs/dev.db".into()));
        assert_eq!(file("postgres://h/db"), None);
    }
}
