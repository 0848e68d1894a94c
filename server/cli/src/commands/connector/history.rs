//! `tape connector history`: who changed what, and why.

use serde_json::Value;
use tape_client::ConnectorChange;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The connector
    name: String,
    /// The tenant whose connector it is [default: your own]
    #[arg(long, default_value = "")]
    tenant: String,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let changes = cx
        .client()
        .await?
        .connector_changes(&args.tenant, &args.name, 0)
        .await?;
    if cx.is_json() {
        ui::json(&changes)?;
    } else {
        ui::line(table(&changes))?;
    }
    Ok(Exit::Fine)
}

fn table(changes: &[ConnectorChange]) -> String {
    let row = |change: &ConnectorChange| {
        [
            change.seq.to_string(),
            ui::moment(change.at_ms, true),
            change.kind.trim_start_matches("connector.").replace('_', " "),
            what(&change.details),
            change.who.clone(),
            change.reason.clone(),
        ]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    ui::table(["SEQ", "AT", "CHANGE", "WHAT", "WHO", "WHY"], &rows)
}

/// The version, and where calls go since; or what was granted.
fn what(details: &Value) -> String {
    let active = details["active"].as_array().into_iter().flatten();
    let active: Vec<String> = active
        .map(|share| {
            format!(
                "{} {} %",
                share["version"].as_str().unwrap_or_default(),
                share["weight"]
            )
        })
        .collect();
    if !active.is_empty() {
        return format!("calls go to {}", active.join(", "));
    }
    let changed = ["grants", "limits", "config"]
        .into_iter()
        .filter(|key| !details[*key].is_null());
    let changed: Vec<&str> = changed.collect();
    let version = details["version"].as_str().unwrap_or_default();
    if changed.is_empty() {
        version.to_owned()
    } else {
        format!("{version}: {}", changed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_in_a_few_words() {
        let active = json!({"active": [{"version": "1", "weight": 90}, {"version": "2", "weight": 10}]});
        assert_eq!(what(&active), "calls go to 1 90 %, 2 10 %");
        assert_eq!(
            what(&json!({"version": "1", "grants": {}, "limits": null})),
            "1: grants"
        );
        assert_eq!(what(&json!({"version": "1"})), "1");
    }
}
