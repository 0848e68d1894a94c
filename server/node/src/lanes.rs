//! How each connector is doing, for the metrics: read from the host when somebody scrapes.

use std::sync::{Arc, Weak};

use opentelemetry::metrics::AsyncInstrument;
use opentelemetry::{KeyValue, global};
use tape_connector_port::{CircuitState, ConnectorState, Connectors};

/// Shows the connectors' states in the metrics for as long as `connectors` lives.
pub(crate) fn show(connectors: &Arc<dyn Connectors>) {
    let meter = global::meter("tape");
    let gauge = |name: &'static str, text: &'static str, read: fn(&ConnectorState) -> u64| {
        meter
            .u64_observable_gauge(name)
            .with_description(text)
            .with_callback(observe(connectors, read))
            .build();
    };
    gauge(
        "tape.connector.circuit",
        "The connector's circuit breaker: 0 closed (calls go through), 1 half-open (one is let through to see), 2 open (they are refused)",
        |state| match state.circuit.state {
            CircuitState::Closed => 0,
            CircuitState::HalfOpen => 1,
            CircuitState::Open => 2,
        },
    );
    gauge(
        "tape.connector.failures_in_a_row",
        "Calls since the last one that was answered",
        |state| state.circuit.failures_in_a_row,
    );
    gauge("tape.connector.running", "Calls that run now", |state| state.running);
    gauge(
        "tape.connector.running.limit",
        "Calls that may run at the same time",
        |state| state.running_max,
    );
    gauge(
        "tape.connector.rate",
        "Calls that were let through in the last second",
        |state| state.rate_used,
    );
    gauge(
        "tape.connector.rate.limit",
        "Calls that may be let through in a second; 0 = no limit",
        |state| state.rate_max,
    );
    let counter = |name: &'static str, text: &'static str, read: fn(&ConnectorState) -> u64| {
        meter
            .u64_observable_counter(name)
            .with_description(text)
            .with_callback(observe(connectors, read))
            .build();
    };
    counter("tape.connector.calls", "Calls that ended", |state| state.calls);
    counter(
        "tape.connector.failures",
        "Calls that ended without an answer of the connector, or in which its upstream never answered",
        |state| state.failures,
    );
    counter(
        "tape.connector.refused",
        "Calls that got no turn, by the circuit or a limit: nothing left, they are tried again",
        |state| state.refused,
    );
}

fn observe(
    connectors: &Arc<dyn Connectors>,
    read: fn(&ConnectorState) -> u64,
) -> impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static {
    let connectors: Weak<dyn Connectors> = Arc::downgrade(connectors);
    move |instrument| {
        for state in connectors.upgrade().iter().flat_map(|connectors| connectors.states()) {
            let labels = [
                KeyValue::new("tenant", state.tenant.clone()),
                KeyValue::new("connector", state.name.clone()),
                KeyValue::new("version", state.version.clone()),
            ];
            instrument.observe(read(&state), &labels);
        }
    }
}
