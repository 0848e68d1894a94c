//! A connector's call, beside wasmtime and hyper alone.

use tape_connector_bench::{Guest, Target};

use crate::report::{Bound, Line, Report, tell};
use crate::section::Plan;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut guests = vec![Guest::probe()];
    for folder in &plan.connectors {
        match Guest::read(folder) {
            Ok(guest) => guests.push(guest),
            Err(error) => tell(&format!("  {} is left out: {error:#}", folder.display())),
        }
    }
    for guest in guests {
        let language = guest.language.clone();
        let (load, scratch) = (plan.load, plan.scratch()?);
        let measured = tokio::task::spawn_blocking(move || tape_connector_bench::measure(&guest, load, scratch.path()));
        let figures = match measured.await? {
            Ok(figures) => figures,
            Err(error) => {
                tell(&format!("  {language} is left out: {error:#}"));
                continue;
            }
        };
        let Target { name, host_us, bare_us } = &figures.target;
        let us = |value: &f64| format!("{value:.1} us");
        let bound = Bound::AtMost(Target::RATIO_MAX);
        report.line(Line::new(name, us(host_us), us(bare_us), figures.target.ratio(), bound));
        for (name, value) in figures.others {
            report.figure(name, value);
        }
    }
    Ok(())
}
