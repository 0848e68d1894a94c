//! One call of a guest, from the permit to the evidence: an instance of its own, a deadline that holds for code that spins as well as for code
//! that waits, and an end that is always either an answer or a reason.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tape_connector_port::{
    Broke, BrokeKind, ConnectorError, EffectCall, Evidence, GuestEnd, Line, Mark, Progress, Sender,
};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use crate::contract::{Customs, Declare, Guest};
use crate::egress::{Egress, Notes, Reach};
use crate::evidence::Recorder;
use crate::gate::{Asked, gate};
use crate::host::Shared;
use crate::kept::Instance;
use crate::output::{Tail, one_line};
use crate::registry::Loaded;
use crate::sandbox::Sandbox;
use crate::secrets::Vault;

/// How long a call that found no room in the pool of instances is asked to stay away.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// What is copied between host and guest beyond one body: headers, payload, answer.
const COPY_SLACK_BYTES: usize = 4 * 1024 * 1024;
/// Requests end this long before the call does, at most a tenth of it, so that the guest can still answer.
const LAST_WORDS_MAX: Duration = Duration::from_millis(250);

/// What is asked, of whom, for whom.
pub struct Question<'a> {
    pub name: &'static str,
    pub reach: Reach,
    /// None only for `describe`.
    pub effect: Option<&'a EffectCall>,
    pub mark: &'a dyn Mark,
}

/// How it ended, and what was seen on the way.
pub struct Ended<A> {
    pub end: GuestEnd<A>,
    pub evidence: Evidence,
    /// The call's span: what the host makes of it is recorded there as `outcome`.
    pub span: Span,
}

/// One of the guest's exports, being called.
pub type Invoked<'a, W> = Pin<Box<dyn Future<Output = wasmtime::Result<W>> + Send + 'a>>;

/// Asks `loaded` a question: in a fresh instance, or in one that it has used before where that is granted.
///
/// # Errors
/// Only if the call did not take place: see [`ConnectorError`]. Nothing that could change an upstream has left then.
pub async fn run<W, A>(
    shared: &Shared,
    loaded: &Loaded,
    question: Question<'_>,
    invoke: impl for<'a> FnOnce(&'a Guest, &'a mut Store<Sandbox>) -> Invoked<'a, W> + Send,
) -> Result<Ended<A>, ConnectorError>
where
    W: Declare<A> + Send,
    A: Send,
{
    let span = tracing::info_span!(
        "connector_call",
        connector = &*loaded.name,
        version = &*loaded.version,
        digest = loaded.digest,
        question = question.name,
        operation = question.effect.map(|effect| effect.operation.as_str()),
        tenant = &*loaded.tenant,
        run = question.effect.map(|effect| effect.run_id.as_str()),
        key = question.effect.map(|effect| effect.idempotency_key.as_str()),
        outcome = tracing::field::Empty,
    );
    let ended = run_in_span(shared, loaded, question, invoke)
        .instrument(span.clone())
        .await;
    match ended {
        Ok((end, evidence)) => Ok(Ended { end, evidence, span }),
        Err(error) => {
            span.record("outcome", error.code());
            Err(error)
        }
    }
}

