//! A released version of the contract never changes.

#![allow(clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// The released packages, and the digest of what they say: without comments, blanks and empty lines, which may be corrected.
const RELEASED: [(&str, &str); 1] = [(
    "tape-connector@1.0.0",
    "cc845516f5c9afc02797cd1f2c13c7951ae4666e03d948ae889387ac9b45b067",
)];

fn said(folder: &Path) -> String {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut said = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default().trim());
        for line in lines.filter(|line| !line.is_empty()) {
            said.push_str(line);
            said.push('\n');
        }
    }
    said
}

#[test]
fn a_released_contract_says_what_it_said() {
    for (package, digest) in RELEASED {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(package);
        let is = HEXLOWER.encode(&Sha256::digest(said(&folder)));
        assert_eq!(
            is, digest,
            "wit/{package} is released: components were built against it, and another shape is another contract. Undo the change; \
             put what is new into a new folder beside it, with a version of its own (wit/README.md, rules of change)"
        );
    }
}

#[test]
fn every_released_contract_is_held() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut packages: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    packages.sort();
    let held = RELEASED.map(|(package, _)| package);
    assert_eq!(
        packages, held,
        "a new version is held from its release on: add it to RELEASED with its digest"
    );
}
