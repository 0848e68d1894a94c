//! A connection to a server, as commands use it: operations in, views out. No other module here knows gRPC.

mod dump;
mod error;
mod view;

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{Stream, StreamExt, TryStreamExt, future};
use tape_proto::v1 as pb;
use tape_proto::v1::admin_client::AdminClient;
use tape_proto::v1::tape_client::TapeClient;
use tonic::transport::{Channel, Endpoint};

pub use dump::{Dump, DumpedEffect};
pub use error::ServerError;
pub use view::{Entry, Obligation, OpenEffect, Reactor, Run, Stats, run_status, run_statuses};

type Answer<T> = Result<T, ServerError>;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;
const PAGE: i32 = 500;
const DEFAULT_PORT: u16 = 7878;

/// A connection, made when it is first used and again when it breaks. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    url: String,
    admin: AdminClient<Channel>,
    tape: TapeClient<Channel>,
}

/// Which runs are listed.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this app; empty = of all.
    pub app: String,
    /// In one of these statuses, by number; none = in any.
    pub statuses: Vec<i32>,
    /// At most so many; none = all.
    pub limit: Option<usize>,
}

/// What settles an effect by hand.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// CONFIRMED, or else FAILED.
    pub confirmed: bool,
    /// The upstream's name for it.
    pub external_ref: String,
    /// What the run is given as its result, or its error; JSON.
    pub response_json: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub who: String,
}

