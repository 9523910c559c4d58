//! Listeners: accepting, seats for connections, TLS, serving HTTP/1.1 and HTTP/2, draining.
//!
//! A connection is served only once there is a seat for it; for one too many another makes room. Draining stops
//! accepting, lets requests under way finish within `shutdown_timeout`, then breaks what is left. It refuses to know
//! what a request asks: that is `proxy`, reached by one call.

mod access_log;
mod admin;
mod connection;
pub mod healthcheck;
mod io;
mod listen;
mod marked;
mod modes;
pub mod operator;
mod orders;
pub mod reload;
mod self_check;
mod signals;
pub mod tls;

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub use access_log::write_access_log;
pub use listen::{BindError, Listeners};
pub use self_check::{SelfCheck, Subject};
pub use signals::signals;

use self::reload::Reloader;
use crate::access::{Guard, SeenFrom};
use crate::proxy::{Peer, Proxy};
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use connection::{Acceptor, Door, Limits};
use modes::OrderMode;
use orders::{AdminBody, TakeOrder};

/// Where to listen and how long and large things may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Addresses for clients without TLS, none if there are only those of `tls`. `None`: the default ones, of which one
    /// whose family the machine lacks is skipped.
    pub listen: Option<Vec<SocketAddr>>,
    /// Addresses for clients over TLS, and the certificate.
    pub tls: tls::Settings,
    /// Address of health, readiness and metrics, if any.
    pub admin_listen: Option<SocketAddr>,
    /// Client connections at once.
    pub max_connections: usize,
    /// Longest wait for a request head, from the connection's start or the end of the answer before it.
    pub header_timeout: Duration,
    /// Longest wait for a client that takes no bytes.
    pub write_timeout: Duration,
    /// Largest request head.
    pub max_header_bytes: u64,
    /// Header lines of an HTTP/1.1 request; of an HTTP/2 one the size alone counts, in which each line weighs 32 bytes
    /// besides its own (RFC 9113 section 6.5.2).
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Requests of an HTTP/2 connection that were reset and are not settled yet; more end the connection.
    pub max_reset_streams: usize,
    /// How long requests may finish once draining has begun.
    pub shutdown_timeout: Duration,
}

/// Default port: free of what ASP.NET applications under test bind (5000 to 5300, 7000 to 7300).
pub const DEFAULT_PORT: u16 = 6850;

/// Default port of the admin listener.
pub const DEFAULT_ADMIN_PORT: u16 = 6851;

