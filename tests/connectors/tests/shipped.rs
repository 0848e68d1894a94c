//! Every connector that is shipped holds what the kit asks of it.

use tape_connector_kit::Finding;
use tape_connector_tests::{connectors_folder, holds, subject};

/// One test per connector, and a list of them all.
macro_rules! connectors {
    ($($test:ident: $folder:literal),* $(,)?) => {
        const SHIPPED: &[&str] = &[$($folder),*];
        $(
            #[tokio::test]
            async fn $test() {
                let report = holds(subject($folder)).await;
                // Nothing is tried on a list that is empty by mistake.
                let held = report.facts.iter().filter(|line| line.finding == Finding::Holds).count();
                assert!(held >= 4 && !report.cases.is_empty(), "{report}");
            }
        )*
    };
}

connectors! {
    bank: "bank",
    cloud_tasks: "cloud-tasks",
    email: "email",
    github_issues: "github-issues",
    http: "http",
    log: "log",
    modern_treasury: "modern-treasury",
    pubsub: "pubsub",
    slack: "slack",
    stripe: "stripe",
    zendesk: "zendesk",
}

/// What an engine lacks, and the guest for TypeScript puts there, can be seen in a component alone.
#[tokio::test]
async fn a_component_in_typescript_has_the_webs_globals() {
    let report = holds(subject("guest-typescript/globals")).await;
    assert_eq!(report.cases.len(), 5, "{report}");
}

#[test]
fn no_connector_is_left_out() {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(connectors_folder()).expect("the folder is there") {
        let folder = entry.expect("the folder can be read").path();
        if folder.join("connector.toml").exists() {
            folders.push(folder.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    folders.sort();
    assert_eq!(folders, SHIPPED);
}
