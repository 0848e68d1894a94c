//! Streams that the server answers with: pulled by the client, so that a slow one holds nothing back but itself.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use tape_core::{Entry, RunId};
use tape_engine::{EventFeed, RunFeed, ValueFeed};
use tape_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{convert, status};

/// What a streaming RPC answers with.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The entries of a run until it has ended, or the server goes away.
pub(crate) fn entries(feed: RunFeed, run: RunId, closing: CancellationToken) -> Answers<pb::JournalEntry> {
    let entries = stream::unfold(Some(feed), move |feed| {
        let (run, closing) = (run.clone(), closing.clone());
        async move {
            let mut feed = feed?;
            tokio::select! {
                biased;
                () = closing.cancelled() => Some((Err(going_away()), None)),
                next = feed.next() => match next {
                    Ok(Some(entry)) => Some((Ok(entry_of(&run, &entry)), Some(feed))),
                    Ok(None) => None,
                    Err(error) => Some((Err(status::of(error)), None)),
                },
            }
        }
    });
    entries.boxed()
}

/// The versions of a value until its watcher falls behind, or the server goes away.
pub(crate) fn values(feed: ValueFeed, closing: CancellationToken) -> Answers<pb::ValueEvent> {
    let changes = stream::unfold(Some(feed), move |feed| {
        let closing = closing.clone();
        async move {
            let mut feed = feed?;
            tokio::select! {
                biased;
                () = closing.cancelled() => Some((Err(going_away()), None)),
                next = feed.next() => match next {
                    Ok(change) => Some((Ok(convert::value::event(change)), Some(feed))),
                    Err(error) => Some((Err(status::of(error)), None)),
                },
            }
        }
    });
    changes.boxed()
}

/// Entries of all runs until the server goes away.
pub(crate) fn events(feed: EventFeed, closing: CancellationToken) -> Answers<pb::EventEntry> {
    let events = stream::unfold(Some(feed), move |feed| {
        let closing = closing.clone();
        async move {
            let mut feed = feed?;
            tokio::select! {
                biased;
                () = closing.cancelled() => Some((Err(going_away()), None)),
                next = feed.next() => match next {
                    Ok(event) => Some((Ok(convert::journal::event(&event)), Some(feed))),
                    Err(error) => Some((Err(status::of(error)), None)),
                },
            }
        }
    });
    events.boxed()
}

fn entry_of(run: &RunId, entry: &Entry) -> pb::JournalEntry {
    convert::journal::entry(run, entry)
}

fn going_away() -> Status {
    status::ended(
        Code::Unavailable,
        true,
        "the server is going away.",
        "Subscribe again from what comes after the last one seen.",
    )
}
