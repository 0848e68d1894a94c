//! Being woken: one stream that says when to look. Looking every few seconds makes up for what it misses.

use std::sync::PoisonError;
use std::time::Duration;

use tape_core::DueKind;
use tape_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::RemoteTape;
use super::convert::{kind_number, kind_of};

/// Before the stream is opened again; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl RemoteTape {
    /// Listens to the server until `shutdown`; a stream that breaks is opened again.
    pub async fn watch(&self, kinds: &[DueKind], shutdown: CancellationToken) {
        let mut pause = PAUSE;
        let mut silent = false;
        loop {
            let listening = tokio::select! {
                () = shutdown.cancelled() => return,
                listening = self.listen(kinds) => listening,
            };
            // Whoever is attached there cannot be asked before it is heard again.
            self.told_living(Vec::new());
            // Whoever was heard of at least once is tried again at once.
            let heard = listening.heard;
            pause = if heard { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            if heard || !silent {
                tracing::warn!(
                    server = self.config.url,
                    reason = listening.ended.message(),
                    "the server went away"
                );
            }
            silent = !heard;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Listens to one stream until it ends.
    async fn listen(&self, kinds: &[DueKind]) -> Listened {
        let mut heard = false;
        let ended = match self.hear(kinds, &mut heard).await {
            Ok(()) => Status::unavailable("it closed the stream"),
            Err(status) => status,
        };
        Listened { heard, ended }
    }

    async fn hear(&self, kinds: &[DueKind], heard: &mut bool) -> Result<(), Status> {
        let request = pb::WatchRequest {
            reactor_id: self.config.reactor_id.clone(),
            kinds: kinds.iter().map(|kind| kind_number(*kind).into()).collect(),
        };
        let mut wakes = self.reactors.clone().watch(request).await?.into_inner();
        while let Some(wake) = wakes.message().await? {
            if !*heard {
                tracing::info!(
                    server = self.config.url,
                    reactor = self.config.reactor_id,
                    "the server listens"
                );
                // What fell due while nobody listened.
                self.wake(kinds.iter().copied());
            }
            *heard = true;
            *self.apps.lock().unwrap_or_else(PoisonError::into_inner) = wake.apps;
            self.told_living(wake.worker_connectors);
            if wake.connectors {
                self.deployed.send_modify(|times| *times += 1);
            }
            if wake.attached {
                self.attachments.send_modify(|times| *times += 1);
            }
            self.wake(wake.kinds.into_iter().filter_map(kind_of));
        }
        Ok(())
    }

    fn wake(&self, kinds: impl Iterator<Item = DueKind>) {
        for notify in kinds.filter_map(|kind| self.woken.get(&kind)) {
            notify.notify_one();
        }
    }
}

struct Listened {
    heard: bool,
    ended: Status,
}
