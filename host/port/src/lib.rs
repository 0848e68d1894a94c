//! The port between the server and its connectors: what may be asked, what may be answered, and who decides what it means.
//!
//! A reactor holds an `Arc<dyn Connectors>` and knows nothing of WebAssembly. `tape-host` implements it for sandboxed
//! components, an app's worker stream for functions that live in the agent's process.
//!
//! ```text
//! reactor --EffectCall--> Connectors --(mark before the first byte)--> upstream
//!         <--Called<Outcome>-- verdict(guest's answer, evidence)
//! ```
//!
//! The guest's answer is a claim, the [`Evidence`] is what the host saw, and [`verdict`](verdict::verdict) is the only place where
//! the two become an [`Outcome`]. Nothing here waits, reads a clock or opens a socket.

mod answer;
mod call;
mod canary;
mod connectors;
mod deploy;
mod description;
mod error;
mod evidence;
mod line;
mod none;
mod state;
pub mod verdict;

pub use answer::{CompensateAnswer, DispatchAnswer, Doubt, Failure, FailureKind, ObserveAnswer, Receipt, StatusAnswer};
pub use call::{EffectCall, ObligationCall};
pub use canary::is_canary;
pub use connectors::{Called, ConnectorInfo, Connectors, Mark, MarkRefused, Sender, Unmarked};
pub use deploy::{Deployable, Judged, Misfit, Vouched};
pub use description::{Asks, Description, HostAsk, Operation, SecretAsk, Semantics, Supports};
pub use error::ConnectorError;
pub use evidence::{Evidence, Exchange, Progress};
pub use line::{Line, Overheard};
pub use none::NoConnectors;
pub use state::{Circuit, CircuitState, ConnectorState};
pub use verdict::{Broke, BrokeKind, CompensateOutcome, GuestEnd, Outcome};
