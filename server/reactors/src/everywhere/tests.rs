//! What becomes of a call to a connector in a worker's process, whatever the worker does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tape_connector_port::{NoConnectors, Receipt, Supports};

use super::*;

/// One worker of app "treasury" that has connector "ledger", and does as it is told.
struct Workers {
    attached: AtomicBool,
    says: Result<DispatchAnswer, WorkerError>,
    /// What was done, in order.
    story: Mutex<Vec<String>>,
}

impl Workers {
    fn saying(says: Result<DispatchAnswer, WorkerError>) -> Arc<Self> {
        Arc::new(Self {
            attached: AtomicBool::new(true),
            says,
            story: Mutex::default(),
        })
    }

    fn tell(&self, what: impl Into<String>) {
        self.story
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(what.into());
    }

    fn story(&self) -> Vec<String> {
        self.story
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn lost() -> WorkerError {
        WorkerError::Lost {
            worker: "w-1".into(),
            reason: "its stream broke".into(),
        }
    }
}

#[async_trait]
impl LivingConnectors for Workers {
    fn living(&self) -> Vec<Living> {
        let there = Living {
            tenant: "acme".into(),
            app: "treasury".into(),
            name: "ledger".into(),
            supports: Supports {
                observe: true,
                ..Supports::default()
            },
        };
        self.attached
            .load(Ordering::Relaxed)
            .then_some(there)
            .into_iter()
            .collect()
    }

    async fn living_changed(&self) {}

    fn clock(&self) -> Time {
        Time(1_000_000)
    }

    async fn dispatch(&self, _: &str, _: &EffectCall, begin_by: Time) -> Result<Told<DispatchAnswer>, WorkerError> {
        self.tell(format!("asked until {}", begin_by.0));
        let worker = "w-1".to_owned();
        self.says.clone().map(|answer| Told { worker, answer })
    }

    async fn observe(&self, _: &str, _: &EffectCall) -> Result<Told<ObserveAnswer>, WorkerError> {
        self.tell("observed");
        Err(Self::lost())
    }

    async fn status_check(&self, _: &str, _: &EffectCall, _: &str) -> Result<Told<StatusAnswer>, WorkerError> {
        Err(Self::lost())
    }

    async fn compensate(&self, _: &str, _: &ObligationCall, _: Time) -> Result<Told<CompensateAnswer>, WorkerError> {
        Err(Self::lost())
    }
}

struct Marks<'a>(&'a Workers, Result<(), MarkRefused>);

#[async_trait]
impl Mark for Marks<'_> {
    async fn sent(&self, sender: Sender<'_>) -> Result<(), MarkRefused> {
        self.0.tell(format!("marked for {}", sender.version));
        self.1.clone()
    }
}

fn everywhere(workers: &Arc<Workers>) -> Everywhere {
    let everywhere = Everywhere::new(Arc::new(NoConnectors));
    let living: Arc<dyn LivingConnectors> = workers.clone();
    everywhere.join(&living);
    everywhere
}

fn call(app: &str) -> EffectCall {
    EffectCall {
        tenant: "acme".into(),
        app: app.into(),
        run_id: "r-1".into(),
        idempotency_key: "k".into(),
        decision_index: 0,
        tool: "wire".into(),
        operation: String::new(),
        business_key: None,
        attempt: 1,
        payload_json: "null".into(),
        deadline_ms: 0,
        trace_parent: None,
        idempotent: false,
    }
}

async fn dispatched(workers: &Arc<Workers>, call: &EffectCall) -> Result<Called<Outcome>, ConnectorError> {
    everywhere(workers)
        .dispatch("ledger", None, call, &Marks(workers, Ok(())))
        .await
}

#[tokio::test]
async fn it_is_marked_before_anybody_is_asked_and_the_evidence_says_that_nobody_saw_it() {
    let workers = Workers::saying(Ok(DispatchAnswer::Confirmed(Receipt::default())));
    let called = dispatched(&workers, &call("treasury")).await.unwrap();
    assert!(matches!(called.outcome, Outcome::Confirmed(_)), "{called:?}");
    assert_eq!(workers.story(), ["marked for in-process", "asked until 1005000"]);
    assert_eq!(called.evidence.unseen_in_worker.as_deref(), Some("w-1"));
    assert_eq!((called.version.as_str(), called.digest.as_str()), (IN_PROCESS, ""));
}

