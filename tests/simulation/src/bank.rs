//! The upstream and its connector: books whatever reaches it, and keeps a protocol of what reached it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tape_connector_port::{
    Asks, Called, CompensateOutcome, ConnectorError, ConnectorInfo, Connectors, Description, Doubt, EffectCall,
    Evidence, Failure, FailureKind, Mark, ObligationCall, ObserveAnswer, Outcome, Receipt, Sender, StatusAnswer,
    Supports,
};

use tape_core::Time;
use tape_core::effect::BOOKS_LAG_MS;
use tape_port::Clock as _;

use crate::faults::Fate;
use crate::undoing::Undoing;

/// Longest time that a request takes: what Tape counts on.
const UNDER_WAY_MS: u64 = BOOKS_LAG_MS.cast_unsigned();

/// The bank's side of the world. It outlives every server.
pub(crate) struct Bank {
    pub(crate) fate: Arc<Fate>,
    books: Mutex<Books>,
}

#[derive(Default)]
pub(crate) struct Books {
    /// Bookings by reference (business key), for requests that are booked as often as they come.
    pub(crate) wires: BTreeMap<String, Vec<String>>,
    /// Bookings by idempotency key, for requests that are booked once.
    pub(crate) payments: BTreeMap<String, String>,
    /// What reached the bank, or was answered by it, in order, by effect key.
    pub(crate) protocol: BTreeMap<String, Vec<Event>>,
    /// What went against the rules.
    pub(crate) violations: Vec<String>,
    /// Requests that left and have not arrived, and when they will.
    pub(crate) under_way: Vec<(Time, EffectCall)>,
    /// References under which the bank, by a fault of its own, booked one request twice.
    pub(crate) doubled: BTreeSet<String>,
    /// What was asked to be undone.
    pub(crate) undoing: Undoing,
    next: u64,
}

impl Books {
    /// A request arrives: it is booked.
    fn book(&mut self, call: &EffectCall) -> Receipt {
        self.next += 1;
        let id = format!("b-{}", self.next);
        let id = if call.idempotent {
            self.payments.entry(call.idempotency_key.clone()).or_insert(id).clone()
        } else {
            self.wires.entry(reference(call)).or_default().push(id.clone());
            id
        };
        Receipt {
            external_ref: id.clone(),
            response_json: format!("{{\"id\":\"{id}\"}}"),
        }
    }
}

/// Something that happened between a connector and the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request left.
    Sent,
    /// A definite answer "no": nothing was booked.
    Refused,
    /// The books were read, and it was not in them.
    SeenAbsent,
}

impl Bank {
    pub(crate) fn new(fate: Arc<Fate>) -> Self {
        Self {
            fate,
            books: Mutex::default(),
        }
    }

    /// The books as they are now, with all that has arrived by now.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.fate.now();
        let (arrived, under_way) = std::mem::take(&mut books.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        books.under_way = under_way;
        books.undoing.arrive(now);
        let arrived: Vec<(Time, EffectCall)> = arrived;
        for (_, call) in arrived {
            books.book(&call);
        }
        books
    }

    /// A request is on its way for so long, and nobody waits for its answer any more.
    fn book_late(&self, call: &EffectCall, ms: i64) {
        let at = self.fate.now().after(ms);
        self.books().under_way.push((at, call.clone()));
    }

    fn note(&self, call: &EffectCall, event: Event) {
        let mut books = self.books();
        let history = books.protocol.entry(call.idempotency_key.clone()).or_default();
        // Invariant 2: a second request only after the first was refused, or after the books were seen without it.
        let repeated = event == Event::Sent && !call.idempotent && history.last() == Some(&Event::Sent);
        history.push(event);
        if repeated {
            let history = history.clone();
            books.violations.push(format!(
                "invariant 2: {} was sent again: {history:?}",
                call.idempotency_key
            ));
        }
    }
}

