//! Whether whoever asks may: the one step between knowing the feed and doing anything for it.
//!
//! A refusal is answered locally and at once, before anything is looked up. Only an upload is read to its end first: the
//! real client reads no answer before it has sent everything (protocol fact 9.20).

use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt as _;

use super::body::Body;
use super::feed::Feed;
use super::refusal::Refusal;
use super::respond::{self, Facts};
use super::route::{Class, Resource};
use super::told::Told;
use super::union::Mount;
use super::{Incoming, Snapshot};
use crate::access::Ask;
use crate::access::credential::{API_KEY, Presented};
use crate::access::rules::{Caller, Right, Rules};

/// A request that may go on.
pub(super) struct Admitted<'a, B> {
    pub(super) request: Incoming<'a, B>,
    /// Who it is, if that was asked.
    pub(super) caller: Option<Caller>,
}

impl Snapshot {
    /// Lets a request to a feed in, or answers why not. Who reads a union must be let in by each of its members, who
    /// pushes to it by the one that takes pushes.
    pub(super) async fn admit<'a, B>(
        &self,
        mount: Mount<'_>,
        resource: &Resource,
        request: Incoming<'a, B>,
        facts: &Facts<'_>,
        client: IpAddr,
        told: &mut Told,
    ) -> Result<Admitted<'a, B>, Response<Body>>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let right = right_to(resource);
        let feeds = match right {
            Right::Index | Right::Read => Ok(mount.feeds()),
            Right::Push => mount.push_feed().map(std::slice::from_ref),
        };
        let feeds = match feeds {
            Ok(feeds) => feeds,
            Err(refusal) => return Err(self.turn_away(request.body, facts, &refusal).await),
        };
        let mut caller = None;
        for feed in feeds {
            let ask = Ask {
                feed: &feed.label,
                rules: &feed.settings.clients,
                right,
                headers: facts.headers,
                client,
            };
            match self.guard.admit(&ask).await {
                Ok(known) => caller = caller.or(known),
                Err(denial) => {
                    let refusal = Refusal::of(denial, mount.label());
                    return Err(self.turn_away(request.body, facts, &refusal).await);
                }
            }
        }
        told.caller.clone_from(&caller);
        Ok(Admitted { request, caller })
    }

    /// Whether a read of something made of these feeds may take the shortcut: gives who it is, if that was asked.
    pub(super) fn admit_at_once(
        &self,
        feeds: &[Arc<Feed>],
        class: Class,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Option<Option<Caller>> {
        let right = match class {
            Class::ServiceIndex => Right::Index,
            _ => Right::Read,
        };
        let mut caller = None;
        for feed in feeds {
            let known = self.guard.admit_at_once(&Ask {
                feed: &feed.label,
                rules: &feed.settings.clients,
                right,
                headers,
                client,
            })?;
            caller = caller.or(known);
        }
        Some(caller)
    }

    /// Answers a refusal once the client reads it.
    pub(super) async fn turn_away<B>(
        &self,
        body: B,
        facts: &Facts<'_>,
        refusal: &Refusal,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        self.read_away(body, facts).await;
        respond::refusal(facts, refusal)
    }

    /// Reads the body of a request that is refused to its end, or to the limits of an upload, and throws it away.
    pub(super) async fn read_away<B>(&self, body: B, facts: &Facts<'_>)
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        // Who waits for a 100 has sent nothing and reads the answer instead (RFC 9110 section 10.1.1).
        if facts.headers.contains_key(header::EXPECT) {
            return;
        }
        let settings = self.upstream.settings();
        let mut left = settings.max_push_bytes;
        let mut body = pin!(body);
        while let Ok(Some(Ok(frame))) =
            tokio::time::timeout(settings.idle_timeout, body.frame()).await
        {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}

/// What of a feed a resource is.
pub(super) fn right_to(resource: &Resource) -> Right {
    match resource {
        Resource::Publish(_) | Resource::SymbolPublish(_) => Right::Push,
        Resource::ServiceIndex => Right::Index,
        Resource::Autocomplete
        | Resource::Catalog(_)
        | Resource::Certificate(_)
        | Resource::Content { .. }
        | Resource::Link { .. }
        | Resource::Registration { .. }
        | Resource::RepositorySignatures(_)
        | Resource::Search
        | Resource::Symbols(_)
        | Resource::Tool(_)
        | Resource::ToolsList
        | Resource::VersionList(_)
        | Resource::VulnerabilityIndex
        | Resource::VulnerabilityPage(_) => Right::Read,
    }
}

/// Puts the key into a publish that the upstream is to see: ours where we hold one, else the client's, which is never
/// one of our own tokens.
pub(super) fn put_key(headers: &mut HeaderMap, rules: &Rules) {
    if Presented::in_api_key(headers).is_some() || rules.push_key.is_some() {
        headers.remove(API_KEY);
    }
    let Some(key) = &rules.push_key else { return };
    if let Ok(mut value) = HeaderValue::from_str(key.reveal()) {
        value.set_sensitive(true);
        headers.insert(API_KEY, value);
    }
}
