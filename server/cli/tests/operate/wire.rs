//! A network between a client and the server that can stop delivering, without a word to either end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The wire. Connections end when it is dropped.
pub struct Wire {
    /// Where clients connect, `host:port`.
    pub address: String,
    swallows: Arc<AtomicBool>,
    _carrying: JoinSet<()>,
}

impl Wire {
    /// A wire to `server`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("its address").to_string();
        let (server, swallows) = (server.to_owned(), Arc::new(AtomicBool::new(false)));
        let mut carrying = JoinSet::new();
        let broken = swallows.clone();
        carrying.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else {
                    continue;
                };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                pairs.spawn(carry(near_read, far_write, broken.clone()));
                pairs.spawn(carry(far_read, near_write, broken.clone()));
            }
        });
        Self {
            address,
            swallows,
            _carrying: carrying,
        }
    }

    /// From now on it takes bytes and delivers none; nothing is closed, either.
    pub fn swallow(&self) {
        self.swallows.store(true, Ordering::SeqCst);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: Arc<AtomicBool>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or_default();
        if swallows.load(Ordering::SeqCst) {
            if read == 0 {
                // Whoever hung up: the other end hears nothing of it.
                std::future::pending::<()>().await;
            }
            continue;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
