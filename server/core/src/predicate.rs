//! Predicates: which of the events with a fitting subject somebody wants, as an expression in CEL.
//!
//! An expression comes from outside and is evaluated for every event, so both its size and its work are bounded: it is short,
//! its tree is flat, a loop (`all`, `exists`, `exists_one`, `map`, `filter`) holds no other loop and does not look at the whole
//! payload again, and a payload that is too large to be gone through is not looked into. The parser recurses as deep as
//! brackets do, so it runs on a stack that is deep enough for anything that fits into the longest expression.

mod check;
mod event;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, Program, Value};

pub use event::Seen;

use crate::refusal::Refusal;

/// Longest expression, in bytes.
pub const PREDICATE_BYTES_MAX: usize = 1_024;
/// Stack for the parser: eight times of what the deepest expression of that length takes, unoptimised. Pages that are not
/// touched cost nothing.
const PARSE_STACK_BYTES: usize = 256 * 1024 * 1024;
/// Stack that must be left for an evaluation, which goes as deep as the tree: four times of what [`check::DEPTH_MAX`]
/// levels take, unoptimised.
const RUN_STACK_BYTES: usize = 4 * 1024 * 1024;

/// The standard library of CEL, without regular expressions and time.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// An expression that was checked.
#[derive(Debug)]
pub struct Predicate {
    program: Program,
    /// Reading a payload costs more than all the rest: only who asks for it pays.
    uses_payload: bool,
}

/// Why an expression has no answer for an event: it counts as "no".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// A field is not there, types do not fit, a number is out of range ...
    #[error("{0}")]
    Failed(String),
    /// It gave something else than true or false.
    #[error("it gives a {0}, not a bool")]
    NotBool(String),
    /// The payload is no JSON, or too large to be looked into.
    #[error("the payload cannot be looked into: {0}")]
    Payload(&'static str),
}

impl Predicate {
    /// Reads an expression.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, TAPE-J002, with what is wrong, where, and how to write it.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > PREDICATE_BYTES_MAX {
            let what = format!("has {} bytes; at most {PREDICATE_BYTES_MAX} are read", text.len());
            return Err(refused(
                text,
                &what,
                "Shorten it, or narrow the subject pattern instead.",
            ));
        }
        // Whatever the parser left behind is dropped there, too: a deep tree needs the stack once more.
        let checked = stacker::grow(PARSE_STACK_BYTES, || {
            let program = contain(|| Program::compile(text))
                .map_err(|_| refused(text, "cannot be read", HOW))?
                .map_err(|errors| unreadable(text, &errors))?;
            let uses_payload = check::check(text, &program)?;
            Ok(Self { program, uses_payload })
        })?;
        checked.try_on_an_example(text)?;
        Ok(checked)
    }

    /// Whether the event is wanted.
    ///
    /// # Errors
    /// [`NoAnswer`]: the expression makes no sense for this event. It counts as "no".
    pub fn wants(&self, seen: &Seen<'_>) -> Result<bool, NoAnswer> {
        let mut context = Context::with_env(LIBRARY.clone());
        seen.declare(&mut context, self.uses_payload)?;
        match self.run(&context) {
            Ok(Value::Bool(wanted)) => Ok(wanted),
            Ok(other) => Err(NoAnswer::NotBool(other.type_of().to_string())),
            Err(error) => Err(NoAnswer::Failed(short(&error))),
        }
    }

    fn run(&self, context: &Context<'_, '_>) -> Result<Value, ExecutionError> {
        with_stack(|| contain(|| self.program.execute(context)))
            .unwrap_or_else(|_| Err(ExecutionError::InternalError("it cannot be evaluated".to_owned())))
    }

    /// What can be known before the first event: what does not depend on a payload must evaluate, and to a bool.
    fn try_on_an_example(&self, text: &str) -> Result<(), Refusal> {
        match self.wants(&Seen::EXAMPLE) {
            Err(NoAnswer::NotBool(kind)) => Err(refused(
                text,
                &format!("gives a {kind}, not a bool"),
                "Compare it with something, as in `seq > 10`.",
            )),
            Err(NoAnswer::Failed(error)) if !self.uses_payload => {
                Err(refused(text, &format!("cannot be evaluated: {error}"), HOW))
            }
            _ => Ok(()),
        }
    }
}

/// Runs something with a stack that is deep enough for any number of evaluations, one after the other: a new stack for all
/// of them instead of one for each.
pub fn with_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RUN_STACK_BYTES, RUN_STACK_BYTES * 2, run)
}

/// How to write one.
const HOW: &str = "Write a CEL expression over kind, subject, run_id, seq, ts_ms, decision_index, app, tenant and payload, such as `kind == 'effect.failed' && payload.tool == 'wire_money'`.";

fn refused(text: &str, what: &str, cure: &str) -> Refusal {
    Refusal::invalid("predicate_cel", text, format!("The predicate {what}."), cure).coded("TAPE-J002")
}

fn unreadable(text: &str, errors: &cel::ParseErrors) -> Refusal {
    let what = match errors.errors.first() {
        Some(error) if error.pos.0 > 0 => {
            format!("is no CEL at {}:{}: {}", error.pos.0, error.pos.1, cut(&error.msg))
        }
        Some(error) => format!("is no CEL: {}", cut(&error.msg)),
        None => "is no CEL".to_owned(),
    };
    refused(text, &what, HOW)
}

/// A defect of the library is an error here, and not the end of whoever asks.
fn contain<T>(run: impl FnOnce() -> T) -> Result<T, ()> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| ())
}

/// An error without the values that it is about: they may be as large as a payload.
fn short(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no key {:?}", cut(key)),
        ExecutionError::NoSuchOverload(overload) => cut(&overload.to_string()),
        ExecutionError::UndeclaredReference(name) => format!("nothing is called {:?}", cut(name)),
        ExecutionError::UnexpectedType { got, want } => format!("{} where {} is needed", cut(got), cut(want)),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number is out of range".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::ValuesNotComparable(..) => "values of these types cannot be compared".to_owned(),
        ExecutionError::InternalError(text) => cut(text),
        _ => "types do not fit".to_owned(),
    }
}

/// At most 120 characters.
fn cut(text: &str) -> String {
    const SHOWN_MAX: usize = 120;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
