//! One connection from its first byte to its end.
//!
//! Plain ones speak HTTP/1.1; over TLS the client chooses between that and HTTP/2 by ALPN (RFC 7301). Every wait has a
//! limit whichever it is: the handshake, a request's head, a client that takes nothing, the drain. It refuses HTTP/2
//! without TLS, which no client of NuGet speaks.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::activity::{Activity, Still, Watched};
use super::paced::Paced;
use super::seats::{Seat, Seated};
use crate::proxy::{Peer, Scheme, Transport};
use crate::server::io::{Patient, Stream};
use crate::server::tls::Certificates;
use crate::tasks::Tasks;
use crate::telemetry::{Family, Kind};

/// Plain TCP takes bodies from files by sendfile where the platform has it.
const TRANSPORT: Transport = if cfg!(target_os = "linux") {
    Transport::Sendfile
} else {
    Transport::Copy
};

/// Bytes of one HTTP/2 answer that wait for the client: what a long line holds at a hundred megabits, and with every
/// stream of a connection in use still some tens of megabytes at most.
const MAX_SEND_BYTES: usize = 256 << 10;

const HANDSHAKE_FAILURES: Family = Family {
    name: "sluice_tls_handshake_failures_total",
    help: "Clients with whom no TLS connection came about.",
    kind: Kind::Counter,
};

/// Serves a plain connection.
pub(super) async fn plain<H, F, B>(
    shared: &Shared,
    seat: &Arc<Seat>,
    stream: TcpStream,
    addr: SocketAddr,
    handle: H,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let peer = Peer {
        addr,
        scheme: Scheme::Http,
        transport: TRANSPORT,
    };
    let stream = Stream::new(stream, shared.limits.write_timeout);
    http1(shared, seat, stream, peer, handle).await;
}

/// Serves a connection that begins with a TLS handshake.
pub(super) async fn secure<S, H, F, B>(
    shared: &Shared,
    seat: &Arc<Seat>,
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
    let stream = Patient::new(stream, shared.limits.write_timeout);
    let handshake = certificates.acceptor().accept(stream);
    let handshake = tokio::time::timeout(shared.limits.handshake_timeout, handshake);
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        // No request is under way yet that could be finished.
        () = shared.stopping.cancelled() => return,
        () = shared.aborting.cancelled() => return,
        () = seat.wanted() => return,
    };
    let failed = |cause: &'static str| {
        let labels = [("listener", shared.name), ("cause", cause)];
        shared.telemetry.add(&HANDSHAKE_FAILURES, &labels, 1);
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            failed("failed");
            tracing::debug!(client = %addr, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            failed("timed-out");
            tracing::debug!(client = %addr, "TLS handshake took too long");
            return;
        }
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Peer {
        addr,
        scheme: Scheme::Https,
        transport: Transport::Copy,
    };
    let stream = TokioIo::new(stream);
    if is_h2 {
        http2(shared, seat, stream, peer, handle).await;
    } else {
        http1(shared, seat, stream, peer, handle).await;
    }
}

/// Room that a connection which makes room for another has to end well: it may be sending its last bytes.
const ROOM_GRACE: Duration = Duration::from_millis(50);

async fn http1<I, H, F, B>(shared: &Shared, seat: &Arc<Seat>, stream: I, peer: Peer, handle: H)
where
    I: Read + Write + Unpin,
    H: Fn(Request<Incoming>, Peer) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let service = service_fn(move |request| {
        let busy = seat.begin();
        let answer = handle(request, peer);
        async move {
            let answer = answer.await;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Seated::new(body, busy)))
        }
    });
    let limits = &shared.limits;
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.max_header_bytes)
            .max_headers(limits.max_headers)
            // Slices reach the stream as they are: one that stands for a piece of a file must not be copied.
            .writev(true)
            .pipeline_flush(false)
            .serve_connection(Paced::new(stream, seat), service)
    );
    let mut stopping = pin!(shared.stopping.cancelled());
    let mut leaving = pin!(leaving(seat));
    let mut stopped = false;
    let served = loop {
        tokio::select! {
            served = serving.as_mut() => break served,
            () = stopping.as_mut(), if !stopped => {
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
            () = seat.wanted(), if !stopped => {
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
            () = leaving.as_mut() => return,
            () = shared.aborting.cancelled() => return,
        }
    };
    if let Err(error) = served {
        tracing::debug!(client = %peer.addr, %error, "connection ended early");
    }
}

/// Returns once a connection has had its time to make room for another. A request that came at the last moment is
/// answered.
async fn leaving(seat: &Seat) {
    seat.wanted().await;
    tokio::time::sleep(ROOM_GRACE).await;
    if !seat.is_waiting() {
        std::future::pending::<()>().await;
    }
}

async fn http2<I, H, F, B>(shared: &Shared, seat: &Arc<Seat>, stream: I, peer: Peer, handle: H)
where
    I: Read + Write + Unpin,
    H: Fn(Request<Incoming>, Peer) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let activity = Arc::new(Activity::default());
    let begun = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let (underway, busy) = (begun.begin(), seat.begin());
        let answer = handle(request, peer);
        async move {
            let answer = answer.await;
            let watched = |body| Seated::new(Watched::new(body, underway), busy);
            Ok::<_, std::convert::Infallible>(answer.map(watched))
        }
    });
    let limits = &shared.limits;
    let streams = Streams {
        aborting: shared.aborting.clone(),
        tasks: shared.tasks.clone(),
    };
    let mut serving = pin!(
        http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.max_reset_streams)
            .max_local_error_reset_streams(limits.max_reset_streams)
            .max_send_buf_size(MAX_SEND_BYTES)
            .serve_connection(stream, service)
    );
    let mut stopping = pin!(shared.stopping.cancelled());
    let mut leaving = pin!(leaving(seat));
    let mut stopped = false;
    let served = loop {
        let still = activity.still(limits.header_timeout, limits.write_timeout);
        tokio::select! {
            served = serving.as_mut() => break served,
            () = stopping.as_mut(), if !stopped => {
                // hyper would wait for a client that has not begun to speak.
                if activity.is_untouched() {
                    return;
                }
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
            () = seat.wanted(), if !stopped => {
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
            () = leaving.as_mut() => return,
            still = still => {
                // A client that does not answer our goodbye either is gone.
                if still == Still::Stalled || stopped || activity.is_untouched() {
                    tracing::debug!(client = %peer.addr, ?still, "connection broken off");
                    return;
                }
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
            () = shared.aborting.cancelled() => return,
        }
    };
    if let Err(error) = served {
        tracing::debug!(client = %peer.addr, %error, "connection ended early");
    }
}

/// Runs the requests of an HTTP/2 connection as tracked tasks, which end when connections are broken off.
#[derive(Clone)]
struct Streams {
    aborting: CancellationToken,
    tasks: Tasks,
}

impl<W> Executor<W> for Streams
where
    W: Future + Send + 'static,
    W::Output: Send + 'static,
{
    fn execute(&self, work: W) {
        let aborting = self.aborting.clone();
        self.tasks.spawn("request", async move {
            tokio::select! {
                _ = work => {}
                () = aborting.cancelled() => {}
            }
        });
    }
}
