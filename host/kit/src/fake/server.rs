//! The server: accepts, matches, serves, and breaks where it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::books::{Books, Filled};
use super::fault::Fault;
use super::route::{Reply, Route};
use super::wire::{self, Received};

/// Answers a request that nothing was said about, so that it is seen in the report and not mistaken for the upstream's word.
const NOBODY_SAID: u16 = 599;

/// A fake upstream. It ends when it is dropped.
pub struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    origin: String,
    routes: Vec<Route>,
    /// Requests that must come in this order; then `routes` are not asked.
    script: Option<VecDeque<Route>>,
    books: Books,
    read_only_paths: Vec<String>,
    fault: Option<Fault>,
    /// Answers every request that could change something, instead of its route.
    override_reply: Option<Reply>,
    received: Vec<Received>,
    unexpected: Vec<String>,
}

impl Fake {
    /// Opens an upstream that answers as `routes` say.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn open(routes: Vec<Route>, read_only_paths: Vec<String>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Self::serve_on(listener, routes, read_only_paths)
    }

    /// The same where somebody listens already.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve_on(listener: TcpListener, routes: Vec<Route>, read_only_paths: Vec<String>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            origin: format!("http://{address}"),
            routes,
            read_only_paths,
            ..State::default()
        }));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            state,
            _serving: serving,
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far that was read in full.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// All entries of all books.
    #[must_use]
    pub fn books(&self) -> BTreeMap<String, Vec<Value>> {
        self.lock().books.all()
    }

    /// How many entries there are, over all books.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.books().values().map(Vec::len).sum()
    }

    /// Requests that nothing was said about, with what was expected instead.
    #[must_use]
    pub fn unexpected(&self) -> Vec<String> {
        self.lock().unexpected.clone()
    }

    /// Requests of the script that have not come yet.
    #[must_use]
    pub fn outstanding(&self) -> Vec<String> {
        let state = self.lock();
        state.script.iter().flatten().map(|route| route.on.clone()).collect()
    }

    /// Begins anew with these books.
    pub fn reset(&self, books: BTreeMap<String, Vec<Value>>, script: Option<Vec<Route>>) {
        let mut state = self.lock();
        *state = State {
            origin: std::mem::take(&mut state.origin),
            routes: std::mem::take(&mut state.routes),
            read_only_paths: std::mem::take(&mut state.read_only_paths),
            books: Books::with(books),
            script: script.map(Into::into),
            ..State::default()
        };
    }

    /// Breaks the next request that could change something.
    pub fn break_next(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Answers every request that could change something with `reply`, and does nothing.
    pub fn refuse_with(&self, reply: Reply) {
        self.lock().override_reply = Some(reply);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the one request of a connection. A client that goes away is no matter.
async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    if lock(&state).fault == Some(Fault::ResetBefore) {
        let method = wire::peek_method(&stream).await.unwrap_or_default();
        if !is_safe(&method) {
            lock(&state).fault = None;
            return reset(stream);
        }
    }
    let Some(request) = wire::read(&mut stream).await else {
        return;
    };
    let (filled, fault) = lock(&state).answer(&request);
    let bytes = filled.map_or_else(Vec::new, |reply| {
        wire::answer(reply.status, &reply.headers, reply.kind, &reply.body)
    });
    let written = match fault {
        Some(Fault::ResetBefore | Fault::ResetAfter) => return reset(stream),
        Some(Fault::Lose) => return,
        Some(Fault::Hang) => return pending().await,
        Some(Fault::Cut(at)) => &bytes[..at.min(bytes.len())],
        Some(Fault::DelayMs(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            &bytes[..]
        }
        Some(Fault::AnswerTwice) => &[bytes.as_slice(), bytes.as_slice()].concat(),
        Some(Fault::BookTwice) | None => &bytes[..],
    };
    if stream.write_all(written).await.is_ok() {
        stream.shutdown().await.ok();
    }
}

/// A reset instead of an orderly end.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().ok();
    drop(stream);
}

fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

impl State {
    /// What is answered, if it gets that far, and what goes wrong with it.
    fn answer(&mut self, request: &Received) -> (Option<Filled>, Option<Fault>) {
        self.received.push(request.clone());
        let changes = !is_safe(&request.method) && !self.read_only_paths.contains(&request.path);
        if changes && let Some(reply) = self.override_reply.clone() {
            return (Some(plain(&reply)), None);
        }
        let (route, caught) = match self.route(request) {
            Ok(found) => found,
            Err(expected) => {
                let text = format!("{} came, and nothing was said about it: {expected}", request.line());
                let reply = Reply {
                    status: NOBODY_SAID,
                    text: Some(text.clone()),
                    ..Reply::default()
                };
                self.unexpected.push(text);
                return (Some(plain(&reply)), None);
            }
        };
        let fault = route
            .reply
            .fault
            .or_else(|| if changes { self.fault.take() } else { None });
        if matches!(fault, Some(Fault::ResetBefore | Fault::ResetAfter)) {
            return (None, fault);
        }
        let origin = self.origin.clone();
        if fault == Some(Fault::BookTwice) {
            self.books.serve(&route, request, &caught, &origin);
        }
        (Some(self.books.serve(&route, request, &caught, &origin)), fault)
    }

    fn route(&mut self, request: &Received) -> Result<(Route, BTreeMap<String, String>), String> {
        if let Some(script) = &mut self.script {
            let Some(next) = script.front() else {
                return Err("expected no further request".to_owned());
            };
            let caught = next.matches(request)?;
            let route = next.clone();
            script.pop_front();
            return Ok((route, caught));
        }
        let mut why = Vec::new();
        for route in &self.routes {
            match route.matches(request) {
                Ok(caught) => return Ok((route.clone(), caught)),
                Err(expected) => why.push(expected),
            }
        }
        Err(why.join("; or "))
    }
}

/// A reply that knows no templates.
fn plain(reply: &Reply) -> Filled {
    let (kind, body) = match (&reply.json, &reply.text) {
        (Some(json), _) => ("application/json", json.to_string()),
        (None, Some(text)) => ("text/plain", text.clone()),
        (None, None) => ("", String::new()),
    };
    Filled {
        status: reply.status,
        headers: reply.headers.clone(),
        kind,
        body,
    }
}
