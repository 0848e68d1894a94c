//! A connector that does what its payload says, good or bad: with it the host's rules are tested.

mod reach;
mod script;
mod wasi;

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Doubt, Effect, Failure, FailureKind, HttpError, Obligation,
    ObserveAnswer, Receipt, Request, StatusAnswer, doubt, log,
};

use crate::script::{Answer, Script, Step};

struct Probe;

tape_guest::export!(Probe);

impl Connector for Probe {
    fn describe() -> Result<String, String> {
        let description: serde_json::Value = tape_guest::config().map_err(|failure| failure.message)?;
        match description.get("unusable") {
            Some(why) => Err(why.to_string()),
            None => Ok(description.to_string()),
        }
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        match play(&effect) {
            Told::Receipt(receipt) => DispatchAnswer::Confirmed(receipt),
            Told::Failure(failure) => DispatchAnswer::Failed(failure),
            other => DispatchAnswer::Unknown(other.doubt()),
        }
    }

    fn status_check(effect: Effect, _: String) -> StatusAnswer {
        match play(&effect) {
            Told::Receipt(receipt) => StatusAnswer::Committed(receipt),
            Told::NotCommitted => StatusAnswer::NotCommitted,
            Told::InProgress(retry_after_ms) => StatusAnswer::InProgress(retry_after_ms),
            other => StatusAnswer::Inconclusive(other.doubt()),
        }
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        match play(&effect) {
            Told::Receipt(receipt) => ObserveAnswer::Present(receipt),
            Told::Absent => ObserveAnswer::Absent,
            Told::Duplicate(receipts) => ObserveAnswer::Duplicate(receipts),
            other => ObserveAnswer::Inconclusive(other.doubt()),
        }
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        match play_script(&obligation.payload) {
            Told::Receipt(receipt) => CompensateAnswer::Resolved(receipt),
            Told::Failure(failure) => CompensateAnswer::Failed(failure),
            other => CompensateAnswer::Unknown(other.doubt()),
        }
    }
}

enum Told {
    Receipt(Receipt),
    Failure(Failure),
    Doubt(Doubt),
    NotCommitted,
    InProgress(u64),
    Absent,
    Duplicate(Vec<Receipt>),
}

impl Told {
    fn doubt(self) -> Doubt {
        match self {
            Self::Doubt(doubt) => doubt,
            _ => doubt("the script's answer is none for this question"),
        }
    }
}

/// What the effect's payload says; or what the configuration says for every effect, whatever its payload, with the business key
/// filled in.
fn play(effect: &Effect) -> Told {
    let config: serde_json::Value = tape_guest::config().unwrap_or_default();
    match config.get("always") {
        None => play_script(&effect.payload),
        Some(script) => {
            let key = effect.business_key.as_deref().unwrap_or_default();
            play_script(&script.to_string().replace("{{business_key}}", key))
        }
    }
}

fn play_script(payload: &str) -> Told {
    let Script { steps, answer } = match tape_guest::payload(payload) {
        Ok(script) => script,
        Err(failure) => return Told::Failure(failure),
    };
    let mut last = String::new();
    for step in steps {
        if let Some(outcome) = take(step) {
            last = outcome;
        }
    }
    told(answer, &last)
}

/// Carries out one step; the outcome of a request in words.
fn take(step: Step) -> Option<String> {
    match step {
        Step::Send {
            method,
            url,
            headers,
            body,
            times,
            timeout_ms,
        } => {
            let body = body.map(|body| body.repeat(times.unwrap_or(1)).into_bytes());
            return Some(send(Request {
                method,
                url,
                headers,
                body,
                timeout_ms,
            }));
        }
        Step::WasiSend {
            method,
            authority,
            path,
            headers,
            body,
        } => {
            let outcome = wasi::send(&method, &authority, &path, &headers, body.as_bytes());
            return Some(said(outcome));
        }
        Step::WasiBegin {
            method,
            authority,
            path,
            body,
        } => return Some(said(wasi::begin(&method, &authority, &path, body.as_bytes()))),
        Step::WasiFinish => return Some(said(wasi::finish())),
        Step::WasiAwait => return Some(said(wasi::wait())),
        Step::Loop => loop {
            black_box(0);
        },
        Step::Wait => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        Step::Allocate => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1024 * 1024]));
            }
        }
        Step::Recurse => {
            black_box(recurse(1));
        }
        #[allow(clippy::panic, reason = "that is what was asked for")]
        Step::Panic(message) => panic!("{message}"),
        Step::Exit => std::process::exit(3),
        Step::Print { text, times } => {
            for _ in 0..times {
                eprintln!("{text}");
            }
        }
        Step::Log { text, times, fields } => {
            for _ in 0..times {
                log::write(log::Level::Info, &text, &fields);
            }
        }
        Step::Remember(text) => return Some(remember(text)),
        Step::Repeat { text, times } => return Some(text.repeat(times)),
        Step::Random(len) => return Some(format!("{} bytes", tape_guest::random::bytes(len).len())),
        Step::ReadFile(path) => return Some(reach::read_file(&path)),
        Step::WriteFile(path) => return Some(reach::write_file(&path)),
        Step::Environment => return Some(reach::environment()),
        Step::Input => return Some(reach::input()),
        Step::Connect(address) => return Some(reach::connect(&address)),
        Step::Datagram(address) => return Some(reach::datagram(&address)),
        Step::Listen(address) => return Some(reach::listen(&address)),
        Step::Lookup(name) => return Some(reach::lookup(&name)),
    }
    None
}

fn said(outcome: Result<String, String>) -> String {
    outcome.unwrap_or_else(|error| format!("wasi: {error}"))
}

/// What this instance has been told so far.
fn remember(text: String) -> String {
    static MEMORY: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    memory.push(text);
    memory.join(" ")
}

fn send(request: Request) -> String {
    match request.send() {
        Ok(response) => format!(
            "{} {:?} {}",
            response.status,
            response.headers,
            String::from_utf8_lossy(&response.body)
        ),
        Err(HttpError::Denied(why)) => format!("denied: {why}"),
        Err(HttpError::NotSent(why)) => format!("not-sent: {why}"),
        Err(HttpError::MaybeSent(why)) => format!("maybe-sent: {why}"),
        Err(HttpError::TooLarge(why)) => format!("too-large: {why}"),
    }
}

fn told(answer: Answer, last: &str) -> Told {
    let fill = |text: String| text.replace("{{last}}", last);
    let receipt = |external_ref: String| Receipt {
        external_ref,
        response: "{}".to_owned(),
    };
    match answer {
        Answer::Confirmed { external_ref, response } => {
            // Inside a JSON string, what the last request came to has to be escaped.
            let quoted = serde_json::Value::from(last).to_string();
            let response = response.replace("\"{{last}}\"", &quoted);
            Told::Receipt(Receipt {
                external_ref: fill(external_ref),
                response,
            })
        }
        Answer::Failed {
            code,
            message,
            retryable,
        } => Told::Failure(Failure {
            kind: FailureKind::Rejected,
            code,
            message: fill(message),
            retryable,
            retry_after_ms: None,
        }),
        Answer::Unknown { reason } => Told::Doubt(doubt(fill(reason))),
        Answer::NotCommitted => Told::NotCommitted,
        Answer::InProgress { retry_after_ms } => Told::InProgress(retry_after_ms),
        Answer::Absent => Told::Absent,
        Answer::Duplicate { external_refs } => Told::Duplicate(external_refs.into_iter().map(receipt).collect()),
    }
}

#[allow(unconditional_recursion, reason = "that is what was asked for")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    recurse(black_box(depth + 1)) + 1
}
