//! An OpenTelemetry collector of a test: keeps what it is sent.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A collector that runs until it is dropped.
pub struct Collector {
    pub url: String,
    kept: Arc<Kept>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    metrics: Mutex<Vec<String>>,
}

struct Service(Arc<Kept>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request
            .into_inner()
            .resource_spans
            .into_iter()
            .flat_map(|of| of.scope_spans);
        self.0
            .spans
            .lock()
            .expect("spans")
            .extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request
            .into_inner()
            .resource_metrics
            .into_iter()
            .flat_map(|of| of.scope_metrics);
        let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
        self.0.metrics.lock().expect("metrics").extend(names);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let kept: Arc<Kept> = Arc::default();
        let services = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Service(kept.clone())))
            .add_service(MetricsServiceServer::new(Service(kept.clone())));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            services
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
                .expect("it serves");
        });
        Self {
            url,
            kept,
            _serving: serving,
        }
    }

    pub fn span(&self, name: &str) -> Option<Span> {
        let spans = self.kept.spans.lock().expect("spans");
        spans.iter().find(|span| span.name == name).cloned()
    }

    pub fn has_metric(&self, name: &str) -> bool {
        self.kept
            .metrics
            .lock()
            .expect("metrics")
            .iter()
            .any(|metric| metric == name)
    }
}
