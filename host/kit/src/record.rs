//! A case recorded against the real upstream: a proxy that writes down what it passes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::fake::{Received, Reply, Route, wire};
use crate::secrets::{Values, hidden};
use crate::{Call, Problem, Told};

const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Headers of the connection, not of the message; and those that the host sets by itself.
const NOT_PASSED_ON: [&str; 5] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "traceparent",
];

type Https = hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>;

/// A proxy to one real upstream. It ends when it is dropped.
pub struct Recorder {
    origin: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    upstream: String,
    client: Client<Https, Full<Bytes>>,
    routes: Mutex<Vec<Route>>,
}

/// What was recorded: a case, ready to be written.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The file's text.
    pub yaml: String,
    /// How many requests are in it.
    pub requests: usize,
}

impl Recorder {
    /// Opens a proxy to `upstream` (`https://api.example.com`) on a free port.
    ///
    /// # Errors
    /// [`Problem::Host`]: no free port, or TLS cannot be set up.
    pub async fn open(upstream: &str) -> Result<Self, Problem> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Problem::host)?;
        let origin = format!("http://{}", listener.local_addr().map_err(Problem::host)?);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(Problem::host)?
            .https_or_http()
            .enable_http1()
            .build();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            routes: Mutex::default(),
        });
        let mut serving = JoinSet::new();
        let proxy = Arc::clone(&shared);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass_on(stream, Arc::clone(&proxy)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            origin,
            shared,
            _serving: serving,
        })
    }

    /// Where the proxy listens; the configuration's `{{upstream}}`.
    #[must_use]
    pub fn origin(&self) -> String {
        self.origin.clone()
    }

    /// What passed since the last call, as a case that expects what `told` was. Secrets' values become their names.
    ///
    /// # Errors
    /// [`Problem::Host`] if it cannot be written as YAML.
    pub fn take(&self, name: &str, call: Call, told: &Told, secrets: &Values) -> Result<Recording, Problem> {
        let routes = std::mem::take(&mut *self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut expect = json!({"outcome": told.outcome()});
        for key in ["external_ref", "kind", "code"] {
            if let Some(value) = told.answer.get(key) {
                expect[key] = value.clone();
            }
        }
        let case = json!([{"case": name, "upstream": routes, "steps": [{"call": call, "expect": expect}]}]);
        let yaml = serde_saphyr::to_string(&case).map_err(Problem::host)?;
        Ok(Recording {
            yaml: hidden(secrets, &yaml).replace(&self.origin, "{{upstream}}"),
            requests: routes.len(),
        })
    }
}

async fn pass_on(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = wire::read(&mut stream).await else {
        return;
    };
    // What the real upstream did not answer, the connector is not answered either.
    if let Ok(reply) = tokio::time::timeout(TIMEOUT, shared.forward(&request))
        .await
        .unwrap_or_else(|late| Err(late.to_string()))
    {
        let (kind, body) = body_of(&reply);
        let bytes = wire::answer(reply.status, &reply.headers, kind, &body);
        shared
            .routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(recorded(&request, reply));
        if stream.write_all(&bytes).await.is_ok() {
            stream.shutdown().await.ok();
        }
    }
}

impl Shared {
    async fn forward(&self, request: &Received) -> Result<Reply, String> {
        let target = request.raw.split(' ').nth(1).unwrap_or("/");
        let body = request.raw.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let mut outgoing = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("{}{target}", self.upstream));
        for (name, value) in &request.headers {
            if !NOT_PASSED_ON.contains(&name.as_str()) {
                outgoing = outgoing.header(name, value);
            }
        }
        let outgoing = outgoing
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(outgoing).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let kept = ["retry-after", "location", "etag"];
        Ok(Reply {
            status: head.status.as_u16(),
            headers: kept
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), head.headers.get(*name)?.to_str().ok()?.to_owned())))
                .collect(),
            text: if json.is_none() && !text.is_empty() {
                Some(text)
            } else {
                None
            },
            json,
            fault: None,
        })
    }
}

fn body_of(reply: &Reply) -> (&'static str, String) {
    match (&reply.json, &reply.text) {
        (Some(json), _) => ("application/json", json.to_string()),
        (None, Some(text)) => ("text/plain", text.clone()),
        (None, None) => ("", String::new()),
    }
}

fn recorded(request: &Received, reply: Reply) -> Route {
    let query: Vec<String> = request
        .query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{}", query.join("&"))
    };
    Route {
        on: format!("{}{query}", request.line()),
        headers: Default::default(),
        body: request.body.clone(),
        book: "entries".to_owned(),
        adds: None,
        once_by: None,
        finds: None,
        changes: None,
        removes: false,
        reply,
        otherwise: None,
    }
}
