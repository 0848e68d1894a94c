//! A connector's call measured: through the host, and by wasmtime alone in the same breath.

mod bare;
mod figures;
mod guest;
mod io;
mod samples;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tape_connector_port::{Connectors, EffectCall, Unmarked};
use tape_host::{Deployment, Grants, Host, HostConfig, NoSecrets};
use tokio::time::Instant;

pub use figures::{Figures, Target};
pub use guest::Guest;
pub use io::Io;
pub use samples::Samples;

use crate::bare::Bare;

/// Calls by one before the other has its turn: what disturbs the machine disturbs both.
const BATCH: usize = 50;
const WARM_UP: usize = 20;
const CONNECTOR: &str = "bench";
const TENANT: &str = "bench";

/// The figures of one guest.
pub struct Measured {
    /// One call, instance included, through the host.
    pub host: Samples,
    /// The same by wasmtime alone.
    pub bare: Samples,
    /// Through the host with an instance that is reused.
    pub reused: Samples,
    pub calls_per_s: f64,
    pub bare_calls_per_s: f64,
    /// With a request; for the probe alone.
    pub io: Option<Io>,
    pub compile: Duration,
    pub cached: Duration,
}

/// Measures one guest on a runtime of one thread, so that what is measured is one core's. Blocks.
///
/// # Errors
/// As for [`measure_guest`].
pub fn measure(guest: &Guest, length: Duration, folder: &Path) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(measure_guest(guest, length, folder))?;
    Ok(Figures::of(guest, &measured))
}

/// Measures one guest for about `length` per figure.
///
/// # Errors
/// It is not accepted, or a call did not take place.
pub async fn measure_guest(guest: &Guest, length: Duration, folder: &Path) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let host = start(guest, 0, None).await?;
    let compile = began.elapsed();
    drop(start(guest, 0, Some(folder)).await?);
    let began = Instant::now();
    let cached = start(guest, 0, Some(folder)).await?;
    let cached_took = began.elapsed();
    drop(cached);

    let bare = Bare::new(&guest.component, &guest.config.to_string())?;
    let call = guest.effect(TENANT);
    let (mut through, mut alone) = (Samples::default(), Samples::default());
    let (mut through_took, mut alone_took) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..WARM_UP {
        ask(&host, &call).await?;
        bare.call(&call).await?;
    }
    while through_took + alone_took < length {
        for _ in 0..BATCH {
            let began = Instant::now();
            ask(&host, &call).await?;
            through.add(began.elapsed());
            through_took += began.elapsed();
        }
        for _ in 0..BATCH {
            let began = Instant::now();
            bare.call(&call).await?;
            alone.add(began.elapsed());
            alone_took += began.elapsed();
        }
    }
    let per_s = |samples: &Samples, took: Duration| samples.count() as f64 / took.as_secs_f64();
    let (calls_per_s, bare_calls_per_s) = (per_s(&through, through_took), per_s(&alone, alone_took));
    Ok(Measured {
        calls_per_s,
        bare_calls_per_s,
        host: through,
        bare: alone,
        reused: reused(guest, &call, length / 4).await?,
        io: if guest.plays {
            Some(Io::measure(guest, length / 2).await?)
        } else {
            None
        },
        compile,
        cached: cached_took,
    })
}

async fn reused(guest: &Guest, call: &EffectCall, length: Duration) -> anyhow::Result<Samples> {
    let host = start(guest, 1_000, None).await?;
    let mut samples = Samples::default();
    let until = Instant::now() + length;
    while Instant::now() < until {
        let began = Instant::now();
        ask(&host, call).await?;
        samples.add(began.elapsed());
    }
    Ok(samples)
}

async fn ask(host: &Host, call: &EffectCall) -> anyhow::Result<()> {
    host.dispatch(CONNECTOR, None, call, &Unmarked)
        .await
        .context("a call that did not take place")?;
    Ok(())
}

/// A host with this guest alone, and nothing granted.
async fn start(guest: &Guest, reuse_calls: u32, cache: Option<&Path>) -> anyhow::Result<Host> {
    let grants = Grants {
        reuse_calls,
        ..Grants::default()
    };
    start_with(guest, grants, cache).await
}

async fn start_with(guest: &Guest, grants: Grants, cache: Option<&Path>) -> anyhow::Result<Host> {
    let host = Host::new(HostConfig {
        tenant_calls_max: 64,
        cache_dir: cache.map(|folder| folder.join("cache")),
        ..HostConfig::default()
    })?;
    let deployment = Deployment {
        tenant: TENANT.to_owned(),
        name: CONNECTOR.to_owned(),
        component: guest.component.clone(),
        config: guest.config.clone(),
        grants,
        limits: guest.limits,
        secrets: Arc::new(NoSecrets),
    };
    host.load(deployment).await?;
    Ok(host)
}
