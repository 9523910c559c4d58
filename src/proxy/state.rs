//! What the proxy says of itself: a page for people, readiness for machines, and why a feed cannot be mounted.

use std::fmt;

use http::Response;

use super::body::Body;
use super::respond::{self, Facts};
use super::{Proxy, welcome};
use crate::access::Guard;
use crate::store::Store;
use crate::upstream::Upstream;
use crate::upstream::auth::BadCredential;
use crate::upstream::url::BadUrl;

/// What a proxy stands between.
#[derive(Clone, Debug)]
pub struct Doors {
    /// To users and tokens.
    pub guard: Guard,
    /// To what is kept.
    pub store: Store,
    /// To the upstreams.
    pub upstream: Upstream,
}

/// A feed that cannot be mounted.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedError {
    /// Its credential fits in no header.
    Credential(String, BadCredential),
    /// A member of this union is no feed with an upstream of its own, or one that passes credentials on.
    Member(String, String),
    /// Its upstream is no address.
    Upstream(String, BadUrl),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(feed, why) => write!(f, "feed {feed:?}: credential: {why}"),
            Self::Member(feed, member) => {
                write!(
                    f,
                    "feed {feed:?}: members: {member:?} is no feed with an upstream and an access of its own"
                )
            }
            Self::Upstream(feed, why) => write!(f, "feed {feed:?}: upstream: {why}"),
        }
    }
}

impl std::error::Error for FeedError {}

impl Proxy {
    /// Who knows users and tokens.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// What the upstreams' state is, for `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> serde_json::Value {
        let now = self.current.load();
        let feeds: Vec<_> = now
            .feeds
            .iter()
            .map(|feed| {
                let fault = feed.access.credential_fault().map(|(since, fault)| {
                    serde_json::json!({
                        "since": httpdate::fmt_http_date(since),
                        "detail": fault,
                    })
                });
                let (mode, cause) = now.mode_and_cause(feed);
                serde_json::json!({
                    "name": &*feed.name,
                    "upstream": feed.settings.upstream,
                    "mode": mode.word(),
                    "mode_by": cause.word(),
                    "index_known": feed.model().is_some(),
                    "credential_fault": fault,
                    "troubles": feed.troubles_told(),
                })
            })
            .collect();
        let unions = now.settings.unions.iter();
        let unions: Vec<_> = unions
            .map(|union| serde_json::json!({"name": union.name, "members": union.members}))
            .collect();
        serde_json::json!({
            "feeds": feeds,
            "unions": unions,
            "ignored_forwarded": now.ignored.report(),
        })
    }

    /// The page for people.
    pub(super) fn home(&self, facts: &Facts<'_>, base_url: &str) -> Response<Body> {
        let feeds = self.settings.sources();
        let sources: Vec<_> = feeds
            .iter()
            .map(|(name, upstream)| welcome::Source { name, upstream })
            .collect();
        let text = welcome::Welcome::new(base_url, &sources).html();
        respond::page(facts, "text/html; charset=utf-8", text)
    }
}
