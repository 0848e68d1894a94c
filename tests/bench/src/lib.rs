//! Measures a real server: how fast, how soon, how small; each figure beside the floor on which it stands.

pub mod client;
pub mod floor;
pub mod load;
pub mod plot;
pub mod report;
pub mod samples;
pub mod section;
pub mod server;
pub mod stored;
pub mod waking;
