//! A call with one request, beside hyper alone; and what an instance costs that waits for its answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tape_connector_port::{Connectors, Outcome, Unmarked};
use tape_host::{Grants, HostGrant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{CONNECTOR, Guest, Samples, TENANT, start_with};

const BATCH: usize = 50;
const LIVE: usize = 48;
const PAGE_BYTES: f64 = 4096.0;

/// With a request to an upstream in the same process.
pub struct Io {
    pub host: Samples,
    pub hyper: Samples,
    /// What one instance adds to the process, while it waits.
    pub instance_bytes: f64,
}

impl Io {
    /// # Errors
    /// A call that was not confirmed.
    pub async fn measure(guest: &Guest, length: Duration) -> anyhow::Result<Self> {
        let mut serving = JoinSet::new();
        let address = serve(&mut serving).await?;
        let grants = Grants {
            hosts: vec![HostGrant {
                host: format!("http://{address}"),
                methods: vec!["POST".to_owned()],
                ..HostGrant::default()
            }],
            ..Grants::default()
        };
        let host = start_with(guest, grants, None).await?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let call = guest.effect_with(TENANT, &post(address, "/ok"));
        let (mut through, mut alone) = (Samples::default(), Samples::default());
        let until = Instant::now() + length;
        while Instant::now() < until {
            for _ in 0..BATCH {
                let began = Instant::now();
                let called = host.dispatch(CONNECTOR, None, &call, &Unmarked).await?;
                through.add(began.elapsed());
                anyhow::ensure!(matches!(called.outcome, Outcome::Confirmed(_)), "{:?}", called.outcome);
            }
            for _ in 0..BATCH {
                let began = Instant::now();
                let request = hyper::Request::post(format!("http://{address}/ok")).body(Full::from("{}"))?;
                let body = client.request(request).await?.into_body().collect().await?;
                anyhow::ensure!(!body.to_bytes().is_empty(), "no answer");
                alone.add(began.elapsed());
            }
        }

        let before = resident()?;
        let mut waiting = JoinSet::new();
        for _ in 0..LIVE {
            let (host, call) = (host.clone(), guest.effect_with(TENANT, &post(address, "/hang")));
            waiting.spawn(async move { host.dispatch(CONNECTOR, None, &call, &Unmarked).await.map(drop) });
        }
        let running = || host.states().first().map_or(0, |state| state.running);
        let patience = Instant::now() + Duration::from_secs(10);
        while running() < LIVE as u64 {
            anyhow::ensure!(Instant::now() < patience, "only {} instances live", running());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let instance_bytes = (resident()? - before) / LIVE as f64;
        waiting.shutdown().await;
        Ok(Self {
            host: through,
            hyper: alone,
            instance_bytes,
        })
    }
}

fn post(address: SocketAddr, path: &str) -> Value {
    json!({
        "steps": [{"send": {"method": "POST", "url": format!("http://{address}{path}"), "body": "{}"}}],
        "answer": {"confirmed": {"external_ref": "x", "response": "{}"}}
    })
}

/// Bytes of this process that are in memory.
fn resident() -> anyhow::Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("what this process has in memory")?;
    let pages = statm.split(' ').nth(1).context("the second number of statm")?;
    Ok(pages.parse::<f64>()? * PAGE_BYTES)
}

/// An upstream that answers at once, or at `/hang` never.
async fn serve(serving: &mut JoinSet<()>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
    let mut request = vec![0; 16 * 1024];
    // The requests are small and one at a time: each comes in one piece.
    while let Ok(read @ 1..) = stream.read(&mut request).await {
        if request[..read].starts_with(b"POST /hang") {
            std::future::pending::<()>().await;
        }
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}
