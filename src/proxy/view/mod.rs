//! Views: which stored documents an answer is made of, and what of them it shows.
//!
//! The plain case is one document with its links pointed at us. A version list for an upstream without a flat container
//! is made of registrations; a page that the upstream has replaced is answered by the one that covers it.

mod catalog;
mod links;
pub(super) mod registrations;
mod sieve;
mod signatures;
mod text;
mod tools;
mod vulnerabilities;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(super) use self::catalog::CatalogPages;
use self::registrations::version_in;
pub(super) use self::registrations::worse;
pub(super) use self::text::How;
pub(super) use self::vulnerabilities::MIN_PAUSE;
use super::Proxy;
use super::document::{Ask, Document, Missing, Obtained};
use super::errand::Errand;
use super::failure::Failure;
use super::feed::Feed;
use super::model::Model;
use super::outcome::{Outcome, Reason};
use super::route::{Class, RegistrationPart, Resource};
use super::told::id_of;
use crate::cache::decision::Demand;
use crate::cache::epoch::Epoch;
use crate::cache::freshness::Deadline;
use crate::cache::key::Key;
use crate::nuget::id::PackageId;
use crate::nuget::service_index::{self, Audit};
use crate::nuget::signatures::Claim;

/// How long a model is used that could not be confirmed: asking for the index with every fetch would hold each up.
const UNCONFIRMED_MODEL: Duration = Duration::from_secs(10);

/// What a request for a document is about.
#[derive(Clone, Debug)]
pub(super) struct Query<'a> {
    pub(super) feed: &'a Arc<Feed>,
    /// Directory of our service index, as the client calls it, with its final slash.
    pub(super) base: &'a str,
    /// The raw query of the request.
    pub(super) query: &'a str,
    pub(super) demand: Demand,
    /// When the request came: every wait counts from here, however many documents its answer is made of.
    pub(super) since: Instant,
    pub(super) errand: &'a Errand,
}

/// A view, not yet coded.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) how: How,
    pub(super) sources: Vec<Document>,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    /// When it stops being fresh: with the first of its sources.
    pub(super) deadline: Deadline,
    /// What gates it in memory, if that is not the lowest epoch of its sources: the gate of several feeds.
    pub(super) stamp: Option<Epoch>,
}

/// What came of a request for a document.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Absent(Missing),
    Shown(Shown),
}

impl Seen {
    /// The documents that are there.
    pub(super) fn sources(&self) -> &[Document] {
        match self {
            Self::Absent(_) => &[],
            Self::Shown(shown) => &shown.sources,
        }
    }
}

impl Proxy {
    /// The model of a feed, asked for if it is not at hand.
    pub(super) async fn model(
        &self,
        feed: &Arc<Feed>,
        errand: &Errand,
        since: Instant,
    ) -> Result<Arc<Model>, Failure> {
        let now = self.clock.instant();
        if let Some(model) = feed.fresh_model(now) {
            return Ok(model);
        }
        let ask = Ask {
            since,
            ..self.service_index_ask(feed, Demand::None, errand)
        };
        match (Box::pin(self.document(&ask)).await, feed.model()) {
            (
                Ok(Obtained::Document {
                    document, outcome, ..
                }),
                _,
            ) => self.learn(feed, &ask, &document, outcome),
            (_, Some(model)) => Ok(model),
            (Err(failure), None) => Err(failure),
            (Ok(Obtained::Absent(_)), None) => Err(Failure::NotOffered("service index")),
        }
    }

    /// The model for a registration hive. Another instance may have handed the token out after reading a newer index,
    /// so one that is not known has the index asked for once more.
    pub(super) async fn model_with_hive(
        &self,
        query: &Query<'_>,
        token: &str,
    ) -> Result<Arc<Model>, Failure> {
        let model = self.model(query.feed, query.errand, query.since).await?;
        if model.hive(token).is_some() {
            return Ok(model);
        }
        let ask = self.service_index_ask(query.feed, Demand::None, query.errand);
        let ask = Ask {
            demand: self.forced_once(&ask.key),
            since: query.since,
            ..ask
        };
        match self.document(&ask).await? {
            Obtained::Absent(_) => Ok(model),
            Obtained::Document {
                document, outcome, ..
            } => self.learn(query.feed, &ask, &document, outcome),
        }
    }

    fn learn(
        &self,
        feed: &Arc<Feed>,
        ask: &Ask,
        document: &Document,
        outcome: Outcome,
    ) -> Result<Arc<Model>, Failure> {
        let index = service_index::read(document.text())
            .map_err(|_| Failure::Internal("a stored service index that cannot be read"))?;
        let now = self.clock.now();
        let left = match feed
            .policy(ask.class)
            .fresh_until(&document.entry, &self.gate(ask), now)
        {
            Deadline::At(time) if outcome != Outcome::Stale => {
                time.duration_since(now).unwrap_or(UNCONFIRMED_MODEL)
            }
            Deadline::At(_) | Deadline::Never => UNCONFIRMED_MODEL,
        };
        Ok(feed.learn(index, &document.entry, self.clock.instant() + left))
    }

