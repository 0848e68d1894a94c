//! Plain records, as the operations take and give them. `*_ms` is unix milliseconds, 0 = not yet or never; `*_json` is
//! JSON text, empty = none.

pub(crate) mod connector;
pub(crate) mod effect;
pub(crate) mod entry;
pub(crate) mod obligation;
pub(crate) mod reaction;
pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod stats;
