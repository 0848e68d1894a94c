//! The server's certificate, which can be exchanged while it serves.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::read;
use crate::config::TlsFiles;
use crate::node::NodeError;

/// What handshakes show from now on.
pub(super) struct Certificate {
    shown: ArcSwap<CertifiedKey>,
}

impl Certificate {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, NodeError> {
        let shown = ArcSwap::from_pointee(certified(files)?);
        Ok(Self { shown })
    }

    /// Reads the files again. Connections that stand keep what they were made with.
    ///
    /// # Errors
    /// The files cannot be read, or do not belong together: what was shown goes on being shown.
    pub(super) fn exchange(&self, files: &TlsFiles) -> Result<(), NodeError> {
        self.shown.store(Arc::new(certified(files)?));
        Ok(())
    }

    /// TLS for a listener that speaks `protocol`, as ALPN names it.
    pub(super) fn serve(self: &Arc<Self>, protocol: &str) -> Result<Arc<ServerConfig>, NodeError> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let mut config = config
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

fn certified(files: &TlsFiles) -> Result<CertifiedKey, NodeError> {
    let (cert, key) = (read("--tls-cert", &files.cert)?, read("--tls-key", &files.key)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert).collect();
    let chain = chain.map_err(|error| unusable(&error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable("there is no certificate in the first"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable(&error.to_string()))?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| unusable(&error.to_string()))
}

fn unusable(problem: &str) -> NodeError {
    NodeError::Config(format!(
        "--tls-cert and --tls-key cannot be used ({problem}); both are PEM, and the key belongs to the certificate"
    ))
}
