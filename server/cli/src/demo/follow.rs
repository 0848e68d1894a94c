//! A run's journal, followed as it grows; also over the death of the server that tells it.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tape_client::{ClientError, Entry, TapeClient};
use tokio::time::sleep;

/// Between two tries to reach a server that is away.
const AGAIN: Duration = Duration::from_millis(50);

/// A journal as it arrives.
type Entries = Pin<Box<dyn Stream<Item = Result<Entry, ClientError>>>>;

/// One run's journal so far.
pub struct Follower {
    client: TapeClient,
    run_id: String,
    entries: Vec<Entry>,
    stream: Option<Entries>,
}

impl Follower {
    /// Of a run, from its beginning.
    pub fn new(client: TapeClient, run_id: &str) -> Self {
        Self {
            client,
            run_id: run_id.to_owned(),
            entries: Vec::new(),
            stream: None,
        }
    }

    /// What was seen, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The run has ended, and everything was seen.
    pub fn is_over(&self) -> bool {
        self.entries
            .last()
            .is_some_and(|entry| ["run.ended", "run.cancelled"].contains(&entry.kind.as_str()))
    }

    /// Waits for one more entry, however long it takes. Nothing is lost when it is dropped half-way.
    pub async fn next(&mut self) {
        loop {
            if let Some(stream) = &mut self.stream {
                if let Some(Ok(entry)) = stream.next().await {
                    self.entries.push(entry);
                    return;
                }
                // It broke or ended; the next one begins where this one stopped.
                self.stream = None;
                sleep(AGAIN).await;
            }
            let from = self.entries.last().map_or(1, |entry| entry.seq + 1);
            match self.client.subscribe_run(&self.run_id, from).await {
                Ok(stream) => self.stream = Some(Box::pin(stream)),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}
