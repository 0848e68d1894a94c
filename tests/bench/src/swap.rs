//! Wires through a connector while its versions are swapped. What the bank booked says what left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tape_connector_tests::marked;
use tape_load::Samples;
use tape_proto::v1 as pb;
use tape_proto::v1::connectors_client::ConnectorsClient;
use tape_proto::v1::put_connector_request::Part;
use tape_proto::v1::tape_client::TapeClient;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

/// The connector's name, and its versions: the same code under other digests.
const NAME: &str = "bank";
const VERSIONS: [&str; 2] = ["1", "2"];
/// One swap in so long.
const EVERY: Duration = Duration::from_millis(50);
/// Between two looks at an effect.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// An effect that is not settled by then is not settled.
const LOST: Duration = Duration::from_secs(20);

/// A bank of this process and a server whose connector wires money there.
pub struct Stage {
    channel: Channel,
    bank: String,
    /// Serves the bank until this is dropped.
    _serving: JoinSet<std::io::Result<()>>,
}

/// What clients saw who wired money for a while.
#[derive(Default)]
pub struct Wired {
    /// From asking for an effect until it was confirmed.
    pub latency: Samples,
    /// References of the wires, all of which were asked for.
    pub references: Vec<String>,
    /// Calls that failed, and effects that did not end CONFIRMED.
    pub failed: Vec<String>,
    /// Versions that were activated meanwhile.
    pub swaps: u64,
}

impl Stage {
    /// Puts the versions into the server at `url` and activates the first.
    ///
    /// # Errors
    /// The server refuses, or the connector cannot be built.
    pub async fn set(url: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let mut serving = JoinSet::new();
        serving.spawn(tape_demo_bank::serve(listener, std::future::pending()));
        let stage = Self {
            channel: Endpoint::from_shared(url.to_owned())?
                .tcp_nodelay(true)
                .connect()
                .await?,
            bank: format!("http://127.0.0.1:{port}"),
            _serving: serving,
        };
        for version in VERSIONS {
            stage.put(version, port).await?;
        }
        stage.activate(VERSIONS[0]).await?;
        Ok(stage)
    }

