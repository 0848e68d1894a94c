//! A TCP upstream that cuts where the path says, and remembers every request that reached it in full.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// | path | does |
/// |---|---|
/// | `/ok` | 200 `{"ok":true}` |
/// | `/status/N` | status N, `{}` |
/// | `/echo` | 200, the whole request as its body |
/// | `/cut` | reads the request, closes without a byte |
/// | `/cut-head` | closes within the answer's head |
/// | `/cut-body` | closes within the answer's body |
/// | `/hang` | reads the request, never answers |
/// | `/hold` | like `/ok`, once [`Upstream::let_go`] was called |
/// | `/hang-body` | sends the head, never the body |
/// | `/big` | 200 with 5 MiB |
/// | `/redirect/URL` | 302 to URL |
pub struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
    gone: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let received = Arc::<Mutex<Vec<String>>>::default();
        let mut serving = JoinSet::new();
        let book = Arc::clone(&received);
        let gone = watch::Sender::new(false);
        let may_go = gone.subscribe();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&book), may_go.clone()));
            }
        });
        Self {
            address,
            received,
            gone,
            _serving: serving,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers what is held, and holds nothing any more.
    pub fn let_go(&self) {
        self.gone.send_replace(true);
    }

    /// Every request so far, head and body.
    pub fn received(&self) -> Vec<String> {
        self.received.lock().expect("the book is only pushed to").clone()
    }
}

/// An origin at which nobody listens.
pub async fn nobody_listens() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!(
        "http://{}",
        listener.local_addr().expect("a bound listener has an address")
    )
}

/// An origin that takes no more connections and refuses none: whoever connects waits until its own time limit.
pub struct Crowded {
    origin: String,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Crowded {
    /// Fills the queue of a listener that nobody is accepted from.
    ///
    /// # Panics
    /// If no address can be bound, or the queue has no end.
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        socket.bind(anywhere).expect("a free port");
        let listener = socket.listen(1).expect("a bound socket listens");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut waiting = Vec::new();
        while let Ok(taken) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(taken.expect("it refuses nobody"));
            assert!(waiting.len() < 64, "the queue of one has no end");
        }
        Self {
            origin: format!("http://{address}"),
            _listener: listener,
            _waiting: waiting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// Serves one connection until either side has enough. A client that goes away is no matter.
async fn serve(mut stream: TcpStream, received: Arc<Mutex<Vec<String>>>, mut may_go: watch::Receiver<bool>) {
    while let Some(request) = read_request(&mut stream).await {
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        received
            .lock()
            .expect("the book is only pushed to")
            .push(request.clone());
        let keep = match path.split('?').next().unwrap_or_default() {
            "/ok" => answer(&mut stream, 200, "", br#"{"ok":true}"#).await,
            "/echo" => answer(&mut stream, 200, "", request.as_bytes()).await,
            "/big" => answer(&mut stream, 200, "", &vec![b'x'; 5 * 1024 * 1024]).await,
            "/cut-head" => cut(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-le").await,
            "/cut-body" => cut(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":").await,
            "/hang" => std::future::pending().await,
            "/hold" => may_go.wait_for(|gone| *gone).await.is_ok() && answer(&mut stream, 200, "", b"{}").await,
            "/hang-body" => {
                write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await
                    && std::future::pending().await
            }
            path if path.starts_with("/status/") => {
                answer(
                    &mut stream,
                    path.trim_start_matches("/status/").parse().unwrap_or(500),
                    "",
                    b"{}",
                )
                .await
            }
            path if path.starts_with("/redirect/") => {
                let location = format!("location: {}\r\n", path.trim_start_matches("/redirect/"));
                answer(&mut stream, 302, &location, b"").await
            }
            _ => false,
        };
        if !keep {
            return;
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len());
    write(stream, head.as_bytes()).await && write(stream, body).await
}

/// Sends what there is and hangs up.
async fn cut(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    write(stream, bytes).await;
    false
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok()
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        if let Some(head_ends) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..head_ends]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= head_ends + 4 + length.unwrap_or(0) {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}
