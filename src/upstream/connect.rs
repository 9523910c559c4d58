//! The seam to the network: the only file that opens outgoing sockets.
//!
//! [`Connect`] is what the rest of the module asks for a connection; [`Network`] opens real ones, tests hand in pipes.
//! It refuses to know requests, and it refuses private addresses where it is told to: the addresses that it checks are
//! the addresses that it connects to.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::resolve::Resolver;
use super::tls::{self, Tls};
pub use super::tunnel::open as open_tunnel;
use super::url::{Origin, Scheme, is_private};
use super::way::{ForwardProxy, Identity, Way};
use crate::clock::Clock;
use crate::tasks::Tasks;

/// How long one address may take before the next is tried beside it, RFC 8305 section 8.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried: eight attempts fill two of the three seconds a connect may take.
const MAX_ADDRESSES: usize = 8;

/// What a connection can be made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whether a name may lead to a private address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PrivateAddresses {
    /// It may: the origin is the feed's configured upstream, or that is private too.
    Allow,
    /// Such addresses are left out.
    Refuse,
}

/// Which protocols the connection may speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocols {
    /// HTTP/2 where TLS negotiates it, else HTTP/1.1.
    Any,
    /// HTTP/1.1 alone: for publishing, since HTTP/2 has no reason phrase (protocol fact 4.2.6).
    Http1,
}

/// Where to connect and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The origin.
    pub origin: Origin,
    /// Whether its addresses may be private.
    pub private: PrivateAddresses,
    /// What may be spoken.
    pub protocols: Protocols,
    /// What lies between, and who we are.
    pub way: Way,
}

impl Target {
    /// Whom the first byte goes to: the proxy, if there is one.
    #[must_use]
    pub fn first_hop(&self) -> &Origin {
        let proxy = self.way.proxy.as_ref();
        proxy.map_or(&self.origin, ForwardProxy::origin)
    }
}

/// What the two sides agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Negotiated {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// An open connection, TLS included.
pub struct Connection {
    /// Its plain bytes.
    pub stream: Box<dyn Stream>,
    /// What it speaks.
    pub negotiated: Negotiated,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("negotiated", &self.negotiated)
            .finish_non_exhaustive()
    }
}

/// Why no connection came about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectError {
    /// The system refused or broke it; its words.
    Failed(String),
    /// The name look-up failed.
    NameNotFound,
    /// Only private addresses, and these are refused.
    PrivateAddress,
    /// The proxy demands a credential, or refused the one it got.
    ProxyAuthRequired {
        /// The proxy.
        proxy: Origin,
        /// The schemes that it takes.
        schemes: Vec<String>,
    },
    /// The proxy does not lead there.
    ProxyRefused {
        /// The proxy.
        proxy: Origin,
        /// What it answered.
        status: StatusCode,
    },
    /// It took longer than allowed.
    TimedOut,
    /// TLS failed; its words.
    Tls(String),
    /// Nobody trusts who signed the certificate; its distinguished name.
    UnknownIssuer(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::NameNotFound => f.write_str("name not found"),
            Self::PrivateAddress => f.write_str("private address"),
            Self::ProxyAuthRequired { proxy, schemes } => write!(
                f,
                "the proxy {proxy} demands a credential ({})",
                listed(schemes)
            ),
            Self::ProxyRefused { proxy, status } => {
                write!(
                    f,
                    "the proxy {proxy} refuses the host ({})",
                    status.as_u16()
                )
            }
            Self::TimedOut => f.write_str("timed out"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::UnknownIssuer(name) => write!(f, "TLS: unknown issuer {name}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Schemes as a message lists them.
pub(super) fn listed(schemes: &[String]) -> String {
    if schemes.is_empty() {
        "no scheme named".to_owned()
    } else {
        schemes.join(", ")
    }
}

/// Opens connections. Its caller bounds the time.
pub trait Connect: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`ConnectError`] if none comes about.
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>>;

    /// Whether the origin's own name leads to a private address.
    fn is_private<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move { origin.is_private_by_name() })
    }
}

/// Real connections: TCP with IPv6 and IPv4 raced, through a proxy where one stands between, TLS with the system's
/// roots.
#[derive(Debug)]
pub struct Network {
    extra_roots: Vec<CertificateDer<'static>>,
    resolver: Resolver,
    tasks: Tasks,
    /// Read at the first TLS connection, so that start-up waits for no disk.
    tls: OnceCell<Tls>,
}

impl Network {
    /// Connects with the system's roots and `extra_roots`.
    #[must_use]
    pub fn new(extra_roots: Vec<CertificateDer<'static>>, clock: Clock, tasks: Tasks) -> Self {
        Self {
            extra_roots,
            resolver: Resolver::new(clock, tasks.clone()),
            tasks,
            tls: OnceCell::new(),
        }
    }

