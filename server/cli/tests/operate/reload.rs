//! Tokens and certificates, exchanged while the server runs.

use std::io::Read as _;
use std::path::Path;

use nix::sys::signal::Signal;
use tape_client::{ConnectOptions, TapeClient};
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient as Tape;
use tonic::{Code, Request};

use crate::server::{Server, Start, begin, eventually, file, folder};

const OLD: &str = "old-token-0123456789";
const STAYS: &str = "stays-token-0123456789";
const NEW: &str = "new-token-0123456789";

fn tokens(names: &[&str]) -> String {
    let entry = |token: &&str| format!("- {{token: {token}, principal: p, role: driver}}\n");
    names.iter().map(entry).collect()
}

fn with<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

/// Asks for the files to be read again, and waits until the log says so.
async fn reload(server: &Server, words: &str) {
    let before = said(server, words);
    server.signal(Signal::SIGHUP);
    eventually(words, || async { (said(server, words) > before).then_some(()) }).await;
}

fn said(server: &Server, words: &str) -> usize {
    server.log().iter().filter(|line| line.contains(words)).count()
}

async fn may_call(server: &Server, token: &str) -> bool {
    let answer = server.tape().await.begin_run(with(begin("1"), token)).await;
    assert!(
        answer
            .as_ref()
            .err()
            .is_none_or(|no| no.code() == Code::Unauthenticated),
        "{answer:?}"
    );
    answer.is_ok()
}

#[tokio::test]
async fn tokens_are_read_again_on_sighup_and_what_was_taken_back_ends() {
    let folder = folder();
    let path = file(&folder, "tokens.yaml", &tokens(&[OLD, STAYS]))
        .display()
        .to_string();
    let server = Start::new(folder.path()).args(&["--auth-tokens", &path]).run().await;
    let all = pb::SubscribeEventsRequest::default;
    let mut tape: Tape<_> = server.tape().await;
    let mut ending = tape.subscribe_events(with(all(), OLD)).await.unwrap().into_inner();
    let mut staying = tape.subscribe_events(with(all(), STAYS)).await.unwrap().into_inner();

    file(&folder, "tokens.yaml", &tokens(&[STAYS, NEW]));
    assert!(
        may_call(&server, OLD).await,
        "nothing changes before somebody asks for it"
    );
    reload(&server, "the tokens were read again").await;
    assert!(!may_call(&server, OLD).await);
    assert!(may_call(&server, STAYS).await && may_call(&server, NEW).await);
    let end = loop {
        match ending.message().await {
            Ok(Some(_)) => {}
            end => break end.expect_err("a stream of a token that was taken back ends with a refusal"),
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated);
    assert!(end.message().starts_with("TAPE-P002"), "{end:?}");
    tape.begin_run(with(begin("2"), NEW)).await.unwrap();
    while staying.message().await.unwrap().expect("it goes on").seq == 0 {}
}

#[tokio::test]
async fn a_damaged_file_of_tokens_changes_nothing_and_is_told() {
    let folder = folder();
    let path = file(&folder, "tokens.yaml", &tokens(&[OLD])).display().to_string();
    let server = Start::new(folder.path()).args(&["--auth-tokens", &path]).run().await;
    let damages = [
        format!("- {{token: {NEW}, principal: p, role: dri"),
        "[]".to_owned(),
        String::new(),
    ];
    for damage in &damages {
        file(&folder, "tokens.yaml", damage);
        reload(&server, "the tokens were NOT read again").await;
        assert!(
            may_call(&server, OLD).await && !may_call(&server, NEW).await,
            "{damage:?}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    reload(&server, "the tokens were NOT read again").await;
    assert!(may_call(&server, OLD).await);
    let log = server.log().join("\n");
    assert!(
        log.contains("ERROR") && !log.contains(NEW) && !log.contains(OLD),
        "{log}"
    );

    file(&folder, "tokens.yaml", &tokens(&[NEW]));
    reload(&server, "the tokens were read again").await;
    assert!(may_call(&server, NEW).await && !may_call(&server, OLD).await);
}

/// A certificate for localhost and its key, in the files that the server was told of.
fn certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

#[tokio::test]
async fn a_certificate_is_read_again_on_sighup_and_a_damaged_one_is_not() {
    let folder = folder();
    let first = certificate(folder.path());
    let server = Start::new(folder.path())
        .args(&["--tls-cert", "cert.pem", "--tls-key", "key.pem"])
        .run()
        .await;
    let url = format!("tapes://localhost:{}", server.grpc.rsplit_once(':').unwrap().1);
    let reached = async |trusted: &str| {
        let options = ConnectOptions {
            ca_pem: Some(trusted.as_bytes().to_vec()),
            ..ConnectOptions::default()
        };
        TapeClient::connect_with(&url, options).await
    };
    let standing = reached(&first).await.unwrap();

    // Half of a renewal: the key of another certificate.
    let key = std::fs::read(folder.path().join("key.pem")).unwrap();
    let second = certificate(folder.path());
    let new_key = std::fs::read(folder.path().join("key.pem")).unwrap();
    std::fs::write(folder.path().join("key.pem"), &key).unwrap();
    reload(&server, "the certificate was NOT read again").await;
    assert!(reached(&first).await.is_ok() && reached(&second).await.is_err());

    std::fs::write(folder.path().join("key.pem"), &new_key).unwrap();
    reload(&server, "the certificate was read again").await;
    assert!(reached(&second).await.is_ok() && reached(&first).await.is_err());
    standing.stats().await.expect("a connection that stands goes on");
}

#[tokio::test]
async fn http_is_served_under_the_same_certificate_and_not_in_plaintext() {
    let folder = folder();
    let trusted = certificate(folder.path());
    let server = Start::at(folder.path(), "127.0.0.1:0", "0.0.0.0:0")
        .args(&["--tls-cert", "cert.pem", "--tls-key", "key.pem"])
        .run()
        .await;
    let port = server.http.rsplit_once(':').unwrap().1.to_owned();
    for (path, words) in [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "tape_workers")] {
        let (port, trusted) = (port.clone(), trusted.clone());
        let answer = tokio::task::spawn_blocking(move || https(&port, &trusted, path))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(words), "{answer}");
    }
    let plain = tokio::net::TcpStream::connect(("127.0.0.1", port.parse::<u16>().unwrap()))
        .await
        .unwrap();
    let mut plain = plain.into_std().unwrap();
    plain.set_nonblocking(false).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        std::io::Write::write_all(&mut plain, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        drop(plain.read_to_end(&mut answer));
        answer
    });
    let answer = answer.await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
}

/// A GET over TLS, whole.
fn https(port: &str, trusted: &str, path: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let mut stream = rustls::StreamOwned::new(client, stream);
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    // The server hangs up without TLS's own goodbye.
    drop(stream.read_to_string(&mut answer));
    answer
}
