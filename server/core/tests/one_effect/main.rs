//! One outbox effect, and what must hold for it whatever its dispatchers and its upstream do.

mod books_lag;
mod kept;
mod refused_turn;
