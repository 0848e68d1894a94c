//! What the commands about deployed connectors have in common: who asks, what is granted, how a version is shown.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tape_client::{By, ConnectorVersion};

use crate::ui;

/// Who asks, and why.
#[derive(clap::Args)]
pub struct Asker {
    /// The tenant whose connector it is [default: your own]
    #[arg(long, default_value = "")]
    pub tenant: String,
    /// Why, for the connector's journal
    #[arg(long, default_value = "")]
    reason: String,
    /// Who, for the connector's journal, where the server asks for no credentials [default: $USER]
    #[arg(long)]
    who: Option<String>,
}

impl Asker {
    /// As the server journals it.
    pub fn by(&self) -> By {
        let who = self.who.clone().or_else(|| env::var("USER").ok());
        By {
            who: who.unwrap_or_else(|| "operator".to_owned()),
            reason: self.reason.clone(),
        }
    }
}

/// A JSON object: a file of it, or the text itself.
///
/// # Errors
/// It cannot be read, or is none.
pub fn object(written: &str, flag: &str) -> anyhow::Result<Value> {
    let text = if written.trim_start().starts_with('{') {
        written.to_owned()
    } else {
        std::fs::read_to_string(written).with_context(|| format!("{flag} {written}: read it"))?
    };
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{flag} {written} is no JSON"))?;
    if !value.is_object() {
        bail!("{flag} {written}: write a JSON object, {{\"key\": value, ...}}");
    }
    Ok(value)
}

/// What is granted beside a document: hosts, and secrets with the hosts that they may go to.
#[derive(clap::Args)]
pub struct Grants {
    /// A file with all grants, in JSON: {"hosts": [...], "methods": [...], "secrets": [{"name", "hosts"}], "limits": {...}}
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
    /// A host to reach, and by which methods [default: GET and HEAD]: https://api.example.com=GET,POST, *.example.com, http://127.0.0.1:7900
    #[arg(long = "grant", value_name = "HOST[=METHOD,METHOD]")]
    hosts: Vec<String>,
    /// A secret, and the hosts that it may be sent to [default: all that are granted here]
    #[arg(long = "secret", value_name = "NAME[=HOST,HOST]")]
    secrets: Vec<String>,
    /// A limit of one call, or of the connector: timeout_ms, memory_bytes, body_bytes, requests_per_call, log_bytes, concurrent_calls,
    /// calls_per_s
    #[arg(long = "limit", value_name = "NAME=NUMBER")]
    limits: Vec<String>,
}

impl Grants {
    /// Nothing is said about grants.
    pub fn is_empty(&self) -> bool {
        self.grants.is_none() && self.hosts.is_empty() && self.secrets.is_empty() && self.limits.is_empty()
    }

    /// `before`, or the file in its place, with what the flags add.
    ///
    /// # Errors
    /// What is written makes no sense.
    pub fn on(&self, before: Value) -> anyhow::Result<Value> {
        let mut grants = match &self.grants {
            Some(file) => object(&file.display().to_string(), "--grants")?,
            None => before,
        };
        for key in ["hosts", "methods", "secrets"] {
            if !grants[key].is_array() {
                grants[key] = json!([]);
            }
        }
        let common = grants["methods"].clone();
        for granted in &self.hosts {
            let (host, added) = host_and_methods(granted)?;
            let there = |grant: &&mut Value| grant["host"].as_str().or(grant.as_str()) == Some(host);
            for hosts in grants["hosts"].as_array_mut().into_iter() {
                match hosts.iter_mut().find(there) {
                    None if added.is_empty() => hosts.push(json!({ "host": host })),
                    None => hosts.push(json!({ "host": host, "methods": added })),
                    Some(_) if added.is_empty() => {}
                    Some(grant) => {
                        if grant.is_string() {
                            *grant = json!({ "host": host });
                        }
                        let mut methods = methods(grant, &common);
                        methods.extend(added.clone());
                        methods.sort();
                        methods.dedup();
                        grant["methods"] = json!(methods);
                    }
                }
            }
        }
        let everywhere: Vec<Value> = grants["hosts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|grant| {
                if grant.is_string() {
                    grant.clone()
                } else {
                    grant["host"].clone()
                }
            })
            .collect();
        for secret in &self.secrets {
            let (name, hosts) = match secret.split_once('=') {
                Some((name, hosts)) => (name, hosts.split(',').map(Value::from).collect()),
                None => (secret.as_str(), everywhere.clone()),
            };
            for secrets in grants["secrets"].as_array_mut().into_iter() {
                secrets.retain(|one| one["name"] != name);
                secrets.push(json!({ "name": name, "hosts": hosts }));
            }
        }
        for limit in &self.limits {
            let Some((name, number)) = limit.split_once('=') else {
                bail!("--limit {limit}: write NAME=NUMBER, for example calls_per_s=20");
            };
            let number: i64 = number
                .parse()
                .with_context(|| format!("--limit {limit}: {number:?} is no number"))?;
            grants["limits"][name] = number.into();
        }
        Ok(grants)
    }
}