    async fn put(&self, version: &str, port: u16) -> anyhow::Result<()> {
        let version_of = version.to_owned();
        let component = tokio::task::spawn_blocking(move || marked("tape-connector-bank", &version_of)).await?;
        let header = pb::PutConnectorHeader {
            name: NAME.to_owned(),
            version: version.to_owned(),
            config_json: serde_json::json!({ "base_url": self.bank }).to_string(),
            grants: Some(pb::ConnectorGrants {
                hosts: vec![pb::HostGrant {
                    scheme: "http".to_owned(),
                    host: "127.0.0.1".to_owned(),
                    port: i32::from(port),
                    methods: vec!["GET".to_owned(), "POST".to_owned()],
                    ..Default::default()
                }],
                limits: Some(pb::ConnectorLimits {
                    concurrent_calls: 64,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            who: "bench".to_owned(),
            ..Default::default()
        };
        let chunks = component.chunks(512 * 1024).map(|chunk| Part::Chunk(chunk.to_vec()));
        let parts = std::iter::once(Part::Header(header)).chain(chunks);
        let parts: Vec<_> = parts.map(|part| pb::PutConnectorRequest { part: Some(part) }).collect();
        ConnectorsClient::new(self.channel.clone())
            .put_connector(tokio_stream::iter(parts))
            .await?;
        Ok(())
    }

    async fn activate(&self, version: &str) -> anyhow::Result<()> {
        let request = pb::ActivateVersionRequest {
            name: NAME.to_owned(),
            version: version.to_owned(),
            ..Default::default()
        };
        ConnectorsClient::new(self.channel.clone())
            .activate_version(request)
            .await?;
        Ok(())
    }

    /// Lets `clients` wire money one after the other for `length`, and swaps versions meanwhile if it is asked to.
    ///
    /// # Errors
    /// A swap is refused.
    pub async fn wire(&self, name: &str, clients: usize, length: Duration, swapping: bool) -> anyhow::Result<Wired> {
        let enough = Arc::new(AtomicBool::new(false));
        let mut wiring = JoinSet::new();
        for number in 0..clients {
            let client = TapeClient::new(self.channel.clone());
            wiring.spawn(wires(client, format!("{name}-{number}"), enough.clone()));
        }
        let (begun, mut all) = (Instant::now(), Wired::default());
        let mut pace = tokio::time::interval(EVERY);
        while begun.elapsed() < length {
            pace.tick().await;
            if swapping {
                all.swaps += 1;
                let next = usize::try_from(all.swaps)? % VERSIONS.len();
                self.activate(VERSIONS[next]).await.context("a swap")?;
            }
        }
        enough.store(true, Ordering::Relaxed);
        while let Some(wired) = wiring.join_next().await {
            let wired = wired?;
            all.latency.merge(&wired.latency);
            all.references.extend(wired.references);
            all.failed.extend(wired.failed);
        }
        Ok(all)
    }

    /// How often the bank booked each reference.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn booked(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let answer = client.get(format!("{}/wires", self.bank).parse()?).await?;
        ensure!(answer.status().is_success(), "the bank's books: {}", answer.status());
        let books: Books = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
        let mut booked = BTreeMap::new();
        for wire in books.wires {
            *booked.entry(wire.reference).or_default() += 1;
        }
        Ok(booked)
    }
}

/// What the bank says of its ledger.
#[derive(serde::Deserialize)]
struct Books {
    wires: Vec<tape_demo_bank::Wire>,
}

/// One wire after the other until it is enough. The last one is waited for.
async fn wires(mut client: TapeClient<Channel>, name: String, enough: Arc<AtomicBool>) -> Wired {
    let mut wired = Wired::default();
    for number in 0_u64.. {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let reference = format!("{name}-{number}");
        wired.references.push(reference.clone());
        let outcome = timeout(LOST, wire(&mut client, &reference)).await;
        match outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("not settled within {LOST:?}"))) {
            Ok(latency) => wired.latency.add(latency),
            Err(error) => wired.failed.push(format!("{reference}: {error:#}")),
        }
    }
    wired
}

async fn wire(client: &mut TapeClient<Channel>, reference: &str) -> anyhow::Result<Duration> {
    let begin = pb::BeginRunRequest {
        app_name: "treasury".to_owned(),
        user_id: "bench".to_owned(),
        session_id: "session".to_owned(),
        invocation_id: reference.to_owned(),
        lease_owner: reference.to_owned(),
        ..Default::default()
    };
    let run = client.begin_run(begin).await?.into_inner().run_id;
    let begun = Instant::now();
    let effect = pb::BeginEffectRequest {
        run_id: run.clone(),
        tool_name: "wire_money".to_owned(),
        request_json: r#"{"to":"Bob","amount":"1.00","currency":"EUR"}"#.to_owned(),
        semantics: pb::EffectSemantics::NonIdempotent.into(),
        dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
        business_key: reference.to_owned(),
        connector: NAME.to_owned(),
        operation: "wire".to_owned(),
        ..Default::default()
    };
    let key = client.begin_effect(effect).await?.into_inner().idempotency_key;
    loop {
        let look = pb::GetEffectRequest {
            run_id: run.clone(),
            idempotency_key: key.clone(),
        };
        let found = client
            .get_effect(look)
            .await?
            .into_inner()
            .effect
            .context("no effect")?;
        match found.status() {
            pb::EffectStatus::Confirmed => return Ok(begun.elapsed()),
            pb::EffectStatus::Failed => bail!("FAILED: {}", found.error_json),
            // In doubt or on its way: it goes on.
            _ => sleep(LOOK_AGAIN).await,
        }
    }
}
