//! Statuses as people read them.

use tape_client::{EffectStatus, ObligationStatus};

/// An effect's status in capitals.
pub const fn effect(status: EffectStatus) -> &'static str {
    match status {
        EffectStatus::Pending => "PENDING",
        EffectStatus::Confirmed => "CONFIRMED",
        EffectStatus::Failed => "FAILED",
        EffectStatus::Unknown => "UNKNOWN",
        EffectStatus::Stuck => "STUCK",
    }
}

/// An obligation's status in capitals.
pub const fn obligation(status: ObligationStatus) -> &'static str {
    match status {
        ObligationStatus::Pending => "PENDING",
        ObligationStatus::Committed => "COMMITTED",
        ObligationStatus::Compensated => "COMPENSATED",
        ObligationStatus::Stuck => "STUCK",
    }
}
