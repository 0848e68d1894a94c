//! Ports of this machine: a free one, or a word about one that is taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

/// Ports that nobody listens on right now, all different.
///
/// # Errors
/// When the machine has none left.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    for _ in 0..N {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?);
    }
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Whether somebody could listen there.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The loopback address of `port`.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Refuses a port that is taken.
///
/// # Errors
/// When somebody listens there, with `flag` as the cure.
pub fn need_free(port: u16, what: &str, flag: &str) -> anyhow::Result<()> {
    if is_free(port) {
        return Ok(());
    }
    bail!(
        "port {port} for {what} is taken. Stop what listens there (`tape status` tells if it is a Tape server), or give another port: {flag} N"
    )
}
