//! Who we are to a feed's upstream, and which origins may learn it.
//!
//! A credential belongs to one feed and goes to that feed's origins alone (protocol fact 5.2.3): the origin of its
//! configured service index, and those that the caller adds. It never goes to plain http when the feed was configured
//! as https. Nothing here prints a secret.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::url::{Origin, Scheme};

/// The most origins one feed may name: a service index has some forty resources, mostly on one host.
const MAX_ORIGINS: usize = 256;

/// What an upstream knows us by.
#[derive(Clone, Eq, PartialEq)]
pub enum Credential {
    /// User name and password, RFC 7617.
    Basic {
        /// The user name; holds no colon.
        user: String,
        /// The password or token.
        password: String,
    },
    /// A bearer token, RFC 6750.
    Bearer(String),
    /// A header of the upstream's own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
}

/// A credential that no header can carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadCredential {
    /// The header name is none.
    Name,
    /// The user name holds a colon, which Basic cannot express.
    User,
    /// The token or value holds bytes that no header may hold.
    Value,
}

impl fmt::Display for BadCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the header name is not a header name",
            Self::User => "the user name holds a colon",
            Self::Value => "the value holds bytes that no header may hold",
        })
    }
}

impl std::error::Error for BadCredential {}

impl Credential {
    /// The header that carries it, marked so that nothing prints its value.
    ///
    /// # Errors
    /// [`BadCredential`] if no header can.
    pub fn header(&self) -> Result<(HeaderName, HeaderValue), BadCredential> {
        let (name, value) = match self {
            Self::Basic { user, password } => {
                if user.contains(':') {
                    return Err(BadCredential::User);
                }
                let encoded = STANDARD.encode(format!("{user}:{password}"));
                (AUTHORIZATION, format!("Basic {encoded}"))
            }
            Self::Bearer(token) => (AUTHORIZATION, format!("Bearer {token}")),
            Self::Header { name, value } => (
                HeaderName::try_from(name).map_err(|_| BadCredential::Name)?,
                value.clone(),
            ),
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| BadCredential::Value)?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

/// Shows the kind and never the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(redacted)",
            Self::Bearer(_) => "Bearer(redacted)",
            Self::Header { .. } => "Header(redacted)",
        })
    }
}

/// What one feed may do at its upstream: the credential, the origins that may learn it, and whether private addresses
/// may be asked. Clones share the origins.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    /// The origin of the configured service index.
    upstream: Origin,
    credential: Option<(HeaderName, HeaderValue)>,
    origins: RwLock<HashSet<Origin>>,
}

impl Access {
    /// The access of a feed whose configured service index lies at `upstream`. Private addresses may be asked only if
    /// that origin is there too.
    ///
    /// # Errors
    /// [`BadCredential`] if no header can carry the credential.
    pub fn new(upstream: Origin, credential: Option<&Credential>) -> Result<Self, BadCredential> {
        let credential = credential.map(Credential::header).transpose()?;
        let origins = RwLock::new(HashSet::from([upstream.clone()]));
        Ok(Self {
            inner: Arc::new(Inner {
                upstream,
                credential,
                origins,
            }),
        })
    }

    /// The origin of the feed's configured service index.
    #[must_use]
    pub fn upstream(&self) -> &Origin {
        &self.inner.upstream
    }

    /// Lets an origin that the feed's service index names learn the credential. Plain http is left out for a feed
    /// that was configured as https.
    pub fn add_origin(&self, origin: &Origin) {
        let downgrade =
            self.inner.upstream.scheme() == Scheme::Https && origin.scheme() == Scheme::Http;
        if downgrade || self.is_trusted(origin) {
            return;
        }
        let mut origins = self
            .inner
            .origins
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if origins.len() < MAX_ORIGINS {
            origins.insert(origin.clone());
        }
    }

    /// Whether the credential may go to this origin.
    #[must_use]
    pub fn is_trusted(&self, origin: &Origin) -> bool {
        self.inner
            .origins
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(origin)
    }

    /// Adds the credential to a request for `origin`, if it may know it and the request carries no such header yet.
    pub(super) fn apply(&self, origin: &Origin, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.inner.credential
            && self.is_trusted(origin)
        {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("upstream", &self.inner.upstream)
            .field("has_credential", &self.inner.credential.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(url).unwrap()
    }

    #[track_caller]
    fn check_header(credential: &Credential, expected: Result<(&str, &str), BadCredential>) {
        let header = credential.header();
        assert!(header.as_ref().is_ok_and(|(_, value)| value.is_sensitive()) || header.is_err());
        let header =
            header.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        assert_eq!(
            header,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn each_kind_has_its_header() {
        let basic = |user: &str| Credential::Basic {
            user: user.into(),
            password: "p:\u{e9}".into(),
        };
        let header = |name: &str, value: &str| Credential::Header {
            name: name.into(),
            value: value.into(),
        };
        check_header(&basic("u"), Ok(("authorization", "Basic dTpwOsOp")));
        check_header(&basic("u:"), Err(BadCredential::User));
        check_header(
            &Credential::Bearer("t0k".into()),
            Ok(("authorization", "Bearer t0k")),
        );
        check_header(
            &Credential::Bearer("a\nb".into()),
            Err(BadCredential::Value),
        );
        check_header(&header("X-Key", "v"), Ok(("x-key", "v")));
        check_header(&header("X Key", "v"), Err(BadCredential::Name));
    }

    #[test]
    fn only_the_feeds_origins_learn_it() {
        let bearer = Credential::Bearer("secret".into());
        let access = Access::new(origin("https://feed.example/v3/index.json"), Some(&bearer));
        let access = access.unwrap();
        access.add_origin(&origin("https://cdn.example/"));
        access.add_origin(&origin("http://plain.example/"));
        for (url, expected) in [
            ("https://feed.example/x", true),
            ("https://cdn.example/x", true),
            ("https://feed.example:8443/", false),
            ("http://feed.example/", false),
            ("http://plain.example/", false),
            ("https://sub.feed.example/", false),
        ] {
            let mut headers = HeaderMap::new();
            access.apply(&origin(url), &mut headers);
            assert_eq!(headers.contains_key(AUTHORIZATION), expected, "{url}");
        }
    }

    #[test]
    fn nothing_prints_the_secret() {
        let bearer = Credential::Bearer("secret".into());
        let access = Access::new(origin("https://feed.example/"), Some(&bearer)).unwrap();
        let mut headers = HeaderMap::new();
        access.apply(access.upstream(), &mut headers);
        let printed = format!("{bearer:?} {access:?} {headers:?}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}
