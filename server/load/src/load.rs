//! Load: so many clients, each with one call under way at any time, for so long.

use std::time::Duration;

use anyhow::Context as _;
use tape_proto::v1::StatsRequest;
use tape_proto::v1::admin_client::AdminClient;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, Way};
use crate::samples::Samples;

/// What the clients do, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A whole run: begin, decision, effect begun and completed, end. Five calls.
    ShortRun,
    /// A durable step: an effect begun and completed. Two calls.
    Step,
    /// A call that touches nothing.
    Empty,
}

impl Work {
    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortRun => "short run",
            Self::Step => "durable step",
            Self::Empty => "empty call",
        }
    }
}

/// What came of it.
#[derive(Clone)]
pub struct Measured {
    /// What was done.
    pub work: Work,
    /// By how many clients.
    pub clients: usize,
    /// How often.
    pub done: u64,
    /// In which time.
    pub elapsed: Duration,
    /// How long each took.
    pub latency: Samples,
}

impl Measured {
    /// How often in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[allow(
            clippy::cast_precision_loss,
            reason = "a rate needs no more digits than a double has"
        )]
        let done = self.done as f64;
        done / self.elapsed.as_secs_f64()
    }
}

/// Steps that a run of the load takes before the next one is begun: the cost of beginning it vanishes, and no run grows
/// beyond what an agent's does.
const STEPS_PER_RUN: i32 = 100;

/// Applies the load, each client over a connection of its own. `name` must differ from that of every other load on the same
/// store.
///
/// # Errors
/// If any call fails: a load that fails measures nothing.
pub async fn apply(url: &str, name: &str, work: Work, clients: usize, length: Duration) -> anyhow::Result<Measured> {
    apply_by(url, name, work, clients, length, Way::Connections).await
}

/// The same, by any way to the server.
///
/// # Errors
/// If any call fails.
pub async fn apply_by(
    url: &str,
    name: &str,
    work: Work,
    clients: usize,
    length: Duration,
    way: Way,
) -> anyhow::Result<Measured> {
    let connected = Client::connect(url, name, clients, way).await?;
    let begun = Instant::now();
    // The beginning is not counted: caches are cold and connections new.
    let (from, until) = (begun + length / 5, begun + length + length / 5);
    let mut tasks = JoinSet::new();
    for mut client in connected {
        tasks.spawn(async move { repeat(&mut client, work, from, until).await });
    }
    let mut latency = Samples::default();
    while let Some(task) = tasks.join_next().await {
        latency.merge(&task?.with_context(|| format!("{} under {clients} clients", work.name()))?);
    }
    Ok(Measured {
        work,
        clients,
        done: latency.count(),
        elapsed: length,
        latency,
    })
}

/// How many runs the server's store holds.
///
/// # Errors
/// If the server does not tell.
pub async fn stored_runs(url: &str) -> anyhow::Result<i64> {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned())?
        .connect()
        .await?;
    let stats = AdminClient::new(channel)
        .stats(StatsRequest::default())
        .await?
        .into_inner();
    Ok(stats.runs_by_status.values().sum())
}

async fn repeat(client: &mut Client, work: Work, from: Instant, until: Instant) -> Result<Samples, tonic::Status> {
    let mut samples = Samples::default();
    let mut run = String::new();
    let mut step = STEPS_PER_RUN;
    loop {
        if work == Work::Step && step == STEPS_PER_RUN {
            run = client.begin_run().await?;
            step = 0;
        }
        let begun = Instant::now();
        match work {
            Work::ShortRun => client.short_run().await?,
            Work::Step => {
                client.step(&run, step).await?;
                step += 1;
            }
            Work::Empty => client.empty().await?,
        }
        let ended = Instant::now();
        if ended >= until {
            return Ok(samples);
        }
        if begun >= from {
            samples.add(ended - begun);
        }
    }
}
