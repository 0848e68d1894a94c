//! Streams that the server answers with: pulled by the client, so that a slow one holds nothing back but itself.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::select_all;
use futures_util::stream::{self, Stream, StreamExt};
use tape_connector_port::Line;
use tape_core::{DueKind, RunId};
use tape_engine::{EventFeed, RunFeed, ValueFeed};
use tape_port::{LivingConnectors as _, Workers};
use tape_proto::v1 as pb;
use tape_wire::calls;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::hub::WorkerHub;
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
                    Ok(Some((position, entry))) => Some((Ok(convert::journal::entry(&run, &entry, position)), Some(feed))),
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

/// Wakes for a reactor elsewhere until the server goes away: one at once, then one whenever there may be work.
pub(crate) fn wakes(
    due: Vec<(DueKind, watch::Receiver<u64>)>,
    connectors: watch::Receiver<u64>,
    hub: Arc<WorkerHub>,
    closing: CancellationToken,
) -> Answers<pb::Wake> {
    let (attached, roster) = (hub.attachments(), hub.watch_roster());
    let wakes = stream::unfold(Some((due, connectors, attached, roster, true)), move |state| {
        let (hub, closing) = (hub.clone(), closing.clone());
        async move {
            let (mut due, mut connectors, mut attached, mut roster, first) = state?;
            let (mut woken, mut came, mut changed) = (None, first, first);
            if !first {
                let any = select_all(due.iter_mut().map(|(_, times)| Box::pin(times.changed())));
                tokio::select! {
                    biased;
                    () = closing.cancelled() => return Some((Err(going_away()), None)),
                    (_, index, _) = any => woken = Some(index),
                    _ = attached.changed() => came = true,
                    _ = connectors.changed() => changed = true,
                    _ = roster.changed() => {}
                }
            }
            // Before they are read: who comes meanwhile is told of once more.
            roster.mark_unchanged();
            let mut wake = pb::Wake {
                kinds: Vec::new(),
                attached: came || attached.has_changed().unwrap_or_default(),
                apps: Workers::apps(&*hub),
                worker_connectors: hub.living().iter().map(calls::living).collect(),
                connectors: changed || connectors.has_changed().unwrap_or_default(),
            };
            attached.mark_unchanged();
            connectors.mark_unchanged();
            for (index, (kind, times)) in due.iter_mut().enumerate() {
                if woken == Some(index) || times.has_changed().unwrap_or_default() {
                    wake.kinds.push(convert::work::kind_number(*kind).into());
                    times.mark_unchanged();
                }
            }
            Some((Ok(wake), Some((due, connectors, attached, roster, false))))
        }
    });
    wakes.boxed()
}

/// What a connector says from now on, until the server goes away. A slow listener loses lines, and is told how many.
pub(crate) fn lines(news: broadcast::Receiver<Line>, closing: CancellationToken) -> Answers<pb::ConnectorLine> {
    let lines = stream::unfold(Some((news, 0)), move |state| {
        let closing = closing.clone();
        async move {
            let (mut news, mut lost) = state?;
            loop {
                tokio::select! {
                    biased;
                    () = closing.cancelled() => return Some((Err(going_away()), None)),
                    next = news.recv() => match next {
                        Ok(line) => return Some((Ok(convert::connector::line(line, lost)), Some((news, 0)))),
                        Err(RecvError::Lagged(missed)) => lost += missed,
                        Err(RecvError::Closed) => return None,
                    },
                }
            }
        }
    });
    lines.boxed()
}

fn going_away() -> Status {
    status::ended(
        Code::Unavailable,
        true,
        "the server is going away.",
        "Subscribe again from what comes after the last one seen.",
    )
}
