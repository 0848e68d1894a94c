//! A database across a network: TLS that is verified, and a network that takes bytes and delivers none.

use std::net::TcpListener as Reserved;
use std::path::Path;
use std::time::Duration;

use tape_core::{EntityId, EntityKind};
use tape_store::{Store, StoreError};
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_tests::cluster::Cluster;
use tape_store_tests::{commit, head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than the store may take for anything that it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(name: &str) -> EntityId {
    EntityId {
        kind: EntityKind::Run,
        id: name.to_owned(),
    }
}

fn free_port() -> u16 {
    let reserved = Reserved::bind(("127.0.0.1", 0)).expect("a free port");
    reserved.local_addr().expect("its address").port()
}

/// A cluster that speaks TLS alone, a database in it, and the file with the certificate that it shows.
async fn over_tls(port: u16, folder: &Path) -> (Cluster, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let cluster = Cluster::start_with_tls(port, &made.cert.pem(), &made.signing_key.serialize_pem());
    let path = folder.join("ca.pem");
    std::fs::write(&path, made.cert.pem()).expect("a file");
    cluster.database("tape").await;
    (cluster, path.display().to_string())
}

async fn open(url: &str) -> Result<PostgresStore, StoreError> {
    let config = PostgresConfig::parse(url).expect("a URL");
    timeout(PATIENCE, PostgresStore::open(&config)).await.expect("it ends")
}

#[tokio::test]
async fn tls_is_spoken_and_whoever_answers_must_show_the_right_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let (_cluster, ours) = over_tls(port, folder.path()).await;
    let url = |rest: &str| format!("postgres://tape@localhost:{port}/tape?connect_timeout_ms=2000&{rest}");

    let store = open(&url(&format!("sslmode=verify-full&sslrootcert={ours}")))
        .await
        .expect("opened");
    let written = store.commit(commit(&run("r-1"), 0, vec![head("a")])).await;
    assert_eq!(written.expect("written"), 1);
    store.close().await;

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let theirs = folder.path().join("other.pem");
    std::fs::write(&theirs, other.cert.pem()).expect("a file");
    let refused = [
        (
            "certificate",
            format!("sslmode=verify-full&sslrootcert={}", theirs.display()),
        ),
        ("no encryption", "sslmode=disable".to_owned()),
    ];
    for (because, rest) in refused {
        let Err(StoreError::Unavailable(why)) = open(&url(&rest)).await else {
            panic!("{rest} was taken");
        };
        assert!(why.to_lowercase().contains(because), "{rest}: {why}");
    }
}

/// A network between a store and its database. While it holds, it takes what it is given and delivers nothing.
struct Network {
    holds: watch::Sender<bool>,
    port: u16,
    _links: JoinSet<()>,
}

impl Network {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (holds, held) = watch::channel(false);
        let mut links = JoinSet::new();
        links.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", target)).await.expect("the database");
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                open.spawn(deliver(near_in, far_out, held.clone()));
                open.spawn(deliver(far_in, near_out, held.clone()));
            }
        });
        Self {
            holds,
            port,
            _links: links,
        }
    }
}

async fn deliver(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if held.wait_for(|held| !held).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_delivers_nothing_is_told_in_time_and_nothing_is_lost_by_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let (_cluster, ours) = over_tls(port, folder.path()).await;
    let network = Network::to(port).await;
    let url = format!(
        "postgres://tape@localhost:{}/tape?sslmode=verify-full&sslrootcert={ours}&statement_timeout_ms=500&connect_timeout_ms=1000",
        network.port
    );
    let store = open(&url).await.expect("opened");
    let written = store.commit(commit(&run("r-1"), 0, vec![head("a")])).await;
    assert_eq!(written.expect("written"), 1);

    for round in 1..=2 {
        network.holds.send_replace(true);
        let hangs = timeout(PATIENCE, store.commit(commit(&run("r-1"), round, vec![head("b")]))).await;
        let hangs = hangs.expect("the store gives up");
        assert!(
            matches!(hangs, Err(StoreError::InDoubt(_) | StoreError::Unavailable(_))),
            "{hangs:?}"
        );
        let read = timeout(PATIENCE, store.load(&run("r-1"), &[], &[]))
            .await
            .expect("a read gives up too");
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        network.holds.send_replace(false);

        // What was in doubt came about or did not, and then the store serves as before.
        let version = loop {
            match timeout(PATIENCE, store.load(&run("r-1"), &[], &[]))
                .await
                .expect("it ends")
            {
                Ok(loaded) => break loaded.version,
                Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        };
        assert!([round, round + 1].contains(&version), "{version}");
        if version == round {
            let written = store.commit(commit(&run("r-1"), round, vec![head("b")])).await;
            // What was held may be delivered only now.
            assert!(
                matches!(written, Ok(_) | Err(StoreError::Conflict { .. })),
                "{written:?}"
            );
        }
        let settled = store.load(&run("r-1"), &[], &[]).await.expect("read").version;
        assert_eq!(settled, round + 1);
    }
    store.close().await;
}
