//! How a server is doing.

use std::collections::BTreeMap;

use serde::Serialize;
use tape_proto::v1 as pb;

/// A server, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Its version.
    pub server_version: String,
    /// Since when it serves.
    pub started_at_ms: i64,
    /// Where it stores.
    pub store_url: String,
    /// Runs by the name of their status, in lower case.
    pub runs_by_status: BTreeMap<String, i64>,
    /// All five.
    pub reactors: Vec<ReactorStats>,
    /// Attached workers.
    pub workers: Vec<WorkerStats>,
    /// Loaded connectors.
    pub connectors: Vec<ConnectorStats>,
    /// Effects that wait for a connector which is not loaded; at most 100.
    pub unserved_effects: Vec<UnservedEffect>,
    /// Tasks of reactions in the dead-letter queue.
    pub dead_tasks: i64,
    /// Since when the oldest of them is there.
    pub oldest_dead_task_at_ms: i64,
}

/// One reactor.
#[derive(Clone, Debug, Serialize)]
pub struct ReactorStats {
    /// Its name.
    pub kind: String,
    /// This server runs it.
    pub enabled: bool,
    /// Rows that are due.
    pub due: i64,
    /// Since when the oldest is.
    pub oldest_due_at_ms: i64,
    /// Its last pass.
    pub last_pass_at_ms: i64,
    /// Passes since the server started.
    pub passes: i64,
    /// Rows that it could not handle since then.
    pub errors: i64,
    /// The last of these errors.
    pub last_error: String,
    /// Reactors of this kind in other processes that asked for work lately.
    pub remote: Vec<RemoteReactorStats>,
}

/// A reactor in a process of its own.
#[derive(Clone, Debug, Serialize)]
pub struct RemoteReactorStats {
    /// Its name.
    pub reactor_id: String,
    /// When it last asked for work.
    pub last_seen_at_ms: i64,
    /// How often, since the server started.
    pub passes: i64,
}

/// One attached worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerStats {
    /// Its id.
    pub worker_id: String,
    /// Its app.
    pub app: String,
    /// Since when.
    pub attached_at_ms: i64,
    /// When it was last heard of.
    pub last_heartbeat_at_ms: i64,
    /// Runs that it drives.
    pub running: i32,
}

/// One loaded connector.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorStats {
    /// Name.
    pub name: String,
    /// Active version.
    pub version: String,
    /// Digest of its component.
    pub digest: String,
    /// The app in whose workers it lives, and which it serves alone; empty = it is deployed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Calls so far.
    pub calls: i64,
    /// Of these, crashes, timeouts and breaches.
    pub failures: i64,
    /// The last of these.
    pub last_error: String,
}

/// An effect that nobody serves.
#[derive(Clone, Debug, Serialize)]
pub struct UnservedEffect {
    /// Run.
    pub run_id: String,
    /// Effect.
    pub key: String,
    /// The connector that is missing.
    pub connector: String,
}

impl From<pb::StatsResponse> for Stats {
    fn from(stats: pb::StatsResponse) -> Self {
        Self {
            server_version: stats.server_version,
            started_at_ms: stats.started_at_ms,
            store_url: stats.store_url,
            runs_by_status: stats.runs_by_status.into_iter().collect(),
            reactors: stats.reactors.into_iter().map(ReactorStats::from).collect(),
            workers: stats.workers.into_iter().map(WorkerStats::from).collect(),
            connectors: stats.connectors.into_iter().map(ConnectorStats::from).collect(),
            unserved_effects: stats.unserved_effects.into_iter().map(UnservedEffect::from).collect(),
            dead_tasks: stats.dead_tasks,
            oldest_dead_task_at_ms: stats.oldest_dead_task_at_ms,
        }
    }
}

impl From<pb::ReactorStats> for ReactorStats {
    fn from(reactor: pb::ReactorStats) -> Self {
        Self {
            kind: reactor.kind,
            enabled: reactor.enabled,
            due: reactor.due,
            oldest_due_at_ms: reactor.oldest_due_at_ms,
            last_pass_at_ms: reactor.last_pass_at_ms,
            passes: reactor.passes,
            errors: reactor.errors,
            last_error: reactor.last_error,
            remote: reactor.remote.into_iter().map(RemoteReactorStats::from).collect(),
        }
    }
}

impl From<pb::RemoteReactorStats> for RemoteReactorStats {
    fn from(reactor: pb::RemoteReactorStats) -> Self {
        Self {
            reactor_id: reactor.reactor_id,
            last_seen_at_ms: reactor.last_seen_at_ms,
            passes: reactor.passes,
        }
    }
}

impl From<pb::WorkerStats> for WorkerStats {
    fn from(worker: pb::WorkerStats) -> Self {
        Self {
            worker_id: worker.worker_id,
            app: worker.app_name,
            attached_at_ms: worker.attached_at_ms,
            last_heartbeat_at_ms: worker.last_heartbeat_at_ms,
            running: worker.running,
        }
    }
}

impl From<pb::ConnectorStats> for ConnectorStats {
    fn from(connector: pb::ConnectorStats) -> Self {
        Self {
            name: connector.name,
            version: connector.version,
            digest: connector.digest,
            app: connector.app_name,
            calls: connector.calls,
            failures: connector.failures,
            last_error: connector.last_error,
        }
    }
}

impl From<pb::UnservedEffect> for UnservedEffect {
    fn from(effect: pb::UnservedEffect) -> Self {
        Self {
            run_id: effect.run_id,
            key: effect.idempotency_key,
            connector: effect.connector,
        }
    }
}
