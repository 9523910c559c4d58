//! The way to an upstream: through which forward proxy, and with which certificate of ours.
//!
//! The settings are a feed's; `WaySettings::to` gives what holds for one origin. A machine itself is never asked
//! through a proxy, since a proxy's loopback is another machine. Nothing here prints a password or a key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::url::{Origin, Scheme};

/// How a feed's upstream is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WaySettings {
    /// Our certificate, shown to the feed's origins alone.
    pub identity: Option<Identity>,
    /// What lies between.
    pub proxies: Proxies,
}

/// Which proxy requests go through, by the scheme of what they ask.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxies {
    /// For http: asked with absolute addresses.
    pub http: Option<ForwardProxy>,
    /// For https: asked to CONNECT, so that it sees the host and nothing else.
    pub https: Option<ForwardProxy>,
    /// What is asked directly all the same.
    pub except: Exceptions,
}

/// A proxy that forwards our requests.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct ForwardProxy {
    inner: Arc<Forwarder>,
}

#[derive(Eq, Hash, PartialEq)]
struct Forwarder {
    /// Basic, RFC 7617, as `Proxy-Authorization` carries it.
    authorization: Option<HeaderValue>,
    origin: Origin,
}

/// Why a text is no proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadProxy;

impl fmt::Display for BadProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an http or https URL of a proxy, such as \"http://proxy.example.com:3128\"")
    }
}

impl std::error::Error for BadProxy {}

impl ForwardProxy {
    /// Reads `[http[s]://][user[:password]@]host[:port][/]`.
    ///
    /// # Errors
    /// [`BadProxy`] if the text is something else.
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(BadProxy);
        }
        let (user_info, authority) = match rest.rsplit_once('@') {
            Some((user_info, authority)) => (Some(user_info), authority),
            None => (None, rest),
        };
        let url = format!("{}://{authority}/", scheme.to_ascii_lowercase());
        let origin = Origin::of(&url).map_err(|_| BadProxy)?;
        let proxy = Self {
            inner: Arc::new(Forwarder {
                authorization: None,
                origin,
            }),
        };
        let Some(user_info) = user_info else {
            return Ok(proxy);
        };
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| BadProxy);
        proxy.with_credential(&decoded(user)?, &decoded(password)?)
    }

    /// The same proxy, told this user name and password.
    ///
    /// # Errors
    /// [`BadProxy`] if the user name holds a colon.
    pub fn with_credential(&self, user: &str, password: &str) -> Result<Self, BadProxy> {
        if user.contains(':') {
            return Err(BadProxy);
        }
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {encoded}")).map_err(|_| BadProxy)?;
        value.set_sensitive(true);
        Ok(Self {
            inner: Arc::new(Forwarder {
                authorization: Some(value),
                origin: self.inner.origin.clone(),
            }),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.inner.authorization.as_ref()
    }
}

/// Without the credential.
impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForwardProxy({})", self.inner.origin)
    }
}

/// Hosts that are asked directly although there is a proxy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exceptions {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Rule {
    All,
    /// A name and everything below it, or a literal; at this port alone, if there is one.
    Host(String, Option<u16>),
    Network(IpNet),
}

impl Exceptions {
    /// Reads the items of a list as curl does: `*`, names that stand for everything below them too, with or without a
    /// dot before them, addresses, address ranges such as `10.0.0.0/8`; names and addresses with or without a port.
    /// Empty items mean nothing.
    #[must_use]
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        let items = items.into_iter().map(str::trim);
        let rules = items.filter(|item| !item.is_empty()).map(Rule::parse);
        Self {
            rules: rules.collect(),
        }
    }

    fn cover(&self, origin: &Origin) -> bool {
        self.rules.iter().any(|rule| rule.covers(origin))
    }
}

impl Rule {
    fn parse(item: &str) -> Self {
        if item == "*" {
            return Self::All;
        }
        if let Ok(network) = item.parse::<IpNet>() {
            return Self::Network(network);
        }
        let bare = |host: &str| {
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned()
        };
        if bare(item).parse::<IpAddr>().is_ok() {
            return Self::Host(bare(item), None);
        }
        let (host, port) = match item.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (item, None),
            },
            None => (item, None),
        };
        let name = bare(host).to_ascii_lowercase();
        let name = name.trim_start_matches("*.").trim_matches('.');
        Self::Host(name.to_owned(), port)
    }

    fn covers(&self, origin: &Origin) -> bool {
        let address = origin.host().parse::<IpAddr>().ok();
        match self {
            Self::All => true,
            Self::Host(_, Some(port)) if *port != origin.port() => false,
            Self::Host(name, _) => match address {
                Some(address) => name.parse() == Ok(address),
                None => {
                    let above = origin
                        .host()
                        .trim_end_matches('.')
                        .strip_suffix(name.as_str());
                    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
                }
            },
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
        }
    }
}

/// A certificate of ours, with its key.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Certified>,
}

struct Certified {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// An identity of this chain, our own certificate first, and its key.
    ///
    /// # Errors
    /// What is wrong, in the words of the TLS library: a key of a kind that it does not know, or one of another
    /// certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, String> {
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            inner: Arc::new(Certified { chain, key }),
        })
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.inner.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.inner.key.clone_key()
    }
}

/// A certificate has one key.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.inner.chain == other.inner.chain
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for certificate in &self.inner.chain {
            certificate.as_ref().hash(state);
        }
    }
}

/// Never the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.inner.chain.len())
    }
}

/// The way to one origin.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Way {
    /// The certificate to show, if one is asked for.
    pub identity: Option<Identity>,
    /// The proxy to go through.
    pub proxy: Option<ForwardProxy>,
}

