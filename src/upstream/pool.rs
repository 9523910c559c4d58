//! The connections of one origin that are kept: one of HTTP/2 that carries every request, or some of HTTP/1.1.
//!
//! Which of them, the first connection finds out: who comes meanwhile waits for it, so that a crowd of requests does
//! not open a crowd of connections to a server that wants one. It refuses to try again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::Shared;
use super::connect::{ConnectError, Negotiated, Protocols};
use super::error::{Phase, UpstreamError};
use super::line::Spawner;
use super::settings::Settings;
use super::url::Scheme;
use super::wire::{Dialer, Wire};
use crate::clock::Clock;

/// How long a connection is kept without a request: below the 60 s after which common load balancers drop it.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// How long it is believed that an origin speaks HTTP/1.1 alone.
const HTTP1_BELIEVED: Duration = Duration::from_secs(600);

/// How often an HTTP/2 connection with requests is asked whether it lives: a dead one would take every request of its
/// origin with it.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a stream of HTTP/2 may send ahead of its reader: 5 MB/s at a tenth of a second's distance. The connection may
/// send this for each of its streams, so that readers who take their time stall nobody else.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;

/// The kept connections of one origin.
pub(super) struct Pool {
    clock: Clock,
    dialer: Dialer,
    http1: Client<Dialer, Empty<Bytes>>,
    in_force: Arc<ArcSwap<Settings>>,
    spawner: Spawner,
    spoken: tokio::sync::Mutex<Spoken>,
}

#[derive(Default)]
struct Spoken {
    /// When a first connection last failed, and why: for those who waited for it.
    failed: Option<(Instant, ConnectError)>,
    protocol: Protocol,
}

#[derive(Default)]
enum Protocol {
    Http1 {
        until: Instant,
    },
    Http2 {
        requests: http2::SendRequest<Empty<Bytes>>,
        used: Instant,
    },
    #[default]
    Unknown,
}

/// A connection that was opened to find out what the origin speaks: the next one of HTTP/1.1.
#[derive(Clone, Default)]
pub(super) struct Spare(Arc<Mutex<Option<Wire>>>);

impl Pool {
    pub(super) fn new(shared: &Shared, dialer: Dialer, max_idle: usize) -> Self {
        let max_header_bytes = shared.in_force.load().max_header_bytes;
        let http1 = Client::builder(Spawner(shared.tasks.clone()))
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(max_idle)
            .http1_max_buf_size(max_header_bytes.max(8192))
            .build(dialer.clone());
        Self {
            clock: shared.clock.clone(),
            dialer,
            http1,
            in_force: Arc::clone(&shared.in_force),
            spawner: Spawner(shared.tasks.clone()),
            spoken: tokio::sync::Mutex::default(),
        }
    }

    /// Sends a request and gives its answer's head. The wait for that begins when there is a connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let origin = &self.dialer.origin;
        let limit = self.in_force.load().first_byte_timeout;
        let silent = || UpstreamError::TimedOut {
            origin: origin.clone(),
            phase: Phase::FirstByte,
        };
        let requests = self.over_http2().await;
        let requests = requests.map_err(|error| UpstreamError::from_connect(origin, &error))?;
        if let Some(mut requests) = requests {
            let answer = tokio::time::timeout(limit, requests.send_request(request)).await;
            let answer = answer
                .map_err(|_| silent())?
                .map_err(|error| UpstreamError::from_hyper(origin, &error, Phase::FirstByte))?;
            // Frames of the connection itself prove nothing of what is behind it; an answer does.
            self.dialer.health.byte_received();
            return Ok(answer);
        }
        let mut captured = capture_connection(&mut request);
        let answer = self.http1.request(request);
        let silence = async {
            drop(captured.wait_for_connection_metadata().await);
            tokio::time::sleep(limit).await;
        };
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|error| UpstreamError::from_client(origin, &error)),
            () = silence => Err(silent()),
        }
    }

    /// The HTTP/2 connection, if the origin speaks that.
    async fn over_http2(&self) -> Result<Option<http2::SendRequest<Empty<Bytes>>>, ConnectError> {
        if self.dialer.origin.scheme() == Scheme::Http {
            return Ok(None);
        }
        let asked = self.clock.instant();
        let mut spoken = self.spoken.lock().await;
        let now = self.clock.instant();
        match &mut spoken.protocol {
            Protocol::Http2 { requests, used }
                if !requests.is_closed() && now < *used + POOL_IDLE =>
            {
                *used = now;
                return Ok(Some(requests.clone()));
            }
            Protocol::Http1 { until } if now < *until => return Ok(None),
            Protocol::Http1 { .. } | Protocol::Http2 { .. } | Protocol::Unknown => {}
        }
        if let Some((_, error)) = spoken.failed.as_ref().filter(|(at, _)| *at > asked) {
            return Err(error.clone());
        }
        spoken.protocol = Protocol::Unknown;
        let opened = self.dialer.dial(Protocols::Any).await;
        let now = self.clock.instant();
        let wire = opened.inspect_err(|error| spoken.failed = Some((now, error.clone())))?;
        if wire.negotiated() == Negotiated::Http1 {
            self.dialer.spare.keep(wire);
            let until = now + HTTP1_BELIEVED;
            spoken.protocol = Protocol::Http1 { until };
            return Ok(None);
        }
        let requests = self.shake_hands(wire).await?;
        spoken.protocol = Protocol::Http2 {
            requests: requests.clone(),
            used: now,
        };
        Ok(Some(requests))
    }

    async fn shake_hands(
        &self,
        wire: Wire,
    ) -> Result<http2::SendRequest<Empty<Bytes>>, ConnectError> {
        let (header_bytes, streams) = {
            let settings = self.in_force.load();
            (settings.max_header_bytes, settings.max_connections)
        };
        let header_bytes = u32::try_from(header_bytes).unwrap_or(u32::MAX);
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        // RFC 9113 section 6.9.1: a window is at most 2^31-1.
        let window = STREAM_WINDOW_BYTES
            .saturating_mul(streams)
            .min(i32::MAX.unsigned_abs());
        let (requests, connection) = http2::Builder::new(self.spawner.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(window)
            .max_header_list_size(header_bytes)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| ConnectError::Failed(error.to_string()))?;
        self.spawner.0.spawn("upstream connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection broke");
            }
        });
        Ok(requests)
    }
}

impl Spare {
    fn keep(&self, wire: Wire) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire);
    }

    pub(super) fn take(&self) -> Option<Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
