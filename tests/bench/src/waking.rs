//! How soon an app hears of what concerns it: a signal, a timer, the death of the process that drove its run.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tape_proto::v1::tape_client::TapeClient;
use tape_proto::v1::worker_call::Call;
use tape_proto::v1::worker_message::Message;
use tape_proto::v1::workers_client::WorkersClient;
use tape_proto::v1::{
    Accepted, AwaitSignalRequest, BeginRunRequest, EndRunRequest, ResumeRunRequest, RunStatus, SendSignalRequest,
    SetTimerRequest, TimerAck, WorkerAnswer, WorkerCall, WorkerHeartbeat, WorkerHello, WorkerMessage,
    worker_answer::Answer,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use tape_load::Samples;

const APP: &str = "waking";
/// A call that has not come by then does not come.
const LOST: Duration = Duration::from_secs(10);

/// A worker as an SDK is one: attached by a stream, answering calls.
struct Worker {
    id: String,
    say: mpsc::Sender<WorkerMessage>,
    calls: Streaming<WorkerCall>,
}

impl Worker {
    async fn attach(channel: Channel, id: &str) -> anyhow::Result<Self> {
        let (say, said) = mpsc::channel(16);
        say.send(message(Message::Hello(WorkerHello {
            app_name: APP.to_owned(),
            worker_id: id.to_owned(),
            sdk: "bench".to_owned(),
            max_concurrent_runs: 1_000,
            ..Default::default()
        })))
        .await?;
        let calls = WorkersClient::new(channel)
            .attach(ReceiverStream::new(said))
            .await?
            .into_inner();
        let mut worker = Self {
            id: id.to_owned(),
            say,
            calls,
        };
        match worker.next().await?.call {
            Some(Call::Welcome(_)) => Ok(worker),
            other => bail!("not a welcome: {other:?}"),
        }
    }

    async fn next(&mut self) -> anyhow::Result<WorkerCall> {
        let call = timeout(LOST, self.calls.message())
            .await
            .context("no call came within ten seconds")??;
        call.context("the server closed the worker's stream")
    }

    async fn answer(&self, call: &WorkerCall, answer: Answer) -> anyhow::Result<()> {
        let answer = WorkerAnswer {
            call_id: call.call_id.clone(),
            answer: Some(answer),
        };
        Ok(self.say.send(message(Message::Answer(answer))).await?)
    }

    /// Waits for the redrive of a run and takes it on.
    async fn redriven(&mut self, run_id: &str) -> anyhow::Result<Instant> {
        loop {
            let call = self.next().await?;
            let came = Instant::now();
            self.answer(&call, Answer::Accepted(Accepted {})).await?;
            if matches!(&call.call, Some(Call::Redrive(redrive)) if redrive.run_id == run_id) {
                return Ok(came);
            }
        }
    }
}

fn message(message: Message) -> WorkerMessage {
    WorkerMessage { message: Some(message) }
}

async fn connect(url: &str) -> anyhow::Result<Channel> {
    Ok(tonic::transport::Endpoint::from_shared(url.to_owned())?
        .tcp_nodelay(true)
        .connect()
        .await?)
}

async fn begin(tape: &mut TapeClient<Channel>, owner: &str, name: String) -> anyhow::Result<String> {
    let begin = BeginRunRequest {
        app_name: APP.to_owned(),
        user_id: "user".to_owned(),
        session_id: "waking".to_owned(),
        invocation_id: name,
        lease_owner: owner.to_owned(),
        ..Default::default()
    };
    Ok(tape.begin_run(begin).await?.into_inner().run_id)
}

/// Drives a run that was handed over to its end, so that it is nobody's work any more.
async fn end(tape: &mut TapeClient<Channel>, owner: &str, run_id: String) -> anyhow::Result<()> {
    let resume = ResumeRunRequest {
        run_id: run_id.clone(),
        lease_owner: owner.to_owned(),
        ..Default::default()
    };
    tape.resume_run(resume).await?;
    let end = EndRunRequest {
        run_id,
        status: RunStatus::Terminal.into(),
        ..Default::default()
    };
    tape.end_run(end).await?;
    Ok(())
}

/// From a signal's sending until the worker is told to go on with its run.
///
/// # Errors
/// If a call fails, or the worker is not told.
pub async fn signal(url: &str, times: u32) -> anyhow::Result<Samples> {
    let mut tape = TapeClient::new(connect(url).await?);
    let mut worker = Worker::attach(connect(url).await?, "signalled").await?;
    let mut samples = Samples::default();
    for index in 0..times {
        let run_id = begin(&mut tape, &worker.id, format!("signal-{index}")).await?;
        let wait = AwaitSignalRequest {
            run_id: run_id.clone(),
            gate_name: "go".to_owned(),
            ..Default::default()
        };
        anyhow::ensure!(
            !tape.await_signal(wait).await?.into_inner().delivered,
            "nobody had sent it"
        );
        let send = SendSignalRequest {
            run_id: run_id.clone(),
            gate_name: "go".to_owned(),
            resolution_json: "true".to_owned(),
            ..Default::default()
        };
        let sent = Instant::now();
        let mut sender = tape.clone();
        let (answer, came) = tokio::join!(sender.send_signal(send), worker.redriven(&run_id));
        answer?;
        samples.add(came? - sent);
        end(&mut tape, &worker.id, run_id).await?;
    }
    Ok(samples)
}

/// How late a timer of the app's own reaches its worker.
///
/// # Errors
/// If a call fails, the worker is not told, or a timer comes early.
pub async fn timer(url: &str, times: u32) -> anyhow::Result<Samples> {
    let mut tape = TapeClient::new(connect(url).await?);
    let mut worker = Worker::attach(connect(url).await?, "timed").await?;
    let mut samples = Samples::default();
    let run_id = begin(&mut tape, &worker.id, "timers".to_owned()).await?;
    for index in 0..times {
        let set = SetTimerRequest {
            run_id: run_id.clone(),
            timer_id: format!("t-{index}"),
            // Far enough for the reactor to be asleep when it falls due.
            fire_at_ms: now_ms() + 40,
            kind: "ring".to_owned(),
            ..Default::default()
        };
        tape.set_timer(set).await?;
        let call = worker.next().await?;
        let Some(Call::Timer(rung)) = &call.call else {
            bail!("not a timer: {:?}", call.call);
        };
        let late = now_us() - rung.fire_at_ms * 1_000;
        worker.answer(&call, Answer::Timer(TimerAck {})).await?;
        anyhow::ensure!(late >= 0, "timer {} came {} us early", rung.timer_id, -late);
        samples.add(Duration::from_micros(late.unsigned_abs()));
    }
    Ok(samples)
}

/// From the breaking of the stream of the worker that drove a run until another one is told to drive it.
///
/// # Errors
/// If a call fails, or the other worker is not told.
pub async fn recovery(url: &str, times: u32) -> anyhow::Result<Samples> {
    let mut tape = TapeClient::new(connect(url).await?);
    let mut heir = Worker::attach(connect(url).await?, "heir").await?;
    let mut samples = Samples::default();
    for index in 0..times {
        let victim = Worker::attach(connect(url).await?, &format!("victim-{index}")).await?;
        let run_id = begin(&mut tape, &victim.id, format!("recovery-{index}")).await?;
        let beat = WorkerHeartbeat {
            running_run_ids: vec![run_id.clone()],
        };
        victim.say.send(message(Message::Heartbeat(beat))).await?;
        let died = Instant::now();
        drop(victim);
        samples.add(heir.redriven(&run_id).await? - died);
        end(&mut tape, &heir.id, run_id).await?;
    }
    Ok(samples)
}

#[allow(clippy::disallowed_methods, reason = "timers are set by the clock on the wall")]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn now_ms() -> i64 {
    now_us() / 1_000
}
