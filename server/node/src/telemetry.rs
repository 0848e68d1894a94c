//! What operators see: logs on standard error, metrics for Prometheus, and both metrics and traces over OTLP.
//!
//! ```text
//! tracing ──▶ log (text or JSON)          TAPE_LOG, TAPE_LOG_FORMAT
//!        └──▶ spans ──▶ OTLP              TAPE_OTLP_ENDPOINT
//! instruments ──▶ /metrics
//!            └──▶ OTLP                    TAPE_OTLP_ENDPOINT
//! ```
//!
//! A collector that is slow or away costs what it was meant to get, and nothing else: exporters have threads and bounded
//! queues of their own, and what does not fit is dropped.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use prometheus::{Registry, TextEncoder};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::node::NodeError;

/// A collector that takes longer for one export gets no answer any more.
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// How long the end of the process waits for a collector.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Instruments live as long as the process.
static METRICS: OnceLock<Registry> = OnceLock::new();

/// What has to be flushed before the process ends.
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Starts logs, metrics and traces of the process that is called `service` among others. A second call does nothing. Call it within the runtime, before anything is measured.
///
/// `TAPE_LOG` says what is logged (default `info`), `TAPE_LOG_FORMAT=json` how. `TAPE_OTLP_ENDPOINT=http://host:4317` sends
/// metrics and traces to a collector by OTLP over gRPC; the usual `OTEL_*` variables say how often.
///
/// # Errors
/// [`NodeError::Config`] if `TAPE_OTLP_ENDPOINT` is not a URL.
pub fn start(service: &'static str) -> Result<Telemetry, NodeError> {
    let endpoint = std::env::var("TAPE_OTLP_ENDPOINT").ok().filter(|url| !url.is_empty());
    let resource = Resource::builder().with_service_name(service).build();
    let metrics = metrics(endpoint.as_deref(), &resource)?;
    let traces = endpoint.as_deref().map(|url| traces(url, &resource)).transpose()?;
    let tracer = traces.as_ref().map(|provider| provider.tracer("tape"));
    log(tracer);
    Ok(Telemetry { traces, metrics })
}

impl Telemetry {
    /// Hands over what was gathered last; waits for the collector only so long.
    pub async fn stop(self) {
        let flushed = tokio::task::spawn_blocking(move || {
            if let Some(traces) = self.traces
                && let Err(error) = traces.shutdown_with_timeout(FLUSH_MAX)
            {
                tracing::debug!(%error, "the last spans were not exported");
            }
            if let Some(metrics) = self.metrics
                && let Err(error) = metrics.shutdown_with_timeout(FLUSH_MAX)
            {
                tracing::debug!(%error, "the last metrics were not exported");
            }
        });
        if tokio::time::timeout(FLUSH_MAX, flushed).await.is_err() {
            tracing::debug!("the collector takes too long");
        }
    }
}

/// All metrics in the text format of Prometheus.
///
/// # Errors
/// The sentence to show if they cannot be gathered.
pub(crate) fn prometheus_text() -> Result<String, String> {
    let Some(registry) = METRICS.get() else {
        return Ok(String::new());
    };
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|error| error.to_string())
}

fn log(tracer: Option<SdkTracer>) {
    let filter = EnvFilter::try_from_env("TAPE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let json = std::env::var("TAPE_LOG_FORMAT").is_ok_and(|format| format == "json");
    let lines = if json {
        lines.json().boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    // Only our own spans: an exporter that traced itself would never come to rest.
    let ours = Targets::new().with_target("tape", tracing::Level::DEBUG);
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    });
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}

fn metrics(endpoint: Option<&str>, resource: &Resource) -> Result<Option<SdkMeterProvider>, NodeError> {
    if METRICS.get().is_some() {
        return Ok(None);
    }
    let registry = Registry::new();
    let scraped = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(|error| NodeError::Config(format!("metrics cannot be gathered: {error}")))?;
    let mut provider = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(scraped);
    if let Some(url) = endpoint {
        let exporter = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(url)
            .with_timeout(EXPORT_MAX)
            .build()
            .map_err(|error| no_endpoint(url, &error.to_string()))?;
        provider = provider.with_reader(PeriodicReader::builder(exporter).build());
    }
    let provider = provider.build();
    global::set_meter_provider(provider.clone());
    drop(METRICS.set(registry));
    Ok(Some(provider))
}

fn traces(url: &str, resource: &Resource) -> Result<SdkTracerProvider, NodeError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(url)
        .with_timeout(EXPORT_MAX)
        .build()
        .map_err(|error| no_endpoint(url, &error.to_string()))?;
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(exporter)
        .build())
}

fn no_endpoint(url: &str, problem: &str) -> NodeError {
    NodeError::Config(format!(
        "TAPE_OTLP_ENDPOINT is {url:?}, where nothing can be sent to ({problem}); write http://host:4317, the gRPC port of an OpenTelemetry collector"
    ))
}