impl WaySettings {
    /// The way to an origin; `is_trusted` says whether it may know who we are.
    pub(super) fn to(&self, origin: &Origin, is_trusted: bool) -> Way {
        let proxies = &self.proxies;
        let proxy = match origin.scheme() {
            Scheme::Http => &proxies.http,
            Scheme::Https => &proxies.https,
        };
        let is_direct = origin.is_loopback_by_name() || proxies.except.cover(origin);
        let shows = is_trusted && origin.scheme() == Scheme::Https;
        Way {
            identity: self.identity.clone().filter(|_| shows),
            proxy: proxy.clone().filter(|_| !is_direct),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_proxy(text: &str, expected: Option<(&str, Option<&str>)>) {
        let found = ForwardProxy::parse(text).ok();
        let found = found.as_ref().map(|proxy| {
            let header = proxy.authorization().map(|value| value.to_str().unwrap());
            (proxy.origin().to_string(), header)
        });
        let expected = expected.map(|(origin, header)| (origin.to_owned(), header));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn proxies_are_urls_with_or_without_a_credential() {
        check_proxy("http://p.test:3128", Some(("http://p.test:3128", None)));
        check_proxy("HTTP://p.test/", Some(("http://p.test", None)));
        check_proxy("p.test:3128", Some(("http://p.test:3128", None)));
        check_proxy("https://p.test", Some(("https://p.test", None)));
        check_proxy("http://[::1]:8", Some(("http://[::1]:8", None)));
        // u:p
        check_proxy(
            "http://u:p@p.test",
            Some(("http://p.test", Some("Basic dTpw"))),
        );
        // u:p:@/
        check_proxy(
            "http://u:p%3A%40%2F@p.test",
            Some(("http://p.test", Some("Basic dTpwOkAv"))),
        );
        check_proxy("u@p.test", Some(("http://p.test", Some("Basic dTo="))));
        for bad in [
            "socks5://p.test",
            "http://p.test/a",
            "http://",
            "",
            "http://a%3Ab:c@p",
            "p:x",
        ] {
            check_proxy(bad, None);
        }
        let shown = format!(
            "{:?}",
            ForwardProxy::parse("http://u:hunter2@p.test").unwrap()
        );
        assert_eq!(shown, "ForwardProxy(http://p.test)");
    }

    #[track_caller]
    fn check_exception(list: &str, url: &str, expected: bool) {
        let exceptions = Exceptions::parse(list.split(','));
        let origin = Origin::of(url).unwrap();
        assert_eq!(exceptions.cover(&origin), expected, "{list} {url}");
    }

    #[test]
    fn exceptions_are_suffixes_ports_ranges_and_everything() {
        for (list, url, expected) in [
            ("corp.test", "https://corp.test", true),
            ("corp.test", "https://a.b.corp.test", true),
            ("corp.test", "https://notcorp.test", false),
            ("Corp.Test.", "https://a.corp.test", true),
            (".corp.test", "https://corp.test", true),
            ("*.corp.test", "https://a.corp.test", true),
            ("a.corp.test", "https://corp.test", false),
            ("corp.test:8443", "https://corp.test:8443", true),
            ("corp.test:443", "https://corp.test", true),
            ("corp.test:8443", "https://corp.test", false),
            ("x, ,corp.test", "http://corp.test", true),
            ("*", "https://anything.test", true),
            ("10.0.0.0/8", "http://10.1.2.3", true),
            ("10.0.0.0/8", "http://11.1.2.3", false),
            ("10.0.0.0/8", "http://a.test", false),
            ("10.1.2.3", "http://10.1.2.3:99", true),
            ("10.1.2.3:98", "http://10.1.2.3:99", false),
            ("2.3", "http://10.1.2.3", false),
            ("2001:db8::/32", "http://[2001:db8::1]", true),
            ("[2001:db8::1]:8", "http://[2001:db8::1]:8", true),
            ("2001:db8::1", "http://[2001:db8::1]", true),
            ("", "http://a.test", false),
        ] {
            check_exception(list, url, expected);
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_loopback_none() {
        let proxy = |text| Some(ForwardProxy::parse(text).unwrap());
        let ways = WaySettings {
            identity: None,
            proxies: Proxies {
                http: proxy("http://plain.test"),
                https: proxy("http://tls.test"),
                except: Exceptions::parse(["near.test"]),
            },
        };
        for (url, expected) in [
            ("http://a.test", Some("http://plain.test")),
            ("https://a.test", Some("http://tls.test")),
            ("https://near.test", None),
            ("http://localhost:8", None),
            ("https://127.0.0.2", None),
            ("https://[::1]", None),
            ("https://10.0.0.1", Some("http://tls.test")),
        ] {
            let way = ways.to(&Origin::of(url).unwrap(), true);
            let found = way.proxy.map(|proxy| proxy.origin().to_string());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_certificate_is_shown_to_the_feeds_https_origins_alone() {
        let made = rcgen::generate_simple_self_signed(["us.test".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["us.test".to_owned()]).unwrap();
        let key = || PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let identity = Identity::new(vec![made.cert.der().clone()], key()).unwrap();
        assert!(Identity::new(vec![other.cert.der().clone()], key()).is_err());
        assert_eq!(format!("{identity:?}"), "Identity(1 certificates)");
        let ways = WaySettings {
            identity: Some(identity),
            proxies: Proxies::default(),
        };
        for (url, is_trusted, expected) in [
            ("https://feed.test", true, true),
            ("https://cdn.test", false, false),
            ("http://feed.test", true, false),
        ] {
            let way = ways.to(&Origin::of(url).unwrap(), is_trusted);
            assert_eq!(way.identity.is_some(), expected, "{url} {is_trusted}");
        }
    }
}
