//! Names to addresses, with the near ones taken away: a public name that resolves to a private address reaches nothing.
//!
//! The check sits where the connection is made, not before it, so that a second answer of a rebinding DNS server is checked, too.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use async_trait::async_trait;
use hyper_util::client::legacy::connect::dns::Name;
use thiserror::Error;
use tower_service::Service;

use super::policy::{Distance, distance};

/// All of a name's addresses were refused. A matter of grants, not of the network.
#[derive(Debug, Error)]
#[error("`{name}` resolves to {address}, {why}")]
pub struct AddressRefused {
    name: String,
    address: IpAddr,
    why: &'static str,
}

/// Who turns names into addresses. What it answers is judged by the host, so it need not be trusted.
#[async_trait]
pub trait Names: Send + Sync {
    /// All addresses of `name`.
    ///
    /// # Errors
    /// Whatever kept it from finding them; the request then counts as not sent.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// [`Names`] for the client, without the addresses that are too near.
#[derive(Clone)]
pub struct Resolver {
    pub names: Arc<dyn Names>,
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
        let Self { names, private } = self.clone();
        Box::pin(async move {
            let found = names.lookup(name.as_str()).await?;
            let kept = keep_reachable(name.as_str(), found, private)?;
            // The client puts the request's port in place of 0.
            Ok(kept
                .into_iter()
                .map(|address| SocketAddr::new(address, 0))
                .collect::<Vec<_>>()
                .into_iter())
        })
    }
}

fn keep_reachable(name: &str, found: Vec<IpAddr>, private: bool) -> io::Result<Vec<IpAddr>> {
    let reachable = |address: &IpAddr| match distance(*address) {
        Distance::Public => true,
        Distance::Private => private,
        Distance::Never => false,
    };
    let (kept, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(reachable);
    match refused.first() {
        Some(address) if kept.is_empty() => {
            let why = match distance(*address) {
                Distance::Never => "which is never reachable by name",
                Distance::Private | Distance::Public => {
                    "a private address; grant `private` for this host if that is meant"
                }
            };
            Err(io::Error::other(AddressRefused {
                name: name.to_owned(),
                address: *address,
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
        let found = addresses.iter().map(|text| text.parse().unwrap()).collect();
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
