use std::collections::HashMap;

use super::*;

const SCAFFOLD: &str = include_str!("../../../cli/templates/adk-python/tape.yaml");

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Project, ProjectError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    let env = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    Project::parse(text, Path::new("/p"), &env)
}

fn parse(text: &str) -> Result<Project, ProjectError> {
    parse_with(text, &[])
}

/// The smallest project, with `more` below it.
fn project(more: &str) -> String {
    format!("apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {{name: p}}\n{more}")
}

fn refusal(more: &str) -> String {
    parse(&project(more)).unwrap_err().to_string()
}

#[test]
fn the_scaffold_is_read() {
    let project = parse(&SCAFFOLD.replace("{{name}}", "treasury")).unwrap();
    assert_eq!(project.name, "treasury");
    let agent = project.agent.as_ref().unwrap();
    assert_eq!(agent.command, ["python", "-m", "tape.worker"]);
    assert_eq!(project.store_url, "sqlite:.tape/dev.db");
    let bank = &project.connectors["bank"];
    assert_eq!(bank.config["base_url"], bank.grants.hosts[0].host.as_str());
    assert_eq!(bank.grants.hosts[0].methods, ["GET", "POST"]);
}

#[test]
fn little_is_needed() {
    let project = parse(&project("")).unwrap();
    assert_eq!(
        (project.url.as_str(), project.store_url.as_str()),
        (DEFAULT_URL, DEFAULT_STORE_URL)
    );
    assert!(project.agent.is_none() && project.connectors.is_empty() && project.strict_connectors);
    assert_eq!(project.app_name(), "p");
}

#[test]
fn runs_are_kept_whole_unless_it_says_how_long() {
    assert!(parse(&project("")).unwrap().retention.is_empty());
    let kept = parse(&project("tape: {retention: {terminal: 30d, failed: 12h}}")).unwrap();
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    assert_eq!(kept.retention, [(4, days(30)), (5, days(1) / 2)].into());
    let error = refusal("tape: {retention: {terminal: month}}");
    assert!(
        error.contains("`tape.retention.terminal` (month)") && error.contains("terminal: 30d"),
        "{error}"
    );
    assert!(refusal("tape: {retention: {running: 1d}}").contains("Known here: terminal, failed, stuck, cancelled"));
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let error = refusal("tape: {reactors: {outbox: {lease_ttl: 5}}}");
    assert_eq!(
        error,
        "TAPE-V010: `tape.reactors.outbox.lease_ttl` is not a key that Tape knows. Did you mean `lease_ttl_ms`?"
    );
    assert!(refusal("tape: {reactors: {outbxo: {}}}").contains("Did you mean `outbox`?"));
    assert!(refusal("zzzzzzzzzz: 1").contains("Known here: apiVersion, kind, project"));
}

#[test]
fn an_error_names_key_value_and_cure() {
    for (more, key, value, cure) in [
        ("tape: {url: 'http://x'}", "tape.url", "http://x", "tape://host:port"),
        (
            "tape: {reactors: {outbox: {interval_ms: soon}}}",
            "outbox.interval_ms",
            "soon",
            "interval_ms: 1000",
        ),
        (
            "tape: {reactors: {timers: {enabled: 7}}}",
            "timers.enabled",
            "7",
            "true or false",
        ),
        ("tenancy: {mode: many}", "tenancy.mode", "many", "hard_multi_tenant"),
        (
            "agent: {app_name: a, runner_factory: app}",
            "agent.runner_factory",
            "app",
            "module:attr",
        ),
        (
            "agent: {app_name: a, runner_factory: 'a:b', command: python}",
            "agent.command",
            "python",
            "[...]",
        ),
        (
            "tape: {connectors: {bank: {}}}",
            "tape.connectors.bank.source",
            "missing",
            "Add it",
        ),
        ("tape: {connectors: {bank: 7}}", "tape.connectors.bank", "7", "Indent"),
    ] {
        let error = refusal(more);
        for part in [key, value, cure] {
            assert!(error.contains(part), "{error} does not say {part}");
        }
    }
    assert!(
        parse("kind: TapeProject")
            .unwrap_err()
            .to_string()
            .contains("`apiVersion` is missing")
    );
    assert!(parse("a: [").unwrap_err().to_string().contains("is no YAML"));
}

