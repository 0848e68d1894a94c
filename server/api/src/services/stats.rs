//! How the server is doing.

use std::collections::HashMap;

use tape_connector_port::{ConnectorInfo, ConnectorState};
use tape_core::{DueKind, RowKey};
use tape_port::{DueWork, TapeError};
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::{moment, signed, small};

/// Most unserved effects that are named.
const UNSERVED_MAX: usize = 100;
/// Most waiting effects that are looked at for it.
const WAITING_MAX: u32 = 500;
/// Waiting effects of any time.
const ALWAYS_MS: i64 = i64::MAX / 2;

/// The names of the statuses of runs, in the order of their numbers on the wire, from 1.
pub const RUN_STATUSES: [&str; 8] = [
    "runnable",
    "running",
    "waiting",
    "terminal",
    "failed",
    "compensating",
    "stuck",
    "cancelled",
];

pub(super) async fn stats(cx: &Cx, _: &MetadataMap, _: pb::StatsRequest) -> Result<pb::StatsResponse, TapeError> {
    let mut runs_by_status = HashMap::new();
    // Sums over all tenants are for those who see all of them.
    let all = cx.caller.bound().is_none();
    let counted = if all { cx.engine.count_runs().await? } else { Vec::new() };
    for (number, count) in counted {
        let name = usize::from(number)
            .checked_sub(1)
            .and_then(|index| RUN_STATUSES.get(index));
        if let Some(name) = name {
            runs_by_status.insert((*name).to_owned(), signed(count));
        }
    }
    let (dead_tasks, oldest_dead_task) = if all { cx.engine.dead_tasks().await? } else { (0, None) };
    let connectors = cx.connectors.list().into_iter();
    let connectors = connectors.filter(|info| cx.caller.sees(&info.tenant));
    let states = cx.connectors.states();
    Ok(pb::StatsResponse {
        server_version: cx.info.version.clone(),
        started_at_ms: cx.info.started_at.0,
        store_url: if all { cx.info.store_url.clone() } else { String::new() },
        runs_by_status,
        reactors: if all { reactors(cx).await? } else { Vec::new() },
        workers: workers(cx),
        connectors: connectors.map(|info| connector(info, &states)).collect(),
        unserved_effects: unserved(cx).await?,
        dead_tasks: signed(dead_tasks),
        oldest_dead_task_at_ms: moment(oldest_dead_task),
    })
}

async fn reactors(cx: &Cx) -> Result<Vec<pb::ReactorStats>, TapeError> {
    let reports = cx.reports.reactors();
    let mut all = Vec::new();
    for kind in DueKind::ALL {
        let (due, oldest) = cx.engine.count_due(kind).await?;
        let mut stats = pb::ReactorStats {
            kind: kind.reactor().to_owned(),
            due: signed(due),
            oldest_due_at_ms: moment(oldest),
            remote: remotes(cx, kind),
            ..pb::ReactorStats::default()
        };
        if let Some(report) = reports.iter().find(|report| report.kind == kind) {
            stats.enabled = report.enabled;
            stats.last_pass_at_ms = report.last_pass.0;
            stats.passes = signed(report.passes);
            stats.errors = signed(report.errors);
            stats.last_error.clone_from(&report.last_error);
        }
        all.push(stats);
    }
    Ok(all)
}

fn remotes(cx: &Cx, kind: DueKind) -> Vec<pb::RemoteReactorStats> {
    let known = cx.remotes.of(kind, cx.engine.now()).into_iter();
    let shown = known.map(|one| pb::RemoteReactorStats {
        reactor_id: one.id,
        last_seen_at_ms: one.last_seen.0,
        passes: signed(one.passes),
    });
    shown.collect()
}

fn workers(cx: &Cx) -> Vec<pb::WorkerStats> {
    let workers = cx.hub.workers().into_iter();
    let workers = workers
        .filter(|worker| cx.caller.sees(&worker.tenant))
        .map(|worker| pb::WorkerStats {
            worker_id: worker.id,
            app_name: worker.app,
            attached_at_ms: worker.attached_at.0,
            last_heartbeat_at_ms: worker.last_heartbeat_at.0,
            running: small(worker.running),
        });
    workers.collect()
}

fn connector(info: ConnectorInfo, states: &[ConnectorState]) -> pb::ConnectorStats {
    let state = states
        .iter()
        .find(|state| (&state.tenant, &state.name, &state.version) == (&info.tenant, &info.name, &info.version));
    let circuit = state.map_or("", |state| state.circuit.state.as_str()).to_owned();
    pb::ConnectorStats {
        name: info.name,
        version: info.version,
        digest: info.digest,
        tenant_id: info.tenant,
        calls: signed(info.calls),
        failures: signed(info.failures),
        circuit,
        last_error: info.last_error.unwrap_or_default(),
        app_name: info.app.unwrap_or_default(),
    }
}

/// Outbox effects that wait for a connector which is loaded neither here nor at a reactor that asks here, and which no worker has.
async fn unserved(cx: &Cx) -> Result<Vec<pb::UnservedEffect>, TapeError> {
    let work = DueWork {
        ahead_ms: ALWAYS_MS,
        tenants: cx.caller.bounds(),
        ..DueWork::all(DueKind::Outbox, WAITING_MAX)
    };
    let mut unserved = Vec::new();
    for due in cx.engine.due_work(&work).await? {
        let RowKey::Effect(key) = &due.key else { continue };
        let Some(effect) = cx.engine.effect(&due.run, key).await? else {
            continue;
        };
        let intent = effect.intent;
        let here = cx
            .connectors
            .describe(&due.tenant, &due.app, &intent.connector)
            .is_some();
        if !here
            && !cx
                .remotes
                .serve(&due.tenant, &due.app, &intent.connector, cx.engine.now())
        {
            unserved.push(pb::UnservedEffect {
                run_id: due.run.0,
                idempotency_key: intent.key.0,
                connector: intent.connector,
            });
        }
        if unserved.len() == UNSERVED_MAX {
            break;
        }
    }
    Ok(unserved)
}