pub(crate) fn reference(call: &EffectCall) -> String {
    call.business_key
        .clone()
        .unwrap_or_else(|| call.idempotency_key.clone())
}

/// The bank's connector, as one server process holds it.
pub(crate) struct BankConnector {
    pub(crate) bank: Arc<Bank>,
    pub(crate) alive: Arc<AtomicBool>,
}

impl BankConnector {
    fn called<T>(outcome: T) -> Called<T> {
        Called {
            outcome,
            evidence: Evidence::default(),
            version: "1".into(),
            digest: String::new(),
        }
    }
}

fn description() -> Description {
    Description {
        name: "bank".into(),
        version: "1".into(),
        contract: "1.0.0".into(),
        summary: String::new(),
        operations: Vec::new(),
        supports: Supports {
            observe: true,
            status_check: false,
            compensate: true,
        },
        offline: false,
        config_schema: String::new(),
        asks: Asks::default(),
    }
}

#[async_trait]
impl Connectors for BankConnector {
    fn list(&self) -> Vec<ConnectorInfo> {
        vec![ConnectorInfo {
            name: "bank".into(),
            tenant: String::new(),
            app: None,
            version: "1".into(),
            digest: String::new(),
            description: description(),
            calls: 0,
            failures: 0,
            last_error: None,
        }]
    }

    fn describe(&self, _tenant: &str, _app: &str, name: &str) -> Option<Description> {
        (name == "bank").then(description)
    }

    async fn dispatch(
        &self,
        _name: &str,
        _version: Option<&str>,
        call: &EffectCall,
        mark: &dyn Mark,
    ) -> Result<Called<Outcome>, ConnectorError> {
        let fate = &self.bank.fate;
        if fate.strikes(10) {
            let reason = "no connection".to_owned();
            return Ok(Self::called(Outcome::Retry {
                reason,
                retry_after_ms: None,
            }));
        }
        let sender = Sender {
            version: "1",
            digest: "",
        };
        mark.sent(sender)
            .await
            .map_err(|refused| ConnectorError::MarkRefused { reason: refused.0 })?;
        if !self.alive.load(Ordering::Relaxed) {
            // The process died with its mark: the byte never leaves.
            return Err(ConnectorError::MarkRefused {
                reason: "the process is dead".into(),
            });
        }
        self.bank.note(call, Event::Sent);
        let lost = || Self::called(Outcome::Unknown(Doubt::because("no answer")));
        if fate.strikes(10) {
            // Lost on the way: not booked, and nobody knows.
            return Ok(lost());
        }
        if fate.strikes(8) {
            let ms = i64::try_from(fate.below(UNDER_WAY_MS)).unwrap_or_default();
            self.bank.book_late(call, ms);
            return Ok(lost());
        }
        if fate.strikes(5) {
            self.bank.note(call, Event::Refused);
            let failure = Failure {
                kind: FailureKind::Rejected,
                code: "no".into(),
                message: "not today".into(),
                retryable: fate.below(2) == 0,
                retry_after_ms: None,
            };
            return Ok(Self::called(Outcome::Failed(failure)));
        }
        let receipt = self.bank.books().book(call);
        if !call.idempotent && fate.strikes(6) {
            let mut books = self.bank.books();
            books.book(call);
            books.doubled.insert(reference(call));
        }
        if fate.strikes(15) {
            return Ok(lost());
        }
        if fate.strikes(5) {
            // The process dies between the request and its answer.
            self.alive.store(false, Ordering::Relaxed);
        }
        Ok(Self::called(Outcome::Confirmed(receipt)))
    }

    async fn status_check(
        &self,
        name: &str,
        _version: Option<&str>,
        _call: &EffectCall,
        _reference: &str,
    ) -> Result<Called<StatusAnswer>, ConnectorError> {
        Err(ConnectorError::Unsupported {
            name: name.to_owned(),
            what: "status-check".into(),
        })
    }

