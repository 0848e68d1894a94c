//! Names to addresses, with the near ones taken away: a public name that resolves to a private address reaches nothing.
//!
//! The check sits where the connection is made, not before it, so that a second answer of a rebinding DNS server is checked, too.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use thiserror::Error;
use tower_service::Service;

use super::policy::{Distance, distance};

/// All of a name's addresses were refused. A matter of grants, not of the network.
#[derive(Debug, Error)]
#[error("`{name}` resolves to {address}, {why}")]
pub struct AddressRefused {
    name: String,
    address: std::net::IpAddr,
    why: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub struct Resolver {
    pub private: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let private = self.private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            keep_reachable(name.as_str(), found.collect(), private).map(Vec::into_iter)
        })
    }
}

fn keep_reachable(name: &str, found: Vec<SocketAddr>, private: bool) -> io::Result<Vec<SocketAddr>> {
    let reachable = |address: &SocketAddr| match distance(address.ip()) {
        Distance::Public => true,
        Distance::Private => private,
        Distance::Never => false,
    };
    let (kept, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(reachable);
    match refused.first() {
        Some(address) if kept.is_empty() => {
            let why = match distance(address.ip()) {
                Distance::Never => "which is never reachable by name",
                Distance::Private | Distance::Public => {
                    "a private address; grant `private` for this host if that is meant"
                }
            };
            Err(io::Error::other(AddressRefused {
                name: name.to_owned(),
                address: address.ip(),
                why,
            }))
        }
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(addresses: &[&str], private: bool) -> io::Result<usize> {
        let found = addresses
            .iter()
            .map(|text| SocketAddr::new(text.parse().unwrap(), 0))
            .collect();
        keep_reachable("x.example", found, private).map(|kept| kept.len())
    }

    #[test]
    fn a_name_that_leads_home_is_refused_unless_granted() {
        assert!(
            kept(&["10.0.0.1"], false)
                .unwrap_err()
                .to_string()
                .contains("private address")
        );
        assert_eq!(kept(&["10.0.0.1"], true).unwrap(), 1);
        assert_eq!(kept(&["10.0.0.1", "1.1.1.1"], false).unwrap(), 1);
        assert!(kept(&["169.254.169.254"], true).is_err());
    }
}
