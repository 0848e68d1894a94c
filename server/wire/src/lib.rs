//! Domain <-> wire, where both sides of a connection convert alike. `tape-api` is one side and `tape-client` the other; what only one of them
//! converts stays there.

pub mod calls;
pub mod grants;
