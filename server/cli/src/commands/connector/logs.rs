//! `tape connector logs`: what a connector said, and how its calls ended.

use console::Style;
use futures_util::TryStreamExt as _;
use tape_client::ConnectorLine;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The connector
    name: String,
    /// Stay, and show what comes
    #[arg(long, short)]
    follow: bool,
    /// So many of the last lines
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
    lines: i32,
    /// The tenant whose connector it is [default: your own]
    #[arg(long, default_value = "")]
    tenant: String,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    let mut lines = client
        .tail_connector(&args.tenant, &args.name, args.lines, args.follow)
        .await?;
    while let Some(line) = lines.try_next().await? {
        if cx.is_json() {
            ui::json_line(&line)?;
        } else {
            ui::line(shown(&line))?;
        }
    }
    Ok(Exit::Fine)
}

fn shown(line: &ConnectorLine) -> String {
    let style = match line.level.as_str() {
        "error" => Style::new().red(),
        "warn" => Style::new().yellow(),
        "call" => Style::new().cyan(),
        _ => Style::new().dim(),
    };
    let lost = if line.lost > 0 {
        format!("({} lines were lost here)\n", line.lost)
    } else {
        String::new()
    };
    let place = if line.reactor_id.is_empty() {
        String::new()
    } else {
        format!("  ({})", line.reactor_id)
    };
    let level = style.apply_to(format!("{:5}", line.level));
    format!(
        "{lost}{} {level} {} {} {}  {}{place}",
        ui::moment(line.at_ms, false),
        line.version,
        line.question,
        line.effect_key,
        line.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_who_and_about_what() {
        let line = ConnectorLine {
            at_ms: 0,
            version: "1.0.0".into(),
            level: "call".into(),
            message: "wire answered in 12 ms".into(),
            run_id: "r".into(),
            effect_key: "r/d-0/wire/0".into(),
            question: "dispatch".into(),
            lost: 3,
            reactor_id: String::new(),
        };
        let text = shown(&line);
        assert!(text.starts_with("(3 lines were lost here)\n"), "{text}");
        assert!(
            text.ends_with("call  1.0.0 dispatch r/d-0/wire/0  wire answered in 12 ms"),
            "{text}"
        );
        let elsewhere = ConnectorLine {
            reactor_id: "reactor-7".into(),
            ..line
        };
        assert!(shown(&elsewhere).ends_with("wire answered in 12 ms  (reactor-7)"));
    }
}
