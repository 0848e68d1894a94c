//! What is measured, one part at a time; each adds its figures and the lines of its targets to the report.

mod connector;
mod durable;
mod idle;
mod postgres;
mod start;
mod stored;
mod swap;
mod waking;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::report::{Report, tell};
use tape_load::{Server, Setup};

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Durable steps and short runs under 1 to 256 clients, beside the disk's, SQLite's and gRPC's own figures.
    Durable,
    /// Durable steps over Postgres, beside one commit per operation in pgbench.
    Postgres,
    /// How soon an app hears of a signal, a timer, a dead worker.
    Waking,
    /// A connector's call, beside wasmtime and hyper alone.
    Connector,
    /// A connector's versions swapped under load.
    Swap,
    /// What a server costs that has nothing to do.
    Idle,
    /// From start to serving, also after a kill under load.
    Start,
    /// What a run costs beside few and beside many that are stored.
    Stored,
}

impl Section {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 8] = [
        Self::Durable,
        Self::Postgres,
        Self::Waking,
        Self::Connector,
        Self::Swap,
        Self::Idle,
        Self::Start,
        Self::Stored,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Durable => "durable steps and short runs over SQLite",
            Self::Postgres => "durable steps over Postgres",
            Self::Waking => "waking an app",
            Self::Connector => "a connector's call",
            Self::Swap => "hot swap",
            Self::Idle => "an idle server",
            Self::Start => "start to serving",
            Self::Stored => "cost beside stored runs",
        }
    }
}

/// Where and how long to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's binary.
    pub server: PathBuf,
    /// A project file with a connector, for the idle server.
    pub project: Option<PathBuf>,
    /// A folder on the disk that is measured.
    pub folder: PathBuf,
    /// Where pictures go.
    pub pictures: PathBuf,
    /// How long each load lasts.
    pub load: Duration,
    /// How many runs the large store holds.
    pub stored: u32,
    /// Folders of connectors to measure beside the one in Rust.
    pub connectors: Vec<PathBuf>,
}

impl Plan {
    /// Measures one section.
    ///
    /// # Errors
    /// If something fails: what was measured until then is in the report.
    pub async fn measure(&self, section: Section, report: &mut Report) -> anyhow::Result<()> {
        tell(section.title());
        match section {
            Section::Durable => durable::measure(self, report).await,
            Section::Postgres => postgres::measure(self, report).await,
            Section::Waking => waking::measure(self, report).await,
            Section::Connector => connector::measure(self, report).await,
            Section::Swap => swap::measure(self, report).await,
            Section::Idle => idle::measure(self, report).await,
            Section::Start => start::measure(self, report).await,
            Section::Stored => stored::measure(self, report).await,
        }
    }

    /// A folder of its own for one part.
    fn scratch(&self) -> anyhow::Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new()
            .prefix("tape-bench.")
            .tempdir_in(&self.folder)?)
    }

    fn setup(&self, store_url: String) -> Setup {
        Setup {
            binary: self.server.clone(),
            store_url,
            project: None,
        }
    }

    /// A server over a SQLite file in `folder`.
    async fn sqlite(&self, folder: &tempfile::TempDir) -> anyhow::Result<Server> {
        let url = format!("sqlite:{}", folder.path().join("tape.db").display());
        Server::start(&self.setup(url), &folder.path().join("server.log")).await
    }
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

/// Processors that a load kept busy, of time used on them. It lasts a fifth longer than what is counted of it.
fn in_use(used: Duration, load: Duration) -> f64 {
    used.as_secs_f64() / (load.as_secs_f64() * 1.2)
}
