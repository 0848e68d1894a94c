//! Clients that drive short runs, through whichever server answers, and remember what they were told.

use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::call::{Answer, Caller};
use crate::story::{Fact, Story, Values};

/// How long a client waits before it repeats a call that was not answered.
const AGAIN: Duration = Duration::from_millis(5);
/// A lease that nobody outlives: these runs have one driver each.
const LEASE_MS: i64 = 3_600_000;

/// What the clients of a trial do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The app of their runs, and the namespace of their values.
    pub app: String,
    /// How many there are.
    pub clients: u32,
    /// The servers that they call, each call one of them.
    pub servers: Vec<String>,
    /// Where their choices come from.
    pub seed: u64,
}

/// Clients at work.
pub struct Clients {
    tasks: JoinSet<Vec<Story>>,
    stop: CancellationToken,
    acknowledged: watch::Receiver<u64>,
    /// What they wrote to values.
    pub values: Arc<Values>,
}

impl Clients {
    /// Sets them to work.
    #[must_use]
    pub fn start(plan: &Plan) -> Self {
        let (stop, values) = (CancellationToken::new(), Arc::new(Values::default()));
        let (counting, acknowledged) = watch::channel(0);
        let counting = Arc::new(counting);
        let mut tasks = JoinSet::new();
        for number in 0..plan.clients {
            let client = Client {
                name: format!("{}-{number}", plan.app),
                app: plan.app.clone(),
                servers: plan.servers.iter().map(|address| Caller::to(address)).collect(),
                rng: ChaCha8Rng::seed_from_u64(plan.seed ^ (u64::from(number) << 32)),
                counting: counting.clone(),
                values: values.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(client.work());
        }
        Self {
            tasks,
            stop,
            acknowledged,
            values,
        }
    }

    /// Waits until so many more calls have been acknowledged.
    ///
    /// # Panics
    /// When the clients end, or are not answered for two minutes.
    pub async fn acknowledged(&mut self, more: u64) {
        let goal = *self.acknowledged.borrow() + more;
        loop {
            let known = *self.acknowledged.borrow();
            if known >= goal {
                return;
            }
            let next = tokio::time::timeout(Duration::from_secs(120), self.acknowledged.wait_for(|now| *now > known));
            next.await.expect("somebody is answered").expect("the clients work");
        }
    }

    /// Lets them finish what they are at. Their stories.
    ///
    /// # Panics
    /// When one of them failed.
    pub async fn finish(self) -> Vec<Story> {
        self.stop.cancel();
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

struct Client {
    name: String,
    app: String,
    servers: Vec<Caller>,
    rng: ChaCha8Rng,
    counting: Arc<watch::Sender<u64>>,
    values: Arc<Values>,
    stop: CancellationToken,
}

/// Whether a call may be made again when its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It is the same request then.
    Same,
    /// It would count twice.
    Never,
}

/// A run as its driver sees it.
struct Drive {
    story: Story,
    fence: i64,
    charges: u32,
}

/// Asks for something by name of the RPC; see [`Client::ask`].
macro_rules! ask {
    ($client:ident, $drive:ident, $facts:expr, $repeat:expr, $rpc:ident, $request:expr) => {{
        let request = $request;
        let call = |mut tape: TapeClient<Channel>| {
            let request = request.clone();
            async move { tape.$rpc(request).await }
        };
        $client.ask(&mut $drive.story, $facts, $repeat, call).await
    }};
}

impl Client {
    async fn work(mut self) -> Vec<Story> {
        let mut stories = Vec::new();
        while !self.stop.is_cancelled() {
            let mut drive = Drive {
                story: Story::default(),
                fence: 0,
                charges: 0,
            };
            // None = an answer was lost and the client gave up, as a process that dies would.
            self.run(&mut drive, stories.len()).await;
            stories.push(drive.story);
        }
        stories
    }

    /// Asks for something that makes `facts`; none if there was no answer and it was not repeated.
    async fn ask<T, F>(
        &mut self,
        story: &mut Story,
        facts: Vec<Fact>,
        repeat: Repeat,
        call: impl Fn(TapeClient<Channel>) -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            let server = self.rng.random_range(0..self.servers.len());
            match Answer::of(call(self.servers[server].tape.clone()).await) {
                Answer::Yes(answer) => {
                    self.counting.send_modify(|count| *count += 1);
                    story.known.extend(facts);
                    return Some(answer);
                }
                Answer::No(status) => {
                    story
                        .wrong
                        .push(format!("{} was refused {facts:?}: {status}", self.name));
                    return None;
                }
                Answer::Lost(_) if repeat == Repeat::Same && self.rng.random_ratio(9, 10) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Answer::Lost(_) => {
                    story.possible.extend(facts);
                    return None;
                }
            }
        }
    }

    /// One short run, from its beginning to its end.
    async fn run(&mut self, drive: &mut Drive, number: usize) -> Option<()> {
        let begin = pb::BeginRunRequest {
            app_name: self.app.clone(),
            user_id: self.name.clone(),
            invocation_id: format!("{}-{number}", self.name),
            lease_owner: self.name.clone(),
            lease_ttl_ms: LEASE_MS,
            fenced: true,
            ..Default::default()
        };
        let begun = ask!(self, drive, Vec::new(), Repeat::Same, begin_run, begin)?;
        (drive.story.run, drive.fence) = (begun.run_id, begun.fence);
        for index in 0..self.rng.random_range(1..=4) {
            let answer = format!("\"{}-{number}-{index}\"", self.name);
            let decision = pb::RecordDecisionRequest {
                run_id: drive.story.run.clone(),
                fence: drive.fence,
                decision_index: index,
                model: "scripted".into(),
                request_json: "{\"turn\":1}".into(),
                response_json: answer.clone(),
                ..Default::default()
            };
            let facts = vec![Fact::Decision(index, answer)];
            ask!(self, drive, facts, Repeat::Same, record_decision, decision)?;
            match self.rng.random_range(0..7) {
                0 | 1 => self.inline(drive, index).await?,
                2 => self.outbox(drive, index).await?,
                3 => self.gate(drive, index).await?,
                4 => self.timer(drive, index).await?,
                5 => self.value(drive, index).await?,
                _ => self.charge(drive, index).await?,
            }
        }
        let end = pb::EndRunRequest {
            run_id: drive.story.run.clone(),
            fence: drive.fence,
            status: pb::RunStatus::Terminal.into(),
            ..Default::default()
        };
        ask!(self, drive, vec![Fact::Ended], Repeat::Same, end_run, end).map(drop)
    }

    async fn inline(&mut self, drive: &mut Drive, index: i64) -> Option<()> {
        let key = format!("{}/d-{index}/note/0", drive.story.run);
        let begin = pb::BeginEffectRequest {
            run_id: drive.story.run.clone(),
            fence: drive.fence,
            decision_index: index,
            tool_name: "note".into(),
            request_json: "{}".into(),
            ..Default::default()
        };
        ask!(
            self,
            drive,
            vec![Fact::Begun(key.clone())],
            Repeat::Same,
            begin_effect,
            begin
        )?;
        let result = format!("{{\"noted\":\"{key}\"}}");
        let complete = pb::CompleteEffectRequest {
            run_id: drive.story.run.clone(),
            fence: drive.fence,
            idempotency_key: key.clone(),
            status: pb::EffectStatus::Confirmed.into(),
            response_json: result.clone(),
            ..Default::default()
        };
        let facts = vec![Fact::Confirmed(key, result)];
        ask!(self, drive, facts, Repeat::Same, complete_effect, complete).map(drop)
    }

    async fn outbox(&mut self, drive: &mut Drive, index: i64) -> Option<()> {
        let key = format!("{}/d-{index}/wire/0", drive.story.run);
        let begin = pb::BeginEffectRequest {
            run_id: drive.story.run.clone(),
            fence: drive.fence,
            decision_index: index,
            tool_name: "wire".into(),
            request_json: "{}".into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            connector: "elsewhere".into(),
            business_key: format!("invoice of {key}"),
            ..Default::default()
        };
        ask!(
            self,
            drive,
            vec![Fact::Begun(key.clone())],
            Repeat::Same,
            begin_effect,
            begin
        )?;
        let claim = pb::ClaimEffectDispatchRequest {
            run_id: drive.story.run.clone(),
            idempotency_key: key.clone(),
            claimer: self.name.clone(),
            ..Default::default()
        };
        let facts = vec![Fact::Claimed(key.clone())];
        ask!(self, drive, facts, Repeat::Same, claim_effect_dispatch, claim)?;
        let result = format!("{{\"wired\":\"{key}\"}}");
        let observed = pb::RecordExternalObservationRequest {
            run_id: drive.story.run.clone(),
            idempotency_key: key.clone(),
            resolution: pb::EffectResolution::Confirmed.into(),
            external_ref: "w-1".into(),
            response_json: result.clone(),
            ..Default::default()
        };
        let facts = vec![Fact::Confirmed(key, result)];
        ask!(self, drive, facts, Repeat::Same, record_external_observation, observed).map(drop)
    }

    /// A signal that comes before its await, or after it: then the run is parked and driven again.
    async fn gate(&mut self, drive: &mut Drive, index: i64) -> Option<()> {
        let gate = format!("gate-{index}");
        if self.rng.random() {
            self.signal(drive, &gate).await?;
            return self.wait(drive, &gate).await;
        }
        self.wait(drive, &gate).await?;
        self.signal(drive, &gate).await?;
        let resume = pb::ResumeRunRequest {
            run_id: drive.story.run.clone(),
            lease_owner: self.name.clone(),
            lease_ttl_ms: LEASE_MS,
            fenced: true,
            ..Default::default()
        };
        let resumed = ask!(self, drive, Vec::new(), Repeat::Same, resume_run, resume)?;
        drive.fence = resumed.run.map_or(0, |run| run.fence);
        Some(())
    }

    async fn wait(&mut self, drive: &mut Drive, gate: &str) -> Option<()> {
        let wait = pb::AwaitSignalRequest {
            run_id: drive.story.run.clone(),
            fence: drive.fence,
            gate_name: gate.to_owned(),
            ..Default::default()
        };
        // It is opened only where its signal was not there before.
        let there = drive
            .story
            .known
            .iter()
            .any(|fact| matches!(fact, Fact::Signalled(of, _) if of == gate));
        let facts = if there {
            Vec::new()
        } else {
            vec![Fact::Opened(gate.to_owned(), 0)]
        };
        ask!(self, drive, facts, Repeat::Same, await_signal, wait).map(drop)
    }

    async fn signal(&mut self, drive: &mut Drive, gate: &str) -> Option<()> {
        let payload = format!("{{\"for\":\"{gate}\"}}");
        let signal = pb::SendSignalRequest {
            run_id: drive.story.run.clone(),
            gate_name: gate.to_owned(),
            resolution_json: payload.clone(),
            request_id: format!("signal {gate}"),
            ..Default::default()
        };
        let facts = vec![Fact::Signalled(gate.to_owned(), payload)];
        ask!(self, drive, facts, Repeat::Same, send_signal, signal).map(drop)
    }

    async fn timer(&mut self, drive: &mut Drive, index: i64) -> Option<()> {
        let id = format!("timer-{index}");
        let set = pb::SetTimerRequest {
            run_id: drive.story.run.clone(),
            timer_id: id.clone(),
            fire_at_ms: i64::MAX / 4,
            kind: "later".into(),
            ..Default::default()
        };
        ask!(self, drive, vec![Fact::Timer(id.clone())], Repeat::Same, set_timer, set)?;
        if self.rng.random() {
            return Some(());
        }
        let cancel = pb::CancelTimerRequest {
            run_id: drive.story.run.clone(),
            timer_id: id.clone(),
            ..Default::default()
        };
        ask!(
            self,
            drive,
            vec![Fact::TimerCancelled(id)],
            Repeat::Same,
            cancel_timer,
            cancel
        )
        .map(drop)
    }

    async fn value(&mut self, drive: &mut Drive, index: i64) -> Option<()> {
        let key = format!("key-{}", self.rng.random_range(0..8));
        let json = format!("\"{} {index}\"", drive.story.run);
        let named = self.rng.random();
        let write = pb::WriteValueRequest {
            namespace: self.app.clone(),
            key: key.clone(),
            value_json: json.clone(),
            if_version: -1,
            writer: self.name.clone(),
            request_id: if named {
                format!("{} {index}", drive.story.run)
            } else {
                String::new()
            },
        };
        self.values.asked(&key, &json);
        let repeat = if named { Repeat::Same } else { Repeat::Never };
        let written = ask!(self, drive, Vec::new(), repeat, write_value, write)?;
        self.values.acknowledged(&key, &json, written.version);
        Some(())
    }

    /// Money that is asked for first, or is simply gone; each amount is another power of four, so that the sum tells which
    /// were counted, and how often.
    async fn charge(&mut self, drive: &mut Drive, index: i64) -> Option<()> {
        let micros = 4_u64.pow(drive.charges);
        drive.charges += 1;
        #[allow(clippy::cast_precision_loss, reason = "small powers of four")]
        let usd = micros as f64 / 1e6;
        let named = self.rng.random();
        let request_id = if named {
            format!("charge {index}")
        } else {
            String::new()
        };
        if named {
            let admit = pb::AdmitBudgetRequest {
                run_id: drive.story.run.clone(),
                fence: drive.fence,
                usd_estimate: usd,
                request_id: request_id.clone(),
                ..Default::default()
            };
            ask!(self, drive, Vec::new(), Repeat::Same, admit_budget, admit)?;
        }
        let charge = pb::ChargeBudgetRequest {
            run_id: drive.story.run.clone(),
            fence: drive.fence,
            usd,
            request_id,
            ..Default::default()
        };
        let repeat = if named { Repeat::Same } else { Repeat::Never };
        ask!(self, drive, vec![Fact::Charged(micros)], repeat, charge_budget, charge).map(drop)
    }
}
