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

/// A server of the folder's project, until it is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let log = std::fs::File::create(folder.join("server.log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_tape-server"))
            .args(["--config", "tape.yaml", "--listen", &address, "--http", "127.0.0.1:0"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            process,
            url: format!("tape://{address}"),
        }
    }

    /// What it said when it ended by itself.
    fn ended(mut self, folder: &Path) -> String {
        assert!(!self.process.wait().unwrap().success());
        std::fs::read_to_string(folder.join("server.log")).unwrap()
    }

    /// All versions, once there are so many.
    fn versions(&self, folder: &Path, count: usize) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let output = tape(folder, &["--url", &self.url, "list", "--all"]);
            let listed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let versions = listed
                .as_array()
                .or(listed["versions"].as_array())
                .cloned()
                .unwrap_or_default();
            if versions.len() >= count {
                return versions;
            }
            let said = std::fs::read_to_string(folder.join("server.log")).unwrap();
            assert!(began.elapsed() < Duration::from_secs(60), "{listed}\n{said}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn project(folder: &Path, host: &str, key: &str, source: &str) {
    let yaml = format!(
        "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {{name: shop}}\ntape:\n  store: {{url: 'sqlite:tape.db'}}\n  connectors:\n    \
         plain_http: ['{host}']\n    require_signature: true\n    signing_keys: ['{key}']\n    log: {{source: '{source}'}}\n"
    );
    std::fs::write(folder.join("tape.yaml"), yaml).unwrap();
}

#[test]
fn a_component_is_deployed_from_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let (registry, host) = Registry::start(home);
    std::fs::write(
        home.join("log.wasm"),
        tape_connector_tests::component("tape-connector-log"),
    )
    .unwrap();
    let place = |tag: &str| format!("oci://{host}/tape/log:{tag}");
    told(home, &["push", "log.wasm", &place("unsigned"), "--plain-http"]);
    let key = told(home, &["sign", "--new-key", "author.pem"]);
    let pushed = told(
        home,
        &[
            "push",
            "log.wasm",
            &place("1.0.0"),
            "--key",
            "author.pem",
            "--plain-http",
        ],
    );
    let (pinned, public) = (pushed["pinned"].as_str().unwrap(), key["public_key"].as_str().unwrap());

    // What is declared, by a server that was never told of a file.
    project(home, &host, public, pinned);
    let server = Server::start(home);
    let versions = server.versions(home, 1);
    assert_eq!(
        (&versions[0]["name"], &versions[0]["digest"]),
        (&"log".into(), &pushed["digest"])
    );
    assert_eq!(versions[0]["signed_by"], key["key"]);

    // What is put by hand: vouched for, or not.
    let put = |tag: &str, name: &str| {
        let place = place(tag);
        tape(
            home,
            &[
                "--url",
                &server.url,
                "put",
                &place,
                "--plain-http",
                "--name",
                name,
                "--activate",
            ],
        )
    };
    let second = put("1.0.0", "second");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(server.versions(home, 2).len(), 2);
    let unsigned = put("unsigned", "third");
    let said = String::from_utf8_lossy(&unsigned.stderr).into_owned();
    assert!(
        !unsigned.status.success() && said.contains("TAPE-C060") && said.contains("not signed"),
        "{said}"
    );
    let absent = put("2.0.0", "third");
    assert!(String::from_utf8_lossy(&absent.stderr).contains("TAPE-C063"));
    assert_eq!(server.versions(home, 2).len(), 2, "nothing was taken over");
    drop(server);

    // Without the registry, and without what was stored: what is pinned was kept.
    drop(registry);
    for file in ["tape.db", "tape.db-wal", "tape.db-shm"] {
        std::fs::remove_file(home.join(file)).ok();
    }
    let server = Server::start(home);
    assert_eq!(server.versions(home, 1)[0]["digest"], pushed["digest"]);
    drop(server);

    // What was never pulled cannot be had.
    project(home, &host, public, &place("1.0.0"));
    let said = Server::start(home).ended(home);
    assert!(
        said.contains("TAPE-C062") && said.contains("tape.connectors.log.source"),
        "{said}"
    );
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
