//! `tape connector grant`: what a version may reach, and its configuration.

use serde_json::Value;
use tape_client::VersionName;

use super::deployed::{Asker, Grants, full_name, methods, object, show_missing};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The connector
    name: String,
    /// The version [default: the one that gets most calls]
    #[arg(id = "of", long = "of", value_name = "VERSION", default_value = "")]
    version: String,
    #[command(flatten)]
    grants: Grants,
    /// Take a host away that was granted
    #[arg(long, value_name = "HOST")]
    revoke: Vec<String>,
    /// Its configuration: JSON, or a file of it
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
    #[command(flatten)]
    asker: Asker,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    let at = |version: &str| VersionName {
        tenant: args.asker.tenant.clone(),
        name: args.name.clone(),
        version: version.to_owned(),
    };
    let before = client.connector(at(&args.version)).await?;
    if args.grants.is_empty() && args.revoke.is_empty() && args.config.is_none() {
        return show(&before, cx);
    }
    let config_json = match &args.config {
        Some(config) => object(config, "--config")?.to_string(),
        None => String::new(),
    };
    let grants = if args.grants.is_empty() && args.revoke.is_empty() {
        None
    } else {
        let mut grants = before.grants.clone();
        grants["limits"] = before.limits.clone();
        Some(revoked(args.grants.on(grants)?, &args.revoke))
    };
    let done = client
        .grant_connector(at(&before.version), grants.as_ref(), config_json, args.asker.by())
        .await?;
    if cx.is_json() {
        ui::json(&done)?;
        return Ok(Exit::Fine);
    }
    ui::marked(
        Mark::Tick,
        format!(
            "{} {}: calls that begin now have it",
            full_name(&done.version),
            done.version.version
        ),
    )?;
    show_missing(&done.missing_grants)?;
    show(&done.version, cx)
}

fn show(version: &tape_client::ConnectorVersion, cx: &Cx) -> anyhow::Result<Exit> {
    if cx.is_json() {
        ui::json(version)?;
        return Ok(Exit::Fine);
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for host in list(&version.grants["hosts"]) {
        let mut line = format!("host    {}", host["host"].as_str().unwrap_or_default());
        line.push_str(&format!(
            "  methods {}",
            methods(&host, &version.grants["methods"]).join(", ")
        ));
        let read_only = list(&host["read_only_paths"]);
        if !read_only.is_empty() {
            let all: Vec<&str> = read_only.iter().filter_map(Value::as_str).collect();
            line.push_str(&format!("  read-only {}", all.join(", ")));
        }
        if host["private"] == true {
            line.push_str("  private addresses too");
        }
        ui::line(line)?;
    }
    for secret in list(&version.grants["secrets"]) {
        let hosts = list(&secret["hosts"]);
        let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
        ui::line(format!(
            "secret  {}  to {}",
            secret["name"].as_str().unwrap_or_default(),
            hosts.join(", ")
        ))?;
    }
    for (name, number) in version.limits.as_object().into_iter().flatten() {
        ui::line(format!("limit   {name} {number}"))?;
    }
    ui::line(format!("config  {}", version.config))?;
    Ok(Exit::Fine)
}

/// Without these hosts, and without them where secrets may go.
fn revoked(mut grants: Value, hosts: &[String]) -> Value {
    let gone = |host: &Value| {
        host["host"]
            .as_str()
            .or(host.as_str())
            .is_some_and(|host| hosts.iter().any(|one| one == host))
    };
    if let Some(granted) = grants["hosts"].as_array_mut() {
        granted.retain(|host| !gone(host));
    }
    for secret in grants["secrets"].as_array_mut().into_iter().flatten() {
        if let Some(to) = secret["hosts"].as_array_mut() {
            to.retain(|host| !gone(host));
        }
    }
    grants
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_that_is_taken_away_gets_no_secret_any_more() {
        let grants = json!({"hosts": [{"host": "https://a"}, {"host": "https://b"}], "secrets": [{"name": "t", "hosts": ["https://a"]}]});
        let left = revoked(grants, &["https://a".to_owned()]);
        assert_eq!(
            left,
            json!({"hosts": [{"host": "https://b"}], "secrets": [{"name": "t", "hosts": []}]})
        );
    }
}
