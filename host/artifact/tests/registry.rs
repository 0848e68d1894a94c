//! Against a real registry (Debian's `docker-registry`), and against one that hangs, lies, floods and dies.

#![cfg(feature = "registry")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tape_connector_artifact::{
    Artifact, ArtifactCache, ArtifactError, Credentials, Reference, Registry, RegistryConfig, SigningKey, Trust, digest,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 and what follows";

/// A registry of the test's own, with its files.
struct Served {
    child: Child,
    folder: TempDir,
    host: String,
}

impl Served {
    async fn start(auth: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
            path("files")
        );
        if auth {
            // `robot`, whose password is `secret`.
            std::fs::write(
                path("htpasswd"),
                "robot:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
            )
            .unwrap();
            config += &format!("auth: {{htpasswd: {{realm: tape, path: {}}}}}\n", path("htpasswd"));
        }
        std::fs::write(path("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed: apt-get install docker-registry");
        let began = Instant::now();
        while TcpStream::connect(&host).await.is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the registry does not listen"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { child, folder, host }
    }

    fn reference(&self, name: &str) -> Reference {
        format!("oci://{}/{name}", self.host).parse().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn client(host: &str) -> Registry {
    client_as(host, None)
}

fn client_as(host: &str, credentials: Option<Credentials>) -> Registry {
    Registry::new(RegistryConfig {
        plain_http: vec![host.to_owned()],
        credentials,
        timeout_ms: 10_000,
    })
    .unwrap()
}

fn artifact(component: &[u8]) -> Artifact {
    Artifact {
        name: "bank".to_owned(),
        version: "1.0.0".to_owned(),
        component: component.to_vec(),
        imports: vec!["tape:connector/http@1.0.0".to_owned()],
        exports: vec!["tape:connector/connector@1.0.0".to_owned()],
        signatures: Vec::new(),
    }
}

#[tokio::test]
async fn what_was_pushed_is_pulled_with_its_signatures() {
    let served = Served::start(false).await;
    let registry = client(&served.host);
    let (key, _) = SigningKey::generate().unwrap();
    let (other, _) = SigningKey::generate().unwrap();
    let signatures = [&key, &other].map(|key| key.sign("bank", "1.0.0", COMPONENT)).to_vec();
    let pushed = Artifact {
        signatures: signatures.clone(),
        ..artifact(COMPONENT)
    };
    let tag = served.reference("tape/bank:1.0.0");
    let place = registry.push(&tag, &pushed).await.unwrap();
    assert!(place.to_string().contains("@sha256:"), "{place}");
    assert_eq!(
        registry.push(&tag, &pushed).await.unwrap(),
        place,
        "the same again is the same"
    );

    let pulled = registry.pull(&tag).await.unwrap();
    assert_eq!((pulled.component.as_slice(), &pulled.reference), (COMPONENT, &place));
    assert_eq!(pulled.signatures.len(), 2);
    let trust = Trust {
        keys: vec![key.public()],
        required: true,
    };
    let vouched = trust
        .check(&digest(&pulled.component), &pulled.signatures)
        .unwrap()
        .unwrap();
    assert_eq!(vouched, &signatures[0]);

    // Another push under the tag: the pinned place still means the first.
    registry
        .push(&tag, &artifact(b"\0asm\x0d\0\x01\0 another"))
        .await
        .unwrap();
    assert_ne!(registry.pull(&tag).await.unwrap().component, COMPONENT);
    assert_eq!(registry.pull(&place).await.unwrap().component, COMPONENT);
}

#[tokio::test]
async fn the_manifest_is_the_one_that_other_tools_know() {
    let served = Served::start(false).await;
    let tag = served.reference("bank:1");
    client(&served.host).push(&tag, &artifact(COMPONENT)).await.unwrap();
    let get = |path: &str| get(&served.host, path.to_owned());
    let manifest = get("/v2/bank/manifests/1").await;
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], digest(COMPONENT));
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "1.0.0");
    let config = get(&format!(
        "/v2/bank/blobs/{}",
        manifest["config"]["digest"].as_str().unwrap()
    ))
    .await;
    assert_eq!(
        config,
        json!({
            "architecture": "wasm", "os": "wasip2", "layerDigests": [digest(COMPONENT)],
            "component": {"imports": ["tape:connector/http@1.0.0"], "exports": ["tape:connector/connector@1.0.0"]}
        })
    );
}