#[test]
fn variables_are_filled_in() {
    let text = project("tape: {url: '${WHERE:-tape://here:1}', reactors: {outbox: {interval_ms: '${PACE:-250}'}}}");
    let (set, unset) = (
        parse_with(&text, &[("WHERE", "tape://there:2"), ("PACE", "9")]).unwrap(),
        parse_with(&text, &[("WHERE", "")]).unwrap(),
    );
    assert_eq!(
        (set.url.as_str(), set.reactors["outbox"].interval_ms),
        ("tape://there:2", Some(9))
    );
    assert_eq!(
        (unset.url.as_str(), unset.reactors["outbox"].interval_ms),
        ("tape://here:1", Some(250))
    );

    let error = refusal("tape: {url: '${WHERE}'}");
    assert!(
        error.contains("`tape.url` (${WHERE}) needs the environment variable WHERE"),
        "{error}"
    );
    assert!(refusal("tape: {url: '${WHERE'}").contains("without its `}`"));
}

#[test]
fn a_variable_cannot_become_structure() {
    let text = project("tape: {store: {url: '${EVIL:-x}'}}");
    let parsed = parse_with(&text, &[("EVIL", "a'}}\ntenancy: {mode: hard_multi_tenant}")]).unwrap();
    assert_eq!(parsed.tenancy.mode, TenancyMode::Single);
}

#[test]
fn the_environment_wins() {
    let text = project("tape: {url: 'tape://file:1', store: {url: 'sqlite:file.db'}}");
    let parsed = parse_with(
        &text,
        &[
            ("TAPE_URL", "tape://env:2"),
            ("TAPE_STORE_URL", "sqlite:env.db"),
            ("TAPE_TENANT_ID", "t"),
        ],
    )
    .unwrap();
    assert_eq!(
        (parsed.url.as_str(), parsed.store_url.as_str()),
        ("tape://env:2", "sqlite:env.db")
    );
    assert_eq!(parsed.tenancy.tenant_id.as_deref(), Some("t"));
}

#[test]
fn grants_say_who_may_be_asked_and_which_secret_travels() {
    let parsed = parse(&project(
        r#"
tape:
  connectors:
    strict: false
    require_signature: true
    signing_keys: ["ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
    plain_http: ["127.0.0.1:5000"]
    in_workers: [ledger]
    pay:
      source: connectors/pay.wasm
      grants:
        reuse_calls: 50
        hosts: [https://a.example, {host: "*.b.example", methods: [GET], private: true}]
        methods: [POST]
        secrets: {token: {env: PAY_TOKEN}, other: {env: OTHER, hosts: [https://a.example]}}
      limits: {timeout_ms: 500, calls_per_s: 20}
"#,
    ))
    .unwrap();
    let pay = &parsed.connectors["pay"];
    assert!(!parsed.strict_connectors);
    assert!(parsed.trust.required && parsed.trust.keys.len() == 1);
    assert_eq!(parsed.plain_http, ["127.0.0.1:5000"]);
    assert_eq!(parsed.connectors_in_workers, ["ledger"]);
    assert_eq!((pay.grants.reuse_calls, pay.limits.calls_per_s), (50, 20));
    assert_eq!(pay.grants.hosts[0].methods, ["POST"]);
    assert_eq!(
        (pay.grants.hosts[1].methods.as_slice(), pay.grants.hosts[1].private),
        (["GET".to_owned()].as_slice(), true)
    );
    let travels = |name: &str| {
        pay.grants
            .secrets
            .iter()
            .find(|grant| grant.name == name)
            .unwrap()
            .hosts
            .len()
    };
    assert_eq!((travels("token"), travels("other")), (2, 1));
    assert_eq!(pay.secrets["token"].env, "PAY_TOKEN");
    assert_eq!((pay.limits.timeout_ms, pay.limits.requests_per_call), (500, 16));
}

#[test]
fn a_component_may_be_in_a_registry() {
    let with = |source: &str| {
        let yaml = format!("\ntape:\n  connectors:\n    bank:\n      source: {source}\n");
        parse(&project(&yaml)).map(|project| project.connectors["bank"].clone())
    };
    let root = std::path::Path::new("/p");
    assert_eq!(with("oci://registry.example/tape/bank:1.0.0").unwrap().file(root), None);
    assert_eq!(with("bank.wasm").unwrap().file(root), Some("/p/bank.wasm".into()));
    let error = with("oci://bank").unwrap_err().to_string();
    assert!(
        error.contains("tape.connectors.bank.source") && error.contains("names no artifact"),
        "{error}"
    );
}
