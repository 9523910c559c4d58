//! The way into the scripted upstream: pipes in place of sockets.

use std::future::Future;
use std::pin::Pin;

use sluice::tasks::Tasks;
use sluice::upstream::connect::{
    Connect, ConnectError, Connection, Negotiated, PrivateAddresses, Target,
};

use super::client::serve;
use super::origin::{Door, Origin};

/// Bytes that a pipe holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

/// Opens pipes into the scripted upstream.
pub(super) struct Pipes {
    pub(super) origin: Origin,
    pub(super) tasks: Tasks,
}

impl Connect for Pipes {
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        Box::pin(async move {
            let host = target.origin.host().to_owned();
            match self.origin.knock(&host) {
                None => return Err(ConnectError::NameNotFound),
                Some(Door::Hang) => std::future::pending().await,
                Some(Door::Private) if target.private == PrivateAddresses::Refuse => {
                    return Err(ConnectError::PrivateAddress);
                }
                Some(Door::Refuse) => {
                    return Err(ConnectError::Failed("connection refused".into()));
                }
                Some(Door::UnknownIssuer) => {
                    return Err(ConnectError::UnknownIssuer("CN=Corp Root 7".into()));
                }
                Some(Door::Open | Door::Private) => {}
            }
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            match self.origin.proxy_at(&host) {
                Some(proxy) => serve(proxy, far, &self.tasks),
                None => {
                    let serving = self.origin.clone().serve(host, far);
                    self.tasks.spawn("scripted upstream", serving);
                }
            }
            Ok(Connection {
                stream: Box::new(near),
                negotiated: Negotiated::Http1,
            })
        })
    }
}
