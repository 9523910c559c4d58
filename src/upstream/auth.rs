//! Who we are to a feed's upstream, and which origins may learn it.
//!
//! A credential belongs to one feed and goes to that feed's origins alone (protocol fact 5.2.3): the origin of its
//! configured service index, and those that the caller adds. It never goes to plain http when the feed was configured
//! as https. A client's own credential, which a feed may pass on instead, obeys the same and crosses no redirect to
//! another origin. Nothing here prints a secret.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::keeper::{Keeper, Presented};
pub use super::secret::{CommandLine, Secret};
use super::url::{Origin, Scheme};
use super::way::{Way, WaySettings};
use crate::clock::Clock;
use crate::tasks::Tasks;

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
        password: Secret,
    },
    /// A bearer token, RFC 6750.
    Bearer(Secret),
    /// A header of the upstream's own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret,
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
    /// The secret of it.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Basic {
                password: secret, ..
            }
            | Self::Bearer(secret)
            | Self::Header { value: secret, .. } => secret,
        }
    }

    /// The header that carries it with this secret, marked so that nothing prints its value.
    ///
    /// # Errors
    /// [`BadCredential`] if no header can.
    pub fn header_with(&self, secret: &str) -> Result<(HeaderName, HeaderValue), BadCredential> {
        let (name, value) = match self {
            Self::Basic { user, .. } => {
                if user.contains(':') {
                    return Err(BadCredential::User);
                }
                let encoded = STANDARD.encode(format!("{user}:{secret}"));
                (AUTHORIZATION, format!("Basic {encoded}"))
            }
            Self::Bearer(_) => (AUTHORIZATION, format!("Bearer {secret}")),
            Self::Header { name, .. } => (
                HeaderName::try_from(name).map_err(|_| BadCredential::Name)?,
                secret.to_owned(),
            ),
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| BadCredential::Value)?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// The header with the secret that was known at start, if one was.
    pub(super) fn known_header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header_with(self.secret().known()?).ok()
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

/// What one feed may do at its upstream: the credential, the origins that may learn it, the way there, and whether
/// private addresses may be asked. Clones share the origins.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    credential: Option<Held>,
    origins: Arc<RwLock<HashSet<Origin>>>,
    /// The origin of the configured service index.
    upstream: Origin,
    ways: WaySettings,
    whose: Whose,
}

enum Held {
    /// It never changes.
    Fixed(Presented),
    Kept(Keeper),
}

/// Whose credential goes upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    /// The one of the client that asks, if it has one.
    Clients,
    /// The one that the feed is configured with, if any.
    Feeds,
}

impl Access {
    /// The access of a feed whose configured service index lies at `upstream`, with a secret that never changes and
    /// without anything between. Private addresses may be asked only if that origin is there too.
    ///
    /// # Errors
    /// [`BadCredential`] if no header can carry the credential.
    pub fn new(upstream: Origin, credential: Option<&Credential>) -> Result<Self, BadCredential> {
        let fixed = |credential: &Credential| {
            let header = credential.header_with(credential.secret().known().unwrap_or_default())?;
            Ok(Held::Fixed(Presented {
                header,
                generation: 0,
            }))
        };
        let credential = credential.map(fixed).transpose()?;
        Ok(Self::with(upstream, credential, WaySettings::default()))
    }

