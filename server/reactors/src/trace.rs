//! The trace of what a reactor does for an effect: a span under the request that began the effect, which the connector's own
//! requests are under in turn.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tape_connector_port::EffectCall;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A span named `name` for work on the effect of `call`; what leaves on behalf of `call` belongs to it from now on.
pub(crate) fn span(name: &'static str, connector: &str, call: &mut EffectCall) -> Span {
    let span = tracing::info_span!(
        "effect",
        otel.name = name,
        run = call.run_id,
        effect = call.idempotency_key,
        tenant = call.tenant,
        app = call.app,
        connector,
    );
    if let Some(begun_under) = call.trace_parent.as_deref().and_then(remote) {
        let parent = opentelemetry::Context::new().with_remote_span_context(begun_under);
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "the span stands alone");
        }
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    // Where no traces are exported there is no span: the upstream is told of the request that began the effect.
    if own.is_valid() {
        let flags = own.trace_flags().to_u8();
        call.trace_parent = Some(format!("00-{}-{}-{flags:02x}", own.trace_id(), own.span_id()));
    }
    span
}

/// `00-<trace>-<span>-<flags>`.
fn remote(trace_parent: &str) -> Option<SpanContext> {
    let mut parts = trace_parent.split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let context = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_no_trace_is_left_out() {
        assert!(remote("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").is_some());
        for bad in [
            "",
            "00",
            "00-x-y-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert!(remote(bad).is_none(), "{bad}");
        }
    }
}
