//! `tape connector list`: what is deployed, what it gets of the calls, and how it does.

use std::time::{SystemTime, UNIX_EPOCH};

use tape_client::ConnectorVersion;

use super::deployed::{full_name, short};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// Only this connector
    #[arg(default_value = "")]
    name: String,
    /// Also versions that get no calls
    #[arg(long, short)]
    all: bool,
    /// Only this tenant's
    #[arg(long, default_value = "")]
    tenant: String,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    let versions = client.list_connectors(&args.tenant, &args.name, args.all).await?;
    if cx.is_json() {
        ui::json(&versions)?;
        return Ok(Exit::Fine);
    }
    if versions.is_empty() {
        ui::line(if args.all {
            "No connector is deployed: tape connector put."
        } else {
            "No connector is active: tape connector list --all shows those that could be."
        })?;
        return Ok(Exit::Fine);
    }
    ui::line(table(&versions, now_ms()))?;
    for version in &versions {
        let error = version.health.as_ref().map_or("", |health| health.last_error.as_str());
        if !error.is_empty() {
            ui::line(format!(
                "\n{} {}: {}",
                full_name(version),
                version.version,
                error.lines().next().unwrap_or_default()
            ))?;
        }
    }
    Ok(Exit::Fine)
}

fn table(versions: &[ConnectorVersion], now_ms: i64) -> String {
    let row = |version: &ConnectorVersion| {
        let share = match version.weight {
            0 => "-".to_owned(),
            weight => format!("{weight} %"),
        };
        let (circuit, running, rate, ended, broke) = match &version.health {
            None => ["-"; 5].map(str::to_owned).into(),
            Some(health) => (
                if health.circuit.is_empty() {
                    "-".to_owned()
                } else {
                    health.circuit.clone()
                },
                match health.running_max {
                    0 => health.running.to_string(),
                    max => format!("{}/{max}", health.running),
                },
                match health.rate_max {
                    0 => "-".to_owned(),
                    max => format!("{}/{max} per s", health.rate_used),
                },
                health.calls.to_string(),
                health.failures.to_string(),
            ),
        };
        [
            full_name(version),
            version.version.clone(),
            share,
            circuit,
            running,
            rate,
            ended,
            broke,
            format!("{} ago by {}", ui::age(now_ms - version.put_at_ms), version.put_by),
            short(&version.digest).to_owned(),
        ]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    ui::table(
        [
            "CONNECTOR",
            "VERSION",
            "SHARE",
            "CIRCUIT",
            "RUNNING",
            "RATE",
            "CALLS",
            "BROKE",
            "PUT",
            "DIGEST",
        ],
        &rows,
    )
}

#[allow(clippy::disallowed_methods, reason = "ages are shown against this machine's clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tape_client::ConnectorHealth;

    use super::*;

    fn version(name: &str, weight: i32, health: Option<ConnectorHealth>) -> ConnectorVersion {
        ConnectorVersion {
            tenant: String::new(),
            name: "bank".into(),
            version: name.into(),
            digest: "sha256:0123456789abcdef".into(),
            size_bytes: 1,
            contract: "1.0.0".into(),
            describe: Value::Null,
            config: Value::Null,
            grants: Value::Null,
            limits: Value::Null,
            weight,
            put_at_ms: 1_000,
            put_by: "ann".into(),
            signed_by: String::new(),
            health,
        }
    }

    #[test]
    fn a_table_shows_shares_and_how_each_version_does() {
        let health = ConnectorHealth {
            calls: 12,
            failures: 1,
            last_error: String::new(),
            circuit: "open".into(),
            running: 3,
            running_max: 32,
            rate_used: 2,
            rate_max: 20,
        };
        let text = table(&[version("1.1.0", 10, Some(health)), version("1.0.0", 0, None)], 61_000);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .filter(|cell| !cell.is_empty())
                    .map(str::trim)
                    .collect()
            })
            .collect();
        assert_eq!(
            lines[1],
            [
                "bank",
                "1.1.0",
                "10 %",
                "open",
                "3/32",
                "2/20 per s",
                "12",
                "1",
                "1m ago by ann",
                "0123456789ab"
            ]
        );
        assert_eq!(lines[2][..3], ["bank", "1.0.0", "-"]);
    }
}
