//! A client of OCI registries that believes them nothing: everything is bounded in size and time, and every byte is under a digest.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use tokio::io::AsyncWrite;
use tokio::time::timeout;

use crate::layout::{pack, unpack};
use crate::{ArtifactError, Reference, Signature, digest};

/// A manifest has a few hundred bytes, and some more with signatures.
const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A component on its way into or out of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Artifact {
    /// The connector's own name and version, for people who list the registry.
    pub name: String,
    pub version: String,
    pub component: Vec<u8>,
    /// The component's interfaces, for tools that look without pulling.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    pub signatures: Vec<Signature>,
}

/// What was pulled. Its digest was checked; whether anybody trustworthy vouches for it is for [`Trust`](crate::Trust) to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub component: Vec<u8>,
    pub signatures: Vec<Signature>,
    /// The place, pinned to the manifest that was pulled.
    pub reference: Reference,
    /// The manifest, as it was pulled.
    pub manifest: Vec<u8>,
}

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Hosts (`HOST[:PORT]`) that are spoken to without TLS. Default: none.
    pub plain_http: Vec<String>,
    pub credentials: Option<Credentials>,
    /// For one push or pull in all. Default 120 s.
    pub timeout_ms: u64,
}

/// A user's name and password, or a token in place of it.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// The client. Cheap to keep; holds connections.
pub struct Registry {
    client: Client,
    http: reqwest::Client,
    config: RegistryConfig,
}

impl Registry {
    /// # Errors
    /// [`ArtifactError::Client`]: TLS cannot be set up on this machine.
    pub fn new(config: RegistryConfig) -> Result<Self, ArtifactError> {
        // Only an error if somebody else installed one: then there is one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::try_from(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(config.plain_http.clone()),
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            max_concurrent_upload: 1,
            user_agent: "tape",
            ..ClientConfig::default()
        })
        .map_err(|error| ArtifactError::Client(error.to_string()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent("tape")
            .build()
            .map_err(|error| ArtifactError::Client(error.to_string()))?;
        Ok(Self { client, http, config })
    }

    /// Pushes an artifact; returns its place, pinned to its manifest. Repeating it is harmless.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub async fn push(&self, to: &Reference, artifact: &Artifact) -> Result<Reference, ArtifactError> {
        if artifact.component.len() > crate::COMPONENT_BYTES_MAX {
            return Err(ArtifactError::TooLarge {
                reference: to.to_string(),
                what: "the component",
                most: crate::COMPONENT_BYTES_MAX,
            });
        }
        self.in_time(to, async {
            let (manifest, layers, config) = pack(artifact);
            self.client
                .push(&to.0, &layers, config, &self.auth(), Some(manifest))
                .await
                .map_err(|error| told(to, error))?;
            // What is there now, by the registry's own word: a manifest that it does not give back was not pushed.
            let manifest = self.manifest(to).await?;
            Ok(to.pinned(&digest(&manifest)))
        })
        .await
    }

    /// Pulls an artifact: at most [`COMPONENT_BYTES_MAX`](crate::COMPONENT_BYTES_MAX) bytes, each of them under the digest that the manifest
    /// names, and the manifest under the reference's, if it names one.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub async fn pull(&self, from: &Reference) -> Result<Pulled, ArtifactError> {
        self.in_time(from, async {
            let manifest = self.manifest(from).await?;
            let (layer, signatures) = unpack(from, &manifest)?;
            let bytes = usize::try_from(layer.size).unwrap_or_default();
            let mut sink = Sink {
                bytes: Vec::with_capacity(bytes),
                most: bytes,
                overrun: false,
            };
            let pulled = self.client.pull_blob(&from.0, &layer, &mut sink).await;
            if sink.overrun {
                return Err(ArtifactError::TooLarge {
                    reference: from.to_string(),
                    what: "the component, by what its manifest says,",
                    most: bytes,
                });
            }
            pulled.map_err(|error| told(from, error))?;
            // The client compares digests, too. This is the last word on what is loaded.
            let is = digest(&sink.bytes);
            if is != layer.digest {
                return Err(lied(from, format!("the registry gave {is} for {}", layer.digest)));
            }
            Ok(Pulled {
                component: sink.bytes,
                signatures,
                reference: from.pinned(&digest(&manifest)),
                manifest,
            })
        })
        .await
    }

    async fn in_time<T>(
        &self,
        reference: &Reference,
        work: impl Future<Output = Result<T, ArtifactError>>,
    ) -> Result<T, ArtifactError> {
        let timeout_ms = self.config.timeout_ms;
        match timeout(Duration::from_millis(timeout_ms), work).await {
            Ok(done) => done,
            Err(_) => Err(ArtifactError::Timeout {
                reference: reference.to_string(),
                timeout_ms,
            }),
        }
    }

    fn auth(&self) -> RegistryAuth {
        match &self.config.credentials {
            Some(Credentials { user, password }) => RegistryAuth::Basic(user.clone(), password.clone()),
            None => RegistryAuth::Anonymous,
        }
    }

    /// The manifest's bytes. Read here because the client would read a manifest of any size.
    async fn manifest(&self, from: &Reference) -> Result<Vec<u8>, ArtifactError> {
        let auth = self.auth();
        let token = self.client.auth(&from.0, &auth, RegistryOperation::Pull).await;
        let token = token.map_err(|error| told(from, error))?;
        let (image, host) = (&from.0, from.0.resolve_registry());
        let scheme = if self.config.plain_http.iter().any(|plain| plain == host) {
            "http"
        } else {
            "https"
        };
        let which = image.digest().or(image.tag()).unwrap_or("latest");
        let url = format!("{scheme}://{host}/v2/{}/manifests/{which}", image.repository());
        let mut request = self.http.get(url).header(http::header::ACCEPT, MANIFESTS);
        request = match (token, &self.config.credentials) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(Credentials { user, password })) => request.basic_auth(user, Some(password)),
            (None, None) => request,
        };
        let mut response = request.send().await.map_err(|error| away(from, &error))?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(not_found(from)),
            status @ (401 | 403) => {
                return Err(ArtifactError::Unauthorized {
                    reference: from.to_string(),
                    problem: format!("status {status}"),
                });
            }
            status => return Err(unavailable(from, format!("the registry answered with status {status}"))),
        }
        let mut manifest = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| away(from, &error))? {
            if manifest.len() + chunk.len() > MANIFEST_BYTES_MAX {
                return Err(ArtifactError::TooLarge {
                    reference: from.to_string(),
                    what: "its manifest",
                    most: MANIFEST_BYTES_MAX,
                });
            }
            manifest.extend_from_slice(&chunk);
        }
        let is = digest(&manifest);
        match image.digest() {
            Some(wanted) if wanted != is => Err(lied(from, format!("the registry gave manifest {is} for it"))),
            _ => Ok(manifest),
        }
    }
}

