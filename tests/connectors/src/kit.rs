//! The conformance kit over the connectors of this repository.

use std::path::{Path, PathBuf};

use tape_connector_kit::{Kit, Report, Subject};

use crate::component;

/// Where the connectors are.
pub fn connectors_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors")
}

/// The connector in `connectors/<folder>`, built from its sources.
pub fn subject(folder: &str) -> Subject {
    let path = connectors_folder().join(folder);
    let component = if path.join("Cargo.toml").exists() {
        component(&format!("tape-connector-{folder}"))
    } else {
        let built = tape_connector_build::build(&path, &|_| ());
        built.unwrap_or_else(|error| panic!("{error:#}")).1
    };
    Subject::read(&path, component).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Fails with what is broken.
pub async fn holds(subject: Subject) -> Report {
    let kit = Kit::open(subject).await.unwrap_or_else(|problem| panic!("{problem}"));
    let report = kit.run().await;
    assert!(report.holds(), "{report}");
    report
}
