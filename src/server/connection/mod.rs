//! Accepting connections and serving requests on them, plain or over TLS.
//!
//! When `max_connections` are open, one more makes those end that have waited longest for a request. It refuses to serve
//! what it has no permit for, and to let a failing `accept` end the loop: out of file descriptors, it waits for some to
//! be freed.

mod activity;
mod seats;
mod serve;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::seats::{Seat, Seats, Taken};
use super::Ended;
use super::tls::Certificates;
use crate::proxy::Peer;
use crate::tasks::Tasks;
use crate::telemetry::{Family, Kind, Telemetry};

/// What the connections of one listener may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_connections: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) header_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) max_header_bytes: usize,
    pub(super) max_headers: usize,
    pub(super) max_streams: u32,
    pub(super) max_reset_streams: usize,
}

/// Accepts and serves the connections of some listeners that share their permits.
#[derive(Clone)]
pub(super) struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    limits: Limits,
    permits: Arc<Semaphore>,
    max_permits: u32,
    open: Arc<AtomicUsize>,
    seats: Arc<Seats>,
    /// Fires when accepting ends and connections finish the request they are at.
    stopping: CancellationToken,
    /// Fires when connections are broken off.
    aborting: CancellationToken,
    telemetry: Telemetry,
    tasks: Tasks,
}

const ACCEPTED: Family = Family {
    name: "sluice_connections_accepted_total",
    help: "Connections accepted.",
    kind: Kind::Counter,
};
const ACCEPT_FAILURES: Family = Family {
    name: "sluice_accept_failures_total",
    help: "Connections that could not be accepted.",
    kind: Kind::Counter,
};
const FULL: Family = Family {
    name: "sluice_connection_limit_reached_total",
    help: "Times that a connection had to wait because max_connections were open.",
    kind: Kind::Counter,
};
const MADE_ROOM: Family = Family {
    name: "sluice_connections_ended_for_others_total",
    help: "Connections without a request that were ended because max_connections were open.",
    kind: Kind::Counter,
};
const OPEN: Family = Family {
    name: "sluice_connections_open",
    help: "Connections open.",
    kind: Kind::Gauge,
};

impl Acceptor {
    pub(super) fn new(
        name: &'static str,
        limits: Limits,
        telemetry: &Telemetry,
        tasks: &Tasks,
    ) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let max_permits = u32::try_from(limits.max_connections.min(most)).unwrap_or(u32::MAX);
        let acceptor = Self {
            shared: Arc::new(Shared {
                name,
                limits,
                permits: Arc::new(Semaphore::new(max_permits as usize)),
                max_permits,
                open: Arc::default(),
                seats: Arc::default(),
                stopping: CancellationToken::new(),
                aborting: CancellationToken::new(),
                telemetry: telemetry.clone(),
                tasks: tasks.clone(),
            }),
        };
        let open = Arc::clone(&acceptor.shared.open);
        telemetry.collect(move |samples| {
            let open = u64::try_from(open.load(Relaxed)).unwrap_or(u64::MAX);
            samples.add(&OPEN, &[("listener", name)], open);
        });
        acceptor
    }

    /// Starts accepting from `listener`, whose clients come through this door; `handle` answers each request.
    pub(super) fn serve<H, F, B>(&self, listener: TcpListener, door: Door, handle: H)
    where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let accepting = async move {
            tokio::select! {
                () = accept(&shared, &listener, &door, handle) => {}
                () = shared.stopping.cancelled() => {}
            }
        };
        self.shared.tasks.spawn("accept", accepting);
    }

    /// Serves a connection that was not accepted here, as one of a TLS listener: from its handshake to its end.
    pub(super) async fn serve_secure<S, H, F, B>(
        &self,
        certificates: &Certificates,
        stream: S,
        addr: SocketAddr,
        handle: H,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Some(permit) = permit(&self.shared).await else {
            return;
        };
        let held = Held::new(permit, &self.shared);
        Box::pin(serve::secure(
            &self.shared,
            held.seat(),
            certificates,
            stream,
            addr,
            handle,
        ))
        .await;
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// Stops accepting and waits at most `limit` for the requests under way.
    pub(super) async fn drain(&self, limit: Duration) -> Ended {
        self.shared.stopping.cancel();
        // Each connection returns its permit at its end, so holding all of them means that none is left.
        let all = self.shared.permits.acquire_many(self.shared.max_permits);
        match tokio::time::timeout(limit, all).await {
            Ok(_) => Ended::Drained,
            Err(_) => Ended::Expired,
        }
    }

    /// Stops accepting and breaks every connection off.
    pub(super) fn abort(&self) {
        self.shared.stopping.cancel();
        self.shared.aborting.cancel();
    }
}