async fn run_in_span<W, A>(
    shared: &Shared,
    loaded: &Loaded,
    question: Question<'_>,
    invoke: impl for<'a> FnOnce(&'a Guest, &'a mut Store<Sandbox>) -> Invoked<'a, W> + Send,
) -> Result<(GuestEnd<A>, Evidence), ConnectorError>
where
    W: Declare<A> + Send,
    A: Send,
{
    let pass = loaded.breaker.enter(Instant::now()).map_err(|resting| {
        loaded.lane.count_refusal();
        ConnectorError::CircuitOpen {
            name: loaded.name.to_string(),
            failures: resting.failures,
            retry_after_ms: millis(resting.retry_after),
            last_error: resting.last_error,
        }
    })?;
    let _admitted = loaded.lane.enter(&shared.lanes).await?;
    // Calls that never wait would otherwise keep timers from firing.
    tokio::task::yield_now().await;
    let _ticking = shared.ticker.tick();

    let (deadline, last_words) = deadline(shared, loaded, question.effect);
    let (gate, asked, refused) = gate();
    let recorder = Arc::new(Recorder::default());
    let egress = Arc::new(Egress {
        connector: Arc::clone(&loaded.name),
        reach: question.reach,
        policy: Arc::clone(&loaded.policy),
        clients: Arc::clone(&shared.clients),
        vault: Vault::open(&loaded.policy, &loaded.secrets),
        recorder: Arc::clone(&recorder),
        gate,
        limits: loaded.limits,
        trace_parent: question.effect.and_then(|effect| effect.trace_parent.clone()),
        deadline: deadline - last_words,
        notes: notes(shared, loaded, &question),
    });
    let (mut store, guest, calls) = match loaded.kept.take() {
        Some(Instance {
            mut store,
            guest,
            calls,
        }) => {
            store.data_mut().begin(Arc::clone(&egress));
            (store, Some(guest), calls)
        }
        None => (fresh(shared, loaded, Arc::clone(&egress)), None, 0),
    };
    limit(&mut store, loaded, deadline);
    let tail = store.data().tail.clone();
    let began = Instant::now();

    let call = async {
        let guest = match guest {
            Some(guest) => guest,
            None => loaded.component.instantiate_async(&mut store).await?,
        };
        let answer = invoke(&guest, &mut store).await?;
        Ok((answer, guest))
    };
    let sender = Sender {
        version: &loaded.version,
        digest: &loaded.digest,
    };
    let ended: Result<wasmtime::Result<(W, Guest)>, Elapsed> =
        timeout_at(deadline, answering_the_gate(call, asked, question.mark, sender)).await;
    let exceeded = store.data_mut().quota.exceeded.take();
    let evidence = redacted(recorder.seal(), &egress.vault);
    if !tail.is_empty() {
        let output = one_line(&egress.vault.redact(&tail.text()));
        tracing::debug!(target: "tape::connector", output, "standard output and error");
    }

    if let Some(reason) = refused.get() {
        return Err(ConnectorError::MarkRefused {
            reason: egress.vault.redact(reason),
        });
    }
    let within_limits = exceeded.is_none();
    let end = match ended {
        Err(_) => GuestEnd::Broke(broke(BrokeKind::Timeout, timeout_text(loaded, &question), &tail)),
        Ok(Ok((answer, guest))) => match answer.declare(&*egress) {
            Ok(answer) => {
                if within_limits {
                    let calls = calls + 1;
                    loaded.kept.put_back(Instance { store, guest, calls }, &shared.idle);
                }
                GuestEnd::Answer(answer)
            }
            Err(breach) => GuestEnd::Broke(broke(BrokeKind::Breach, breach, &tail)),
        },
        Ok(Err(error)) if error.is::<PoolConcurrencyLimitError>() => {
            shared.registry.make_room();
            return Err(loaded.lane.refuse("the host's pool of instances", ROOM_WAIT));
        }
        Ok(Err(error)) => GuestEnd::Broke(explain(&error, exceeded, timeout_text(loaded, &question), &tail)),
    };
    let end = match end {
        GuestEnd::Answer(answer) => GuestEnd::Answer(answer),
        GuestEnd::Broke(broke) => GuestEnd::Broke(named(broke, &loaded.name, &egress.vault)),
    };
    // That a caller had less time than the connector may take is nobody's failure.
    let ran_out = Instant::now() >= egress.deadline && question.effect.is_some_and(|effect| effect.deadline_ms > 0);
    match failure(&end, &recorder) {
        Some(_) if ran_out => drop(pass),
        Some(failure) => pass.failed(failure, Instant::now(), shared.clock.now_ms()),
        None => pass.answered(shared.clock.now_ms()),
    }
    let ended = summary(&end, &evidence, question.effect, began.elapsed());
    egress.notes.say(shared.clock.now_ms(), "call", ended);
    Ok((end, evidence))
}

/// Where what is said in the call is kept. What a connector says while it introduces itself is nobody's.
fn notes(shared: &Shared, loaded: &Loaded, question: &Question<'_>) -> Notes {
    let Some(effect) = question.effect else {
        return Notes {
            lines: Arc::default(),
            about: Line::default(),
        };
    };
    Notes {
        lines: shared.lines.of(&loaded.tenant, &loaded.name),
        about: Line {
            version: loaded.version.to_string(),
            run_id: effect.run_id.clone(),
            key: effect.idempotency_key.clone(),
            question: question.name.to_owned(),
            ..Line::default()
        },
    }
}

/// How a call ended, in one line: `wire answered in 12 ms; POST bank:7900/wires 201`.
fn summary<A>(end: &GuestEnd<A>, evidence: &Evidence, effect: Option<&EffectCall>, took: Duration) -> String {
    let operation = effect.map_or("", |effect| effect.operation.as_str());
    let mut text = match end {
        GuestEnd::Answer(_) => format!("{operation} answered in {} ms", took.as_millis()),
        GuestEnd::Broke(broke) => format!("{operation} broke after {} ms: {broke}", took.as_millis()),
    };
    for exchange in &evidence.exchanges {
        let outcome = match (exchange.progress, exchange.status) {
            (Progress::NotSent, _) => "not sent".to_owned(),
            (_, Some(status)) => status.to_string(),
            (_, None) => "no answer".to_owned(),
        };
        text.push_str(&format!(
            "; {} {}{} {outcome}",
            exchange.method, exchange.authority, exchange.path
        ));
    }
    text
}

