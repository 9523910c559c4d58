//! One request from start to end.
//!
//! Read [`Proxy::handle`] top to bottom: who asks and by what name, where the path leads, what memory has, what the view
//! shows, and the response. It joins the store and the upstream and touches no socket, file or index itself.

mod admit;
mod aim;
mod answer;
mod asks;
mod backwards;
pub mod base;
mod beside;
mod body;
mod certificates;
mod challenge;
mod checks;
mod content;
mod document;
mod errand;
mod facts;
mod failure;
mod feed;
mod fetch;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod ignored;
mod integrity;
mod late;
mod links;
mod live;
mod marked;
mod mode;
mod model;
pub mod outcome;
pub mod own_index;
mod past;
mod peeked;
mod peer;
mod places;
mod proof;
mod publish;
mod queues;
mod reads;
mod recent;
mod refusal;
mod render;
mod rescue;
mod respond;
pub mod route;
mod rules;
mod settings;
mod shortcut;
mod snapshot;
mod spool;
mod state;
mod stranger;
mod told;
mod trouble;
mod union;
mod upkeep;
mod view;
pub mod welcome;
mod withdrawn;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, request};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::admit::Admitted;
use self::aim::Aim;
use self::backwards::OlderAnswers;
pub use self::base::Scheme;
pub use self::body::{Body, BodyError};
use self::content::{ContentState, HeadState, Partials, ProofState};
use self::document::{DocumentState, FlightKey};
use self::errand::Errand;
use self::failure::Failure;
pub use self::mode::{Mode, ModeOrder};
use self::outcome::Subject;
pub use self::peer::Peer;
use self::proof::Client;
use self::recent::Recent;
use self::refusal::Refusal;
use self::respond::Facts;
pub use self::respond::Transport;
use self::route::Resource;
pub use self::settings::{
    FeedSettings, Freshness, PushLength, Scrutiny, Settings, ToolsSettings, Withdrawn,
};
pub use self::snapshot::Snapshot;
use self::snapshot::{Means, Reloads};
pub use self::state::{Doors, FeedError};
use self::told::{Told, subject_of, via_of};
pub use self::union::{DEFAULT_SEARCH_WAIT, IdPattern, MemberSettings, Presence, UnionSettings};
use self::union::{Mount, UnionQuery};
pub use self::upkeep::{Age, Order, OrderError, Purge, Upkeep, Which, read_id, read_version};
use self::view::Query;
use crate::access::Guard;
use crate::cache::cache_control::RequestCaching;
use crate::cache::decision::Demand;
use crate::cache::key::Key;
use crate::cache::proof::Holder;
pub use crate::cache::proof::ProofPolicy;
use crate::clock::Clock;
use crate::flight::Flights;
pub use crate::nuget::rule::{BlockRules, Rule};
pub use crate::store::MarkKind;
use crate::store::{Answer, Store};
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::upstream::Upstream;

/// How long a demand for the upstream (a client's `no-cache`, a list that proved old) keeps further ones of the same key
/// away.
const DEMAND_INTERVAL: Duration = Duration::from_secs(2);
/// How long a key whose hold ran out is refused at once: the client tries six times, a second apart.
const REFUSAL_TIME: Duration = Duration::from_secs(10);
/// How long an answered list is remembered for the session that got it: longer than a restore's first phase.
const SESSION_TIME: Duration = Duration::from_secs(10 * 60);
/// How long it is remembered that a client's credential was refused: no answer takes longer to come whole.
const REFUSED_TIME: Duration = Duration::from_secs(60 * 60);
/// Entries of each short memory: some megabytes at most.
const MAX_RECENT: usize = 16 * 1024;
/// Longest query that is forwarded, as nuget.org itself allows (protocol fact 2.3.13).
const MAX_QUERY_BYTES: usize = 12_000;

/// Answers requests. Clones share everything but the snapshot of the configuration that they were made under.
#[derive(Clone)]
pub struct Proxy {
    /// What a request under way obeys, from its start to its end.
    snapshot: Arc<Snapshot>,
    /// What new requests obey.
    current: Arc<ArcSwap<Snapshot>>,
}

