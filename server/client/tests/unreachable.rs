//! What a person is told when nothing listens.

use tape_client::{ClientError, TapeClient};
use tokio::net::TcpListener;

#[tokio::test]
async fn nothing_listens_and_the_error_says_what_to_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tape://{}", listener.local_addr().expect("a bound address"));
    drop(listener);
    let error = TapeClient::connect(&url).await.expect_err("nobody is there");
    assert!(matches!(&error, ClientError::Unreachable { url: named, .. } if *named == url));
    assert_eq!(error.code(), "TAPE-A006");
    assert!(error.retryable());
    let text = error.to_string();
    assert!(
        text.contains(&url) && text.contains("tape dev") && text.contains("refused"),
        "{text}"
    );
}
