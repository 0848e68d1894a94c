//! Who may be called now: one lane per tenant and connector, shared by all of its versions, so that a swap neither doubles
//! nor forgets what an upstream is spared.
//!
//! ```text
//! circuit ── connector's turn ── rate ── tenant's turn ── host's turn ── call
//!    └────────────┴───────────────┴──────────┴───────────────┴── refused: nothing happened, ask again after a pause
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tape_connector_port::ConnectorError;
use tokio::time::{Instant, sleep};

use crate::limits::Limits;
use crate::rate::Rate;
use crate::turns::{Turn, Turns};

/// How long a call waits for its turn before it is told that the connector is busy.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// All lanes of a host.
pub struct Lanes {
    /// Calls at the same time over all connectors.
    host: Turns,
    tenant_calls_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<(Arc<str>, Arc<str>), Weak<Lane>>,
    tenants: BTreeMap<Arc<str>, Weak<Turns>>,
}

/// One connector's, in one tenant.
pub struct Lane {
    name: Arc<str>,
    turns: Turns,
    rate: Rate,
    tenant: Arc<Turns>,
    refused: AtomicU64,
}

/// A call's turns; dropping them gives them back.
#[must_use]
pub struct Admitted<'a> {
    _turns: [Turn<'a>; 3],
}

impl Lanes {
    pub fn new(calls_max: u32, tenant_calls_max: u32) -> Self {
        Self {
            host: Turns::new(calls_max as usize),
            tenant_calls_max: tenant_calls_max as usize,
            state: Mutex::default(),
        }
    }

    /// The lane of a connector, with the limits that it had; a new one with `limits`.
    pub fn lane(&self, tenant: &Arc<str>, name: &Arc<str>, limits: &Limits) -> Arc<Lane> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(tenant), Arc::clone(name));
        if let Some(lane) = state.lanes.get(&key).and_then(Weak::upgrade) {
            return lane;
        }
        state.lanes.retain(|_, lane| lane.strong_count() > 0);
        state.tenants.retain(|_, turns| turns.strong_count() > 0);
        let turns = state.tenants.get(tenant).and_then(Weak::upgrade);
        let turns = turns.unwrap_or_else(|| Arc::new(Turns::new(self.tenant_calls_max)));
        state.tenants.insert(Arc::clone(tenant), Arc::downgrade(&turns));
        let lane = Arc::new(Lane::new(name, turns, limits));
        state.lanes.insert(key, Arc::downgrade(&lane));
        lane
    }

    /// A lane for a connector that only introduces itself yet: nobody else waits in it.
    pub fn aside(&self, name: &Arc<str>) -> Arc<Lane> {
        Arc::new(Lane::new(name, Arc::new(Turns::new(1)), &Limits::default()))
    }
}

impl Lane {
    fn new(name: &Arc<str>, tenant: Arc<Turns>, limits: &Limits) -> Self {
        let lane = Self {
            name: Arc::clone(name),
            turns: Turns::new(limits.concurrent_calls),
            rate: Rate::default(),
            tenant,
            refused: AtomicU64::new(0),
        };
        lane.rate.set(limits.calls_per_s);
        lane
    }

    /// What `limits` says holds from now on.
    pub fn adopt(&self, limits: &Limits) {
        self.turns.resize(limits.concurrent_calls);
        self.rate.set(limits.calls_per_s);
    }

