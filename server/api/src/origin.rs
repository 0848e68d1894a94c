//! Where a request came from: which driver, which request of its, under which trace. By field, or else by header.

use opentelemetry::trace::TraceContextExt as _;
use tape_core::Refusal;
use tape_core::journal::Trace;
use tape_core::json::check_optional_name;
use tape_core::lease::Driver;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What the fields `fence`, `lease_owner` and `request_id`, or the headers of the same meaning, say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) driver: Driver,
    pub(crate) request_id: String,
    pub(crate) trace: Option<Trace>,
}

impl Origin {
    /// Reads a request's origin. A field that is set wins over its header.
    pub(crate) fn of(metadata: &MetadataMap, fence: i64, owner: &str, request_id: &str) -> Result<Self, Refusal> {
        let owner = field_or_header(metadata, "lease_owner", owner, "tape-lease-owner")?;
        Ok(Self {
            driver: Driver {
                fence: read_fence(metadata, fence)?,
                owner: (!owner.is_empty()).then_some(owner),
            },
            request_id: field_or_header(metadata, "request_id", request_id, "tape-request-id")?,
            trace: trace(metadata),
        })
    }
}

fn field_or_header(
    metadata: &MetadataMap,
    field: &'static str,
    value: &str,
    header: &'static str,
) -> Result<String, Refusal> {
    let text = if value.is_empty() {
        header_text(metadata, header)
    } else {
        value
    };
    check_optional_name(field, text)?;
    Ok(text.to_owned())
}

fn header_text<'a>(metadata: &'a MetadataMap, header: &str) -> &'a str {
    metadata
        .get(header)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn read_fence(metadata: &MetadataMap, field: i64) -> Result<Option<u64>, Refusal> {
    let text = if field == 0 {
        header_text(metadata, "tape-fence").to_owned()
    } else {
        field.to_string()
    };
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Refusal::invalid(
            "fence",
            &text,
            "fence is not a positive whole number.",
            "Send the fence that BeginRun or ResumeRun returned.",
        )
    })
}

/// The trace of a request: the span of this call where traces are exported, with the caller's as its parent; or else the
/// caller's own.
pub(crate) fn trace(metadata: &MetadataMap) -> Option<Trace> {
    let context = Span::current().context();
    let here = context.span().span_context().clone();
    let caller = caller_trace(metadata);
    if !here.is_valid() {
        return caller;
    }
    Some(Trace {
        trace_id: here.trace_id().to_string(),
        span_id: here.span_id().to_string(),
        parent_span_id: caller.map(|caller| caller.span_id).unwrap_or_default(),
    })
}

/// W3C trace context: `version-trace_id-parent_id-flags`. One that is malformed is ignored, as the standard asks.
fn caller_trace(metadata: &MetadataMap) -> Option<Trace> {
    let mut parts = header_text(metadata, "traceparent").trim().split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    let named = |text: &str| text.bytes().any(|b| b != b'0');
    let valid = hex(version, 2) && version != "ff" && hex(flags, 2) && hex(trace_id, 32) && hex(span_id, 16);
    (valid && named(trace_id) && named(span_id)).then(|| Trace {
        trace_id: trace_id.to_ascii_lowercase(),
        span_id: span_id.to_ascii_lowercase(),
        parent_span_id: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.insert(*key, value.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn a_field_wins_over_its_header() {
        let headers = metadata(&[("tape-fence", "3"), ("tape-lease-owner", "h"), ("tape-request-id", "q")]);
        let by_header = Origin::of(&headers, 0, "", "").unwrap();
        assert_eq!(by_header.driver.fence, Some(3));
        assert_eq!(by_header.driver.owner.as_deref(), Some("h"));
        assert_eq!(by_header.request_id, "q");
        let by_field = Origin::of(&headers, 7, "f", "p").unwrap();
        assert_eq!(by_field.driver.fence, Some(7));
        assert_eq!(by_field.driver.owner.as_deref(), Some("f"));
        assert_eq!(by_field.request_id, "p");
    }

    #[test]
    fn a_fence_that_is_no_number_is_refused_by_name() {
        for (header, field) in [("x", 0), ("-2", 0), ("", -1)] {
            let refusal = Origin::of(&metadata(&[("tape-fence", header)]), field, "", "").unwrap_err();
            assert_eq!(refusal.field, Some("fence"));
        }
    }

    #[test]
    fn a_trace_is_read_or_ignored() {
        let of = |text: &str| trace(&metadata(&[("traceparent", text)]));
        let good = of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(good.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(good.span_id, "00f067aa0ba902b7");
        for bad in [
            "",
            "00-short-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(of(bad).is_none(), "{bad}");
        }
    }
}
