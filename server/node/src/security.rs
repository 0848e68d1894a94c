//! Who may reach the server, and how: TLS, tokens, tenants; and what must not be offered to a network.

mod certificate;
mod credentials;
mod tokens;

use std::path::Path;

use tape_api::{Tenancy, TenancyMode};

use crate::config::NodeConfig;
use crate::node::NodeError;
use crate::project;

pub use credentials::Credentials;

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, NodeError> {
    std::fs::read(file).map_err(|error| {
        NodeError::Config(format!(
            "{flag} is {:?}, which cannot be read ({error}); correct the path, or let the server read it",
            file.display()
        ))
    })
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
    let doors = [("--listen", Some(&config.grpc)), ("--http", config.http.as_ref())];
    for (flag, address) in doors {
        let Some(address) = address.filter(|address| !is_loopback(address)) else {
            continue;
        };
        if !encrypted && !asks {
            return Err(NodeError::Config(format!(
                "{flag} on {address:?} would offer plaintext without credentials to the network; listen on 127.0.0.1, set --tls-cert, --tls-key and --auth-tokens, or pass --insecure"
            )));
        }
        if !encrypted {
            tracing::warn!(
                address,
                "tokens cross the network in plaintext: set --tls-cert and --tls-key, or let a proxy do it"
            );
        }
        if !asks {
            tracing::warn!(
                address,
                "anybody who reaches the server may do everything, and see its metrics: set --auth-tokens"
            );
        }
    }
    Ok(())
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;

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
        let http = with("127.0.0.1:1", Some(wide), false, false, false);
        assert!(http.unwrap_err().to_string().contains("--http on \"0.0.0.0:1\""));
        assert!(with("127.0.0.1:1", Some(wide), true, false, false).is_ok());
        assert!(with(wide, Some(wide), true, true, false).is_ok());
    }
}