impl Server {
    /// The server at `tape://host[:port]`.
    ///
    /// # Errors
    /// When that is no such URL.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let Some(authority) = url.strip_prefix("tape://") else {
            bail!("{url} is not a URL that this command can reach: write tape://host:port");
        };
        let authority = authority.trim_end_matches('/');
        let address = if has_port(authority) {
            authority.to_owned()
        } else {
            format!("{authority}:{DEFAULT_PORT}")
        };
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("{url} is no URL"))?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            url: url.to_owned(),
            admin: AdminClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX_BYTES),
            tape: TapeClient::new(channel).max_decoding_message_size(ANSWER_MAX_BYTES),
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How it is doing.
    pub async fn stats(&self) -> Answer<Stats> {
        Ok(self.admin.clone().stats(pb::StatsRequest {}).await?.into_inner().into())
    }

    /// Starts a run of `app` that is asked `input_json`. Returns it.
    pub async fn start_run(&self, app: &str, user: &str, session: &str, input_json: String) -> Answer<Run> {
        let request = pb::StartRunRequest {
            app_name: app.to_owned(),
            user_id: user.to_owned(),
            session_id: session.to_owned(),
            input_json,
            ..Default::default()
        };
        let answer = self.admin.clone().start_run(request).await?.into_inner();
        answer
            .run
            .map(Run::from)
            .ok_or_else(|| ServerError::strange("StartRun without a run"))
    }

    /// A run as it stands.
    pub async fn run(&self, run_id: &str) -> Answer<Run> {
        let request = pb::GetRunRequest {
            run_id: run_id.to_owned(),
        };
        Ok(self.tape.clone().get_run(request).await?.into_inner().into())
    }

    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Answer<Vec<Run>> {
        let mut request = pb::ListRunsRequest {
            app_name: filter.app.clone(),
            statuses: filter.statuses.clone(),
            page_size: PAGE,
            ..Default::default()
        };
        let most = filter.limit.unwrap_or(usize::MAX);
        let mut runs = Vec::new();
        loop {
            let page = self.admin.clone().list_runs(request.clone()).await?.into_inner();
            runs.extend(page.runs.into_iter().map(Run::from));
            runs.truncate(most);
            if page.next_page_token.is_empty() || runs.len() == most {
                return Ok(runs);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Effects that are UNKNOWN or STUCK, oldest first.
    pub async fn doubtful_effects(&self) -> Answer<Vec<OpenEffect>> {
        let request = pb::ListPendingEffectsRequest {
            include_unknown: true,
            ..Default::default()
        };
        let answer = self.tape.clone().list_pending_effects(request).await?.into_inner();
        Ok(answer.effects.into_iter().map(OpenEffect::from).collect())
    }

    /// Obligations that are STUCK.
    pub async fn stuck_obligations(&self) -> Answer<Vec<Obligation>> {
        let request = pb::ListUnresolvedObligationsRequest {
            include_stuck: true,
            ..Default::default()
        };
        let answer = self
            .tape
            .clone()
            .list_unresolved_obligations(request)
            .await?
            .into_inner();
        Ok(answer.obligations.into_iter().map(Obligation::from).collect())
    }

    /// Everything about a run.
    pub async fn dump(&self, run_id: &str) -> Answer<Dump> {
        let request = pb::DumpRunRequest {
            run_id: run_id.to_owned(),
        };
        let parts = self.admin.clone().dump_run(request).await?.into_inner();
        let collect = |mut dump: Dump, part: pb::DumpRunPart| {
            let added = dump.add(&part.section, &part.json).map(|()| dump);
            future::ready(added.map_err(|error| tonic::Status::internal(error.to_string())))
        };
        Ok(parts.try_fold(Dump::default(), collect).await?)
    }

    /// A run's journal from an entry on, and then live. Ends when the run has ended.
    pub async fn journal(
        &self,
        run_id: &str,
        from_seq: i64,
    ) -> Answer<impl Stream<Item = Answer<Entry>> + Unpin + use<>> {
        let request = pb::SubscribeRunRequest {
            run_id: run_id.to_owned(),
            from_seq,
        };
        let stream = self.tape.clone().subscribe_run(request).await?.into_inner();
        Ok(stream.map(|entry| Ok(entry?.into())))
    }

    /// Cancels a run.
    pub async fn cancel(&self, run_id: &str, reason: &str) -> Answer<Run> {
        let request = pb::CancelRunRequest {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.admin.clone().cancel_run(request).await?.into_inner();
        answer
            .run
            .map(Run::from)
            .ok_or_else(|| ServerError::strange("CancelRun without a run"))
    }

    /// Undoes a run's confirmed effects. `go_on`: also those that are older than one that gets STUCK.
    pub async fn compensate(&self, run_id: &str, reason: &str, go_on: bool) -> Answer<(Run, Vec<Obligation>)> {
        let policy = if go_on {
            pb::CompensatePolicy::GoOn
        } else {
            pb::CompensatePolicy::StopAtStuck
        };
        let request = pb::CompensateRunRequest {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
            policy: policy.into(),
        };
        let answer = self.admin.clone().compensate_run(request).await?.into_inner();
        let run = answer
            .run
            .map(Run::from)
            .ok_or_else(|| ServerError::strange("CompensateRun without a run"))?;
        Ok((run, answer.obligations.into_iter().map(Obligation::from).collect()))
    }

    /// Makes a run due for a driver now.
    pub async fn redrive(&self, run_id: &str, reason: &str) -> Answer<Run> {
        let request = pb::RedriveRequest {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.admin.clone().redrive(request).await?.into_inner();
        answer
            .run
            .map(Run::from)
            .ok_or_else(|| ServerError::strange("Redrive without a run"))
    }

    /// Answers a gate of a run. False if somebody else had already.
    pub async fn signal(&self, run_id: &str, gate: &str, payload_json: String, request_id: String) -> Answer<bool> {
        let request = pb::SendSignalRequest {
            run_id: run_id.to_owned(),
            gate_name: gate.to_owned(),
            resolution_json: payload_json,
            request_id,
            ..Default::default()
        };
        Ok(self.tape.clone().send_signal(request).await?.into_inner().accepted)
    }

    /// Settles an effect that is in doubt.
    pub async fn resolve_effect(&self, run_id: &str, key: &str, settlement: Settlement) -> Answer<OpenEffect> {
        let status = if settlement.confirmed {
            pb::EffectStatus::Confirmed
        } else {
            pb::EffectStatus::Failed
        };
        let request = pb::ResolveEffectRequest {
            run_id: run_id.to_owned(),
            idempotency_key: key.to_owned(),
            status: status.into(),
            external_ref: settlement.external_ref,
            response_json: settlement.response_json,
            reason: settlement.reason,
            who: settlement.who,
        };
        Ok(self.admin.clone().resolve_effect(request).await?.into_inner().into())
    }

    /// Settles an obligation: COMPENSATED, or else STUCK.
    pub async fn resolve_obligation(
        &self,
        run_id: &str,
        seq: i64,
        compensated: bool,
        reason: String,
        who: String,
    ) -> Answer<Obligation> {
        let status = if compensated {
            pb::ObligationStatus::Compensated
        } else {
            pb::ObligationStatus::Stuck
        };
        let request = pb::AdminResolveObligationRequest {
            run_id: run_id.to_owned(),
            obligation_seq: seq,
            status: status.into(),
            reason,
            who,
        };
        Ok(self
            .admin
            .clone()
            .resolve_obligation(request)
            .await?
            .into_inner()
            .into())
    }
}

fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_may_leave_out_the_port_but_not_the_scheme() {
        assert!(Server::new("tape://127.0.0.1").is_ok());
        assert!(Server::new("tape://[::1]:7878/").is_ok());
        assert!(
            Server::new("http://x")
                .err()
                .unwrap()
                .to_string()
                .contains("tape://host:port")
        );
        assert!(has_port("h:1") && has_port("[::1]:1") && !has_port("h") && !has_port("[::1]"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
        let server = Server::new(&format!("tape://127.0.0.1:{}", crate::ports::free().unwrap())).unwrap();
        assert!(server.stats().await.unwrap_err().is_away());
    }
}