/// First wait after a failed `accept`: files are freed as requests end, which takes milliseconds.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// Longest wait after a failed `accept`, so that serving resumes within a second of there being room.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

async fn accept<H, F, B>(shared: &Arc<Shared>, listener: &TcpListener, door: &Door, handle: H)
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let labels = [("listener", shared.name)];
    let mut backoff = FIRST_BACKOFF;
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                backoff = FIRST_BACKOFF;
                shared.telemetry.add(&ACCEPTED, &labels, 1);
                let Some(permit) = permit(shared).await else {
                    return;
                };
                let (shared, door, handle) = (Arc::clone(shared), door.clone(), handle.clone());
                let tasks = shared.tasks.clone();
                let connection = connection(shared, stream, addr, door, handle, permit);
                tasks.spawn("connection", connection);
            }
            Err(error) => {
                shared.telemetry.add(&ACCEPT_FAILURES, &labels, 1);
                if concerns_one_connection(&error) {
                    continue;
                }
                if backoff == FIRST_BACKOFF {
                    tracing::warn!(%error, listener = shared.name, "cannot accept connections, trying again");
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// How long a newcomer waits for others to end by themselves before some are made to, and how long those have waited for
/// a request at least: one that came with a connection may not have been read yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The share of the connections that make room at once, so that a crowd of newcomers is let in without a wait for each.
const ROOM_SHARE: usize = 8;

/// A permit for a connection that is there already.
async fn permit(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() {
        return Some(permit);
    }
    let labels = [("listener", shared.name)];
    shared.telemetry.add(&FULL, &labels, 1);
    loop {
        let turn = shared.seats.turn();
        let permit = Arc::clone(&shared.permits).acquire_owned();
        if let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, permit).await {
            return permit.ok();
        }
        let most = shared.limits.max_connections.div_ceil(ROOM_SHARE);
        let ended = shared.seats.make_room(most, turn);
        shared.telemetry.add(&MADE_ROOM, &labels, ended as u64);
    }
}

/// Errors of a connection that ended before it was accepted (accept(2), "Error handling").
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// A connection's permit, its seat, and its place in the count of open ones.
struct Held {
    _permit: OwnedSemaphorePermit,
    open: Arc<AtomicUsize>,
    taken: Taken,
}

impl Held {
    fn new(permit: OwnedSemaphorePermit, shared: &Shared) -> Self {
        shared.open.fetch_add(1, Relaxed);
        Self {
            _permit: permit,
            open: Arc::clone(&shared.open),
            taken: shared.seats.take(),
        }
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.taken.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// How the connections of a listener are spoken to.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// HTTP/1.1 as it is.
    Plain,
    /// HTTP/1.1 or HTTP/2 over TLS.
    Tls(Certificates),
}

async fn connection<H, F, B>(
    shared: Arc<Shared>,
    stream: TcpStream,
    addr: SocketAddr,
    door: Door,
    handle: H,
    permit: OwnedSemaphorePermit,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    // Held to the end of the connection, however it ends.
    let held = Held::new(permit, &shared);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    match door {
        Door::Plain => serve::plain(&shared, held.seat(), stream, addr, handle).await,
        // Boxed: a plain connection must not carry the state of a handshake and of HTTP/2 about.
        Door::Tls(certificates) => {
            let seat = held.seat();
            Box::pin(serve::secure(
                &shared,
                seat,
                &certificates,
                stream,
                addr,
                handle,
            ))
            .await;
        }
    }
}

#[cfg(test)]
mod tests;
