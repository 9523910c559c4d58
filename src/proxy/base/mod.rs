//! The base URL of a request: what the client calls us, which every link in an answer must begin with.
//!
//! `public_url` decides if it is set; else the forwarded headers of peers that may be believed; else `Host`. A wrong
//! scheme or host here breaks clients (protocol facts 0.2, 3.9.4, 7.1.9), so what is malformed is refused, not guessed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use ipnet::IpNet;

/// Which family of forwarded headers trusted peers send. Only one is read: a client could slip in the other.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForwardedFamily {
    /// `Forwarded` (RFC 7239).
    Rfc7239,
    /// `X-Forwarded-Proto`, `-Host`, `-Prefix`, `-For`.
    #[default]
    XForwarded,
}

/// How requests' base URLs are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The one base URL that clients know us by, without a final slash; overrides everything else.
    pub public_url: Option<String>,
    /// Peers whose forwarded headers are believed whole. Loopback peers are believed for the scheme alone.
    pub trusted_proxies: Vec<IpNet>,
    /// Which headers those send.
    pub forwarded: ForwardedFamily,
    /// Host names (without port) that requests may be addressed to; empty allows all.
    pub allowed_hosts: Vec<String>,
}

/// How a client's connection reaches us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS that ends here.
    Https,
}

impl Scheme {
    /// The word for it in a URL.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Who asks, and by what name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// `http://host:port/prefix`, without a final slash.
    pub base_url: String,
    /// The client's address.
    pub client: IpAddr,
}

/// Why a request has no usable address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AddressError {
    /// A header that cannot be read: its name, value and what was expected.
    Malformed {
        /// The header.
        header: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The request is for a host that is not ours.
    Misdirected(String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed {
                header,
                value,
                expected,
            } => {
                write!(f, "{header}: {value:?}, expected {expected}")
            }
            Self::Misdirected(host) => write!(f, "host {host:?} is not served here"),
        }
    }
}

pub(super) const X_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the forwarded headers of a request say.
#[derive(Debug, Default)]
struct Forwarded {
    proto: Option<String>,
    host: Option<String>,
    prefix: Option<String>,
    client: Option<IpAddr>,
}

impl Settings {
    /// Finds the base URL and the client's address of a request that `peer` sent over a connection of this scheme.
    ///
    /// # Errors
    /// [`AddressError`] if a header that is believed is malformed, or the host is not one of ours.
    pub fn address(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: SocketAddr,
        scheme: Scheme,
    ) -> Result<Address, AddressError> {
        let peer_ip = peer.ip().to_canonical();
        let trusted = self.trusts(peer_ip);
        let forwarded = if trusted || peer_ip.is_loopback() {
            self.forwarded(headers, trusted)?
        } else {
            Forwarded::default()
        };
        let own_host = own_host(headers, uri)?;
        let host = forwarded.host.as_deref().unwrap_or(own_host);
        if !is_host(host) {
            return Err(malformed(
                "Host",
                host,
                "a host name, with a port if need be",
            ));
        }
        self.check_allowed(host)?;
        let base_url = match &self.public_url {
            Some(url) => url.clone(),
            None => {
                let scheme = forwarded.proto.as_deref().unwrap_or(scheme.word());
                format!(
                    "{scheme}://{host}{}",
                    forwarded.prefix.as_deref().unwrap_or("")
                )
            }
        };
        Ok(Address {
            base_url,
            client: forwarded.client.unwrap_or(peer_ip),
        })
    }