    async fn open(&self, target: &Target) -> Result<Connection, ConnectError> {
        let origin = &target.origin;
        let Some(proxy) = &target.way.proxy else {
            let tcp = self.dial(origin, target.private).await?;
            return match origin.scheme() {
                Scheme::Http => Ok(plain(tcp)),
                Scheme::Https => self.secure(tcp, target).await,
            };
        };
        let stream = self.reach(proxy).await.map_err(|error| {
            let why = format!("the proxy {}: {error}", proxy.origin());
            ConnectError::Failed(why)
        })?;
        match origin.scheme() {
            Scheme::Http => Ok(plain(stream)),
            Scheme::Https => {
                let stream = open_tunnel(stream, proxy, origin).await?;
                self.secure(stream, target).await
            }
        }
    }

    /// A connection to a proxy. It stands where the configuration says, so its addresses may be private.
    async fn reach(&self, proxy: &ForwardProxy) -> Result<Box<dyn Stream>, ConnectError> {
        let origin = proxy.origin();
        let tcp = self.dial(origin, PrivateAddresses::Allow).await?;
        match origin.scheme() {
            Scheme::Http => Ok(Box::new(tcp)),
            Scheme::Https => {
                let secured = self.handshake(tcp, origin, None, Protocols::Http1).await?;
                Ok(secured.stream)
            }
        }
    }

    async fn dial(
        &self,
        origin: &Origin,
        private: PrivateAddresses,
    ) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolver.look_up(origin.host()).await?;
        let mut addresses = addresses.to_vec();
        if private == PrivateAddresses::Refuse {
            addresses.retain(|address| !is_private(*address));
            if addresses.is_empty() {
                return Err(ConnectError::PrivateAddress);
            }
        }
        let tcp = race(&interleave(&addresses), origin.port())
            .await
            .map_err(|error| ConnectError::Failed(error.to_string()))?;
        // Requests are small and wait for their answer.
        tcp.set_nodelay(true)
            .map_err(|error| ConnectError::Failed(error.to_string()))?;
        Ok(tcp)
    }

    async fn secure<S: Stream + 'static>(
        &self,
        stream: S,
        target: &Target,
    ) -> Result<Connection, ConnectError> {
        let identity = target.way.identity.as_ref();
        self.handshake(stream, &target.origin, identity, target.protocols)
            .await
    }

    async fn handshake<S: Stream + 'static>(
        &self,
        stream: S,
        origin: &Origin,
        identity: Option<&Identity>,
        protocols: Protocols,
    ) -> Result<Connection, ConnectError> {
        let name = ServerName::try_from(origin.host().to_owned())
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        let tls = self
            .tls
            .get_or_try_init(|| Tls::load(self.extra_roots.clone(), &self.tasks))
            .await?;
        let connector = tls.connector(identity, protocols)?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| tls::error_of(&error))?;
        let negotiated = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Negotiated::Http2,
            _ => Negotiated::Http1,
        };
        Ok(Connection {
            stream: Box::new(stream),
            negotiated,
        })
    }
}

fn plain<S: Stream + 'static>(stream: S) -> Connection {
    Connection {
        stream: Box::new(stream),
        negotiated: Negotiated::Http1,
    }
}

impl Connect for Network {
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        Box::pin(async move { self.open(&target).await })
    }

    fn is_private<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            origin.is_private_by_name()
                || self
                    .resolver
                    .look_up(origin.host())
                    .await
                    .is_ok_and(|addresses| addresses.iter().any(|address| is_private(*address)))
        })
    }
}

/// IPv6 and IPv4 in turn, each family in the resolver's order, IPv6 first (RFC 8305 section 4).
fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv6());
    let rounds = v6.len().max(v4.len());
    (0..rounds)
        .flat_map(|at| [v6.get(at), v4.get(at)])
        .flatten()
        .copied()
        .take(MAX_ADDRESSES)
        .collect()
}

/// Connects to the first address that answers. The next is tried when one failed or took [`ATTEMPT_DELAY`].
async fn race(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts: Vec<Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => {
                let address = SocketAddr::new(*address, port);
                attempts.push(Box::pin(TcpStream::connect(address)));
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let first = first_of(&mut attempts);
        let ended = if waiting.len() == 0 {
            Some(first.await)
        } else {
            tokio::time::timeout(ATTEMPT_DELAY, first).await.ok()
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

/// The outcome of whichever attempt ends first, which leaves the list.
async fn first_of<T>(attempts: &mut Vec<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    poll_fn(|context| {
        let ended = attempts.iter_mut().enumerate().find_map(|(at, attempt)| {
            match attempt.as_mut().poll(context) {
                Poll::Pending => None,
                Poll::Ready(outcome) => Some((at, outcome)),
            }
        });
        match ended {
            None => Poll::Pending,
            Some((at, outcome)) => {
                drop(attempts.swap_remove(at));
                Poll::Ready(outcome)
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| -> Vec<IpAddr> {
            text.split_whitespace()
                .map(|ip| ip.parse().unwrap())
                .collect()
        };
        let check = |input: &str, expected: &str| {
            assert_eq!(interleave(&parse(input)), parse(expected), "{input}");
        };
        check("", "");
        check("1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2");
        check("1.1.1.1 1.1.1.2 ::1 ::2 ::3", "::1 1.1.1.1 ::2 1.1.1.2 ::3");
        check(
            "::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9 1.1.1.1",
            "::1 1.1.1.1 ::2 ::3 ::4 ::5 ::6 ::7",
        );
    }
}
