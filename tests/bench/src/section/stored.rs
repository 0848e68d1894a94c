//! What a run costs beside few and beside many that are stored.

use tape_core::Time;
use tape_store::Store as _;
use tape_store_sqlite::{SqliteConfig, SqliteStore};

use crate::report::{Bound, Line, Report, tell};
use crate::section::{Plan, ms, start};
use tape_load::Work;

/// The small store.
const FEW: u32 = 10_000;
/// Loads on each, in turn.
const ROUNDS: u32 = 5;
const CLIENTS: usize = 16;
/// When the newest stored run ended: any time that is over.
const THEN: Time = Time(1_700_000_000_000);

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let (few, many) = (plan.scratch()?, plan.scratch()?);
    for (folder, count) in [(&few, FEW), (&many, plan.stored)] {
        tell(&format!("    storing {count} runs"));
        let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tape.db"))).await?;
        crate::stored::runs(&store, count, THEN).await?;
        store.close().await;
    }
    let (a, b) = (plan.sqlite(&few).await?, plan.sqlite(&many).await?);
    let (mut costs, mut processors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut measured = Vec::new();
        for server in [&a, &b] {
            let before = server.usage()?;
            let load = tape_load::apply(
                &server.url,
                &format!("beside-{round}"),
                Work::ShortRun,
                CLIENTS,
                plan.load / 2,
            )
            .await?;
            let cpu = server.usage()?.cpu - before.cpu;
            measured.push((1.0 / load.rate(), cpu.as_secs_f64() / load.rate()));
        }
        costs.push(measured[1].0 / measured[0].0);
        processors.push(measured[1].1 / measured[0].1);
    }
    a.stop().await?;
    b.stop().await?;
    let cost = median(costs);
    report.figure(
        format!(
            "server's processor time per run at {} stored, in that at {FEW}",
            plan.stored
        ),
        median(processors),
    );
    report.line(Line::new(
        &format!("cost per run at {} stored runs, in that at {FEW}", plan.stored),
        format!("{cost:.2}"),
        "1.00".to_owned(),
        cost,
        Bound::AtMost(1.2),
    ));
    let killed = start::after_kills(plan, &many).await?;
    report.line(Line::absolute(
        &format!("start after a kill under load, {} stored runs, p50", plan.stored),
        ms(killed.p50()),
        "ms",
        Bound::AtMost(300.0),
    ));
    Ok(())
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
