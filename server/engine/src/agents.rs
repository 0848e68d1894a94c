//! Reactions whose handler is an agent: a run of the app for each task.
//!
//! The run's identity is made of the task's id: starting it twice is starting it once. A task is done once its run is
//! durable; from there on the run is driven, recovered and retried like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use tape_core::DueKind;
use tape_core::RunIdentity;
use tape_core::command::begin_run::StartRun;
use tape_core::reaction::{Handler, Reaction};
use tape_core::run::Caller;
use tape_core::task::Task;
use tape_port::TapeError;

use crate::engine::Engine;
use crate::matcher::user_of;
use crate::reaction::TaskClaim;

/// Tasks claimed at once.
const CLAIM_MAX: u32 = 16;
/// The fallback: tasks that another server made, or whose backoff is over, are seen no later than this.
const POLL: Duration = Duration::from_secs(1);

/// Starts the runs of reactions whose handler is an agent.
pub struct AgentStarter {
    engine: Arc<Engine>,
    owner: String,
}

impl AgentStarter {
    /// A starter that claims as `owner`: a name that no other process has.
    #[must_use]
    pub const fn new(engine: Arc<Engine>, owner: String) -> Self {
        Self { engine, owner }
    }

    /// Starts a run for every task that may be claimed now. Returns how many.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`] if the store does not answer: what was claimed is claimed again after its lease.
    pub async fn pass(&self) -> Result<u64, TapeError> {
        let mut started = 0;
        for reaction in self.engine.reactions(None, false).await? {
            let waits = reaction.counts.pending + reaction.counts.claimed > 0;
            if let (Handler::Agent { app }, true) = (&reaction.order.handler, waits) {
                started += self.serve(&reaction, app).await?;
            }
        }
        Ok(started)
    }

    /// Waits until there may be something to do; no longer than the fallback.
    pub async fn wait(&self) {
        // Timing out is the fallback, not an error.
        drop(tokio::time::timeout(POLL, self.engine.wakes.woken(DueKind::Task)).await);
    }

    async fn serve(&self, reaction: &Reaction, app: &str) -> Result<u64, TapeError> {
        let claim = TaskClaim {
            name: reaction.name.clone(),
            shard: None,
            owner: self.owner.clone(),
            lease_ms: 0,
            max: CLAIM_MAX,
            due_until: None,
        };
        let mut started = 0;
        loop {
            let tasks = self.engine.claim_tasks(&claim).await?;
            if tasks.is_empty() {
                return Ok(started);
            }
            for task in tasks {
                self.start(reaction, app, &task).await?;
                started += 1;
            }
        }
    }

    async fn start(&self, reaction: &Reaction, app: &str, task: &Task) -> Result<(), TapeError> {
        let (tenant, id) = (reaction.name.tenant.as_str(), task.id());
        let settled = match self
            .engine
            .execute(&run_of(reaction, app, task), task.source.trace.clone())
            .await
        {
            Ok(_) => self.engine.complete_task(tenant, &id, self.owner.clone()).await,
            Err(TapeError::Refused(refusal)) => {
                // The same run will be refused again.
                let error = refusal.to_string();
                self.engine
                    .nack_task(tenant, &id, self.owner.clone(), error, true)
                    .await
            }
            Err(error) => Err(error),
        };
        match settled {
            // Our claim ran out meanwhile: somebody else starts the same run, which is there.
            Err(error) if error.is_lost() => Ok(()),
            settled => settled.map(drop),
        }
    }
}

/// The run of a task: its session is the reaction, and what it is asked is the event.
fn run_of(reaction: &Reaction, app: &str, task: &Task) -> StartRun {
    let source = &task.source;
    // The server does not look into a payload: it goes on as it came.
    let payload = RawValue::from_string(source.payload_json.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned());
    let event = json!({
        "subject": source.subject,
        "run_id": source.run.as_str(),
        "seq": source.seq,
        "ts_ms": source.at.0,
        "payload": payload,
    });
    let labels = BTreeMap::from([
        ("tape.reaction".to_owned(), reaction.name.id.clone()),
        ("tape.task".to_owned(), task.id()),
        ("tape.source_run".to_owned(), source.run.as_str().to_owned()),
    ]);
    StartRun {
        identity: RunIdentity {
            tenant: source.tenant.clone(),
            app: app.to_owned(),
            user: user_of(&reaction.name.id),
            session: reaction.name.id.clone(),
            invocation: task.id(),
        },
        caller: Caller {
            labels: labels.into_iter().collect(),
            ..Caller::default()
        },
        // A JSON text: what a user would have said.
        input_json: json!(event.to_string()).to_string(),
    }
}
