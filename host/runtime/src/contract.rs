//! The contract's types in Rust, and the only place where they become the port's.

use tape_connector_port as port;
use wasmtime::component::{HasSelf, Linker};

use crate::sandbox::Sandbox;

/// Generated from `wit/`.
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/tape-connector@1.0.0",
        world: "guest",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

pub use bindings::exports::tape::connector::connector as wit;
pub use bindings::{Guest, GuestPre};

/// The newest released version, as a description names it.
pub const VERSION: &str = "1.0.0";
/// Every released version.
pub const VERSIONS: &[&str] = &[VERSION];

/// A version of the contract that is not released yet, linked beside those that are: how the next one is tried before it is frozen.
///
/// Of a minor version only the interfaces that it changed or added are linked: a component's import of another one is answered
/// by the version before, because names of one major version stand for each other.
pub trait Preview: Send + Sync {
    /// `1.1.0`.
    fn version(&self) -> &str;

    /// Adds what it changed and what it added.
    ///
    /// # Errors
    /// Something of that name is there already.
    fn link(&self, linker: &mut Linker<Sandbox>) -> wasmtime::Result<()>;
}

/// Every released contract, and the empty WASI.
pub fn link(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    Guest::add_to_linker::<_, HasSelf<_>>(linker, |sandbox| sandbox)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

impl From<&port::EffectCall> for wit::Effect {
    fn from(call: &port::EffectCall) -> Self {
        Self {
            tenant: call.tenant.clone(),
            app: call.app.clone(),
            run_id: call.run_id.clone(),
            idempotency_key: call.idempotency_key.clone(),
            decision_index: call.decision_index,
            tool: call.tool.clone(),
            operation: call.operation.clone(),
            business_key: call.business_key.clone(),
            attempt: call.attempt,
            payload: call.payload_json.clone(),
            deadline_ms: call.deadline_ms,
            trace_parent: call.trace_parent.clone(),
            context: Vec::new(),
        }
    }
}

impl From<&port::ObligationCall> for wit::Obligation {
    fn from(call: &port::ObligationCall) -> Self {
        Self {
            effect: (&call.effect).into(),
            receipt: call.receipt.as_ref().map(|receipt| wit::Receipt {
                external_ref: receipt.external_ref.clone(),
                response: receipt.response_json.clone(),
            }),
            kind: call.kind.clone(),
            payload: call.payload_json.clone(),
            idempotency_key: call.idempotency_key.clone(),
            attempt: call.attempt,
            context: Vec::new(),
        }
    }
}

/// How the texts of an answer are cleaned on their way out, and what a receipt may not be.
pub trait Customs {
    /// The text without any secret's value.
    fn clear(&self, text: String) -> String;
    /// The most bytes that a receipt's response may have.
    fn response_bytes_max(&self) -> usize;
}

/// An answer that the contract does not allow, in words for people.
pub type Breach = String;

/// From the contract's answer to the port's.
pub trait Declare<T> {
    /// # Errors
    /// [`Breach`] if it holds something that the contract does not allow.
    fn declare(self, customs: &dyn Customs) -> Result<T, Breach>;
}

impl Declare<port::Receipt> for wit::Receipt {
    fn declare(self, customs: &dyn Customs) -> Result<port::Receipt, Breach> {
        const EXTERNAL_REF_BYTES_MAX: usize = 1024;
        if self.external_ref.len() > EXTERNAL_REF_BYTES_MAX {
            return Err(format!(
                "a receipt's external-ref is longer than {EXTERNAL_REF_BYTES_MAX} bytes"
            ));
        }
        if self.response.len() > customs.response_bytes_max() {
            return Err(format!(
                "a receipt's response is larger than {} bytes",
                customs.response_bytes_max()
            ));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&self.response) {
            return Err(format!("a receipt's response is not JSON: {error}"));
        }
        Ok(port::Receipt {
            external_ref: customs.clear(self.external_ref),
            response_json: customs.clear(self.response),
        })
    }
}

impl Declare<port::Failure> for wit::Failure {
    fn declare(self, customs: &dyn Customs) -> Result<port::Failure, Breach> {
        Ok(port::Failure {
            kind: match self.kind {
                wit::FailureKind::Rejected => port::FailureKind::Rejected,
                wit::FailureKind::Unauthorized => port::FailureKind::Unauthorized,
                wit::FailureKind::RateLimited => port::FailureKind::RateLimited,
                wit::FailureKind::Unavailable => port::FailureKind::Unavailable,
                wit::FailureKind::Invalid => port::FailureKind::Invalid,
            },
            code: customs.clear(self.code),
            message: customs.clear(self.message),
            retryable: self.retryable,
            retry_after_ms: self.retry_after_ms,
        })
    }
}

impl Declare<port::Doubt> for wit::Doubt {
    fn declare(self, customs: &dyn Customs) -> Result<port::Doubt, Breach> {
        let [reason, sent, hint] = [self.reason, self.sent, self.hint].map(|text| customs.clear(text));
        Ok(port::Doubt { reason, sent, hint })
    }
}

impl Declare<port::DispatchAnswer> for wit::DispatchAnswer {
    fn declare(self, customs: &dyn Customs) -> Result<port::DispatchAnswer, Breach> {
        Ok(match self {
            Self::Confirmed(receipt) => port::DispatchAnswer::Confirmed(receipt.declare(customs)?),
            Self::Failed(failure) => port::DispatchAnswer::Failed(failure.declare(customs)?),
            Self::Unknown(doubt) => port::DispatchAnswer::Unknown(doubt.declare(customs)?),
        })
    }
}

impl Declare<port::StatusAnswer> for wit::StatusAnswer {
    fn declare(self, customs: &dyn Customs) -> Result<port::StatusAnswer, Breach> {
        Ok(match self {
            Self::Committed(receipt) => port::StatusAnswer::Committed(receipt.declare(customs)?),
            Self::NotCommitted => port::StatusAnswer::NotCommitted,
            Self::InProgress(retry_after_ms) => port::StatusAnswer::InProgress { retry_after_ms },
            Self::Inconclusive(doubt) => port::StatusAnswer::Inconclusive(doubt.declare(customs)?),
        })
    }
}

impl Declare<port::ObserveAnswer> for wit::ObserveAnswer {
    fn declare(self, customs: &dyn Customs) -> Result<port::ObserveAnswer, Breach> {
        Ok(match self {
            Self::Present(receipt) => port::ObserveAnswer::Present(receipt.declare(customs)?),
            Self::Absent => port::ObserveAnswer::Absent,
            Self::Duplicate(receipts) if receipts.len() < 2 => return Err("a duplicate of fewer than two".to_owned()),
            Self::Duplicate(receipts) => {
                let receipts = receipts.into_iter().map(|receipt| receipt.declare(customs));
                port::ObserveAnswer::Duplicate(receipts.collect::<Result<_, _>>()?)
            }
            Self::Inconclusive(doubt) => port::ObserveAnswer::Inconclusive(doubt.declare(customs)?),
        })
    }
}

impl Declare<port::CompensateAnswer> for wit::CompensateAnswer {
    fn declare(self, customs: &dyn Customs) -> Result<port::CompensateAnswer, Breach> {
        Ok(match self {
            Self::Resolved(receipt) => port::CompensateAnswer::Resolved(receipt.declare(customs)?),
            Self::Failed(failure) => port::CompensateAnswer::Failed(failure.declare(customs)?),
            Self::Unknown(doubt) => port::CompensateAnswer::Unknown(doubt.declare(customs)?),
        })
    }
}

/// A description, or why the configuration allows none.
impl Declare<Self> for Result<String, String> {
    fn declare(self, customs: &dyn Customs) -> Result<Self, Breach> {
        Ok(self.map_err(|problem| customs.clear(problem)))
    }
}
