//! Addresses of upstream resources: parsed once, sent as they were written.
//!
//! A signed address dies when a byte of it changes (protocol facts 2.1.20, 5.2.4), so path and query are kept as they
//! came; only bytes that no URI may hold (RFC 3986 section 2) are percent-escaped. It refuses what is no http or https
//! address, what carries a user name, and hosts that are neither a name nor an IP literal.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, PathAndQuery};

/// The longest address sent: what `http::Uri` can hold.
const MAX_URL_BYTES: usize = 65_534;

/// The longest name DNS can carry, RFC 1035 section 2.3.4.
const MAX_HOST_BYTES: usize = 253;

/// Scheme, host and port of an address: whom we talk to.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Origin {
    scheme: Scheme,
    /// In lower case; an IPv6 literal without its brackets.
    host: Arc<str>,
    port: u16,
}

/// How an origin is spoken to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS over TCP.
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Why a text is no address that we would ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadUrl {
    /// The host is empty, or holds bytes that neither a name nor an IP literal has.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// The scheme is neither http nor https.
    Scheme,
    /// The address is longer than a request can carry.
    TooLong,
    /// The address carries a user name or password.
    UserInfo,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "its host is neither a name nor an IP address",
            Self::Port => "its port is no number from 1 to 65535",
            Self::Scheme => "it is neither http nor https",
            Self::TooLong => "it is too long",
            Self::UserInfo => "it carries a user name",
        })
    }
}

impl std::error::Error for BadUrl {}

impl Origin {
    /// The origin of an absolute http or https address.
    ///
    /// # Errors
    /// [`BadUrl`] if `url` is none.
    pub fn of(url: &str) -> Result<Self, BadUrl> {
        Address::parse(url.as_bytes()).map(|address| address.origin)
    }

    /// How it is spoken to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its name or IP literal, in lower case and without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the name alone says that it is no public host: a private literal, or a `localhost` name.
    #[must_use]
    pub fn is_private_by_name(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => is_private(address),
            Err(_) => &*self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// Whether the name says that it is no public host, where a proxy looks names up and its addresses stay unknown:
    /// besides private ones, a name of one label, and the suffixes that no public host has (RFC 6761, 6762, 8375,
    /// `.internal` as ICANN reserves it, and what home and company networks use).
    #[must_use]
    pub fn is_inner_by_name(&self) -> bool {
        const INNER: [&str; 8] = [
            "corp",
            "home",
            "home.arpa",
            "internal",
            "intranet",
            "lan",
            "local",
            "localdomain",
        ];
        let host = self.host.trim_end_matches('.');
        let is_inner = |suffix: &str| {
            let above = host.strip_suffix(suffix);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        };
        self.is_private_by_name()
            || host.parse::<IpAddr>().is_err()
                && (!host.contains('.') || INNER.into_iter().any(is_inner))
    }

    /// Whether the name alone says that it is this machine.
    pub(super) fn is_loopback_by_name(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.is_private_by_name(),
        }
    }

