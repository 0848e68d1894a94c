//! `tape connector` refuses in words: each names what is wrong, and the cure.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder to work in, and what is found on the PATH there.
struct Place {
    folder: TempDir,
    path: OsString,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }

    /// Nothing is installed but these programs.
    fn with_only(mut self, programs: &[(&str, &str)]) -> Self {
        let bin = self.folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, script) in programs {
            let file = bin.join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.path = bin.into_os_string();
        self
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Runs `tape` in the folder; whether it went well, and all that it said.
    fn tape(&self, arguments: &str) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tape"))
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// That `tape` fails, and says all of these words.
    #[track_caller]
    fn refuses(&self, arguments: &str, words: &[&str]) {
        let (went_well, said) = self.tape(arguments);
        assert!(!went_well, "tape {arguments} went well:\n{said}");
        for words in words {
            assert!(said.contains(words), "tape {arguments} did not say {words:?}:\n{said}");
        }
    }

    #[track_caller]
    fn does(&self, arguments: &str) -> String {
        let (went_well, said) = self.tape(arguments);
        assert!(went_well, "tape {arguments}:\n{said}");
        said
    }

    /// The bank's component, and its folder with a change made to one of its files.
    fn bank(&self, file: &str, change: impl FnOnce(String) -> String) {
        self.does("init treasury");
        let bank = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors/bank");
        fs::create_dir_all(self.at("bank/cases")).unwrap();
        for name in ["connector.toml", "cases/upstream.yaml", "cases/wires.yaml"] {
            fs::copy(bank.join(name), self.at("bank").join(name)).unwrap();
        }
        let text = fs::read_to_string(self.at("bank").join(file)).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed, "the test changes something");
        fs::write(self.at("bank").join(file), changed).unwrap();
    }
}

/// Where `Place::bank` leaves the component, seen from the place.
const BANK: &str = "--component treasury/connectors/bank/bank.wasm";

#[test]
fn a_language_that_there_is_not_is_refused_with_those_that_there_are() {
    Place::new().refuses(
        "connector new x --lang cobol",
        &["cobol", "rust, python, typescript, go"],
    );
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.at("shipping")).unwrap();
    place.refuses(
        "connector new shipping --lang go",
        &["shipping exists, and nothing is overwritten", "Choose another name"],
    );
    assert_eq!(fs::read_dir(place.at("shipping")).unwrap().count(), 0);
}

#[test]
fn a_folder_without_a_manifest_is_no_connector() {
    Place::new().refuses("connector build", &["connector.toml", "tape connector new NAME"]);
}

#[test]
fn a_missing_wasm_target_is_named_before_rustc_stumbles() {
    let rustc = ("rustc", "echo /nowhere/lib");
    let place = Place::new().with_only(&[rustc, ("cargo", "echo cargo must not be asked; exit 1")]);
    place.does("connector new shipping");
    place.refuses(
        "connector build shipping",
        &[
            "the Rust target wasm32-wasip2 is missing",
            "Cure: rustup target add wasm32-wasip2",
        ],
    );
}

#[test]
fn every_missing_tool_is_named_with_its_cure() {
    let cures = [
        ("rust", "rustc is not there", "https://rustup.rs"),
        ("typescript", "`node_modules` is not there", "npm ci"),
        ("go", "`go` is not there", "https://go.dev/dl"),
        (
            "python",
            "`componentize-py` is not there",
            "pip install componentize-py",
        ),
    ];
    for (language, missing, cure) in cures {
        let place = Place::new().with_only(&[]);
        place.does(&format!("connector new shipping --lang {language}"));
        place.refuses("connector build shipping", &[missing, "Cure: ", cure]);
    }
    let place = Place::new().with_only(&[]);
    place.does("connector new shipping --lang typescript");
    fs::create_dir(place.at("shipping/node_modules")).unwrap();
    place.refuses(
        "connector test shipping",
        &["`npm` is not there", "Cure: ", "https://nodejs.org"],
    );
}

