//! The picture: rate and latency over the number of clients.

use std::path::Path;

use plotters::prelude::*;

use tape_load::{Measured, Work};

const SIZE: (u32, u32) = (960, 420);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 119, 180), RGBColor(214, 92, 20)];

/// Draws the loads of one store as an SVG: on the left how many per second, on the right how long each took.
///
/// # Errors
/// If the file cannot be written.
pub fn draw(file: &Path, title: &str, loads: &[Measured]) -> anyhow::Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 18))?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    let works = [Work::ShortRun, Work::Step];
    let most = loads.iter().map(Measured::rate).fold(1.0, f64::max);
    let slowest = loads.iter().map(|load| ms(load.latency.p99())).fold(1.0, f64::max);

    let mut rates = ChartBuilder::on(&left)
        .margin(12)
        .caption("per second", ("sans-serif", 14))
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..256.0).log_scale(), 0.0..most * 1.1)?;
    rates
        .configure_mesh()
        .x_desc("clients")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (work, colour) in works.iter().zip(COLOURS) {
        let points = points(loads, *work, Measured::rate);
        rates
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(work.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    rates
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;

    let mut latencies = ChartBuilder::on(&right)
        .margin(12)
        .caption("latency in ms: p50, and p99 thin", ("sans-serif", 14))
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..256.0).log_scale(), (0.1..slowest * 1.5).log_scale())?;
    latencies
        .configure_mesh()
        .x_desc("clients")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (work, colour) in works.iter().zip(COLOURS) {
        latencies.draw_series(LineSeries::new(
            points(loads, *work, |load| ms(load.latency.p50())),
            colour.stroke_width(2),
        ))?;
        latencies.draw_series(LineSeries::new(
            points(loads, *work, |load| ms(load.latency.p99())),
            colour.stroke_width(1),
        ))?;
    }
    area.present()?;
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a number of clients has few digits")]
fn points(loads: &[Measured], work: Work, value: impl Fn(&Measured) -> f64) -> Vec<(f64, f64)> {
    loads
        .iter()
        .filter(|load| load.work == work)
        .map(|load| (load.clients as f64, value(load)))
        .collect()
}

fn ms(latency: std::time::Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}
