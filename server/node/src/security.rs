//! Who may reach the server, and how: TLS, tokens, tenants; and what must not be offered to a network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use tape_api::{Grant, Role, Tenancy, TenancyMode, Tokens, Verify};
use tonic::transport::{Identity, ServerTlsConfig};

use crate::config::{NodeConfig, TlsFiles};
use crate::node::NodeError;
use crate::project;

/// A client that takes longer for its part of the handshake is let go.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// One entry of a tokens file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    token: Option<String>,
    token_sha256: Option<String>,
    principal: String,
    role: String,
    tenant: Option<String>,
}

/// Shortest token that is taken: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// What `config` says about TLS.
pub(crate) fn tls(files: Option<&TlsFiles>) -> Result<Option<ServerTlsConfig>, NodeError> {
    let Some(files) = files else { return Ok(None) };
    let identity = Identity::from_pem(read("--tls-cert", &files.cert)?, read("--tls-key", &files.key)?);
    Ok(Some(ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_MAX)))
}

/// The verifier of callers' tokens, if there is a file of them.
pub(crate) fn verifier(config: &NodeConfig) -> Result<Option<Arc<dyn Verify>>, NodeError> {
    let Some(file) = &config.auth_tokens else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&read("--auth-tokens", file)?).into_owned();
    let (separated, wrong) = (
        config
            .project
            .as_ref()
            .is_some_and(|project| project.tenancy.mode == project::TenancyMode::HardMultiTenant),
        |problem: String| NodeError::Config(format!("{}: {problem}", file.display())),
    );
    let tokens = tokens(&text, separated).map_err(wrong)?;
    Ok(Some(Arc::new(tokens)))
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, NodeError> {
    std::fs::read(file).map_err(|error| {
        NodeError::Config(format!(
            "{flag} is {:?}, which cannot be read ({error}); correct the path, or let the server read it",
            file.display()
        ))
    })
}

/// Reads a tokens file. Where tenants are `separated`, each token has to name its own: the one without a name is everybody's. What is wrong is told by the number of its entry, never by the token.
fn tokens(text: &str, separated: bool) -> Result<Tokens, String> {
    const SHAPE: &str = "write a list of {token or token_sha256, principal, role, tenant}";
    // The parser's own words may quote a secret.
    let entries: Vec<Entry> = serde_saphyr::from_str(text).map_err(|_| format!("it is no list of tokens; {SHAPE}"))?;
    let mut tokens = Tokens::default();
    for (number, entry) in (1..).zip(entries) {
        let grant = Grant {
            role: Role::named(&entry.role).ok_or_else(|| {
                let known = Role::ALL.map(|(name, _)| name).join(", ");
                format!("entry {number}: role {:?} is none of {known}", entry.role)
            })?,
            tenant: match tenant(number, entry.tenant)? {
                Some(unnamed) if separated && unnamed.is_empty() => {
                    return Err(format!(
                        "entry {number}: it names no tenant, and tenancy.mode is hard_multi_tenant; name one, or \"*\" for all"
                    ));
                }
                named => named,
            },
            principal: entry.principal,
        };
        match (entry.token, entry.token_sha256) {
            (Some(token), None) if token.len() >= TOKEN_BYTES_MIN => tokens.add(&token, grant),
            (Some(_), None) => {
                return Err(format!(
                    "entry {number}: the token is shorter than {TOKEN_BYTES_MIN} bytes; make one by `openssl rand -hex 32`"
                ));
            }
            (None, Some(hex)) => {
                let digest = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
                let digest = digest.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
                    format!("entry {number}: token_sha256 is not 64 hex digits; `printf %s TOKEN | sha256sum` makes them")
                })?;
                tokens.add_digest(digest, grant);
            }
            _ => {
                return Err(format!(
                    "entry {number}: it needs token or token_sha256, and not both; {SHAPE}"
                ));
            }
        }
    }
    if tokens.is_empty() {
        return Err(format!("it has no token, so nobody could call; {SHAPE}"));
    }
    Ok(tokens)
}

/// `*` is all tenants; none is the tenant without a name.
fn tenant(number: i32, named: Option<String>) -> Result<Option<String>, String> {
    match named {
        Some(all) if all == "*" => Ok(None),
        Some(name) => tape_core::json::check_optional_name("tenant", &name)
            .map(|()| Some(name))
            .map_err(|refusal| format!("entry {number}: {refusal}")),
        None => Ok(Some(String::new())),
    }
}