async fn get(host: &str, path: String) -> Value {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let accept = "application/vnd.oci.image.manifest.v1+json, */*";
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn a_registry_that_asks_who_it_is_is_told() {
    let served = Served::start(true).await;
    let tag = served.reference("bank:1");
    let login = |password: &str| Credentials {
        user: "robot".to_owned(),
        password: password.to_owned(),
    };
    let robot = client_as(&served.host, Some(login("secret")));
    robot.push(&tag, &artifact(COMPONENT)).await.unwrap();
    assert_eq!(robot.pull(&tag).await.unwrap().component, COMPONENT);
    for stranger in [client(&served.host), client_as(&served.host, Some(login("guess")))] {
        let error = stranger.pull(&tag).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Unauthorized { .. }), "{error}");
        let error = stranger.push(&tag, &artifact(COMPONENT)).await.unwrap_err();
        assert!(
            matches!(error, ArtifactError::Unauthorized { .. }) && error.to_string().contains("TAPE_OCI_USER"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_there() {
    let served = Served::start(false).await;
    let registry = client(&served.host);
    registry
        .push(&served.reference("bank:1"), &artifact(COMPONENT))
        .await
        .unwrap();
    let absent = served.reference("bank:2").pinned(&digest(b"nothing"));
    for reference in [served.reference("bank:2"), served.reference("bunk:1"), absent] {
        let error = registry.pull(&reference).await.unwrap_err();
        assert!(
            matches!(error, ArtifactError::NotFound { .. }) && error.code() == "TAPE-C063",
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_registry_whose_files_were_changed_is_found_out() {
    let served = Served::start(false).await;
    let registry = client(&served.host);
    let tag = served.reference("bank:1");
    registry.push(&tag, &artifact(COMPONENT)).await.unwrap();
    let blob = digest(COMPONENT);
    let hex = blob.trim_start_matches("sha256:");
    let file = served
        .folder
        .path()
        .join("files/docker/registry/v2/blobs/sha256")
        .join(&hex[..2])
        .join(hex)
        .join("data");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = registry.pull(&tag).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Lied { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_away_may_be_there_later() {
    let mut served = Served::start(false).await;
    let (registry, tag) = (client(&served.host), served.reference("bank:1"));
    registry.push(&tag, &artifact(COMPONENT)).await.unwrap();
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    for error in [
        registry.pull(&tag).await.unwrap_err(),
        registry.push(&tag, &artifact(COMPONENT)).await.unwrap_err(),
    ] {
        assert!(
            matches!(error, ArtifactError::Unavailable { .. }) && error.is_retryable(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_was_pulled_once_is_there_while_its_registry_is_not() {
    let mut served = Served::start(false).await;
    let (registry, tag) = (client(&served.host), served.reference("bank:1"));
    let pinned = registry.push(&tag, &artifact(COMPONENT)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cache = ArtifactCache::new(folder.path().join("artifacts"));
    for place in [&tag, &pinned] {
        let fetched = cache.pull(&registry, place).await.unwrap();
        assert_eq!((fetched.pulled.component.as_slice(), fetched.stale), (COMPONENT, None));
    }
    // A tag is asked for again: what it means now counts.
    let newer = artifact(b"\0asm\x0d\0\x01\0 newer");
    registry.push(&tag, &newer).await.unwrap();
    assert_eq!(
        cache.pull(&registry, &tag).await.unwrap().pulled.component,
        newer.component
    );
    // That it is not there is an answer.
    let absent = cache.pull(&registry, &served.reference("bank:2")).await.unwrap_err();
    assert!(matches!(absent, ArtifactError::NotFound { .. }), "{absent}");

    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let stale = cache.pull(&registry, &tag).await.unwrap();
    assert_eq!(stale.pulled.component, newer.component);
    assert!(
        matches!(stale.stale, Some(ArtifactError::Unavailable { .. })),
        "{stale:?}"
    );
    let kept = cache.pull(&registry, &pinned).await.unwrap();
    assert_eq!((kept.pulled.component.as_slice(), kept.stale), (COMPONENT, None));
    let never = cache.pull(&registry, &served.reference("bank:3")).await.unwrap_err();
    assert!(matches!(never, ArtifactError::Unavailable { .. }), "{never}");
}

#[tokio::test]
async fn what_is_kept_is_not_believed() {
    let served = Served::start(false).await;
    let (registry, tag) = (client(&served.host), served.reference("bank:1"));
    let pinned = registry.push(&tag, &artifact(COMPONENT)).await.unwrap();
    for damaged in ["wasm", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::new(folder.path());
        cache.pull(&registry, &pinned).await.unwrap();
        let files = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let file = files
            .into_iter()
            .find(|file| file.extension().unwrap() == damaged)
            .unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let fetched = cache.pull(&registry, &pinned).await.unwrap();
        assert_eq!(fetched.pulled.component, COMPONENT, "{damaged}");
        // It was pulled again, and is right again.
        assert_eq!(
            digest(&std::fs::read(folder.path().join(file.with_extension("wasm"))).unwrap()),
            digest(COMPONENT)
        );
    }
}

/// What a registry of our own says to a request whose path has the word in it.
#[derive(Clone)]
enum Says {
    Full(u16, Vec<u8>),
    /// Announces more than comes.
    Cut(usize, Vec<u8>),
    /// More and more.
    Endless,
    Nothing,
    /// A part, and nothing more.
    Stalls(usize, Vec<u8>),
}

struct Liar {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Liar {
    async fn start(manifest: Says, blob: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, manifest.clone(), blob.clone()));
            }
        });
        Self {
            address,
            _serving: serving,
        }
    }

    async fn pull(&self, pin: Option<&str>, timeout_ms: u64) -> ArtifactError {
        let host = self.address.to_string();
        let registry = Registry::new(RegistryConfig {
            plain_http: vec![host.clone()],
            timeout_ms,
            ..RegistryConfig::default()
        })
        .unwrap();
        let mut reference: Reference = format!("oci://{host}/bank:1").parse().unwrap();
        if let Some(pin) = pin {
            reference = reference.pinned(pin);
        }
        let began = Instant::now();
        let error = registry.pull(&reference).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{error}");
        error
    }
}

async fn answer(mut stream: TcpStream, manifest: Says, blob: Says) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let says = if path.contains("/manifests/") {
        manifest
    } else if path.contains("/blobs/") {
        blob
    } else {
        Says::Full(200, b"{}".to_vec())
    };
    let head = |status: u16, length: usize| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
    };
    let (head, body, then_hang) = match says {
        Says::Full(status, body) => (head(status, body.len()), body, false),
        Says::Cut(length, body) => (head(200, length), body, false),
        Says::Stalls(length, body) => (head(200, length), body, true),
        Says::Nothing => (String::new(), Vec::new(), true),
        Says::Endless => {
            let head = "HTTP/1.1 200 x\r\nconnection: close\r\n\r\n{\"schemaVersion\":2,\"x\":\"";
            let mut going = stream.write_all(head.as_bytes()).await.is_ok();
            while going {
                going = stream.write_all(&[b'x'; 64 * 1024]).await.is_ok();
            }
            return;
        }
    };
    stream.write_all(head.as_bytes()).await.ok();
    stream.write_all(&body).await.ok();
    if then_hang {
        std::future::pending::<()>().await;
    }
}

fn manifest(bytes: usize, digest: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": digest, "size": 2},
        "layers": [{"mediaType": "application/wasm", "digest": digest, "size": bytes}]
    })
}

fn full(value: &Value) -> Says {
    Says::Full(200, value.to_string().into_bytes())
}

fn honest() -> Says {
    full(&manifest(COMPONENT.len(), &digest(COMPONENT)))
}

#[tokio::test]
async fn a_registry_that_hangs_is_left() {
    let half = COMPONENT[..4].to_vec();
    for (manifest, blob) in [
        (Says::Nothing, Says::Nothing),
        (Says::Stalls(100, b"{".to_vec()), Says::Nothing),
        (honest(), Says::Nothing),
        (honest(), Says::Stalls(COMPONENT.len(), half)),
    ] {
        let error = Liar::start(manifest, blob).await.pull(None, 500).await;
        assert!(
            matches!(error, ArtifactError::Timeout { timeout_ms: 500, .. }) && error.is_retryable(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_dies_half_way_leaves_nothing_behind() {
    for (manifest, blob) in [
        (Says::Cut(100, b"{".to_vec()), Says::Nothing),
        (honest(), Says::Cut(COMPONENT.len(), COMPONENT[..4].to_vec())),
        (honest(), Says::Cut(COMPONENT.len(), Vec::new())),
        (Says::Full(503, b"busy".to_vec()), Says::Nothing),
        (honest(), Says::Full(500, b"oops".to_vec())),
    ] {
        let error = Liar::start(manifest, blob).await.pull(None, 5_000).await;
        assert!(
            matches!(error, ArtifactError::Unavailable { .. }) && error.is_retryable(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_lies_about_a_digest_is_found_out() {
    let other = Says::Full(200, vec![b'x'; COMPONENT.len()]);
    let error = Liar::start(honest(), other).await.pull(None, 5_000).await;
    assert!(matches!(error, ArtifactError::Lied { .. }), "{error}");
    let served = Says::Full(200, COMPONENT.to_vec());
    let error = Liar::start(honest(), served)
        .await
        .pull(Some(&digest(b"pinned")), 5_000)
        .await;
    assert!(
        matches!(&error, ArtifactError::Lied { .. }) && !error.is_retryable(),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_that_sends_too_much_is_stopped() {
    let endless = Liar::start(Says::Endless, Says::Nothing).await.pull(None, 8_000).await;
    let more = Liar::start(honest(), Says::Full(200, vec![b'x'; 1024 * 1024])).await;
    let announced = full(&manifest(1 << 40, &digest(COMPONENT)));
    let announced = Liar::start(announced, Says::Endless).await;
    let flood = Liar::start(honest(), Says::Endless).await;
    for error in [
        endless,
        more.pull(None, 8_000).await,
        announced.pull(None, 8_000).await,
        flood.pull(None, 8_000).await,
    ] {
        assert!(
            matches!(error, ArtifactError::TooLarge { .. }) && !error.is_retryable(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_no_component_is_told_apart() {
    let change = |path: &str, value: Value| {
        let mut manifest = manifest(COMPONENT.len(), &digest(COMPONENT));
        *manifest.pointer_mut(path).unwrap() = value;
        manifest
    };
    let layer = manifest(1, "sha256:00")["layers"][0].clone();
    for (manifest, problem) in [
        (
            change("/config/mediaType", json!("application/vnd.oci.image.config.v1+json")),
            "its configuration",
        ),
        (
            change("/layers/0/mediaType", json!("application/vnd.oci.image.layer.v1.tar")),
            "its layer",
        ),
        (change("/layers", json!([layer, layer])), "2 layers"),
        (change("/layers", json!([])), "0 layers"),
        (
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}),
            "index",
        ),
        (json!("no manifest"), "its manifest"),
    ] {
        let liar = Liar::start(full(&manifest), Says::Nothing).await;
        let error = liar.pull(None, 5_000).await;
        assert!(
            matches!(error, ArtifactError::Layout { .. }) && error.to_string().contains(problem),
            "{error}"
        );
    }
    let mut signed = manifest(COMPONENT.len(), &digest(COMPONENT));
    signed["annotations"] = json!({"dev.tape.connector.signature.00": "garbage"});
    let error = Liar::start(full(&signed), Says::Nothing).await.pull(None, 5_000).await;
    assert!(error.to_string().contains("no signature of a connector"), "{error}");
}