    /// Waits for everything that a call needs, a moment for each.
    ///
    /// # Errors
    /// [`ConnectorError::Overloaded`] names the limit, and says when to ask again.
    pub async fn enter<'a>(&'a self, lanes: &'a Lanes) -> Result<Admitted<'a>, ConnectorError> {
        let connectors = self.turn(&self.turns, "limits.concurrent_calls").await?;
        match self.rate.take(Instant::now(), TURN_WAIT) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => sleep(wait).await,
            Err(wait) => return Err(self.refuse("limits.calls_per_s", wait)),
        }
        let others = async {
            let tenants = self.turn(&self.tenant, "the tenant's calls at the same time").await?;
            let hosts = self.turn(&lanes.host, "the host's calls at the same time").await?;
            Ok([connectors, tenants, hosts])
        };
        match others.await {
            Ok(turns) => Ok(Admitted { _turns: turns }),
            Err(error) => {
                self.rate.give_back();
                Err(error)
            }
        }
    }

    /// A call that was refused a turn by `limit`.
    pub fn refuse(&self, limit: &str, retry_after: Duration) -> ConnectorError {
        self.count_refusal();
        ConnectorError::Overloaded {
            name: self.name.to_string(),
            limit: limit.to_owned(),
            retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).max(1),
        }
    }

    /// The same by somebody else than this lane.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many of the connector's calls run, and may.
    pub fn running(&self) -> (u64, u64) {
        self.turns.taken()
    }

    /// The same of its tenant's.
    pub fn tenant_running(&self) -> (u64, u64) {
        self.tenant.taken()
    }

    /// How many calls the last second saw, and may see; 0 = no limit.
    pub fn rate(&self) -> (u64, u64) {
        self.rate.used(Instant::now())
    }

    async fn turn<'a>(&self, turns: &'a Turns, limit: &str) -> Result<Turn<'a>, ConnectorError> {
        match turns.take(TURN_WAIT).await {
            Some(turn) => Ok(turn),
            None => Err(self.refuse(limit, TURN_WAIT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrent_calls: usize, calls_per_s: u32) -> Limits {
        Limits {
            concurrent_calls,
            calls_per_s,
            ..Limits::default()
        }
    }

    async fn refusal(lane: &Lane, lanes: &Lanes) -> Option<(String, u64)> {
        match lane.enter(lanes).await {
            Ok(_) => None,
            Err(ConnectorError::Overloaded {
                limit, retry_after_ms, ..
            }) => Some((limit, retry_after_ms)),
            Err(other) => Some((other.to_string(), 0)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_limit_is_named() {
        let lanes = Lanes::new(3, 2);
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let bank = lanes.lane(&one, &"bank".into(), &limits(1, 0));
        let held = bank.enter(&lanes).await.unwrap();
        assert_eq!(refusal(&bank, &lanes).await.unwrap().0, "limits.concurrent_calls");
        let slack = lanes.lane(&one, &"slack".into(), &limits(9, 0));
        let also_held = slack.enter(&lanes).await.unwrap();
        assert_eq!(
            refusal(&slack, &lanes).await.unwrap().0,
            "the tenant's calls at the same time"
        );
        let others = lanes.lane(&two, &"bank".into(), &limits(9, 0));
        let _third = others.enter(&lanes).await.unwrap();
        assert_eq!(
            refusal(&others, &lanes).await.unwrap().0,
            "the host's calls at the same time"
        );
        drop((held, also_held));
        assert_eq!(refusal(&slack, &lanes).await, None);
        assert_eq!((bank.refused(), slack.refused(), others.refused()), (1, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_and_its_refusal_says_when() {
        let lanes = Lanes::new(64, 64);
        let lane = lanes.lane(&"one".into(), &"bank".into(), &limits(64, 2));
        let began = Instant::now();
        for _ in 0..2 {
            assert_eq!(refusal(&lane, &lanes).await, None);
        }
        assert_eq!((began.elapsed(), lane.rate()), (Duration::ZERO, (2, 2)));
        assert_eq!(refusal(&lane, &lanes).await, None);
        assert_eq!(began.elapsed(), Duration::from_millis(500), "it waited its turn");
        // Of three at once two wait within reason, and the third is told.
        let told = tokio::join!(refusal(&lane, &lanes), refusal(&lane, &lanes), refusal(&lane, &lanes));
        assert_eq!(told, (None, None, Some(("limits.calls_per_s".to_owned(), 1_500))));
    }

    #[tokio::test(start_paused = true)]
    async fn versions_share_a_lane_and_tenants_do_not() {
        let lanes = Lanes::new(64, 64);
        let (one, two, name): (Arc<str>, Arc<str>, Arc<str>) = ("one".into(), "two".into(), "bank".into());
        let first = lanes.lane(&one, &name, &limits(1, 0));
        let next = lanes.lane(&one, &name, &limits(5, 0));
        assert!(Arc::ptr_eq(&first, &next));
        assert!(!Arc::ptr_eq(&first, &lanes.lane(&two, &name, &limits(1, 0))));
        assert_eq!(next.running(), (0, 1), "what is not active yet changes nothing");
        next.adopt(&limits(5, 0));
        assert_eq!(first.running(), (0, 5));
    }
}
