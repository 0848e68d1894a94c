//! A component's way from its author to an operator: a key, a signature, a registry, a file on another machine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]
#![allow(
    clippy::disallowed_methods,
    reason = "another process is waited for, by the machine's clock"
)]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

struct Registry(Child);

impl Registry {
    fn start(folder: &Path) -> (Self, String) {
        let host = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
            folder.join("files").display()
        );
        std::fs::write(folder.join("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.join("config.yml"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let registry = Self(child.expect("docker-registry is installed: apt-get install docker-registry"));
        let began = Instant::now();
        while TcpStream::connect(&host).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the registry does not listen"
            );
            thread::sleep(Duration::from_millis(10));
        }
        (registry, host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn tape(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tape"))
        .args(["--output", "json", "connector"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("TAPE_SIGNING_KEY")
        .output()
        .unwrap()
}

fn told(folder: &Path, arguments: &[&str]) -> Value {
    let output = tape(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = tape(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_signed_component_travels_through_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let (_registry, host) = Registry::start(home);
    std::fs::write(
        home.join("log.wasm"),
        tape_connector_tests::component("tape-connector-log"),
    )
    .unwrap();
    let place = format!("oci://{host}/tape/log:1.0.0");

    let key = told(home, &["sign", "--new-key", "author.pem"]);
    assert!(refused(home, &["sign", "--new-key", "author.pem"]).contains("never written over"));
    let signed = told(home, &["sign", "log.wasm", "--key", "author.pem"]);
    assert_eq!(signed["public_key"], key["public_key"]);
    assert_eq!(signed["signature"]["name"], "log");
    told(home, &["sign", "log.wasm", "--key", "author.pem"]);
    assert_eq!(
        std::fs::read_to_string(home.join("log.wasm.sig"))
            .unwrap()
            .lines()
            .count(),
        1,
        "one signature per key"
    );

    let pushed = told(home, &["push", "log.wasm", &place, "--plain-http"]);
    assert_eq!(pushed["signed_by"][0], key["key"]);
    let pinned = pushed["pinned"].as_str().unwrap();
    let pulled = told(home, &["pull", pinned, "pulled.wasm", "--plain-http"]);
    assert_eq!(pulled["digest"], pushed["digest"]);
    for suffix in ["", ".sig"] {
        let read = |name: &str| std::fs::read(home.join(format!("{name}{suffix}"))).unwrap();
        assert_eq!(read("pulled.wasm"), read("log.wasm"));
    }

    let no_tls = refused(home, &["pull", pinned, "x.wasm", "--oci-timeout-ms", "5000"]);
    assert!(no_tls.contains("TAPE-C062"), "{no_tls}");
    let absent = refused(
        home,
        &["pull", &format!("oci://{host}/tape/log:2"), "x.wasm", "--plain-http"],
    );
    assert!(
        absent.contains("TAPE-C063") && !home.join("x.wasm").exists(),
        "{absent}"
    );
    let bad = refused(home, &["push", "log.wasm", "log:1"]);
    assert!(bad.contains("TAPE-C061"), "{bad}");

    // Another build beside the old signature.
    std::fs::write(
        home.join("log.wasm"),
        tape_connector_tests::component("tape-connector-bank"),
    )
    .unwrap();
    let stale = refused(home, &["push", "log.wasm", &place, "--plain-http"]);
    assert!(stale.contains("another build"), "{stale}");
}