/// What a proxy has whatever its configuration is.
pub struct Shared {
    reloads: Reloads,
    store: Store,
    upstream: Upstream,
    /// Knows users and tokens.
    guard: Guard,
    clock: Clock,
    tasks: Tasks,
    telemetry: Telemetry,
    /// What `Via` of a request that has passed us holds.
    via_token: String,
    documents: Flights<FlightKey, DocumentState>,
    contents: Flights<FlightKey, ContentState>,
    /// Files that broke off, for the next flight of each.
    partials: Partials,
    heads: Flights<FlightKey, HeadState>,
    renders: Flights<String, Option<Result<Arc<Answer>, Failure>>>,
    large_renders: Semaphore,
    /// Keys whose hold ran out a moment ago, and why.
    refusals: Recent<Key, Failure>,
    /// Keys that somebody demanded to be asked for a moment ago.
    forced: Recent<Key, ()>,
    /// Lists that a session of a client got from the store.
    sessions: Recent<String, ()>,
    /// Documents of which the upstream sends something older than what is stored.
    older: Recent<Key, OlderAnswers>,
    /// Rules that the log named a moment ago, with their feed.
    named_rules: Recent<(Arc<str>, String), ()>,
    /// Files of withdrawn versions that the log named a while ago.
    named_withdrawn: Recent<Key, ()>,
    /// Packages that are compared with what their upstreams publish of them.
    scrutiny: integrity::Scrutiny,
    /// When the upstream last refused a client's credential: what was asked before proves nothing after it.
    refused: Recent<Holder, SystemTime>,
    /// What passes for a proof, being asked for.
    proofs: Flights<FlightKey, ProofState>,
    /// Files of which the upstream is not asked behind a hit before then.
    rechecks: Recent<Key, Instant>,
    /// For those that are about to be asked for so, and for those that are.
    recheck_places: Arc<Semaphore>,
    recheck_turns: Semaphore,
    /// Held by an order for upkeep: there is one at a time.
    upkeep_turn: Arc<Semaphore>,
}

impl std::ops::Deref for Proxy {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("feeds", &self.feeds.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A request as its parts.
struct Incoming<'a, B> {
    parts: &'a request::Parts,
    /// What sends us upstream, if it comes to that.
    errand: &'a Errand,
    body: B,
}

impl Proxy {
    /// Answers for these feeds.
    ///
    /// # Errors
    /// [`FeedError`] if a feed cannot be mounted.
    pub fn new(
        settings: Settings,
        doors: Doors,
        clock: Clock,
        tasks: Tasks,
        telemetry: Telemetry,
        via_token: &str,
    ) -> Result<Self, FeedError> {
        let Doors {
            guard,
            store,
            upstream,
        } = doors;
        let reloads = Reloads::default();
        let means = Means {
            clock: &clock,
            tasks: &tasks,
        };
        let mounted = snapshot::mount(&settings, None, &reloads, &means)?;
        mounted.set_probes(&upstream);
        let max_abandoned = settings.max_abandoned_flights;
        let shared = Shared {
            reloads,
            store,
            upstream,
            guard,
            clock,
            tasks,
            telemetry,
            via_token: format!("sluice-{via_token}"),
            documents: Flights::new(max_abandoned),
            contents: Flights::new(max_abandoned),
            partials: Partials::default(),
            heads: Flights::new(max_abandoned),
            renders: Flights::new(max_abandoned),
            large_renders: Semaphore::new(render::MAX_LARGE_RENDERS),
            refusals: Recent::new(REFUSAL_TIME, MAX_RECENT),
            forced: Recent::new(DEMAND_INTERVAL, MAX_RECENT),
            sessions: Recent::new(SESSION_TIME, MAX_RECENT),
            older: Recent::new(backwards::REMEMBERED, MAX_RECENT),
            named_rules: Recent::new(rules::LOG_INTERVAL, MAX_RECENT),
            named_withdrawn: Recent::new(withdrawn::LOG_INTERVAL, MAX_RECENT),
            scrutiny: integrity::Scrutiny::default(),
            refused: Recent::new(REFUSED_TIME, MAX_RECENT),
            proofs: Flights::new(max_abandoned),
            rechecks: Recent::new(content::AGAIN_AFTER_GONE, MAX_RECENT),
            recheck_places: Arc::new(Semaphore::new(content::MAX_WAITING)),
            recheck_turns: Semaphore::new(content::MAX_AT_ONCE),
            upkeep_turn: Arc::new(Semaphore::new(1)),
        };
        let snapshot = Arc::new(Snapshot::new(settings, mounted, Arc::new(shared)));
        snapshot.keep_records();
        let current = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
        let proxy = Self { snapshot, current };
        proxy.watch_modes();
        proxy.watch_queues();
        proxy.watch_marks();
        Ok(proxy)
    }

    /// Ends the fetches that nobody waits for, now and as soon as nobody does: for the end of the process.
    pub fn end_fetches(&self) {
        self.documents.cancel_abandoned();
        self.contents.cancel_abandoned();
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>, peer: Peer) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let began = self.clock.instant();
        let (parts, body) = request.into_parts();
        let facts = peer.facts(&parts, &self.clock);
        // A hit only borrows the configuration of now.
        let hit = self.current.load().by_shortcut(&parts, &facts, peer, began);
        match hit {
            Some(response) => response,
            // Boxed: a small hit must not carry the state of everything else about.
            None => Box::pin(self.now().answer_in_full(parts, body, peer, began)).await,
        }
    }

