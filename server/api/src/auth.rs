//! Who calls, and what that allows: bearer tokens, roles, and the tenant that they are for.
//!
//! ```text
//! authorization: Bearer … ─▶ Verify ─▶ Grant {principal, role, tenant} ─▶ may its role call this method? ─▶ service
//! ```
//!
//! A layer around all services, so that no service can be forgotten. Without a verifier everybody may do everything: that
//! is for loopback. A token never appears in an error, a log line or a metric.

mod taken_back;
mod tokens;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use crate::status;
use taken_back::WhileGranted;
pub use tokens::{TokenBook, Tokens, bearer};

/// What a principal may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look, and change nothing.
    Reader,
    /// Drive runs: everything that an SDK and its workers do.
    Driver,
    /// Settle by hand, deploy, and work for all.
    Operator,
}

impl Role {
    /// All roles by name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("reader", Self::Reader),
        ("driver", Self::Driver),
        ("operator", Self::Operator),
    ];

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, role)| role)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Driver => "driver",
            Self::Operator => "operator",
        }
    }
}

/// What credentials say about their holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who it is, for the log.
    pub principal: String,
    /// What it may do.
    pub role: Role,
    /// The one tenant that it may see and change; none = all.
    pub tenant: Option<String>,
}

/// A token that is good, for as long as nobody takes it back.
pub struct Verified {
    /// What it allows.
    pub grant: Arc<Grant>,
    /// Ready once the token is no longer good for that.
    pub taken_back: TakenBack,
}

/// Ready once a token was taken back.
pub type TakenBack = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells what a bearer token is worth. Tokens of a file now; others may follow.
pub trait Verify: Send + Sync + 'static {
    /// What `token` allows, if it is good.
    fn verify(&self, token: &str) -> Option<Verified>;
}

/// Asks every caller for credentials, if there is a verifier.
#[derive(Clone)]
pub struct AuthLayer {
    verify: Option<Arc<dyn Verify>>,
}

impl AuthLayer {
    /// With `verify`, or without: then everybody may do everything.
    #[must_use]
    pub fn new(verify: Option<Arc<dyn Verify>>) -> Self {
        Self { verify }
    }

    /// What the token of a request allows, none where nobody is asked; or the refusal.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Option<Verified>, Status> {
        let Some(verify) = &self.verify else { return Ok(None) };
        let Some(needed) = needed(path) else { return Ok(None) };
        let token = bearer(headers).ok_or_else(|| {
            status::denied(
                Code::Unauthenticated,
                "TAPE-P001",
                "this server asks for credentials, and the request has none.",
                "Send the header `authorization: Bearer TOKEN`: set TAPE_TOKEN, and reach the server by tapes://.",
            )
        })?;
        let verified = verify.verify(token).ok_or_else(not_valid)?;
        let grant = &verified.grant;
        if grant.role >= needed {
            return Ok(Some(verified));
        }
        Err(status::denied(
            Code::PermissionDenied,
            "TAPE-P003",
            &format!(
                "{path} needs the role {}, and {:?} is a {}.",
                needed.name(),
                grant.principal,
                grant.role.name()
            ),
            "Use credentials with that role, or ask the server's operator for it.",
        ))
    }
}

fn not_valid() -> Status {
    status::denied(
        Code::Unauthenticated,
        "TAPE-P002",
        "the credentials of the request are not valid here.",
        "Use a token that this server's operator handed out and has not taken back.",
    )
}

/// The least role that may call a method; none = anybody, without credentials.
fn needed(path: &str) -> Option<Role> {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    let looks = ["Get", "List", "Subscribe", "Tail", "Watch"]
        .iter()
        .any(|verb| method.starts_with(verb));
    Some(match service {
        // Probes have no credentials, and learn that the server serves, no more.
        "grpc.health.v1.Health" => return None,
        "tape.v1.Tape" if looks => Role::Reader,
        "tape.v1.Tape" | "tape.v1.Driver" | "tape.v1.Workers" => Role::Driver,
        "tape.v1.Admin" => match method {
            "DumpRun" | "Stats" => Role::Reader,
            "StartRun" => Role::Driver,
            _ if looks => Role::Reader,
            _ => Role::Operator,
        },
        // Who may look at runs may look at what carries out their effects. The rest deploys.
        "tape.v1.Connectors" if looks => Role::Reader,
        // The contract's text, as published.
        service if service.starts_with("grpc.reflection.") => Role::Reader,
        // Reactors work for everybody; what is not known needs the most.
        _ => Role::Operator,
    })
}

