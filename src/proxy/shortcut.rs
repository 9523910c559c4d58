//! The shortcut of a small hit: a request that is like one before, whose answer is in memory, needs no routing again.
//!
//! What a plain GET of a path on a host means does not change while the configuration stays the same: which feed and id
//! it is about and under which names its answers lie in memory. That much is remembered; whether such an answer is
//! still fresh, and of the current epoch, is asked anew each time, in one comparison. Only requests whose every header
//! is known to change nothing about that come this way.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use http::{HeaderMap, Method, Response, Version, header, request};
use tokio::time::Instant;

use super::body::Body;
use super::feed::{Face, Feed};
use super::outcome::{Completed, Outcome, Subject};
use super::render::{self, Coding};
use super::respond::{self, Facts};
use super::route::Class;
use super::told::{note_of, report};
use super::{Peer, Proxy, Scheme, Snapshot};
use crate::nuget::id::PackageId;

/// Requests remembered: some megabytes. A restore of a large solution asks for hundreds of documents.
const MAX_KNOWN: usize = 8 * 1024;
/// Longest scheme, host and path together that are remembered.
const MAX_NAME_BYTES: usize = 1024;

/// What plain requests were found to mean, by host and path.
pub(super) struct Shortcuts {
    known: RwLock<HashMap<String, Arc<Known>, RandomState>>,
}

/// What a plain GET of a path on a host means.
#[derive(Debug)]
pub(super) struct Known {
    /// Name of the feed or union, for log and metrics.
    pub(super) name: Arc<str>,
    /// The feeds whose epochs gate its answers.
    pub(super) feeds: Box<[Arc<Feed>]>,
    pub(super) id: Option<PackageId>,
    pub(super) class: Class,
    /// Whether the answer depends on the session that asks (version lists do).
    pub(super) depends_on_session: bool,
    /// The names of its answers in memory.
    pub(super) gzip: String,
    pub(super) identity: String,
}

impl Shortcuts {
    pub(super) fn new() -> Self {
        Self {
            known: RwLock::default(),
        }
    }

    fn find(&self, name: &str) -> Option<Arc<Known>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    fn note(&self, name: String, known: Known) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Forgetting costs a routing each; a client that invents names must not grow this.
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(name, Arc::new(known));
    }
}

impl fmt::Debug for Shortcuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcuts").finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The answer to a request that is like one before, if it is in memory, fresh and of the current epoch.
    pub(super) fn by_shortcut(
        &self,
        parts: &request::Parts,
        facts: &Facts<'_>,
        peer: Peer,
        began: Instant,
    ) -> Option<Response<Body>> {
        let name = name_of(parts, peer.scheme)?;
        let known = self.shortcuts.find(&name)?;
        // Offline, what can be delivered is looked up for each answer.
        if !self.are_online(&known.feeds) || !is_plain(facts.headers, known.depends_on_session) {
            return None;
        }
        let client = peer.addr.ip().to_canonical();
        let caller = self.admit_at_once(&known.feeds, known.class, facts.headers, client)?;
        let key = match Coding::of(facts.headers) {
            Coding::Gzip => &known.gzip,
            Coding::Identity => &known.identity,
        };
        let id = known.id.as_ref();
        let answer = self.current_answer(&known.feeds, id, known.class, key)?;
        let note = note_of(&answer, Outcome::Hit, None, facts);
        let response = respond::document(facts, &answer, &note);
        let is_logged = self.telemetry.logs_access();
        let subject = Subject {
            feed: Some(Arc::clone(&known.name)),
            class: known.class.word(),
            id: known
                .id
                .as_ref()
                .filter(|_| is_logged)
                .map(|id| id.as_str().to_owned()),
            ..Subject::default()
        };
        let caller = caller
            .filter(|_| is_logged)
            .map(|caller| caller.to_string());
        let text = |name: &str| {
            facts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        report(
            &self.telemetry,
            &Completed {
                at: facts.clock.now(),
                took: began.elapsed(),
                caller: caller.as_deref(),
                client,
                session: text("x-nuget-session-id").filter(|_| is_logged),
                agent: text(header::USER_AGENT.as_str()).filter(|_| is_logged),
                method: facts.method.as_str(),
                path: parts.uri.path(),
                status: response.status().as_u16(),
                bytes: http_body::Body::size_hint(response.body()).exact(),
                subject,
                outcome: Outcome::Hit,
                reason: None,
            },
        );
        Some(response)
    }
}

impl Proxy {
    /// Remembers what a plain request means, once its answer is in memory.
    pub(super) fn note_shortcut(&self, parts: &request::Parts, meaning: Meaning<'_>) {
        // Who asks is part of what it means where credentials are passed on.
        let mut feeds = meaning.face.feeds.iter();
        if feeds.any(|feed| feed.client.is_some()) || !is_plain(&parts.headers, false) {
            return;
        }
        let Some(name) = name_of(parts, meaning.scheme) else {
            return;
        };
        let Meaning {
            face, path, base, ..
        } = meaning;
        let key = |coding| render::answer_key(face, path, base, coding);
        let known = Known {
            name: Arc::clone(face.label),
            feeds: face.feeds.into(),
            id: meaning.id.cloned(),
            class: meaning.class,
            depends_on_session: meaning.depends_on_session,
            gzip: key(Coding::Gzip),
            identity: key(Coding::Identity),
        };
        self.shortcuts.note(name, known);
    }
}

/// What a request was found to mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning<'a> {
    pub(super) face: Face<'a>,
    pub(super) id: Option<&'a PackageId>,
    pub(super) class: Class,
    pub(super) depends_on_session: bool,
    /// How the client's connection reaches us.
    pub(super) scheme: Scheme,
    /// What of the path names the answer in memory.
    pub(super) path: &'a str,
    pub(super) base: &'a str,
}

/// The name under which a request is remembered: how it came, its host and path as written.
fn name_of(parts: &request::Parts, scheme: Scheme) -> Option<String> {
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    if !is_read || parts.uri.query().is_some() {
        return None;
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = match (parts.uri.authority(), hosts.next(), hosts.next()) {
        (None, Some(host), None) => host.to_str().ok()?,
        // HTTP/2 names the host in `:authority` (RFC 9113 section 8.3.1).
        (Some(authority), None, _) if parts.version == Version::HTTP_2 => authority.as_str(),
        _ => return None,
    };
    let (word, path) = (scheme.word(), parts.uri.path());
    let bytes = word.len() + host.len() + path.len() + 2;
    if bytes > MAX_NAME_BYTES {
        return None;
    }
    let mut name = String::with_capacity(bytes);
    for part in [word, " ", host, " ", path] {
        name.push_str(part);
    }
    Some(name)
}

/// Whether no header changes what the request means: those listed say who asks and which form is wanted, all of which
/// the shortcut looks at or no answer depends on. Whether whoever asks may, is asked anew each time.
fn is_plain(headers: &HeaderMap, depends_on_session: bool) -> bool {
    headers.keys().all(|name| match name.as_str() {
        "accept"
        | "accept-encoding"
        | "accept-language"
        | "authorization"
        | "connection"
        | "host"
        | "if-none-match"
        | "user-agent"
        | "x-nuget-client-version" => true,
        "x-nuget-session-id" => !depends_on_session,
        _ => false,
    })
}
