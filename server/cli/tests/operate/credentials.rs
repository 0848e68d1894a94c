//! Tokens, roles and TLS, from the outside.

use tape_client::{ClientError, ConnectOptions, RefusalKind, TapeClient};
use tape_proto::v1 as pb;
use tonic::{Code, Request};

use crate::server::{Start, begin, file, folder};

const DRIVER: &str = "driver-token-0123456789";
const READER: &str = "reader-token-0123456789";

fn tokens() -> String {
    format!(
        "- {{token: {DRIVER}, principal: agent, role: driver}}\n- {{token: {READER}, principal: eyes, role: reader}}\n"
    )
}

fn with<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_call_without_good_credentials_is_refused_and_no_secret_is_told() {
    let folder = folder();
    let file = file(&folder, "tokens.yaml", &tokens()).display().to_string();
    let server = Start::new(folder.path())
        .args(&["--auth-tokens", &file])
        .env("TAPE_LOG", "debug")
        .run()
        .await;
    let mut tape = server.tape().await;

    let none = tape.begin_run(begin("1")).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    assert!(none.message().starts_with("TAPE-P001"), "{none:?}");
    let bad = tape
        .begin_run(with(begin("1"), "wrong-token-wrong-token"))
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::Unauthenticated);
    assert!(
        bad.message().starts_with("TAPE-P002") && !bad.message().contains("wrong-token"),
        "{bad:?}"
    );
    let low = tape.begin_run(with(begin("1"), READER)).await.unwrap_err();
    assert_eq!(low.code(), Code::PermissionDenied);
    assert!(low.message().starts_with("TAPE-P003"), "{low:?}");

    let run_id = tape
        .begin_run(with(begin("1"), DRIVER))
        .await
        .unwrap()
        .into_inner()
        .run_id;
    tape.get_run(with(pb::GetRunRequest { run_id }, READER)).await.unwrap();
    let claim = pb::ListDueTimersRequest {
        claim: true,
        ..Default::default()
    };
    let low = tape.list_due_timers(with(claim, READER)).await.unwrap_err();
    assert_eq!(low.code(), Code::PermissionDenied, "a claim is no look");

    assert_eq!(server.get("/healthz").await.0, 200);
    assert_eq!(server.get("/readyz").await.0, 200);
    assert_eq!(server.get("/metrics").await.0, 401);
    let log = server.log().join("\n");
    for secret in [DRIVER, READER, "wrong-token"] {
        assert!(!log.contains(secret), "the log tells {secret}");
    }
}

#[tokio::test]
async fn a_client_brings_its_token_over_tls_and_trusts_whom_it_was_told_to() {
    let folder = folder();
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&folder, "cert.pem", &authority.cert.pem()).display().to_string();
    let key = file(&folder, "key.pem", &authority.signing_key.serialize_pem())
        .display()
        .to_string();
    let tokens = file(&folder, "tokens.yaml", &tokens()).display().to_string();
    let server = Start::new(folder.path())
        .args(&["--tls-cert", &cert, "--tls-key", &key, "--auth-tokens", &tokens])
        .run()
        .await;
    let port = server.grpc.rsplit_once(':').unwrap().1;
    let url = format!("tapes://localhost:{port}");
    let options = |token: Option<&str>, trusted: bool| ConnectOptions {
        token: token.map(str::to_owned),
        ca_pem: trusted.then(|| authority.cert.pem().into_bytes()),
        ..ConnectOptions::default()
    };

    let client = TapeClient::connect_with(&url, options(Some(READER), true))
        .await
        .unwrap();
    client.stats().await.unwrap();
    let stranger = TapeClient::connect_with(&url, options(None, true)).await.unwrap();
    let refused = stranger.stats().await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.code()),
        (Some(RefusalKind::PermissionDenied), "TAPE-P001")
    );
    let distrustful = TapeClient::connect_with(&url, options(Some(READER), false)).await;
    assert!(matches!(distrustful, Err(ClientError::Unreachable { .. })));
    let plaintext = TapeClient::connect_with(&format!("tape://localhost:{port}"), options(Some(READER), true)).await;
    let answered = match plaintext {
        Ok(client) => client.stats().await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered, "plaintext is not answered on a TLS port");
}

#[tokio::test]
async fn what_is_wrong_with_certificates_or_tokens_is_told_at_the_start() {
    let folder = folder();
    let nonsense = file(&folder, "cert.pem", "nonsense").display().to_string();
    for (args, words) in [
        (
            vec!["--tls-cert", "no.pem", "--tls-key", "no.pem"],
            ["--tls-cert", "no.pem"],
        ),
        (
            vec!["--tls-cert", &nonsense, "--tls-key", &nonsense],
            ["--tls-cert", "PEM"],
        ),
        (vec!["--auth-tokens", "no.yaml"], ["--auth-tokens", "no.yaml"]),
        (vec!["--auth-tokens", &nonsense], ["cert.pem", "list of tokens"]),
    ] {
        let (status, said) = Start::new(folder.path()).args(&args).refused();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("TAPE-N001") && words.iter().all(|word| said.contains(word)),
            "{said}"
        );
    }
    let (status, _) = Start::new(folder.path()).args(&["--tls-cert", "alone.pem"]).refused();
    assert_eq!(status.code(), Some(2), "a certificate without its key is a usage error");
}

#[tokio::test]
async fn plaintext_without_credentials_is_not_offered_to_a_network() {
    let folder = folder();
    let (wide, local) = ("0.0.0.0:0", "127.0.0.1:0");
    let (status, words) = Start::at(folder.path(), wide, local).refused();
    assert_eq!(status.code(), Some(1));
    assert!(words.contains("TAPE-N001") && words.contains("--insecure"), "{words}");
    let (status, words) = Start::at(folder.path(), local, wide).refused();
    assert_eq!(status.code(), Some(1));
    assert!(words.contains("--http") && words.contains("--auth-tokens"), "{words}");

    Start::at(folder.path(), wide, local).args(&["--insecure"]).run().await;
    let tokens = file(&folder, "tokens.yaml", &tokens()).display().to_string();
    Start::at(folder.path(), wide, wide)
        .args(&["--auth-tokens", &tokens])
        .run()
        .await;
}
