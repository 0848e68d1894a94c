//! A connector and its upstream, and the questions that are put to it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tape_connector_port::{Connectors, EffectCall, Evidence, ObligationCall, Receipt, Unmarked};
use tape_host::Host;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::told::{self, Answer};
use crate::{Call, Case, EffectSpec, Fake, Kit, Setup, Step, Told, shape};

/// What a deployment may reach.
#[derive(Debug, Clone)]
pub enum Grant {
    /// Its upstream, with all its secrets.
    All,
    /// Nothing at all.
    None,
    /// An origin at which nobody listens, and which the configuration names.
    Nobody(String),
}

/// A connector, ready to be asked.
pub struct World {
    /// Its upstream.
    pub fake: Fake,
    /// What its cases say.
    pub setup: Setup,
    host: Host,
    name: String,
    tenant: &'static str,
}

impl World {
    pub(crate) fn new(host: Host, name: String, tenant: &'static str, setup: Setup, fake: Fake) -> Self {
        Self {
            fake,
            setup,
            host,
            name,
            tenant,
        }
    }

    /// The sample effect.
    #[must_use]
    pub fn effect(&self) -> EffectCall {
        self.effect_of(&self.setup.effect)
    }

    /// The effect of `spec`.
    #[must_use]
    pub fn effect_of(&self, spec: &EffectSpec) -> EffectCall {
        EffectCall {
            tenant: self.tenant.to_owned(),
            app: "app".to_owned(),
            run_id: "r-1".to_owned(),
            idempotency_key: spec.idempotency_key.clone(),
            decision_index: 0,
            tool: "tool".to_owned(),
            operation: spec.operation.clone(),
            business_key: spec.business_key.clone(),
            attempt: spec.attempt,
            payload_json: spec.payload.to_string(),
            deadline_ms: 0,
            trace_parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            idempotent: false,
        }
    }

    /// Does it.
    pub async fn dispatch(&self, effect: &EffectCall) -> Told {
        self.ask(async {
            match self.host.dispatch(&self.name, None, effect, &Unmarked).await {
                Ok(called) => (told::dispatched(called.outcome), called.evidence),
                Err(error) => (told::refused(&error), Evidence::default()),
            }
        })
        .await
    }

    /// Asks the books.
    pub async fn observe(&self, effect: &EffectCall) -> Told {
        self.ask(async {
            match self.host.observe(&self.name, None, effect).await {
                Ok(called) => (told::observed(called.outcome), called.evidence),
                Err(error) => (told::refused(&error), Evidence::default()),
            }
        })
        .await
    }

    /// Asks whether it committed.
    pub async fn status_check(&self, effect: &EffectCall, reference: &str) -> Told {
        self.ask(async {
            match self.host.status_check(&self.name, None, effect, reference).await {
                Ok(called) => (told::checked(called.outcome), called.evidence),
                Err(error) => (told::refused(&error), Evidence::default()),
            }
        })
        .await
    }

    /// Undoes it.
    pub async fn compensate(&self, effect: &EffectCall, receipt: Option<Receipt>) -> Told {
        let obligation = ObligationCall {
            idempotency_key: format!("compensate:{}", effect.idempotency_key),
            effect: effect.clone(),
            receipt,
            kind: self.setup.obligation.kind.clone(),
            payload_json: self.setup.obligation.payload.to_string(),
            attempt: 1,
        };
        self.ask(async {
            match self.host.compensate(&self.name, None, &obligation, &Unmarked).await {
                Ok(called) => (told::compensated(called.outcome), called.evidence),
                Err(error) => (told::refused(&error), Evidence::default()),
            }
        })
        .await
    }

    /// Takes one step of a case, without judging what comes of it. `last` is the receipt of the step before, if it gave one.
    pub async fn take(&self, step: &Step, effect: &EffectCall, last: Option<&Receipt>) -> Told {
        take(self, step, effect, last).await
    }