    async fn observe(
        &self,
        _name: &str,
        _version: Option<&str>,
        call: &EffectCall,
    ) -> Result<Called<ObserveAnswer>, ConnectorError> {
        if self.bank.fate.strikes(20) {
            return Err(ConnectorError::Broke {
                name: "bank".to_owned(),
                message: "no memory is left".to_owned(),
            });
        }
        if self.bank.fate.strikes(20) {
            return Ok(Self::called(ObserveAnswer::Inconclusive(Doubt::because(
                "the books are closed",
            ))));
        }
        let receipt = |id: &String| Receipt {
            external_ref: id.clone(),
            response_json: format!("{{\"id\":\"{id}\"}}"),
        };
        let found: Vec<Receipt> = {
            let mut books = self.bank.books();
            let booked: Vec<String> = match call.idempotent {
                true => books.payments.get(&call.idempotency_key).cloned().into_iter().collect(),
                false => books.wires.get(&reference(call)).cloned().unwrap_or_default(),
            };
            books.undoing.looked(&call.idempotency_key);
            booked
                .iter()
                .filter(|id| !books.undoing.undone(id))
                .map(receipt)
                .collect()
        };
        Ok(Self::called(match <[Receipt; 1]>::try_from(found) {
            Ok([one]) => ObserveAnswer::Present(one),
            Err(found) if found.is_empty() => {
                self.bank.note(call, Event::SeenAbsent);
                ObserveAnswer::Absent
            }
            Err(found) => ObserveAnswer::Duplicate(found),
        }))
    }

    async fn compensate(
        &self,
        _name: &str,
        _version: Option<&str>,
        call: &ObligationCall,
        mark: &dyn Mark,
    ) -> Result<Called<CompensateOutcome>, ConnectorError> {
        let fate = &self.bank.fate;
        if fate.strikes(10) {
            let reason = "no connection".to_owned();
            return Ok(Self::called(CompensateOutcome::Retry {
                reason,
                retry_after_ms: None,
            }));
        }
        let sender = Sender {
            version: "1",
            digest: "",
        };
        mark.sent(sender)
            .await
            .map_err(|refused| ConnectorError::MarkRefused { reason: refused.0 })?;
        if !self.alive.load(Ordering::Relaxed) {
            return Err(ConnectorError::MarkRefused {
                reason: "the process is dead".into(),
            });
        }
        let arrives = match fate.below(100) {
            // Lost on the way.
            0..10 => None,
            10..20 => Some(i64::try_from(fate.below(UNDER_WAY_MS)).unwrap_or_default()),
            _ => Some(0),
        };
        let cruel = fate.cruel.load(Ordering::Relaxed);
        let arrives = if cruel { arrives } else { Some(0) };
        let now = fate.now();
        let wrong = self.bank.books().undoing.sent(call);
        self.bank.books().violations.extend(wrong);
        if fate.strikes(6) {
            let failure = Failure {
                kind: FailureKind::Rejected,
                code: "no".into(),
                message: "not today".into(),
                retryable: fate.below(4) != 0,
                retry_after_ms: None,
            };
            self.bank.books().undoing.refused(call);
            return Ok(Self::called(CompensateOutcome::Failed(failure)));
        }
        if let Some(ms) = arrives {
            self.bank.books().undoing.on_its_way(call, now.after(ms));
            // What takes no time is there.
            drop(self.bank.books());
        }
        if arrives != Some(0) || fate.strikes(15) {
            return Ok(Self::called(CompensateOutcome::Unknown(Doubt::because("no answer"))));
        }
        if fate.strikes(8) {
            // The process dies between the request and its answer.
            self.alive.store(false, Ordering::Relaxed);
        }
        let receipt = Receipt {
            external_ref: call.effect.idempotency_key.clone(),
            response_json: "null".into(),
        };
        Ok(Self::called(CompensateOutcome::Resolved(receipt)))
    }
}