impl<S> Layer<S> for AuthLayer {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose callers are asked who they are.
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S, A> Service<Request<A>> for Authenticated<S>
where
    S: Service<Request<A>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = AuthenticatedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        match self.layer.admit(request.uri().path(), request.headers()) {
            Ok(verified) => {
                let taken_back = verified.map(|Verified { grant, taken_back }| {
                    tracing::Span::current().record("principal", &grant.principal);
                    request.extensions_mut().insert(grant);
                    taken_back
                });
                AuthenticatedCall::Admitted {
                    inner: self.inner.call(request),
                    taken_back,
                }
            }
            Err(status) => AuthenticatedCall::Refused {
                status: Some(Box::new(status)),
            },
        }
    }
}

pin_project! {
    /// The answer to a caller: the service's, or a refusal.
    #[project = Projected]
    pub enum AuthenticatedCall<F> {
        /// It may call.
        Admitted {
            #[pin]
            inner: F,
            taken_back: Option<TakenBack>,
        },
        /// It may not.
        Refused {
            status: Option<Box<Status>>,
        },
    }
}

impl<F, E> Future for AuthenticatedCall<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Admitted { inner, taken_back } => {
                let answer = std::task::ready!(inner.poll(cx))?;
                Poll::Ready(Ok(match taken_back.take() {
                    Some(taken_back) => answer.map(|body| WhileGranted::around(body, taken_back, not_valid)),
                    None => answer,
                }))
            }
            Projected::Refused { status } => match status.take() {
                Some(status) => Poll::Ready(Ok(status.into_http())),
                None => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn layer() -> AuthLayer {
        let mut tokens = Tokens::default();
        for (token, role) in [("r", Role::Reader), ("d", Role::Driver), ("o", Role::Operator)] {
            let grant = Grant {
                principal: role.name().to_owned(),
                role,
                tenant: None,
            };
            tokens.add(token, grant);
        }
        AuthLayer::new(Some(Arc::new(TokenBook::new(tokens))))
    }

    fn asked(path: &str, authorization: &str) -> Result<Option<Arc<Grant>>, Code> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        let admitted = layer().admit(path, &headers);
        let grant = |verified: Option<Verified>| verified.map(|verified| verified.grant);
        admitted.map(grant).map_err(|status| status.code())
    }

    #[test]
    fn a_role_may_do_what_it_is_for_and_no_more() {
        for (path, least) in [
            ("/tape.v1.Tape/GetRun", 0),
            ("/tape.v1.Tape/SubscribeEvents", 0),
            ("/tape.v1.Tape/ListDueTimers", 0),
            ("/tape.v1.Admin/DumpRun", 0),
            ("/tape.v1.Admin/ListRuns", 0),
            ("/tape.v1.Tape/BeginRun", 1),
            ("/tape.v1.Tape/CompactRun", 1),
            ("/tape.v1.Workers/Attach", 1),
            ("/tape.v1.Admin/StartRun", 1),
            ("/tape.v1.Admin/ResolveEffect", 2),
            ("/tape.v1.Reactors/Due", 2),
            ("/tape.v1.Connectors/ListConnectors", 0),
            ("/tape.v1.Connectors/TailConnector", 0),
            ("/tape.v1.Connectors/PutConnector", 2),
            ("/tape.v1.Connectors/CallConnector", 2),
            ("/tape.v1.Next/GetAnything", 2),
        ] {
            for (rank, token) in ["r", "d", "o"].into_iter().enumerate() {
                let answer = asked(path, &format!("Bearer {token}"));
                if rank >= least {
                    assert!(answer.is_ok(), "{path} {token}");
                } else {
                    assert_eq!(answer.unwrap_err(), Code::PermissionDenied, "{path} {token}");
                }
            }
        }
    }

    #[test]
    fn credentials_are_a_bearer_token_that_is_known() {
        let path = "/tape.v1.Tape/GetRun";
        for none in ["", "d", "Basic d", "Bearer", "Bearer  ", "Bearer x", "Bearer dd"] {
            assert_eq!(asked(path, none).unwrap_err(), Code::Unauthenticated, "{none:?}");
        }
        assert_eq!(asked(path, "bearer d").unwrap().unwrap().principal, "driver");
        assert!(asked("/grpc.health.v1.Health/Check", "").unwrap().is_none());
    }
}
