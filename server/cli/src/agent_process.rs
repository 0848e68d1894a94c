//! The agent's worker as a process of its own, and what it reports: one JSON event per line on its standard output.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::process::{Process, Sink, Spec, Stream};
use crate::python;
use tape_node::project::Agent;

/// What a worker has reported so far.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<Value>>>);

impl Events {
    /// A sink that keeps the events and passes every line on.
    #[must_use]
    pub fn listening(&self, sink: Sink) -> Sink {
        let events = self.clone();
        Arc::new(move |stream, line| {
            if stream == Stream::Out
                && let Some(event) = parse(line)
            {
                events.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
            sink(stream, line);
        })
    }

    /// The events of one name, oldest first.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Value> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| event["event"] == name).cloned().collect()
    }
}

/// An event, if the line is one.
pub fn parse(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get("event").is_some_and(Value::is_string).then_some(value)
}

/// An event for people: `run_attached run_id=r-1 seq=8`.
pub fn describe(event: &Value) -> String {
    let mut text = event["event"].as_str().unwrap_or_default().to_owned();
    for (name, fact) in event.as_object().into_iter().flatten() {
        let fact = match fact {
            Value::String(fact) => fact.clone(),
            other => other.to_string(),
        };
        if !(["event", "ts_ms"].contains(&name.as_str()) || fact.is_empty()) {
            text.push_str(&format!(" {name}={fact}"));
        }
    }
    text
}

/// Starts the worker of `agent` in the project's folder. It attaches by itself.
///
/// # Errors
/// When its command cannot be started.
pub fn start(agent: &Agent, root: &Path, env: Vec<(String, OsString)>, sink: Sink) -> anyhow::Result<Process> {
    Process::start(Spec {
        name: "agent",
        command: python::resolve(&agent.command, root),
        folder: root.to_owned(),
        env,
        sink,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_from_other_output() {
        let events = Events::default();
        let sink = events.listening(Arc::new(|_, _| ()));
        sink(
            Stream::Out,
            r#"{"event":"run_attached","ts_ms":1,"run_id":"r-1","seq":8,"reason":""}"#,
        );
        sink(Stream::Out, "hello");
        sink(Stream::Err, r#"{"event":"run_attached"}"#);
        sink(Stream::Out, r#"{"some":"json"}"#);
        let attached = events.named("run_attached");
        assert_eq!(attached.len(), 1);
        assert_eq!(describe(&attached[0]), "run_attached run_id=r-1 seq=8");
    }
}
