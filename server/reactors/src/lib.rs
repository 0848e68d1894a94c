//! Five reactors, one file each, and the driver that runs them.
//!
//! ```text
//! reactor.pass: due -> claim -> load -> plan -> [write intent] -> connector or worker -> outcome -> commit -> wake
//! ```
//!
//! A reactor takes no input: it reads what is due, does bounded work on each row, and writes. A timer or a wake-up only
//! says when to look. One code path serves the normal case, restart and failover.

mod compensation;
mod driver;
mod everywhere;
mod holding;
mod measure;
mod newcomers;
mod outbox;
mod reactor;
mod reconciler;
mod recovery;
mod report;
mod timers;
mod trace;

pub use compensation::Compensation;
pub use driver::{Driver, DriverConfig};
pub use everywhere::{Everywhere, IN_PROCESS};
pub use newcomers::Newcomers;
pub use outbox::Outbox;
pub use reactor::{Identity, Reactor, pass};
pub use reconciler::Reconciler;
pub use recovery::Recovery;
pub use report::ReportBoard;
pub use timers::{TIMER_LEAD_MS, Timers};