    /// Looks a document up and says how to show it: what of it the feed shows.
    pub(super) async fn view(
        &self,
        query: &Query<'_>,
        resource: &Resource,
    ) -> Result<Seen, Failure> {
        if let Some(id) = id_of(resource) {
            let version = match resource {
                Resource::Registration {
                    part: RegistrationPart::Leaf(rest),
                    ..
                } => version_in(rest),
                _ => None,
            };
            query.feed.check_rules(id, version.as_ref())?;
        }
        let seen = self.whole_view(query, resource).await?;
        self.sifted(query, resource, seen).await
    }

    async fn whole_view(&self, query: &Query<'_>, resource: &Resource) -> Result<Seen, Failure> {
        match resource {
            Resource::Autocomplete => {
                self.plain(query, resource, Class::Autocomplete, None, How::AsIs)
                    .await
            }
            Resource::Catalog(rest) => self.catalog(query, rest).await,
            Resource::Registration { hive, id, part } => {
                self.registration(query, hive, id, part).await
            }
            Resource::RepositorySignatures(version) => {
                self.repository_signatures(query, *version, Claim::AsUpstream)
                    .await
            }
            Resource::Search => {
                let model = self.model(query.feed, query.errand, query.since).await?;
                self.plain(query, resource, Class::Search, None, How::Search(model))
                    .await
            }
            Resource::ServiceIndex => self.service_index(query).await,
            Resource::ToolsList => self.tools_list(query).await,
            Resource::VersionList(id) => self.version_list(query, id).await,
            Resource::VulnerabilityIndex => {
                query.feed.note_audit();
                self.plain(
                    query,
                    resource,
                    Class::VulnerabilityIndex,
                    None,
                    How::VulnerabilityIndex,
                )
                .await
            }
            Resource::VulnerabilityPage(token) => self.vulnerability_page(query, token).await,
            Resource::Certificate(_)
            | Resource::Content { .. }
            | Resource::Link { .. }
            | Resource::Publish(_)
            | Resource::SymbolPublish(_)
            | Resource::Symbols(_)
            | Resource::Tool(_) => Err(Failure::Internal("a resource that is no document")),
        }
    }

    async fn service_index(&self, query: &Query<'_>) -> Result<Seen, Failure> {
        let ask = self.service_index_ask(query.feed, Demand::None, query.errand);
        let ask = Ask {
            demand: self.demand_of(query, &ask.key),
            since: query.since,
            ..ask
        };
        let obtained = self.document(&ask).await?;
        if let Obtained::Document {
            document, outcome, ..
        } = &obtained
        {
            self.learn(query.feed, &ask, document, *outcome)?;
        }
        let audit = match query.feed.beside.audit {
            None => Audit::OfUpstream,
            Some(_) => Audit::OfAnother,
        };
        Ok(self.shown(&ask, obtained, How::ServiceIndex(audit)))
    }

    /// One document, one way to show it.
    async fn plain(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        class: Class,
        id: Option<&PackageId>,
        how: How,
    ) -> Result<Seen, Failure> {
        let ask = self.ask_for_resource(query, resource, class, id);
        let obtained = self.document(&ask).await?;
        Ok(self.shown(&ask, obtained, how))
    }

    pub(super) fn shown(&self, ask: &Ask, obtained: Obtained, how: How) -> Seen {
        match obtained {
            Obtained::Absent(missing) => Seen::Absent(missing),
            Obtained::Document {
                document,
                outcome,
                reason,
            } => {
                let deadline = ask.feed.policy(ask.class).fresh_until(
                    &document.entry,
                    &self.gate(ask),
                    self.clock.now(),
                );
                Seen::Shown(Shown {
                    how,
                    sources: vec![document],
                    outcome,
                    reason,
                    deadline,
                    stamp: None,
                })
            }
        }
    }

    /// What a request demands of one document: forced ones share an interval with all others of its key.
    pub(super) fn demand_of(&self, query: &Query<'_>, key: &Key) -> Demand {
        match query.demand {
            Demand::Forced => self.forced_once(key),
            demand @ (Demand::None | Demand::StoredOnly) => demand,
        }
    }

    /// Forced, unless this key was forced a moment ago.
    pub(super) fn forced_once(&self, key: &Key) -> Demand {
        if self.forced.first(key.clone(), (), self.clock.instant()) {
            Demand::Forced
        } else {
            Demand::None
        }
    }
}

impl Deadline {
    /// The time of it; never is far away.
    pub(super) fn time(self) -> SystemTime {
        match self {
            Self::At(time) => time,
            Self::Never => SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX)),
        }
    }
}