/// `HOST[=METHOD,METHOD]`.
fn host_and_methods(written: &str) -> anyhow::Result<(&str, Vec<String>)> {
    let Some((host, methods)) = written.split_once('=') else {
        return Ok((written, Vec::new()));
    };
    let methods: Vec<String> = methods
        .split(',')
        .map(|method| method.trim().to_ascii_uppercase())
        .collect();
    let named =
        |method: &String| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if host.is_empty() || !methods.iter().all(named) {
        bail!("--grant {written}: write HOST=METHOD,METHOD, for example https://api.example.com=GET,POST");
    }
    Ok((host, methods))
}

/// The methods that the grant of one host allows; `common` are those of hosts that name none of their own.
pub fn methods(grant: &Value, common: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|one| Some(one.as_str()?.to_owned())).collect()
    };
    let named = [texts(&grant["methods"]), texts(common)];
    let named = named.into_iter().find(|named| !named.is_empty());
    named.unwrap_or_else(|| tape_host::METHODS_DEFAULT.map(str::to_owned).to_vec())
}

/// A connector's name as a file would give it.
pub fn name_of(file: &Path) -> String {
    file.file_stem()
        .map(|stem| stem.to_string_lossy().replace('_', "-"))
        .unwrap_or_default()
}

/// `tenant/name`, or the name alone.
pub fn full_name(version: &ConnectorVersion) -> String {
    if version.tenant.is_empty() {
        version.name.clone()
    } else {
        format!("{}/{}", version.tenant, version.name)
    }
}

/// The beginning of a digest, as people compare it.
pub fn short(digest: &str) -> &str {
    let hex = digest.trim_start_matches("sha256:");
    hex.get(..12).unwrap_or(hex)
}

/// What is missing, one line each.
///
/// # Errors
/// When nobody reads stdout any more.
pub fn show_missing(missing: &[String]) -> std::io::Result<()> {
    for one in missing {
        ui::marked(ui::Mark::Again, format!("it asks for {one}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(hosts: &[&str], secrets: &[&str], limits: &[&str]) -> Grants {
        let texts = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect();
        Grants {
            grants: None,
            hosts: texts(hosts),
            secrets: texts(secrets),
            limits: texts(limits),
        }
    }

    #[test]
    fn what_is_granted_adds_to_what_was() {
        let before = json!({"hosts": [{"host": "https://a"}], "secrets": [{"name": "t", "hosts": ["https://a"]}]});
        let after = grants(&["https://a", "https://b"], &["t", "u=https://b"], &["calls_per_s=5"])
            .on(before)
            .unwrap();
        assert_eq!(after["hosts"], json!([{"host": "https://a"}, {"host": "https://b"}]));
        assert_eq!(
            after["secrets"][0],
            json!({"name": "t", "hosts": ["https://a", "https://b"]})
        );
        assert_eq!(after["secrets"][1], json!({"name": "u", "hosts": ["https://b"]}));
        assert_eq!(after["limits"], json!({"calls_per_s": 5}));
        let by_method = grants(&["https://a=post,DELETE", "https://b=POST", "https://b"], &[], &[]);
        let after = by_method.on(json!({"hosts": ["https://a"]})).unwrap();
        assert_eq!(
            after["hosts"],
            json!([
                {"host": "https://a", "methods": ["DELETE", "GET", "HEAD", "POST"]},
                {"host": "https://b", "methods": ["POST"]},
            ])
        );
        let refused = grants(&["https://a=POST,"], &[], &[])
            .on(Value::Null)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("HOST=METHOD"), "{refused}");
        assert!(
            grants(&[], &[], &["x"])
                .on(Value::Null)
                .unwrap_err()
                .to_string()
                .contains("NAME=NUMBER")
        );
    }

    #[test]
    fn names_come_from_files() {
        assert_eq!(name_of(Path::new("/x/my_erp.wasm")), "my-erp");
    }
}