    /// The access of the feed `name`, whose secret is read again where it can be. Call it within a runtime.
    ///
    /// # Errors
    /// [`BadCredential`] if no header can carry the credential.
    pub fn open(
        name: &str,
        upstream: Origin,
        credential: Option<&Credential>,
        ways: WaySettings,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, BadCredential> {
        let Some(credential) = credential else {
            return Ok(Self::with(upstream, None, ways));
        };
        // Checked here, since what is not known yet cannot be.
        let header = credential.header_with(credential.secret().known().unwrap_or_default())?;
        let held = match credential.secret() {
            Secret::Value(_) => Held::Fixed(Presented {
                header,
                generation: 0,
            }),
            Secret::Command(_) | Secret::File { .. } => {
                Held::Kept(Keeper::new(name, credential.clone(), clock.clone(), tasks))
            }
        };
        Ok(Self::with(upstream, Some(held), ways))
    }

    fn with(upstream: Origin, credential: Option<Held>, ways: WaySettings) -> Self {
        let origins = RwLock::new(HashSet::from([upstream.clone()]));
        Self {
            inner: Arc::new(Inner {
                credential,
                origins: Arc::new(origins),
                upstream,
                ways,
                whose: Whose::Feeds,
            }),
        }
    }

    /// The access of one client to the same feed: its `Authorization`, or nothing, in place of the feed's credential. It
    /// shares the feed's origins.
    #[must_use]
    pub fn of_client(&self, authorization: Option<&HeaderValue>) -> Self {
        let credential = authorization.map(|value| {
            let mut value = value.clone();
            value.set_sensitive(true);
            Held::Fixed(Presented {
                header: (AUTHORIZATION, value),
                generation: 0,
            })
        });
        Self {
            inner: Arc::new(Inner {
                credential,
                origins: Arc::clone(&self.inner.origins),
                upstream: self.inner.upstream.clone(),
                ways: self.inner.ways.clone(),
                whose: Whose::Clients,
            }),
        }
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

    /// Whether the feed has a credential at all.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.inner.credential.is_some()
    }

    /// Since when the credential cannot be read, and why; nothing secret is in the words.
    #[must_use]
    pub fn credential_fault(&self) -> Option<(SystemTime, String)> {
        match &self.inner.credential {
            Some(Held::Kept(keeper)) => {
                let (since, fault) = keeper.fault()?;
                Some((since, fault.to_string()))
            }
            Some(Held::Fixed(_)) | None => None,
        }
    }

    /// Whether the credential goes to `origin` with a question that was meant for `asked`: they differ behind a redirect.
    /// A client that was asked itself would not send its credential on to another origin either.
    #[must_use]
    pub fn goes_to(&self, origin: &Origin, asked: &Origin) -> bool {
        let stays = match self.inner.whose {
            Whose::Clients => origin == asked,
            Whose::Feeds => true,
        };
        stays && self.is_trusted(origin)
    }

    /// How connections to an origin are made: only those that may know the credential see the certificate.
    pub(super) fn way(&self, origin: &Origin) -> Way {
        self.inner.ways.to(origin, self.is_trusted(origin))
    }

    /// The credential for a request to `origin` that was meant for `asked`, if it goes there. The error says why there is
    /// none to use.
    pub(super) async fn present(
        &self,
        origin: &Origin,
        asked: &Origin,
    ) -> Result<Option<Presented>, String> {
        match &self.inner.credential {
            Some(held) if self.goes_to(origin, asked) => match held {
                Held::Fixed(presented) => Ok(Some(presented.clone())),
                Held::Kept(keeper) => {
                    let presented = keeper.present().await;
                    presented.map(Some).map_err(|fault| fault.to_string())
                }
            },
            Some(_) | None => Ok(None),
        }
    }

    /// Has the secret read again that the upstream refused; whether there is another now.
    pub(super) async fn renew(&self, refused: &Presented) -> bool {
        match &self.inner.credential {
            Some(Held::Kept(keeper)) => keeper.renew(refused.generation).await,
            Some(Held::Fixed(_)) | None => false,
        }
    }

    /// The same without waiting, for a request that cannot be sent again.
    pub(super) fn suspect(&self, refused: &Presented) {
        if let Some(Held::Kept(keeper)) = &self.inner.credential {
            keeper.suspect(refused.generation);
        }
    }

    /// Whether a refused secret may be another when it is read again.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.inner.credential, Some(Held::Kept(_)))
    }
}

impl Presented {
    /// Adds the credential to a request that carries no such header yet.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        let (name, value) = &self.header;
        headers.entry(name).or_insert_with(|| value.clone());
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("upstream", &self.inner.upstream)
            .field("has_credential", &self.has_credential())
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
        let header = credential.header_with(credential.secret().known().unwrap());
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

    #[tokio::test]
    async fn only_the_feeds_origins_learn_it() {
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
            let home = access.upstream();
            let presented = access.present(&origin(url), home).await.unwrap();
            assert_eq!(presented.is_some(), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn a_clients_credential_takes_the_place_of_the_feeds_and_crosses_no_redirect() {
        let bearer = Credential::Bearer("feeds".into());
        let feed = Access::new(origin("https://feed.example/"), Some(&bearer)).unwrap();
        let client = feed.of_client(Some(&HeaderValue::from_static("Basic clients")));
        let nobody = feed.of_client(None);
        // Origins are learned together.
        feed.add_origin(&origin("https://cdn.example/"));
        let (own, cdn, other) = (
            "https://feed.example/a",
            "https://cdn.example/b",
            "https://x.example/",
        );
        for (access, to, asked, expected) in [
            (&client, own, own, Some("Basic clients")),
            (&client, cdn, cdn, Some("Basic clients")),
            (&client, cdn, own, None),
            (&client, other, own, None),
            (&nobody, own, own, None),
            (&feed, cdn, own, Some("Bearer feeds")),
        ] {
            let presented = access.present(&origin(to), &origin(asked)).await.unwrap();
            let sent = presented
                .as_ref()
                .map(|presented| presented.header.1.to_str().unwrap());
            assert_eq!(sent, expected, "{access:?} to {to}");
        }
    }

    #[tokio::test]
    async fn nothing_prints_the_secret() {
        let bearer = Credential::Bearer("secret".into());
        let access = Access::new(origin("https://feed.example/"), Some(&bearer)).unwrap();
        let clients = access.of_client(Some(&HeaderValue::from_static("Basic secret")));
        let home = access.upstream();
        let mut headers = HeaderMap::new();
        let presented = access.present(home, home).await.unwrap().unwrap();
        presented.apply(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer secret");
        let theirs = clients.present(home, home).await.unwrap();
        let printed =
            format!("{bearer:?} {access:?} {headers:?} {presented:?} {clients:?} {theirs:?}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}
