//! One call and its three answers: yes, no, and none.

use std::time::Duration;

use prost::Message as _;
use tape_proto::v1::ErrorDetail;
use tape_proto::v1::admin_client::AdminClient;
use tape_proto::v1::connectors_client::ConnectorsClient;
use tape_proto::v1::tape_client::TapeClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// Longest wait for an answer: a busy machine is slow, a server that hangs is slower.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What came of a call.
#[derive(Debug)]
pub enum Answer<T> {
    /// It was done, durably.
    Yes(T),
    /// It was refused: it was not done.
    No(Status),
    /// No answer, or "try again": it may have been done or not.
    Lost(Status),
}

impl<T> Answer<T> {
    /// Sorts what tonic gave.
    pub fn of(result: Result<Response<T>, Status>) -> Self {
        match result {
            Ok(answer) => Self::Yes(answer.into_inner()),
            Err(status) => match status.code() {
                // UNKNOWN and INTERNAL are the transport's when a connection breaks, and would be the server's for a bug.
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Lost(status),
                Code::Unknown | Code::Internal if broken(&status) => Self::Lost(status),
                _ => Self::No(status),
            },
        }
    }
}

/// Whether the connection broke under a call, as told by the transport and not by the server.
fn broken(status: &Status) -> bool {
    status.metadata().get_bin(tape_proto::ERROR_DETAIL_TRAILER).is_none()
}

/// What a refusal says to machines.
///
/// # Panics
/// When it says nothing, or something else.
#[must_use]
pub fn detail(status: &Status) -> ErrorDetail {
    let trailer = status.metadata().get_bin(tape_proto::ERROR_DETAIL_TRAILER);
    let bytes = trailer.expect("a refusal says more").to_bytes().expect("binary");
    ErrorDetail::decode(bytes).expect("an ErrorDetail")
}

/// A client's own connection to one server. It connects anew by itself.
#[derive(Clone)]
pub struct Caller {
    address: String,
    /// The drivers' service.
    pub tape: TapeClient<Channel>,
    /// The operators' service.
    pub admin: AdminClient<Channel>,
    /// The deployers' service.
    pub connectors: ConnectorsClient<Channel>,
}

impl Caller {
    /// A connection to the server at `address`, made when it is needed.
    ///
    /// # Panics
    /// When `address` is none.
    #[must_use]
    pub fn to(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .timeout(ANSWER_MAX)
            .connect_lazy();
        Self {
            address: address.to_owned(),
            tape: TapeClient::new(channel.clone()),
            admin: AdminClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            connectors: ConnectorsClient::new(channel),
        }
    }

    /// A connection for streams, which may be silent for any time.
    ///
    /// # Panics
    /// Never: the address was one.
    #[must_use]
    pub fn following(&self) -> TapeClient<Channel> {
        TapeClient::new(self.silent())
    }

    /// The same for what connectors say.
    ///
    /// # Panics
    /// Never: the address was one.
    #[must_use]
    pub fn listening(&self) -> ConnectorsClient<Channel> {
        ConnectorsClient::new(self.silent())
    }

    fn silent(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy()
    }
}
