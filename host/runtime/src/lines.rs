//! What connectors said lately: a bounded number of lines for each, and whoever listens hears what comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tape_connector_port::{Line, Overheard};
use tokio::sync::broadcast;

/// Lines that are kept of one connector.
const KEPT_MAX: usize = 1_000;
/// Bytes of messages that are kept of one connector.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Longest message that is kept; the log has all of it.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Listeners that fall further behind than this lose lines, and are told how many.
const NEWS: usize = 256;
/// The same for whoever listens to all connectors.
const OVERHEARD: usize = 4_096;

/// The lines of all connectors of a host, by tenant and name. A connector that is taken away leaves its last words.
pub struct AllLines {
    by_name: Mutex<BTreeMap<(String, String), Arc<Lines>>>,
    overheard: broadcast::Sender<Overheard>,
}

/// One connector's.
#[derive(Default)]
pub struct Lines {
    kept: Mutex<Kept>,
    news: News,
    /// Whose they are, and who listens to all of them; none for what is nobody's.
    all: Option<(String, String, broadcast::Sender<Overheard>)>,
}

struct News(broadcast::Sender<Line>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl AllLines {
    pub fn of(&self, tenant: &str, name: &str) -> Arc<Lines> {
        let mut all = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = all.entry((tenant.to_owned(), name.to_owned())).or_insert_with(|| {
            Arc::new(Lines {
                all: Some((tenant.to_owned(), name.to_owned(), self.overheard.clone())),
                ..Lines::default()
            })
        });
        Arc::clone(lines)
    }

    /// What all connectors say from now on.
    pub fn overhear(&self) -> broadcast::Receiver<Overheard> {
        self.overheard.subscribe()
    }
}

impl Default for AllLines {
    fn default() -> Self {
        Self {
            by_name: Mutex::default(),
            overheard: broadcast::Sender::new(OVERHEARD),
        }
    }
}

impl Lines {
    pub fn say(&self, mut line: Line) {
        if let Some(end) = (0..=MESSAGE_BYTES_MAX.min(line.message.len()))
            .rev()
            .find(|at| line.message.is_char_boundary(*at))
            && end < line.message.len()
        {
            line.message.truncate(end);
            line.message.push('…');
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += line.message.len();
        kept.lines.push_back(line.clone());
        while kept.lines.len() > KEPT_MAX || kept.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.message.len();
        }
        // Under the lock, so that whoever begins to listen gets each line once. Nobody listens: nothing to tell.
        if let Some((tenant, name, overheard)) = &self.all {
            drop(overheard.send(Overheard {
                tenant: tenant.clone(),
                name: name.clone(),
                line: line.clone(),
            }));
        }
        drop(self.news.0.send(line));
    }

    /// The last lines, at most `limit`, and what comes after them.
    pub fn tail(&self, limit: usize) -> (Vec<Line>, broadcast::Receiver<Line>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = kept.lines.len().saturating_sub(limit);
        (kept.lines.iter().skip(skip).cloned().collect(), self.news.0.subscribe())
    }
}

impl Default for News {
    fn default() -> Self {
        Self(broadcast::Sender::new(NEWS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: String) -> Line {
        Line {
            message,
            ..Line::default()
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let lines = Lines::default();
        for n in 0..3 * KEPT_MAX {
            lines.say(line(n.to_string()));
        }
        let (last, _) = lines.tail(2);
        assert_eq!(
            last.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(),
            ["2998", "2999"]
        );
        assert_eq!(lines.tail(usize::MAX).0.len(), KEPT_MAX);
        for _ in 0..KEPT_MAX {
            lines.say(line("ä".repeat(MESSAGE_BYTES_MAX)));
        }
        let kept = lines.tail(usize::MAX).0;
        assert!(kept.iter().map(|line| line.message.len()).sum::<usize>() <= KEPT_BYTES_MAX);
        assert!(kept.iter().all(|line| line.message.ends_with('…')));
    }

    #[tokio::test]
    async fn who_listens_to_all_hears_whose_each_line_is() {
        let all = AllLines::default();
        all.of("t", "bank").say(line("before".into()));
        let mut heard = all.overhear();
        all.of("t", "bank").say(line("one".into()));
        all.of("u", "log").say(line("two".into()));
        for expected in [("t", "bank", "one"), ("u", "log", "two")] {
            let Overheard { tenant, name, line } = heard.recv().await.unwrap();
            assert_eq!((tenant.as_str(), name.as_str(), line.message.as_str()), expected);
        }
    }

    #[tokio::test]
    async fn who_listens_hears_each_line_once() {
        let lines = Lines::default();
        lines.say(line("before".into()));
        let (kept, mut news) = lines.tail(10);
        lines.say(line("after".into()));
        assert_eq!((kept.len(), news.recv().await.unwrap().message.as_str()), (1, "after"));
    }
}