#[test]
fn a_build_that_fails_is_shown_in_its_own_words() {
    let place = Place::new().with_only(&[("go", "echo main.go:7: undefined: frobnicate; exit 3")]);
    place.does("connector new shipping --lang go");
    place.refuses(
        "connector build shipping",
        &[
            "`go build",
            "exit status: 3",
            "main.go:7: undefined: frobnicate",
            "Cure: ",
        ],
    );
}

#[test]
fn a_build_that_leaves_nothing_is_refused() {
    let place = Place::new().with_only(&[("go", "exit 0")]);
    place.does("connector new shipping --lang go");
    place.refuses(
        "connector build shipping",
        &["left no shipping/shipping.wasm", "correct build.artifact"],
    );
}

#[test]
fn a_module_or_a_component_of_another_world_is_refused() {
    // A core module that exports nothing: what Go leaves if nothing was exported.
    let module = r"printf '\000asm\001\000\000\000' > shipping.wasm";
    let place = Place::new().with_only(&[("go", module)]);
    place.does("connector new shipping --lang go");
    place.refuses(
        "connector build shipping",
        &[
            "does not fit the world `guest`",
            "tape:connector/connector@1.0.0",
            "export.Connector",
        ],
    );
    fs::write(place.at("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    place.refuses(
        "connector test shipping --component empty.wasm",
        &[
            "it was built for another world",
            "build it against wit/tape-connector@1.0.0",
            "TAPE-C022",
        ],
    );
    fs::write(place.at("text.wasm"), "#!/bin/sh").unwrap();
    place.refuses(
        "connector test shipping --component text.wasm",
        &["is not a component", "Cure: correct build.artifact", "TAPE-C021"],
    );
    place.refuses(
        "connector test shipping --component gone.wasm",
        &["read gone.wasm", "leave it out: then the folder is built"],
    );
}

#[test]
fn a_contract_that_is_not_where_the_manifest_says_is_named() {
    let place = Place::new().with_only(&[("go", "exit 0")]);
    place.does("connector new shipping --lang go");
    fs::remove_dir_all(place.at("shipping/tape/wit")).unwrap();
    place.refuses(
        "connector build shipping",
        &["build.wit", "tape/wit/tape-connector@1.0.0", "not there"],
    );
}

#[test]
fn a_host_that_the_manifest_does_not_declare_is_found() {
    let place = Place::new();
    place.bank("connector.toml", |text| {
        text.replace("config:base_url", "https://bank.example.com")
    });
    place.refuses(
        &format!("connector test bank {BANK}"),
        &[
            "✗ it reaches no host that it does not ask for",
            "connector.toml does not: add it under [[asks.hosts]]",
        ],
    );
}

#[test]
fn a_configuration_that_does_not_fit_the_schema_is_named_by_its_key() {
    let place = Place::new();
    place.bank("cases/upstream.yaml", |text| text.replace("base_url:", "base_uri:"));
    place.refuses(
        &format!("connector test bank {BANK}"),
        &[
            "`bank`",
            "`config.base_url` is missing",
            "Cure: ",
            "cases/upstream.yaml",
            "TAPE-C024",
        ],
    );
    let place = Place::new();
    place.bank("cases/wires.yaml", |text| format!("{text}\n"));
    fs::write(place.at("live.json"), r#"{"base_url": 7}"#).unwrap();
    place.refuses(
        &format!("connector call dispatch --folder bank {BANK} --config live.json --grant http://127.0.0.1:1"),
        &["`config.base_url` must be string"],
    );
}

#[test]
fn a_manifest_with_a_key_that_there_is_not_is_refused_with_its_line() {
    let place = Place::new();
    place.bank("connector.toml", |text| text.replace("artifact =", "artefact ="));
    place.refuses("connector build bank", &["connector.toml", "artefact", "artifact"]);
}