/// A path is the guest's text like any other.
fn redacted(mut evidence: Evidence, vault: &Vault) -> Evidence {
    for exchange in &mut evidence.exchanges {
        exchange.path = vault.redact(&exchange.path);
    }
    evidence
}

/// Drives the guest, and answers its one question whether an unsafe request may leave.
async fn answering_the_gate<T>(
    guest: impl Future<Output = T>,
    mut asked: Asked,
    mark: &dyn Mark,
    sender: Sender<'_>,
) -> T {
    let mut guest = pin!(guest);
    loop {
        tokio::select! {
            biased;
            ended = &mut guest => return ended,
            Some(reply) = asked.recv() => {
                // If the guest is gone meanwhile, nobody waits for the answer and nothing leaves.
                reply.send(mark.sent(sender).await).ok();
            }
        }
    }
}

/// A store for one instance.
fn fresh(shared: &Shared, loaded: &Loaded, egress: Arc<Egress>) -> Store<Sandbox> {
    let sandbox = Sandbox::new(
        egress,
        Arc::clone(&loaded.config_json),
        Arc::clone(&shared.clock),
        shared.random,
    );
    let mut store = Store::new(&shared.engine, sandbox);
    store.limiter(|sandbox| &mut sandbox.quota);
    store
}

/// What one call may use of the processor, and copy between host and guest.
fn limit(store: &mut Store<Sandbox>, loaded: &Loaded, deadline: Instant) {
    store.set_hostcall_fuel(loaded.limits.body_bytes + COPY_SLACK_BYTES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        Ok(if Instant::now() < deadline {
            UpdateDeadline::Yield(1)
        } else {
            UpdateDeadline::Interrupt
        })
    });
}

/// When the call ends, and how long before that its requests do.
fn deadline(shared: &Shared, loaded: &Loaded, effect: Option<&EffectCall>) -> (Instant, Duration) {
    let mut left_ms = loaded.limits.timeout_ms;
    if let Some(effect) = effect.filter(|effect| effect.deadline_ms > 0) {
        let wanted_ms = effect.deadline_ms.saturating_sub(shared.clock.now_ms());
        left_ms = left_ms.min(u64::try_from(wanted_ms).unwrap_or(0));
    }
    let left = Duration::from_millis(left_ms);
    (Instant::now() + left, LAST_WORDS_MAX.min(left / 10))
}

/// The reason of a broken call names the connector and no secret.
fn named(broke: Broke, name: &str, vault: &Vault) -> Broke {
    let broke = Broke {
        kind: broke.kind,
        message: format!("`{name}`: {}", vault.redact(&broke.message)),
    };
    tracing::warn!(reason = %broke, "the connector gave no answer");
    broke
}

/// What the circuit breaker counts: a guest that broke, and an upstream that was asked and never said a word.
fn failure<A>(end: &GuestEnd<A>, recorder: &Recorder) -> Option<String> {
    match end {
        GuestEnd::Broke(broke) => Some(broke.to_string()),
        GuestEnd::Answer(_) if recorder.is_unanswered() => Some("the upstream did not answer".to_owned()),
        GuestEnd::Answer(_) => None,
    }
}

fn explain(error: &wasmtime::Error, exceeded: Option<String>, timeout_text: String, tail: &Tail) -> Broke {
    if let Some(exceeded) = exceeded {
        return broke(BrokeKind::Limit, exceeded, tail);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => broke(BrokeKind::Timeout, timeout_text, tail),
        Some(Trap::StackOverflow) => broke(BrokeKind::Limit, "its stack is larger than 512 KiB".to_owned(), tail),
        _ => {
            tracing::debug!(error = ?error, "trap");
            broke(BrokeKind::Trap, error.root_cause().to_string(), tail)
        }
    }
}

fn broke(kind: BrokeKind, message: String, tail: &Tail) -> Broke {
    let tail = tail.text();
    let message = if tail.is_empty() {
        message
    } else {
        format!("{message}; its last words: {tail}")
    };
    Broke { kind, message }
}

fn timeout_text(loaded: &Loaded, question: &Question<'_>) -> String {
    let limit_ms = loaded.limits.timeout_ms;
    match question.effect {
        Some(effect) if effect.deadline_ms > 0 => {
            format!(
                "{} was busy at its deadline (limits.timeout_ms is {limit_ms}, the caller's may be earlier)",
                question.name
            )
        }
        _ => format!("{} took longer than {limit_ms} ms (limits.timeout_ms)", question.name),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Customs for Egress {
    fn clear(&self, text: String) -> String {
        self.vault.redact(&text)
    }

    fn response_bytes_max(&self) -> usize {
        self.limits.body_bytes
    }
}
