//! Who is at the other end of a connection.

use std::net::SocketAddr;

use http::request;

use super::base::Scheme;
use super::respond::{Facts, Transport};
use crate::clock::Clock;

/// Who sent a request, and how bodies reach it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub addr: SocketAddr,
    /// Whether it came over TLS of ours.
    pub scheme: Scheme,
    /// How bodies reach it.
    pub transport: Transport,
}

impl Peer {
    /// What shapes the response to a request of this peer.
    pub(super) fn facts<'a>(self, parts: &'a request::Parts, clock: &'a Clock) -> Facts<'a> {
        Facts {
            method: &parts.method,
            version: parts.version,
            headers: &parts.headers,
            scheme: self.scheme,
            transport: self.transport,
            clock,
        }
    }
}
