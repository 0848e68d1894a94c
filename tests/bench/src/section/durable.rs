//! Durable steps and short runs over SQLite.

use crate::plot;
use crate::report::{Bound, Line, Report};
use crate::section::{Plan, in_use, ms};
use tape_load::floor;
use tape_load::{Measured, Way, Work};
use tape_load::{Server, Usage};

/// The numbers of clients.
const CLIENTS: [usize; 4] = [1, 16, 64, 256];
/// How often the disk is asked to make something durable, before and after the loads.
const SYNCS: u32 = 500;
/// Runs that one process drives at the same time, and how often each way to the server is taken.
const RUNS: usize = 64;
const WAYS_IN_TURN: usize = 3;
/// Runs whose size on the disk is measured, all begun and ended by 16 clients.
const SIZED: usize = 16;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    let mut sync = floor::fdatasync(folder.path(), SYNCS)?;
    let rows = floor::sqlite_rows(folder.path(), plan.load).await?;
    let server = plan.sqlite(&folder).await?;

    let empty = measured(plan, &server, report, Work::Empty, 1).await?;
    measured(plan, &server, report, Work::Empty, 64).await?;
    let mut loads = Vec::new();
    for work in [Work::Step, Work::ShortRun] {
        for clients in CLIENTS {
            loads.push(measured(plan, &server, report, work, clients).await?);
        }
    }
    one_process(plan, &server, report).await?;
    sync.merge(&floor::fdatasync(folder.path(), SYNCS)?);
    let usage = server.usage()?;
    server.stop().await?;

    report.figure("fdatasync of 4 KiB, p50 ms", ms(sync.p50()));
    report.figure("fdatasync of 4 KiB, p99 ms", ms(sync.p99()));
    report.figure("SQLite's own rows in batches of 64, per second", rows);
    report.figure("server's memory after the load, MiB", mib(usage.resident));

    let alone = find(&loads, Work::Step, 1);
    let many = find(&loads, Work::Step, 64);
    let (step, two_syncs) = (ms(alone.latency.p50()), 2.0 * ms(sync.p50()));
    report.line(Line::new(
        "durable step alone, p50, in two fdatasyncs",
        format!("{step:.3} ms"),
        format!("{two_syncs:.3} ms"),
        step / two_syncs,
        Bound::AtMost(3.0),
    ));
    let with_calls = two_syncs + 2.0 * ms(empty.latency.p50());
    report.figure(
        "durable step alone, p50, in two fdatasyncs and two empty calls",
        step / with_calls,
    );
    report.line(Line::new(
        "durable steps, 64 clients, of SQLite's own row rate",
        format!("{:.0}/s", many.rate()),
        format!("{rows:.0}/s"),
        many.rate() / rows,
        Bound::AtLeast(0.25),
    ));
    report.line(Line::new(
        "durable steps, 64 clients, against one client",
        format!("{:.0}/s", many.rate()),
        format!("{:.0}/s", alone.rate()),
        many.rate() / alone.rate(),
        Bound::AtLeast(10.0),
    ));
    plot::draw(
        &plan.pictures.join("sqlite.svg"),
        "Tape over SQLite, synchronous=FULL",
        &loads,
    )?;
    size(plan, report).await
}

/// What the stream of calls pays: the steps of 64 runs in one process, by calls and on a stream, in turn.
async fn one_process(plan: &Plan, server: &Server, report: &mut Report) -> anyhow::Result<()> {
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..WAYS_IN_TURN {
        for (rates, way) in rates.iter_mut().zip([Way::OneConnection, Way::OneStream]) {
            let (name, length) = (format!("{way:?}-{round}"), plan.load / 2);
            let measured = tape_load::apply_by(&server.url, &name, Work::Step, RUNS, length, way).await?;
            rates.push(measured.rate());
        }
    }
    let [calls, stream] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    report.figure(
        format!("durable steps of {RUNS} runs in one process, by calls, per second"),
        calls,
    );
    report.figure(
        format!("durable steps of {RUNS} runs in one process, on one stream, per second"),
        stream,
    );
    report.figure("on one stream, in terms of calls", stream / calls);
    Ok(())
}

/// One load, its figures told.
async fn measured(
    plan: &Plan,
    server: &Server,
    report: &mut Report,
    work: Work,
    clients: usize,
) -> anyhow::Result<Measured> {
    let before = (server.usage()?.cpu, Usage::own()?.cpu);
    let name = format!("{}-{clients}", work.name());
    let measured = tape_load::apply(&server.url, &name, work, clients, plan.load).await?;
    let after = (server.usage()?.cpu, Usage::own()?.cpu);
    let label = format!("{}, {clients} clients", work.name());
    report.figure(format!("{label}, per second"), measured.rate());
    report.figure(format!("{label}, p50 ms"), ms(measured.latency.p50()));
    report.figure(format!("{label}, p99 ms"), ms(measured.latency.p99()));
    for (who, used) in [("server's", after.0 - before.0), ("clients'", after.1 - before.1)] {
        report.figure(format!("{label}, {who} processors in use"), in_use(used, plan.load));
    }
    Ok(measured)
}

fn find(loads: &[Measured], work: Work, clients: usize) -> &Measured {
    loads
        .iter()
        .find(|load| load.work == work && load.clients == clients)
        .expect("each work is measured with each number of clients")
}

/// What a short run leaves on the disk, once the server has stopped.
async fn size(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    let file = folder.path().join("tape.db");
    plan.sqlite(&folder).await?.stop().await?;
    let empty = std::fs::metadata(&file)?.len();
    let server = plan.sqlite(&folder).await?;
    tape_load::apply(&server.url, "sized", Work::ShortRun, SIZED, plan.load).await?;
    let runs = tape_load::stored_runs(&server.url).await?;
    server.stop().await?;
    let grown = std::fs::metadata(&file)?.len() - empty;
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^52")]
    let per_run = grown as f64 / runs as f64;
    report.line(Line::absolute(
        "kept on disk per short run",
        per_run / 1_000.0,
        "kB",
        Bound::AtMost(1.2),
    ));
    Ok(())
}

pub(super) fn mib(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