    /// Whether a peer's forwarded headers are believed whole.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        let mut networks = self.trusted_proxies.iter();
        networks.any(|network| network.contains(&peer))
    }

    fn check_allowed(&self, host: &str) -> Result<(), AddressError> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let allowed = self.allowed_hosts.is_empty()
            || self
                .allowed_hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name));
        if allowed {
            Ok(())
        } else {
            Err(AddressError::Misdirected(host.to_owned()))
        }
    }

    fn forwarded(&self, headers: &HeaderMap, trusted: bool) -> Result<Forwarded, AddressError> {
        let mut found = match self.forwarded {
            ForwardedFamily::Rfc7239 => rfc7239(headers)?,
            ForwardedFamily::XForwarded => x_forwarded(headers)?,
        };
        if !trusted {
            found = Forwarded {
                proto: found.proto,
                ..Forwarded::default()
            };
        }
        found.proto = found.proto.map(|proto| scheme(&proto)).transpose()?;
        if let Some(host) = found.host.as_deref().filter(|host| !is_host(host)) {
            return Err(malformed(
                "X-Forwarded-Host",
                host,
                "a host name, with a port if need be",
            ));
        }
        found.prefix = found
            .prefix
            .map(|prefix| path_prefix(&prefix))
            .transpose()?;
        Ok(found)
    }
}

fn x_forwarded(headers: &HeaderMap) -> Result<Forwarded, AddressError> {
    let client = last(headers, &X_FOR).map(|value| client_address("X-Forwarded-For", value));
    Ok(Forwarded {
        proto: last(headers, &X_PROTO).map(str::to_owned),
        host: last(headers, &X_HOST).map(str::to_owned),
        prefix: last(headers, &X_PREFIX).map(str::to_owned),
        client: client.transpose()?,
    })
}

/// The rightmost element of `Forwarded`: the nearest proxy's own.
fn rfc7239(headers: &HeaderMap) -> Result<Forwarded, AddressError> {
    let mut found = Forwarded::default();
    let Some(element) = last(headers, &header::FORWARDED) else {
        return Ok(found);
    };
    for pair in element.split(';') {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| malformed("Forwarded", element, "pairs as in RFC 7239 section 4"))?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "proto" => found.proto = Some(value.to_owned()),
            "host" => found.host = Some(value.to_owned()),
            "for" => found.client = Some(client_address("Forwarded", value)?),
            _ => {}
        }
    }
    Ok(found)
}

/// The rightmost element of a list header.
pub(super) fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?;
    // What is no text is no element either, and must not be taken for an absent header.
    let text = value.to_str().unwrap_or("\u{fffd}");
    text.rsplit(',').next().map(str::trim)
}

/// Whom a request is addressed to. Of two `Host` lines one server would believe the first and another the last (RFC 9112
/// section 3.2).
fn own_host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Result<&'a str, AddressError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or_default();
    if let Some(second) = second {
        return Err(malformed("Host", text(second), "no second Host"));
    }
    Ok(match uri.authority() {
        Some(authority) => authority.as_str(),
        None => host.map(text).unwrap_or_default(),
    })
}

fn scheme(value: &str) -> Result<String, AddressError> {
    let lower = value.to_ascii_lowercase();
    if lower == "http" || lower == "https" {
        Ok(lower)
    } else {
        Err(malformed("X-Forwarded-Proto", value, "http or https"))
    }
}

fn path_prefix(value: &str) -> Result<String, AddressError> {
    let trimmed = value.trim_end_matches('/');
    let is_clean = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&b))
    };
    match trimmed.strip_prefix('/') {
        None if trimmed.is_empty() => Ok(String::new()),
        Some(path) if path.split('/').all(is_clean) => Ok(trimmed.to_owned()),
        _ => Err(malformed(
            "X-Forwarded-Prefix",
            value,
            "a path such as /nuget",
        )),
    }
}

fn client_address(header: &'static str, value: &str) -> Result<IpAddr, AddressError> {
    let bare = value.trim_matches('"');
    bare.parse::<IpAddr>()
        .or_else(|_| bare.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| bare.trim_matches(['[', ']']).parse())
        .map_err(|_| malformed(header, value, "an IP address"))
}

/// Whether `host` is a name or address with an optional port: these bytes go into every link.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => match host.find(':') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        },
    };
    let name_ok = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    // A number may be parsed with its sign, a port has none.
    let is_port = |n: &str| n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u16>().is_ok();
    let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    name_ok && port_ok
}

fn malformed(header: &'static str, value: &str, expected: &'static str) -> AddressError {
    AddressError::Malformed {
        header,
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests;