#[tokio::test]
async fn a_worker_that_was_asked_and_vanished_leaves_doubt() {
    let workers = Workers::saying(Err(Workers::lost()));
    let called = dispatched(&workers, &call("treasury")).await.unwrap();
    assert!(matches!(called.outcome, Outcome::Unknown(_)), "{called:?}");
    assert_eq!(called.evidence.unseen_in_worker.as_deref(), Some("w-1"));
}

#[tokio::test]
async fn a_worker_that_did_not_begin_leaves_none() {
    let refusals = [
        WorkerError::NoWorker { app: "treasury".into() },
        WorkerError::Refused {
            worker: "w-1".into(),
            code: "draining".into(),
            message: String::new(),
            retryable: true,
        },
    ];
    for refusal in refusals {
        let workers = Workers::saying(Err(refusal));
        let error = dispatched(&workers, &call("treasury")).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn without_the_mark_nobody_is_asked() {
    let workers = Workers::saying(Ok(DispatchAnswer::Confirmed(Receipt::default())));
    let refuses = Marks(&workers, Err(MarkRefused("somebody else has it".into())));
    let refused = everywhere(&workers)
        .dispatch("ledger", None, &call("treasury"), &refuses)
        .await;
    assert!(
        matches!(refused, Err(ConnectorError::MarkRefused { .. })),
        "{refused:?}"
    );
    assert_eq!(workers.story(), ["marked for in-process"]);
}

#[tokio::test]
async fn after_its_deadline_nothing_is_marked() {
    let workers = Workers::saying(Ok(DispatchAnswer::Confirmed(Receipt::default())));
    let late = EffectCall {
        deadline_ms: 1_000_000,
        ..call("treasury")
    };
    let called = dispatched(&workers, &late).await.unwrap();
    assert!(matches!(called.outcome, Outcome::Retry { .. }), "{called:?}");
    assert!(workers.story().is_empty());
}

#[tokio::test]
async fn a_connector_is_known_to_its_own_app_and_tenant_alone() {
    let workers = Workers::saying(Ok(DispatchAnswer::Confirmed(Receipt::default())));
    let everywhere = everywhere(&workers);
    assert!(everywhere.describe("acme", "treasury", "ledger").is_some());
    assert!(everywhere.describe("acme", "sales", "ledger").is_none());
    assert!(everywhere.describe("other", "treasury", "ledger").is_none());
    assert_eq!(everywhere.list()[0].app.as_deref(), Some("treasury"));
    let elsewhere = EffectCall {
        tenant: "other".into(),
        ..call("treasury")
    };
    for call in [call("sales"), elsewhere] {
        let error = dispatched(&workers, &call).await.unwrap_err();
        assert!(matches!(error, ConnectorError::Unknown { .. }), "{error}");
    }
    assert!(workers.story().is_empty());
}

#[tokio::test]
async fn what_a_worker_dispatched_waits_for_a_worker() {
    let workers = Workers::saying(Err(Workers::lost()));
    workers.attached.store(false, Ordering::Relaxed);
    let everywhere = everywhere(&workers);
    let waits = everywhere.observe("ledger", Some(IN_PROCESS), &call("treasury")).await;
    assert!(waits.unwrap_err().is_retryable());
    // Nobody knows where this one was dispatched: there may be no such connector.
    let unknown = everywhere.observe("ledger", None, &call("treasury")).await.unwrap_err();
    assert!(matches!(unknown, ConnectorError::Unknown { .. }), "{unknown}");
    workers.attached.store(true, Ordering::Relaxed);
    let asked = everywhere.observe("ledger", Some(IN_PROCESS), &call("treasury")).await;
    assert!(asked.unwrap_err().retry_after_ms().is_some());
    assert_eq!(workers.story(), ["observed"]);
    let unsupported = everywhere
        .status_check("ledger", Some(IN_PROCESS), &call("treasury"), "k")
        .await;
    assert!(matches!(unsupported, Err(ConnectorError::Unsupported { .. })));
}
