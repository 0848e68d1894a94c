//! The services, one file for each area; and the set that a node serves.

mod admin;
mod budget;
mod connectors;
mod decision;
mod driver;
mod effect;
mod events;
mod gate;
mod obligation;
mod outbox;
mod reaction;
mod reactors;
mod retention;
mod run;
mod session;
mod stats;
mod tape;
mod timer;
mod value;
mod workers;

use std::ops::Deref;
use std::sync::Arc;

use tape_connector_port::Connectors;
use tape_core::Time;
use tape_core::connector::COMPONENT_BYTES_MAX;
use tape_engine::Engine;
use tape_port::{ConnectorHost, Reports, TapeError};
use tape_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Extensions;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;

pub use stats::RUN_STATUSES;

use crate::auth::Grant;
use crate::hub::WorkerHub;
use crate::remote::Remotes;
use crate::tenancy::{About, Caller, Owners, Tenancy};

/// Largest message that is read: a payload of 4 MiB, several of them in one request, and what surrounds them.
const DECODED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Components put at the same time.
const PUTTING_MAX: usize = 2;

/// What a server says about itself.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Time,
    /// Where it stores, without a password.
    pub store_url: String,
}

/// All services of one server over one engine. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    shared: Arc<Shared>,
}

/// What a request is answered with: what all services share, and who asks.
pub(crate) struct Cx {
    shared: Arc<Shared>,
    pub(crate) caller: Caller,
}

impl Deref for Cx {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// What every service works with.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) connectors: Arc<dyn Connectors>,
    pub(crate) hub: Arc<WorkerHub>,
    pub(crate) reports: Arc<dyn Reports>,
    pub(crate) info: ServerInfo,
    pub(crate) remotes: Remotes,
    /// The server goes away: subscriptions end, so that its graceful shutdown does not wait for runs to end.
    pub(crate) closing: CancellationToken,
    /// Who judges and runs components here; none = none are deployed through this server.
    pub(crate) host: Option<Arc<dyn ConnectorHost>>,
    /// Components that are being put: each is in memory as a whole.
    pub(crate) putting: tokio::sync::Semaphore,
    tenancy: Tenancy,
    owners: Owners,
}

impl Shared {
    /// The surroundings of one request.
    pub(crate) fn of(self: &Arc<Self>, metadata: &MetadataMap, extensions: &Extensions) -> Cx {
        let grant = extensions.get::<Arc<Grant>>().map(Arc::as_ref);
        Cx {
            shared: self.clone(),
            caller: Caller::of(&self.tenancy, grant, metadata),
        }
    }
}

impl Cx {
    /// Refuses a request about a run that its caller may not see.
    pub(crate) async fn admit(&self, asked: &impl About) -> Result<(), TapeError> {
        match asked.run() {
            Some(run) => self.owners.admit(&self.engine, &self.caller, run).await,
            None => Ok(()),
        }
    }
}

impl Services {
    /// The services over `engine`. `hub` is the one that the reactors wake workers through; `reports` are asked for
    /// `Admin.Stats` alone. Without `host`, nothing can be deployed through this server.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        connectors: Arc<dyn Connectors>,
        hub: Arc<WorkerHub>,
        reports: Arc<dyn Reports>,
        info: ServerInfo,
        tenancy: Tenancy,
        host: Option<Arc<dyn ConnectorHost>>,
    ) -> Self {
        let closing = hub.closing.clone();
        Self {
            shared: Arc::new(Shared {
                engine,
                connectors,
                hub,
                reports,
                info,
                remotes: Remotes::default(),
                closing,
                host,
                putting: tokio::sync::Semaphore::new(PUTTING_MAX),
                tenancy,
                owners: Owners::default(),
            }),
        }
    }

    /// Tape, Driver, Admin, Workers, Reactors, Connectors, and with them health and reflection.
    ///
    /// Serve it by `tonic::transport::Server::builder().add_routes(..)`. The caller sets TCP_NODELAY and HTTP/2
    /// keep-alive there: both belong to its listener. [`WorkerHub::drain`] ends what streams.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let cx = || self.shared.clone();
        let tape = pb::tape_server::TapeServer::new(tape::TapeService { cx: cx() });
        let driver = pb::driver_server::DriverServer::new(driver::DriverService { cx: cx() });
        let admin = pb::admin_server::AdminServer::new(admin::AdminService { cx: cx() });
        let reactors = pb::reactors_server::ReactorsServer::new(reactors::ReactorsService { cx: cx() });
        let workers = pb::workers_server::WorkersServer::new(workers::WorkersService { cx: cx() });
        let connectors = pb::connectors_server::ConnectorsServer::new(connectors::ConnectorsService { cx: cx() })
            .max_decoding_message_size(DECODED_BYTES_MAX);
        let (_, health) = tonic_health::server::health_reporter();
        let routes = Routes::default()
            .add_service(tape.max_decoding_message_size(DECODED_BYTES_MAX))
            .add_service(driver.max_decoding_message_size(DECODED_BYTES_MAX))
            .add_service(admin.max_decoding_message_size(DECODED_BYTES_MAX))
            .add_service(workers.max_decoding_message_size(DECODED_BYTES_MAX))
            .add_service(reactors.max_decoding_message_size(DECODED_BYTES_MAX))
            .add_service(connectors.max_encoding_message_size(COMPONENT_BYTES_MAX + DECODED_BYTES_MAX))
            .add_service(health);
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tape_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Many tools and libraries ask by the old name alone.
        match (described().build_v1(), described().build_v1alpha()) {
            (Ok(reflection), Ok(old)) => routes.add_service(reflection).add_service(old),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "no gRPC reflection: the contract's descriptors cannot be read");
                routes
            }
        }
    }
}
