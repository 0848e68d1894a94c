//! A follower of all runs: it goes from server to server when they die, and notes what came out of order.

use std::collections::BTreeMap;
use std::time::Duration;

use tape_proto::v1 as pb;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::call::Caller;

/// What it has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The newest seq of each run.
    pub runs: BTreeMap<String, i64>,
    /// What came twice, too late, or left something out.
    pub wrong: Vec<String>,
}

impl Seen {
    /// The next event, after the one at position `cursor`.
    fn note(&mut self, cursor: i64, event: &pb::EventEntry) {
        if event.global_seq <= cursor {
            self.wrong.push(format!("position {} after {cursor}", event.global_seq));
        }
        let last = self.runs.entry(event.run_id.clone()).or_default();
        if event.seq != *last + 1 {
            self.wrong
                .push(format!("{}: seq {} after {last}", event.run_id, event.seq));
        }
        *last = event.seq;
    }
}

/// Reads `SubscribeEvents` for as long as it lives.
pub struct Follower {
    seen: watch::Receiver<Seen>,
    _task: JoinSet<()>,
}

impl Follower {
    /// Follows all runs, first through the server `first`, then through whichever answers, from where it was.
    #[must_use]
    pub fn start(servers: &[String], first: usize) -> Self {
        let callers: Vec<Caller> = servers.iter().map(|address| Caller::to(address)).collect();
        let (telling, seen) = watch::channel(Seen::default());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut cursor = 0;
            for turn in first.. {
                follow(&callers[turn % callers.len()], &mut cursor, &telling).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { seen, _task: task }
    }

    /// Waits until it has seen every run up to this seq. What it has seen.
    ///
    /// # Panics
    /// When that takes more than a minute.
    pub async fn has_seen(&mut self, runs: &BTreeMap<String, i64>) -> Seen {
        let all = |seen: &Seen| {
            runs.iter()
                .all(|(run, seq)| seen.runs.get(run).is_some_and(|last| last >= seq))
        };
        let waiting = self.seen.wait_for(all);
        if let Ok(seen) = tokio::time::timeout(Duration::from_secs(60), waiting).await {
            return seen.expect("the follower lives").clone();
        }
        let seen = self.seen.borrow().clone();
        let missing: Vec<_> = runs
            .iter()
            .filter(|(run, seq)| seen.runs.get(*run) < Some(seq))
            .collect();
        panic!("a follower never saw {missing:?}; wrong: {:?}", seen.wrong);
    }
}

/// Until the stream breaks.
async fn follow(caller: &Caller, cursor: &mut i64, telling: &watch::Sender<Seen>) {
    let request = pb::SubscribeEventsRequest {
        from_global_seq: *cursor + 1,
        ..Default::default()
    };
    let Ok(answer) = caller.following().subscribe_events(request).await else {
        return;
    };
    let mut events = answer.into_inner();
    while let Ok(Some(event)) = events.message().await {
        telling.send_modify(|seen| seen.note(*cursor, &event));
        *cursor = event.global_seq;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as (run, seq, position).
    fn wrong(events: &[(&str, i64, i64)]) -> Vec<String> {
        let (mut seen, mut cursor) = (Seen::default(), 0);
        for (run, seq, position) in events {
            let event = pb::EventEntry {
                run_id: (*run).to_owned(),
                seq: *seq,
                global_seq: *position,
                ..Default::default()
            };
            seen.note(cursor, &event);
            cursor = *position;
        }
        seen.wrong
    }

    #[test]
    fn an_event_that_is_missed_or_comes_twice_or_too_late_is_found() {
        assert_eq!(wrong(&[("a", 1, 1), ("b", 1, 2), ("a", 2, 5)]), Vec::<String>::new());
        assert_eq!(wrong(&[("a", 1, 1), ("a", 3, 3)]), ["a: seq 3 after 1"]);
        assert_eq!(wrong(&[("a", 1, 1), ("a", 1, 2)]), ["a: seq 1 after 1"]);
        assert_eq!(wrong(&[("a", 1, 4), ("b", 1, 3)]), ["position 3 after 4"]);
    }
}
