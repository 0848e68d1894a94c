//! Every operation as load -> decide (`tape-core`) -> commit (store). The only writer.
//!
//! ```text
//! command ─▶ desk of its entity ─▶ load ─▶ decide ─▶ commit ─▶ durable ─▶ answer, wake (carries no data)
//!                 ▲ turn passes on     ▲           │        │
//!                 └────────────────────│───────────┘        │
//!                                      └──── conflict ──────┘
//! ```

mod agents;
mod begin_effect;
mod connectors;
mod desk;
mod dump;
mod engine;
mod feed;
mod matcher;
mod measure;
mod port;
mod reaction;
mod read;
mod requests;
mod retention;
mod retry_effect;
mod scan;
mod session;
mod tail;
mod task;
mod value;
mod wake;

pub use agents::AgentStarter;
pub use begin_effect::EffectBegun;
pub use dump::DumpPart;
pub use engine::{Engine, EngineConfig};
pub use feed::RunFeed;
pub use matcher::Matcher;
pub use reaction::{TaskClaim, TaskStatus};
pub use read::{Page, RunFilter};
pub use retention::{Retention, RetentionPass};
pub use scan::OpenEffects;
pub use session::SessionView;
pub use tail::{Event, EventFeed, EventFilter};
pub use tape_store::Position;
pub use value::{ValueChange, ValueFeed};
