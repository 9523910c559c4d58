//! Binding the addresses.
//!
//! It refuses to serve on a part of what was asked: one address that cannot be bound is an error, but for a default one
//! whose family the machine lacks.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::tls::Certificates;
use super::{Settings, healthcheck};

/// Connections that wait to be accepted: the system's own limit is usually 4096, and a restore opens 64 at most.
const BACKLOG: u32 = 1024;

/// Bound listeners. Connections queue from the moment of binding.
#[derive(Debug)]
pub struct Listeners {
    pub(super) clients: Vec<TcpListener>,
    /// Those that speak TLS, with `certificates`.
    pub(super) secure: Vec<TcpListener>,
    pub(super) certificates: Option<Certificates>,
    pub(super) admin: Option<TcpListener>,
}

/// Why an address could not be bound.
#[derive(Debug)]
pub enum BindError {
    /// This address could not be bound.
    Address {
        /// The address.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The machine has the family of no default address.
    NoFamily,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address {
                address,
                flag,
                source,
            } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "port {} of {} is in use by another process; choose another with {flag}",
                address.port(),
                address.ip()
            ),
            Self::Address {
                address,
                flag,
                source,
            } => write!(
                f,
                "cannot listen on {address} ({source}); choose another address with {flag}"
            ),
            Self::NoFamily => f.write_str(
                "this machine has neither an IPv4 nor an IPv6 loopback address; choose an address with --listen",
            ),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { source, .. } => Some(source),
            Self::NoFamily => None,
        }
    }
}

impl Listeners {
    /// Binds all addresses of the settings; those for TLS speak it with `certificates`. Must be called inside a
    /// runtime.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(
        settings: &Settings,
        certificates: Option<Certificates>,
    ) -> Result<Self, BindError> {
        let mut clients = Vec::new();
        for address in settings.addresses() {
            match bind(address) {
                Ok(listener) => clients.push(listener),
                Err(source) if settings.listen.is_none() && lacks_family(&source) => {
                    tracing::info!(%address, reason = %source, "default address skipped");
                }
                Err(source) => {
                    return Err(BindError::Address {
                        address,
                        flag: "--listen",
                        source,
                    });
                }
            }
        }
        if clients.is_empty() && settings.listen.is_none() {
            return Err(BindError::NoFamily);
        }
        let chosen = |address, flag| {
            bind(address).map_err(|source| BindError::Address {
                address,
                flag,
                source,
            })
        };
        let secure = settings.tls.listen.iter();
        let secure = secure.map(|address| chosen(*address, "--tls-listen"));
        let admin = settings.admin_listen;
        let admin = admin.map(|address| chosen(address, "--admin-listen"));
        Ok(Self {
            clients,
            secure: secure.collect::<Result<_, _>>()?,
            certificates,
            admin: admin.transpose()?,
        })
    }

    /// Where clients are served without TLS, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.clients.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// Where clients are served over TLS.
    #[must_use]
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.secure.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// What TLS is spoken with.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// What clients on this machine may call us: the first plain address, else the name in the certificate.
    #[must_use]
    pub fn local_url(&self) -> Option<String> {
        let plain = self.addresses().first().copied().map(healthcheck::url_of);
        plain.or_else(|| self.tls_url())
    }

    /// What clients of the first TLS address may call us: the name in the certificate, which they check.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        let address = self.tls_addresses().first().copied()?;
        let pair = self.certificates.as_ref()?.pair();
        Some(match pair.name() {
            Some(name) => format!("https://{name}:{}", address.port()),
            None => format!("https://{address}"),
        })
    }

    /// Where operators are served.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // On Unix: a port whose last connections are still in TIME_WAIT can be bound again. On Windows it would let two
    // processes share a port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the machine lacks the address's family: no such protocol, or no such address on any interface.
fn lacks_family(error: &io::Error) -> bool {
    /// Address family not supported: Linux, macOS and Windows.
    const UNSUPPORTED: [i32; 3] = [97, 47, 10_047];
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error
            .raw_os_error()
            .is_some_and(|code| UNSUPPORTED.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_one_sentence_with_port_and_flag() {
        let error = BindError::Address {
            address: "127.0.0.1:6850".parse().unwrap(),
            flag: "--listen",
            source: io::ErrorKind::AddrInUse.into(),
        };
        assert_eq!(
            error.to_string(),
            "port 6850 of 127.0.0.1 is in use by another process; choose another with --listen"
        );
    }

    #[tokio::test]
    async fn port_zero_gets_a_port_and_a_taken_one_is_refused() {
        let settings = |address: SocketAddr| Settings {
            listen: Some(vec![address]),
            admin_listen: None,
            ..Settings::default()
        };
        let first = Listeners::bind(&settings("127.0.0.1:0".parse().unwrap()), None).unwrap();
        let address = first.addresses()[0];
        assert_ne!(address.port(), 0);
        let second = Listeners::bind(&settings(address), None);
        assert!(
            matches!(&second, Err(BindError::Address { address: refused, flag: "--listen", source })
                if *refused == address && source.kind() == io::ErrorKind::AddrInUse),
            "{second:?}"
        );
    }

    #[test]
    fn only_a_missing_family_is_skipped() {
        assert!(lacks_family(&io::Error::from_raw_os_error(97)));
        assert!(lacks_family(&io::ErrorKind::AddrNotAvailable.into()));
        assert!(!lacks_family(&io::ErrorKind::AddrInUse.into()));
        assert!(!lacks_family(&io::ErrorKind::PermissionDenied.into()));
    }
}
