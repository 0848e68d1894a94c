//! Telling the server what connectors say in this process, so that `tape connector logs` shows it wherever it was said.
//!
//! Lines are for people: they never hold up a call. What cannot be told in time is counted, and the count is told.

use std::time::Duration;

use tape_connector_port::{Line, Overheard};
use tape_proto::v1 as pb;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use super::RemoteTape;

/// Lines that are told at once.
const LINES_MAX: usize = 200;
/// How long the first line of several waits for the others.
const GATHER: Duration = Duration::from_millis(200);
/// Longest time for the last words.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

impl RemoteTape {
    /// Tells the server what is heard, until `shutdown`; then what was heard by then.
    pub async fn relay_lines(&self, mut heard: Receiver<Overheard>, shutdown: CancellationToken) {
        let mut lost = 0;
        loop {
            let first = tokio::select! {
                () = shutdown.cancelled() => break,
                first = heard.recv() => first,
            };
            let mut lines = Vec::new();
            match first {
                Ok(line) => lines.push(line),
                Err(RecvError::Lagged(missed)) => lost += missed,
                Err(RecvError::Closed) => return,
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            let lines = gathered(lines, &mut heard, &mut lost);
            lost += self.tell(lines).await;
        }
        let last = gathered(Vec::new(), &mut heard, &mut lost);
        if !last.is_empty() {
            tokio::time::timeout(LAST_WORDS_MAX, self.tell(last)).await.ok();
        }
    }

    /// Returns how many lines were lost, if the server does not take them.
    async fn tell(&self, lines: Vec<Overheard>) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let lost: u64 = lines.iter().map(|heard| heard.line.lost + 1).sum();
        let request = pb::ReportLinesRequest {
            reactor_id: self.config.reactor_id.clone(),
            lines: lines.into_iter().map(reported).collect(),
        };
        let told = self
            .call(request, async |mut reactors, request| {
                reactors.report_lines(request).await
            })
            .await;
        match told {
            Ok(pb::ReportLinesResponse {}) => 0,
            Err(error) => {
                tracing::debug!(%error, lost, "what connectors said here was not told to the server");
                lost
            }
        }
    }
}

/// `lines`, and what was heard since; the first of them says how many were lost before it. Without one, `lost` goes on counting.
fn gathered(mut lines: Vec<Overheard>, heard: &mut Receiver<Overheard>, lost: &mut u64) -> Vec<Overheard> {
    while lines.len() < LINES_MAX {
        match heard.try_recv() {
            Ok(line) => lines.push(line),
            Err(TryRecvError::Lagged(missed)) => *lost += missed,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    if let Some(first) = lines.first_mut() {
        first.line.lost += std::mem::take(lost);
    }
    lines
}

fn reported(heard: Overheard) -> pb::ReportedLine {
    let Line {
        at_ms,
        version,
        level,
        message,
        run_id,
        key,
        question,
        lost,
        reactor,
    } = heard.line;
    pb::ReportedLine {
        tenant_id: heard.tenant,
        name: heard.name,
        line: Some(pb::ConnectorLine {
            at_ms,
            version,
            level,
            message,
            run_id,
            effect_key: key,
            question,
            lost: i64::try_from(lost).unwrap_or(i64::MAX),
            reactor_id: reactor,
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    #[test]
    fn what_was_not_heard_in_time_is_counted() {
        let (say, mut heard) = broadcast::channel(2);
        for message in ["a", "b", "c", "d"] {
            let line = Line {
                message: message.into(),
                ..Line::default()
            };
            say.send(Overheard {
                line,
                ..Overheard::default()
            })
            .unwrap();
        }
        let mut lost = 3;
        let lines = gathered(Vec::new(), &mut heard, &mut lost);
        assert_eq!(lost, 0, "it is told");
        let told: Vec<(&str, u64)> = lines
            .iter()
            .map(|heard| (heard.line.message.as_str(), heard.line.lost))
            .collect();
        assert_eq!(told, [("c", 5), ("d", 0)]);

        // Nothing to tell it with: it is told with the next line.
        lost = 7;
        assert!(gathered(Vec::new(), &mut heard, &mut lost).is_empty());
        say.send(Overheard::default()).unwrap();
        let lines = gathered(Vec::new(), &mut heard, &mut lost);
        assert_eq!((lines[0].line.lost, lost), (7, 0));
    }
}
