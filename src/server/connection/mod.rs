//! Accepting connections and serving requests on them, plain or over TLS.
//!
//! When `max_connections` are open, one more makes those end that have waited longest for a request, and waits in the line
//! of its address. Accepting goes on meanwhile: in the system's queue, who opens many connections would stand before
//! everybody else. It refuses to serve what has no seat, and to let a failing `accept` end the loop: out of file
//! descriptors, it waits for some to be freed.

mod activity;
mod lines;
mod paced;
mod seats;
mod serve;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::seats::{Seating, Seats, Taken};
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

/// Accepts and serves the connections of some listeners that share their seats.
#[derive(Clone)]
pub(super) struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    limits: Limits,
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
const TURNED_AWAY: Family = Family {
    name: "sluice_connections_turned_away_total",
    help: "Connections that were ended because max_connections were open and as many waited.",
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
        let seats = Arc::new(Seats::new(limits.max_connections));
        let acceptor = Self {
            shared: Arc::new(Shared {
                name,
                limits,
                seats: Arc::clone(&seats),
                stopping: CancellationToken::new(),
                aborting: CancellationToken::new(),
                telemetry: telemetry.clone(),
                tasks: tasks.clone(),
            }),
        };
        telemetry.collect(move |samples| {
            let open = u64::try_from(seats.open()).unwrap_or(u64::MAX);
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
        let seating = self.shared.seats.take(addr.ip());
        let Some(taken) = seat(&self.shared, seating).await else {
            return;
        };
        Box::pin(serve::secure(
            &self.shared,
            &taken.0,
            certificates,
            stream,
            addr,
            handle,
        ))
        .await;
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.shared.seats.open()
    }

    /// Stops accepting and waits at most `limit` for the requests under way.
    pub(super) async fn drain(&self, limit: Duration) -> Ended {
        self.shared.stopping.cancel();
        self.shared.seats.close();
        match tokio::time::timeout(limit, self.shared.seats.emptied()).await {
            Ok(()) => Ended::Drained,
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
                let seating = shared.seats.take(addr.ip());
                let (shared, door, handle) = (Arc::clone(shared), door.clone(), handle.clone());
                let tasks = shared.tasks.clone();
                let connection = connection(shared, stream, addr, door, handle, seating);
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

/// The seat of a newcomer, once it has one.
async fn seat(shared: &Arc<Shared>, seating: Seating) -> Option<Taken> {
    let labels = [("listener", shared.name)];
    let line = match seating {
        Seating::Refused => return None,
        Seating::Seated(taken) => return Some(taken),
        Seating::Waiting(line) => line,
    };
    shared.telemetry.add(&FULL, &labels, 1);
    if line.is_in_anothers_place {
        shared.telemetry.add(&TURNED_AWAY, &labels, 1);
    }
    if line.is_unseen {
        let room = make_room(Arc::clone(shared));
        shared.tasks.spawn("make-room", room);
    }
    line.turn.await.ok()
}

/// Has connections without a request end for as long as somebody is in line.
async fn make_room(shared: Arc<Shared>) {
    loop {
        let turn = shared.seats.turn();
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some(ended) = shared.seats.make_room(turn) else {
            return;
        };
        let labels = [("listener", shared.name)];
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
    seating: Seating,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    // Held to the end of the connection, however it ends.
    let Some(taken) = seat(&shared, seating).await else {
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    match door {
        Door::Plain => serve::plain(&shared, &taken.0, stream, addr, handle).await,
        // Boxed: a plain connection must not carry the state of a handshake and of HTTP/2 about.
        Door::Tls(certificates) => {
            Box::pin(serve::secure(
                &shared,
                &taken.0,
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