/// How tenants are told apart, as the project says.
pub(crate) fn tenancy(config: &NodeConfig) -> Result<Tenancy, NodeError> {
    let Some(project) = &config.project else {
        return Ok(Tenancy::default());
    };
    let mode = match project.tenancy.mode {
        project::TenancyMode::Single => TenancyMode::Single,
        project::TenancyMode::TrustedMultiApp => TenancyMode::TrustedMultiApp,
        project::TenancyMode::HardMultiTenant => TenancyMode::HardMultiTenant,
    };
    if mode == TenancyMode::HardMultiTenant && config.auth_tokens.is_none() {
        return Err(NodeError::Config(
            "tenancy.mode is hard_multi_tenant, where the tenant comes from credentials, and the server asks for none; name a file of tokens by --auth-tokens".to_owned(),
        ));
    }
    Ok(Tenancy {
        mode,
        own: project.tenancy.tenant_id.clone().unwrap_or_default(),
    })
}

/// Plaintext without credentials belongs on loopback, unless the operator insists.
pub(crate) fn check_exposure(config: &NodeConfig) -> Result<(), NodeError> {
    if config.insecure {
        return Ok(());
    }
    let (encrypted, asks) = (config.tls.is_some(), config.auth_tokens.is_some());
    if !is_loopback(&config.grpc) {
        if !encrypted && !asks {
            return Err(NodeError::Config(format!(
                "listening on {:?} would offer plaintext without credentials to the network; listen on 127.0.0.1, set --tls-cert, --tls-key and --auth-tokens, or pass --insecure",
                config.grpc
            )));
        }
        if !encrypted {
            tracing::warn!(
                address = config.grpc,
                "tokens cross the network in plaintext: set --tls-cert and --tls-key, or let a proxy do it"
            );
        }
        if !asks {
            tracing::warn!(
                address = config.grpc,
                "anybody who reaches the server may do everything: set --auth-tokens"
            );
        }
    }
    match &config.http {
        Some(address) if !is_loopback(address) && !asks => Err(NodeError::Config(format!(
            "--http on {address:?} would show the metrics to the network without credentials; listen on 127.0.0.1, set --auth-tokens, or pass --insecure"
        ))),
        _ => Ok(()),
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_known_by_itself_or_by_its_digest() {
        let digest = "6b97ceae3c01a8d7ea2a8a2d6a02a1e1f6a2b8b4ab24ebd2c1a08c0b5b9b4e11";
        let text = format!(
            "- {{token: {TOKEN}, principal: agent, role: driver, tenant: acme}}\n- {{token_sha256: {digest}, principal: ops, role: operator, tenant: '*'}}\n"
        );
        let known = tokens(&text, false).unwrap();
        let grant = known.verify(TOKEN).unwrap();
        assert_eq!((grant.role, grant.tenant.as_deref()), (Role::Driver, Some("acme")));
        assert!(known.verify("something else").is_none());
    }

    #[test]
    fn what_is_wrong_is_told_without_the_token() {
        for (text, problem) in [
            (
                format!("- {{token: {TOKEN}, principal: a, role: king}}"),
                "entry 1: role \"king\"",
            ),
            (
                "- {token: short-secret, principal: a, role: driver}".to_owned(),
                "shorter than 16",
            ),
            (
                format!("- {{token: {TOKEN}, token_sha256: aa, principal: a, role: driver}}"),
                "and not both",
            ),
            (
                format!("- {{token_sha256: {TOKEN}, principal: a, role: driver}}"),
                "64 hex digits",
            ),
            (
                format!("- {{token: {TOKEN}, rule: driver, principal: a}}"),
                "no list of tokens",
            ),
            ("[]".to_owned(), "no token"),
        ] {
            let said = tokens(&text, false).map(drop).unwrap_err();
            assert!(said.contains(problem), "{said}");
            assert!(!said.contains(TOKEN) && !said.contains("short-secret"), "{said}");
        }
    }

    #[test]
    fn what_faces_the_network_needs_credentials_or_an_operator_who_insists() {
        let with = |grpc: &str, http: Option<&str>, tls: bool, tokens: bool, insecure: bool| {
            let mut config = NodeConfig::new("memory:", None);
            config.grpc = grpc.to_owned();
            config.http = http.map(str::to_owned);
            config.tls = tls.then(|| TlsFiles {
                cert: "c".into(),
                key: "k".into(),
            });
            config.auth_tokens = tokens.then(|| "t".into());
            config.insecure = insecure;
            check_exposure(&config)
        };
        for local in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
            assert!(with(local, Some(local), false, false, false).is_ok(), "{local}");
        }
        let wide = "0.0.0.0:1";
        assert!(
            with(wide, None, false, false, false)
                .unwrap_err()
                .to_string()
                .contains("--insecure")
        );
        assert!(with(wide, None, true, false, false).is_ok());
        assert!(with(wide, None, false, true, false).is_ok());
        assert!(with(wide, Some(wide), false, false, true).is_ok());
        assert!(with("127.0.0.1:1", Some(wide), true, false, false).is_err());
        assert!(with(wide, Some(wide), true, true, false).is_ok());
    }
}
