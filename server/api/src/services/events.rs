//! The feed over all runs.

use std::sync::Arc;

use tape_core::journal::Kind;
use tape_core::predicate::Predicate;
use tape_core::subject::SubjectPattern;
use tape_core::{Refusal, Time};
use tape_engine::{EventFeed, EventFilter};
use tape_port::TapeError;
use tape_proto::v1 as pb;

use super::Cx;
use crate::convert::{not_negative, run_id};
use crate::feed::{self, Answers};

pub(super) fn subscribe_events(
    cx: &Cx,
    asked: pb::SubscribeEventsRequest,
) -> Result<Answers<pb::EventEntry>, TapeError> {
    let given = |text: &str| !text.is_empty();
    let filter = EventFilter {
        tenant: cx.caller.bound().map(str::to_owned),
        run: given(&asked.run_id).then(|| run_id(&asked.run_id)).transpose()?,
        kind: given(&asked.kind).then(|| known(asked.kind)).transpose()?,
        subject: given(&asked.subject_pattern)
            .then(|| SubjectPattern::parse(&asked.subject_pattern))
            .transpose()?,
        from: (not_negative("from_ts_ms", asked.from_ts_ms, "the beginning")? > 0).then_some(Time(asked.from_ts_ms)),
        predicate: None,
    };
    follow(cx, filter, asked.from_global_seq)
}

pub(super) fn subscribe_by_subject(
    cx: &Cx,
    asked: pb::SubscribeBySubjectRequest,
) -> Result<Answers<pb::EventEntry>, TapeError> {
    let predicate = &asked.predicate_cel;
    let filter = EventFilter {
        tenant: cx.caller.bound().map(str::to_owned),
        subject: Some(SubjectPattern::parse(&asked.subject_pattern)?),
        predicate: (!predicate.is_empty())
            .then(|| Predicate::parse(predicate).map(Arc::new))
            .transpose()?,
        ..EventFilter::default()
    };
    follow(cx, filter, asked.from_global_seq)
}

fn follow(cx: &Cx, filter: EventFilter, from: i64) -> Result<Answers<pb::EventEntry>, TapeError> {
    let from = not_negative("from_global_seq", from, "the beginning")?;
    let feed = EventFeed::open(cx.engine.clone(), filter, from);
    Ok(feed::events(feed, cx.closing.clone()))
}

/// A kind that nothing has would be waited for in vain.
fn known(kind: String) -> Result<String, Refusal> {
    if Kind::ALL.iter().any(|known| known.as_str() == kind) {
        return Ok(kind);
    }
    Err(Refusal::invalid(
        "kind",
        &kind,
        format!("No journal entry has the kind {kind:?}."),
        "Use one as in the journal, such as `effect.confirmed`; for several of them use a subject pattern.",
    ))
}