    /// Answers a request that needs a look at what it means.
    async fn answer_in_full<B>(
        self,
        parts: request::Parts,
        body: B,
        peer: Peer,
        began: Instant,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let parts = &parts;
        let facts = peer.facts(parts, &self.clock);
        let mut told = Told::default();
        let via = via_of(&parts.headers);
        let base = &self.settings.base;
        self.ignored.note(base, parts, peer);
        let response = match base.address(&parts.headers, &parts.uri, peer.addr, peer.scheme) {
            _ if via.iter().any(|value| value.contains(&self.via_token)) => {
                respond::refusal(&facts, &Refusal::Loop)
            }
            Err(base::AddressError::Misdirected(host)) => {
                let problem = base::AddressError::Misdirected(host).to_string();
                respond::refusal(&facts, &Refusal::Misdirected(problem))
            }
            Err(error) => respond::refusal(&facts, &Refusal::BadRequest(error.to_string())),
            Ok(address) => {
                told.client = Some(address.client);
                let errand = Errand::of_client(address.client, via);
                let incoming = Incoming {
                    parts,
                    errand: &errand,
                    body,
                };
                self.routed(incoming, &facts, &address, &mut told).await
            }
        };
        self.complete(&parts.uri, &facts, peer, &response, told, began.elapsed());
        response
    }

    /// Finds what a path leads to and answers.
    async fn routed<B>(
        &self,
        request: Incoming<'_, B>,
        facts: &Facts<'_>,
        address: &base::Address,
        told: &mut Told,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let is_read = matches!(*facts.method, Method::GET | Method::HEAD);
        let Aim {
            mount,
            resource,
            base,
        } = match self.aim(request.parts.uri.path(), facts, address) {
            Ok(aim) => aim,
            Err(response) => return response,
        };
        let feed;
        let mount = match mount {
            Mount::Feed(shared) => match self.as_client(shared, facts.headers) {
                Ok(own) => {
                    feed = own;
                    Mount::Feed(&feed)
                }
                Err(refusal) => return self.turn_away(request.body, facts, &refusal).await,
            },
            union @ Mount::Union { .. } => union,
        };
        told.subject = Subject {
            feed: Some(Arc::clone(mount.label())),
            credential: mount.client().map(Client::short_hash),
            ..subject_of(&resource)
        };
        let admitted = self.admit(mount, &resource, request, facts, address.client, told);
        let Admitted { request, caller } = match admitted.await {
            Ok(admitted) => admitted,
            Err(refused) => return refused,
        };
        let is_search = is_search(&resource);
        match &resource {
            Resource::Publish(_) | Resource::SymbolPublish(_) => match mount.push_feed() {
                Ok(feed) => {
                    let admitted = Admitted { request, caller };
                    self.publish(feed, &resource, admitted, facts, told).await
                }
                Err(refusal) => respond::refusal(facts, &refusal),
            },
            _ if is_search && *facts.method == Method::OPTIONS => respond::preflight(facts),
            _ if !is_read => {
                let allowed = if is_search {
                    "GET, HEAD, OPTIONS"
                } else {
                    "GET, HEAD"
                };
                respond::refusal(facts, &Refusal::MethodNotAllowed(allowed))
            }
            _ => {
                let (parts, errand) = (request.parts, request.errand);
                self.read_mount(mount, &resource, &base, parts, errand, facts, told)
                    .await
            }
        }
    }

    /// Answers a read of what a name leads to.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn read_mount(
        &self,
        mount: Mount<'_>,
        resource: &Resource,
        base: &str,
        parts: &request::Parts,
        errand: &Errand,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Response<Body> {
        let query = parts.uri.query().unwrap_or("");
        if query.len() > MAX_QUERY_BYTES {
            let problem = format!(
                "query: {} bytes, expected at most {MAX_QUERY_BYTES}",
                query.len()
            );
            return respond::refusal(facts, &Refusal::BadRequest(problem));
        }
        let demand = match RequestCaching::of(facts.headers) {
            RequestCaching::Normal => Demand::None,
            RequestCaching::OnlyIfCached => Demand::StoredOnly,
            RequestCaching::Revalidate => Demand::Forced,
        };
        let since = self.clock.instant();
        let mut response = match mount {
            Mount::Feed(feed) => {
                let query = Query {
                    feed,
                    base,
                    query,
                    demand,
                    since,
                    errand,
                };
                self.read_resource(&query, resource, parts, facts, told)
                    .await
            }
            Mount::Union { union, member } => {
                let query = UnionQuery {
                    union,
                    base,
                    query,
                    demand,
                    since,
                    errand,
                };
                self.read_union(&query, member, resource, parts, facts, told)
                    .await
            }
        };
        if is_search(resource) {
            respond::allow_any_origin(response.headers_mut());
        }
        response
    }
}

/// Whether browsers on pages of other origins may ask for it.
fn is_search(resource: &Resource) -> bool {
    matches!(resource, Resource::Autocomplete | Resource::Search)
}
