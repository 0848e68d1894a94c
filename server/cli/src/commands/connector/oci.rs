//! Registries, as the commands reach them.

use tape_connector_artifact::{ArtifactError, Credentials, Pulled, Reference, Registry, RegistryConfig};

#[derive(clap::Args)]
pub struct OciArgs {
    /// Speak to the registry without TLS
    #[arg(long)]
    plain_http: bool,
    /// The user that the registry knows
    #[arg(long, env = "TAPE_OCI_USER", hide_env_values = true, requires = "oci_password")]
    oci_user: Option<String>,
    /// Its password, or a token
    #[arg(long, env = "TAPE_OCI_PASSWORD", hide_env_values = true)]
    oci_password: Option<String>,
    /// How long one push or pull may take, in milliseconds
    #[arg(long, default_value_t = 120_000)]
    oci_timeout_ms: u64,
}

impl OciArgs {
    /// A client of the registry where `place` is.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn client(&self, place: &Reference) -> anyhow::Result<Registry> {
        let plain_http = if self.plain_http {
            vec![place.host().to_owned()]
        } else {
            Vec::new()
        };
        let credentials = self.oci_user.clone().map(|user| Credentials {
            user,
            password: self.oci_password.clone().unwrap_or_default(),
        });
        let config = RegistryConfig {
            plain_http,
            credentials,
            timeout_ms: self.oci_timeout_ms,
        };
        Registry::new(config).map_err(explained)
    }

    /// Pulls the component that is there.
    ///
    /// # Errors
    /// It is not there, not what it claims, or did not come in time.
    pub async fn pull(&self, place: &str) -> anyhow::Result<Pulled> {
        let place: Reference = place.parse().map_err(explained)?;
        self.client(&place)?.pull(&place).await.map_err(explained)
    }
}

/// The error with its code, so that `tape explain` can be asked.
pub fn explained(error: ArtifactError) -> anyhow::Error {
    let code = error.code();
    anyhow::anyhow!("{error} ({code}; see: tape explain {code})")
}
