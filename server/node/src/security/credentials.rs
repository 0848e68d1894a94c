//! What the server shows and asks for: its certificate and its callers' tokens, read from files, and again on request.

use std::sync::Arc;

use rustls::ServerConfig;
use tape_api::{TokenBook, Tokens, Verify};

use super::certificate::Certificate;
use super::{read, tokens};
use crate::config::{NodeConfig, TlsFiles};
use crate::node::NodeError;
use crate::project::TenancyMode;

/// The files of certificate and tokens, and what was read from them last.
pub struct Credentials {
    certificate: Option<(TlsFiles, Arc<Certificate>)>,
    book: Option<(TokensFile, Arc<TokenBook>)>,
}

/// A file of tokens, and how it is to be read.
struct TokensFile {
    path: std::path::PathBuf,
    /// Each token has to name its tenant.
    separated: bool,
}

impl TokensFile {
    fn read(&self) -> Result<Tokens, NodeError> {
        let text = String::from_utf8_lossy(&read("--auth-tokens", &self.path)?).into_owned();
        tokens::tokens(&text, self.separated)
            .map_err(|problem| NodeError::Config(format!("{}: {problem}", self.path.display())))
    }
}

impl Credentials {
    /// Reads what `config` names.
    ///
    /// # Errors
    /// [`NodeError::Config`]: a file cannot be read, or says something that cannot be.
    pub(crate) fn read(config: &NodeConfig) -> Result<Self, NodeError> {
        let certificate = match &config.tls {
            Some(files) => Some((files.clone(), Arc::new(Certificate::read(files)?))),
            None => None,
        };
        let book = match &config.auth_tokens {
            Some(path) => {
                let project = config.project.as_ref();
                let file = TokensFile {
                    path: path.clone(),
                    separated: project.is_some_and(|project| project.tenancy.mode == TenancyMode::HardMultiTenant),
                };
                let book = TokenBook::new(file.read()?);
                Some((file, Arc::new(book)))
            }
            None => None,
        };
        Ok(Self { certificate, book })
    }

    /// TLS for a listener that speaks `protocol`; none = plaintext.
    pub(crate) fn tls(&self, protocol: &str) -> Result<Option<Arc<ServerConfig>>, NodeError> {
        let certificate = self.certificate.as_ref();
        certificate
            .map(|(_, certificate)| certificate.serve(protocol))
            .transpose()
    }

    /// Who tells what callers' tokens are worth; none = nobody is asked.
    pub(crate) fn verifier(&self) -> Option<Arc<dyn Verify>> {
        let (_, book) = self.book.as_ref()?;
        Some(book.clone())
    }

    /// Reads the files again. Each counts from now on, or, if it is damaged, what was read before does, and the log says so.
    /// Calls under way go on, but for those of a token that was taken back.
    pub fn reload(&self) {
        if let Some((file, book)) = &self.book {
            match file.read() {
                Ok(tokens) => {
                    tracing::info!(file = %file.path.display(), tokens = tokens.len(), "the tokens were read again");
                    book.exchange(tokens);
                }
                Err(error) => tracing::error!(
                    file = %file.path.display(),
                    problem = %error,
                    "the tokens were NOT read again: those from before still count. Correct the file, and send SIGHUP again"
                ),
            }
        }
        if let Some((files, certificate)) = &self.certificate {
            match certificate.exchange(files) {
                Ok(()) => tracing::info!(file = %files.cert.display(), "the certificate was read again"),
                Err(error) => tracing::error!(
                    file = %files.cert.display(),
                    problem = %error,
                    "the certificate was NOT read again: the one from before is still shown. Correct the files, and send SIGHUP again"
                ),
            }
        }
    }
}