    /// `host:port`, the port always there, as CONNECT writes it.
    pub(super) fn authority_with_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        let host: &str = &self.host;
        if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        }
    }

    /// `host[:port]` as an address and the `Host` header write it.
    pub(super) fn authority(&self) -> String {
        let bracketed = self.bracketed();
        if self.port == self.scheme.default_port() {
            bracketed
        } else {
            format!("{bracketed}:{}", self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// An absolute address: an origin, and the path and query as they go on the wire.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Address {
    origin: Origin,
    /// Begins with `/`, has no fragment, holds only bytes that a URI may hold.
    target: String,
}

impl Address {
    /// Reads an absolute address.
    pub(super) fn parse(url: &[u8]) -> Result<Self, BadUrl> {
        let url = url.trim_ascii();
        let (scheme, rest) = if let Some(rest) = strip_prefix(url, b"https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = strip_prefix(url, b"http://") {
            (Scheme::Http, rest)
        } else {
            return Err(BadUrl::Scheme);
        };
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let origin = parse_authority(scheme, authority)?;
        let target = escape(without_fragment(target));
        let target = if target.starts_with('/') {
            target
        } else {
            format!("/{target}")
        };
        Self { origin, target }.checked()
    }

    /// Resolves a `Location` against this address, RFC 3986 section 5.2. Dot segments are removed only where paths are
    /// merged: what the upstream wrote in full is sent as written.
    pub(super) fn join(&self, location: &[u8]) -> Result<Self, BadUrl> {
        let location = location.trim_ascii();
        if has_scheme(location) {
            return Self::parse(location);
        }
        if location.starts_with(b"//") {
            return Self::parse(&[self.origin.scheme.name().as_bytes(), b":", location].concat());
        }
        let reference = escape(without_fragment(location));
        let base_path = self.path();
        let target = if reference.starts_with('/') {
            reference
        } else if reference.is_empty() {
            self.target.clone()
        } else if reference.starts_with('?') {
            format!("{base_path}{reference}")
        } else {
            let directory = base_path.rfind('/').map_or("/", |at| &base_path[..=at]);
            let (path, query) = reference
                .split_once('?')
                .map_or((reference.as_str(), None), |(path, query)| {
                    (path, Some(query))
                });
            let mut merged = remove_dots(&format!("{directory}{path}"));
            if let Some(query) = query {
                merged.push('?');
                merged.push_str(query);
            }
            merged
        };
        Self {
            origin: self.origin.clone(),
            target,
        }
        .checked()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The address as logs may show it: signatures live in queries.
    pub(super) fn without_query(&self) -> String {
        format!("{}{}", self.origin, self.path())
    }

    /// The address in the form that hyper takes, byte for byte.
    pub(super) fn uri(&self) -> Result<Uri, BadUrl> {
        let authority = Authority::try_from(self.origin.authority()).map_err(|_| BadUrl::Host)?;
        Uri::builder()
            .scheme(self.origin.scheme.name())
            .authority(authority)
            .path_and_query(self.path_and_query()?)
            .build()
            .map_err(|_| BadUrl::TooLong)
    }

    /// The request target of a request that names its host in a header.
    pub(super) fn path_and_query(&self) -> Result<PathAndQuery, BadUrl> {
        PathAndQuery::try_from(self.target.as_str()).map_err(|_| BadUrl::TooLong)
    }

    fn checked(self) -> Result<Self, BadUrl> {
        // The longest scheme and port, and the separators.
        let overhead = "https://[]:65535".len();
        if self.target.len() + self.origin.host.len() + overhead > MAX_URL_BYTES {
            return Err(BadUrl::TooLong);
        }
        Ok(self)
    }
}

/// Without the query, since signatures live there.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.without_query())
    }
}

/// Whether an address is loopback, private, link-local, unspecified or otherwise no public unicast address, also where
/// an IPv6 address carries such an IPv4 address (RFC 4291 section 2.5.5, RFC 6052, RFC 3056).
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        // "This network", RFC 6890: some systems route it to themselves.
        || first == 0
        // Shared address space of carriers, RFC 6598.
        || (first == 100 && (64..128).contains(&second))
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    let segments = v6.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        || v6.is_unique_local()
        || v6.is_unicast_link_local()
        // IPv4-mapped and IPv4-compatible.
        || match segments {
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                embedded(high, low)
            }
            [0x2002, high, low, ..] => embedded(high, low),
            _ => false,
        }
}

fn parse_authority(scheme: Scheme, authority: &[u8]) -> Result<Origin, BadUrl> {
    let authority = str::from_utf8(authority).map_err(|_| BadUrl::Host)?;
    if authority.contains('@') {
        return Err(BadUrl::UserInfo);
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (literal, after) = rest.split_once(']').ok_or(BadUrl::Host)?;
        let literal: Ipv6Addr = literal.parse().map_err(|_| BadUrl::Host)?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(BadUrl::Port),
        };
        (literal.to_string(), port)
    } else {
        let (host, port) = authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_name = !host.is_empty()
            && host.len() <= MAX_HOST_BYTES
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !is_name {
            return Err(BadUrl::Host);
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port {
        None | Some("") => scheme.default_port(),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(BadUrl::Port)?,
        Some(_) => return Err(BadUrl::Port),
    };
    Ok(Origin {
        scheme,
        host: host.into(),
        port,
    })
}

/// `text` after `prefix`, compared without regard to ASCII case.
fn strip_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    text.get(..prefix.len())
        .filter(|head| head.eq_ignore_ascii_case(prefix))
        .map(|_| &text[prefix.len()..])
}

/// Whether a reference begins with a scheme, RFC 3986 section 3.1.
fn has_scheme(reference: &[u8]) -> bool {
    let end = reference
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')));
    end.is_some_and(|end| reference[end] == b':') && reference[0].is_ascii_alphabetic()
}

fn without_fragment(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'#').next().unwrap_or_default()
}

/// Escapes the bytes that are neither unreserved, reserved nor `%` (RFC 3986 section 2), and nothing else.
fn escape(text: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(text.len());
    for &byte in text {
        let kept = byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
        if kept {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(char::from(HEX[usize::from(byte >> 4)]));
            escaped.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    escaped
}

/// RFC 3986 section 5.2.4 for a path that begins with `/`.
fn remove_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests;