    async fn ask(&self, call: impl Future<Output = (Answer, Evidence)>) -> Told {
        let (log, began) = (Log::default(), Instant::now());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        let ((answer, receipt), evidence) = call.with_subscriber(subscriber).await;
        Told {
            answer,
            receipt,
            evidence,
            log: log.text(),
            took_ms: millis(began.elapsed()),
        }
    }
}

/// Plays one case in a world of its own.
pub(crate) async fn play(kit: &Kit, case: &Case) -> Result<(), String> {
    let world = kit.world(Grant::All, &case.config).await?;
    world.fake.reset(case.books.clone(), case.upstream.clone());
    let mut spec = json!({
        "operation": world.setup.effect.operation, "payload": world.setup.effect.payload,
        "business_key": world.setup.effect.business_key, "idempotency_key": world.setup.effect.idempotency_key,
    });
    shape::merge(&mut spec, &case.effect_or_empty());
    let spec: EffectSpec = serde_json::from_value(spec).map_err(|error| format!("`effect` makes no sense: {error}"))?;
    let effect = world.effect_of(&spec);

    let mut last: Option<Receipt> = None;
    for (at, step) in case.steps.iter().enumerate() {
        let told = take(&world, step, &effect, last.as_ref()).await;
        check(&world, step, &told)
            .map_err(|why| format!("step {} ({:?}): {why}{}", at + 1, step.call, aside(&world, &told)))?;
        if told.receipt.is_some() {
            last = told.receipt;
        }
    }
    let outstanding = world.fake.outstanding();
    if outstanding.is_empty() {
        return Ok(());
    }
    Err(format!("these requests never came: {}", outstanding.join(", ")))
}

impl Case {
    fn effect_or_empty(&self) -> Value {
        if self.effect.is_null() {
            json!({})
        } else {
            self.effect.clone()
        }
    }
}

async fn take(world: &World, step: &Step, effect: &EffectCall, last: Option<&Receipt>) -> Told {
    if let Some(fault) = step.fault {
        world.fake.break_next(fault);
    }
    match step.call {
        Call::Dispatch => world.dispatch(effect).await,
        Call::Observe => world.observe(effect).await,
        Call::StatusCheck => {
            let known = last
                .map(|receipt| receipt.external_ref.as_str())
                .filter(|text| !text.is_empty());
            let reference = step.reference.as_deref().or(known).unwrap_or(&effect.idempotency_key);
            world.status_check(effect, reference).await
        }
        Call::Compensate => {
            let named = step.receipt.as_ref().map(|external_ref| Receipt {
                external_ref: external_ref.clone(),
                response_json: "{}".to_owned(),
            });
            let receipt = match named {
                Some(receipt) if receipt.external_ref.is_empty() => None,
                Some(receipt) => Some(receipt),
                None => last.cloned(),
            };
            world.compensate(effect, receipt).await
        }
    }
}

fn check(world: &World, step: &Step, told: &Told) -> Result<(), String> {
    if let Some(unexpected) = world.fake.unexpected().first() {
        return Err(unexpected.clone());
    }
    shape::covers(&step.expect, &told.answer, "answer")?;
    if let Some(wanted) = &step.requests {
        let made: Vec<String> = told
            .evidence
            .exchanges
            .iter()
            .map(|exchange| format!("{} {}", exchange.method, exchange.path))
            .collect();
        if made != *wanted {
            return Err(format!("the requests were {made:?}, expected {wanted:?}"));
        }
    }
    Ok(())
}

/// What helps to understand: the whole answer, and what the upstream saw last.
pub(crate) fn aside(world: &World, told: &Told) -> String {
    let mut text = format!("\nthe answer: {}", told.answer);
    if let Some(last) = world.fake.received().last() {
        const SHOWN_CHARS: usize = 600;
        let shown: String = last.raw.chars().take(SHOWN_CHARS).collect();
        text.push_str(&format!(
            "\nthe last request: {}",
            shown.replace("\r\n", "\n  ").trim_end()
        ));
    }
    text
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Log lines of one call.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
