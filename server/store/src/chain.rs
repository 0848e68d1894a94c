//! What a commit hangs on: the one before it, where it was decided on a state that was not durable yet.
//!
//! ```text
//! X: 8 ─▶ 9      Y, decided on what X leaves: 9 ─▶ 10
//!       └── another server writes its own 9: X is refused, and Y finds version 9, but not the one that it was decided on
//! ```
//!
//! A version says how many commits there were, not which. So Y names X, and falls with it.

use tokio::sync::watch;

/// How a commit ends, as everybody sees it who waits for it or was decided on it.
#[derive(Clone, Debug)]
pub struct Fate(watch::Receiver<Option<bool>>);

/// How a commit ends, as its store tells it. One that is dropped without a word has fallen.
#[derive(Clone, Debug)]
pub struct Ending(watch::Sender<Option<bool>>);

/// A commit's place among those of its entity that are under way. The default hangs on nothing.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The commit that it was decided on, unless there was none under way.
    pub before: Option<Fate>,
    /// Its own end.
    pub own: Ending,
}

impl Default for Ending {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Ending {
    /// It is durable.
    pub fn stand(&self) {
        self.0.send_replace(Some(true));
    }

    /// It was not written, or nobody knows: what was decided on it must not be written.
    pub fn fall(&self) {
        self.0.send_replace(Some(false));
    }

    /// What others see of it.
    #[must_use]
    pub fn fate(&self) -> Fate {
        Fate(self.0.subscribe())
    }
}

impl Fate {
    /// Waits for the end. False if it has fallen, or if nobody can tell any more.
    pub async fn stands(mut self) -> bool {
        self.0
            .wait_for(Option::is_some)
            .await
            .is_ok_and(|end| *end == Some(true))
    }

    /// Whether it is still under way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_none() && self.0.has_changed().is_ok()
    }

    /// Whether it has fallen.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        // Nobody is left to tell: it was dropped.
        let known = *self.0.borrow();
        known.map_or_else(|| self.0.has_changed().is_err(), |stands| !stands)
    }
}

impl Chain {
    /// Whether the commit has fallen, by itself or with the one before it.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        *self.own.0.borrow() == Some(false) || self.before.as_ref().is_some_and(Fate::has_fallen)
    }
}