/// Takes as many bytes as were announced.
struct Sink {
    bytes: Vec<u8>,
    most: usize,
    overrun: bool,
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() > self.most {
            self.overrun = true;
            return Poll::Ready(Err(io::Error::other("more bytes than announced")));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn told(reference: &Reference, error: OciDistributionError) -> ArtifactError {
    use OciDistributionError as Oci;
    match error {
        Oci::RequestError(error) => away(reference, &error),
        Oci::DigestError(error) => lied(reference, error.to_string()),
        Oci::ImageManifestNotFoundError(_) => not_found(reference),
        Oci::UnauthorizedError { .. } | Oci::AuthenticationFailure(_) => ArtifactError::Unauthorized {
            reference: reference.to_string(),
            problem: "it asks for other credentials".to_owned(),
        },
        Oci::RegistryError { envelope, .. } => {
            let has = |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
            if has(&OciErrorCode::Unauthorized) || has(&OciErrorCode::Denied) {
                ArtifactError::Unauthorized {
                    reference: reference.to_string(),
                    problem: envelope.to_string(),
                }
            } else if has(&OciErrorCode::BlobUnknown) || has(&OciErrorCode::NotFound) || has(&OciErrorCode::NameUnknown)
            {
                not_found(reference)
            } else {
                unavailable(reference, envelope.to_string())
            }
        }
        Oci::ServerError {
            code: code @ (401 | 403),
            ..
        } => ArtifactError::Unauthorized {
            reference: reference.to_string(),
            problem: format!("status {code}"),
        },
        Oci::ServerError { code, .. } => unavailable(reference, format!("the registry answered with status {code}")),
        other => unavailable(reference, other.to_string()),
    }
}

fn away(reference: &Reference, error: &reqwest::Error) -> ArtifactError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    unavailable(reference, text)
}

fn unavailable(reference: &Reference, problem: String) -> ArtifactError {
    ArtifactError::Unavailable {
        reference: reference.to_string(),
        problem,
    }
}

fn not_found(reference: &Reference) -> ArtifactError {
    ArtifactError::NotFound {
        reference: reference.to_string(),
    }
}

fn lied(reference: &Reference, problem: String) -> ArtifactError {
    ArtifactError::Lied {
        reference: reference.to_string(),
        problem,
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            credentials: None,
            timeout_ms: 120_000,
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}