impl Settings {
    /// The addresses to listen on.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listen.clone().unwrap_or_else(|| {
            vec![
                (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(),
                (Ipv6Addr::LOCALHOST, DEFAULT_PORT).into(),
            ]
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: None,
            tls: tls::Settings::default(),
            admin_listen: Some((Ipv4Addr::LOCALHOST, DEFAULT_ADMIN_PORT).into()),
            // A restore opens 16 to 64 connections, so this is a hundred machines restoring at the same moment.
            max_connections: 4096,
            // .NET closes its idle connections after 60 s; we wait longer, so that no request meets a closing one.
            header_timeout: Duration::from_secs(75),
            // A client that stops reading keeps a seat and a file open; the real client gives up after 60 s itself.
            write_timeout: Duration::from_secs(120),
            // hyper's own default is 400 KiB; the longest head of the real client is below 2 KiB.
            max_header_bytes: 64 << 10,
            // hyper's own default; the real client sends at most 15.
            max_headers: 100,
            // The least that RFC 9113 section 6.5.2 recommends; the real client asks 16 to 64 things at once.
            max_streams: 100,
            // A restore that is cancelled resets all its streams at once.
            max_reset_streams: 128,
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

/// Connections of the admin listener at once: probes and scrapers, in a pool that clients cannot exhaust.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// How serving ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Every request was finished.
    Drained,
    /// The end of `shutdown_timeout` broke some requests.
    Expired,
    /// A second signal ended the draining.
    Interrupted,
}

/// How operators steer the process.
#[derive(Debug)]
pub struct Control {
    /// Has the configuration read again.
    pub reloader: Reloader,
    /// The first message begins draining, a second one ends it at once.
    pub signals: mpsc::Receiver<()>,
}

/// Serves the proxy to clients, and its state to operators, until they have it drain.
pub async fn run(
    settings: Settings,
    proxy: Proxy,
    listeners: Listeners,
    self_check: SelfCheck,
    control: Control,
    telemetry: Telemetry,
    tasks: Tasks,
) -> Ended {
    let (state, modes, checked) = (proxy.clone(), proxy.clone(), self_check.clone());
    let listed = proxy.clone();
    let upkeep = proxy.clone();
    let guard = proxy.guard().clone();
    let checking = tasks.spawn("self-check", self_check.run());
    let serving = Serving {
        settings,
        handle: move |request, peer| {
            let proxy = proxy.clone();
            async move { proxy.handle(request, peer).await }
        },
        readiness: move || {
            let mut readiness = state.readiness();
            readiness["self_check"] = checked.report();
            readiness
        },
        guard,
        checking: Some(checking.abort_handle()),
        order_mode: OrderMode::new(move |feed, order| modes.order_mode(feed, order)),
        marked: marked::List::new(move |kind| listed.marked(kind)),
        take_order: TakeOrder::new(move |name, said| upkeep.take_order(name, said)),
    };
    serve(serving, listeners, control, telemetry, tasks).await
}

/// Serves one connection of a client over TLS, from its handshake to its end, as the listeners do: for tests of the whole
/// in memory.
pub async fn serve_secure<S>(
    settings: &Settings,
    certificates: &tls::Certificates,
    proxy: Proxy,
    stream: S,
    addr: SocketAddr,
    telemetry: &Telemetry,
    tasks: &Tasks,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = limits(settings, settings.max_connections);
    let acceptor = Acceptor::new("clients", limits, telemetry, tasks);
    let handle = move |request, peer| {
        let proxy = proxy.clone();
        async move { proxy.handle(request, peer).await }
    };
    acceptor
        .serve_secure(certificates, stream, addr, handle)
        .await;
}

fn limits(settings: &Settings, max_connections: usize) -> Limits {
    Limits {
        max_connections,
        handshake_timeout: settings.tls.handshake_timeout,
        header_timeout: settings.header_timeout,
        write_timeout: settings.write_timeout,
        max_header_bytes: usize::try_from(settings.max_header_bytes).unwrap_or(usize::MAX),
        max_headers: settings.max_headers,
        max_streams: settings.max_streams,
        max_reset_streams: settings.max_reset_streams,
    }
}

/// What is served: the proxy, or what a test puts in its place.
struct Serving<H, R> {
    settings: Settings,
    /// Answers a client's request.
    handle: H,
    /// What readiness says besides.
    readiness: R,
    /// Knows who may use the admin listener's interface.
    guard: Guard,
    /// A client of ours, which must not keep a drain waiting.
    checking: Option<AbortHandle>,
    /// Sets the mode of a feed.
    order_mode: OrderMode,
    /// Lists what is wrong with what is stored.
    marked: marked::List,
    /// Has something done to what is stored.
    take_order: TakeOrder,
}

async fn serve<H, F, B, R>(
    serving: Serving<H, R>,
    listeners: Listeners,
    control: Control,
    telemetry: Telemetry,
    tasks: Tasks,
) -> Ended
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
    R: Fn() -> serde_json::Value + Clone + Send + Sync + 'static,
{
    let Serving {
        settings,
        handle,
        readiness,
        guard,
        checking,
        order_mode,
        marked,
        take_order,
    } = serving;
    let Control {
        reloader,
        mut signals,
    } = control;
    let most = limits(&settings, settings.max_connections);
    let clients = Acceptor::new("clients", most, &telemetry, &tasks);
    let few = limits(&settings, MAX_ADMIN_CONNECTIONS);
    let admin = Acceptor::new("admin", few, &telemetry, &tasks);
    for listener in listeners.clients {
        clients.serve(listener, Door::Plain, handle.clone());
    }
    if let Some(certificates) = listeners.certificates {
        certificates.watch(&telemetry, &tasks);
        for listener in listeners.secure {
            let door = Door::Tls(certificates.clone());
            clients.serve(listener, door, handle.clone());
        }
    }
    let draining = Arc::new(AtomicBool::new(false));
    if let Some(listener) = listeners.admin {
        let is_local = settings
            .admin_listen
            .is_some_and(|address| address.ip().is_loopback());
        let gate = admin::Gate {
            guard,
            seen_from: if is_local {
                SeenFrom::Loopback
            } else {
                SeenFrom::Elsewhere
            },
        };
        let draining = Arc::clone(&draining);
        let modes = modes::State {
            gate: gate.clone(),
            order_mode,
        };
        let marked = marked::State::new(&gate, marked);
        let orders = orders::State {
            gate: gate.clone(),
            take_order,
        };
        let state = admin::State::new(gate, readiness, telemetry, draining, reloader);
        let desk = Arc::new(Desk {
            marked,
            modes,
            orders,
            state,
        });
        admin.serve(
            listener,
            Door::Plain,
            move |request: Request<Incoming>, peer: Peer| {
                let desk = Arc::clone(&desk);
                async move { desk.answer(request, peer).await }
            },
        );
    }
    // A sender that is gone can signal nothing any more, so it counts as the signal.
    let _ = signals.recv().await;
    draining.store(true, Ordering::Relaxed);
    if let Some(checking) = checking {
        checking.abort();
    }
    tracing::info!(
        open_connections = clients.open(),
        "stopping: requests under way may finish"
    );
    let ended = tokio::select! {
        ended = clients.drain(settings.shutdown_timeout) => ended,
        Some(()) = signals.recv() => Ended::Interrupted,
    };
    clients.abort();
    // The admin listener answers to the end, so that readiness says 503 while requests finish.
    admin.abort();
    ended
}

/// What the admin listener answers from.
struct Desk<R> {
    marked: marked::State,
    modes: modes::State,
    orders: orders::State,
    state: admin::State<R>,
}

impl<R: Fn() -> serde_json::Value> Desk<R> {
    /// Answers a request of an operator.
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<AdminBody> {
        let (path, client) = (request.uri().path(), peer.addr.ip());
        if orders::order_in(path).is_some() {
            return orders::answer(request, client, &self.orders).await;
        }
        let response = match (modes::feed_in(path), marked::kind_in(path)) {
            (Some(_), _) => modes::answer(request, client, &self.modes).await,
            (None, Some(kind)) => {
                marked::answer(&request.into_parts().0, kind, client, &self.marked).await
            }
            (None, None) => admin::answer(&request.into_parts().0, client, &self.state).await,
        };
        response.map(AdminBody::Whole)
    }
}

#[cfg(test)]
mod tests;
