//! Views: which stored documents an answer is made of, and what of them it shows.
//!
//! The plain case is one document with its links pointed at us. A version list for an upstream without a flat container
//! is made of registrations; a page that the upstream has replaced is answered by the one that covers it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Proxy;
use super::failure::Failure;
use super::feed::{Feed, Model};
use super::fetch::{Ask, Document, Obtained};
use super::links::Linker;
use super::outcome::{Outcome, Reason};
use super::route::{Class, RegistrationPart, Resource};
use crate::cache::decision::Demand;
use crate::cache::freshness::Deadline;
use crate::nuget::id::PackageId;
use crate::nuget::registration::{self, Page};
use crate::nuget::service_index::{self, OurLinks};
use crate::nuget::version::Version;
use crate::nuget::{catalog, search, splice, version_list, vulnerabilities};

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
    pub(super) via: &'a [String],
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
}

/// How a view's text is made of its sources.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// The text of the first source as it is.
    AsIs,
    CatalogLeaf(Arc<Model>),
    /// A page that was inlined in an index: this one of it.
    InlinedPage {
        model: Arc<Model>,
        hive: String,
        id: PackageId,
        page: usize,
    },
    Registration {
        model: Arc<Model>,
        hive: String,
        id: PackageId,
    },
    Search(Arc<Model>),
    ServiceIndex,
    /// Lists every version of all sources.
    VersionList,
    VulnerabilityIndex,
}

/// What came of a request for a document.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Absent(Option<Reason>),
    Shown(Shown),
}

impl Proxy {
    /// The model of a feed, asked for if it is not at hand.
    pub(super) async fn model(
        &self,
        feed: &Arc<Feed>,
        via: &[String],
    ) -> Result<Arc<Model>, Failure> {
        let now = self.clock.instant();
        if let Some(model) = feed.fresh_model(now) {
            return Ok(model);
        }
        let ask = self.service_index_ask(feed, Demand::None, via);
        match (Box::pin(self.document(&ask)).await, feed.model()) {
            (
                Ok(Obtained::Document {
                    document, outcome, ..
                }),
                _,
            ) => self.learn(feed, &ask, &document, outcome),
            (_, Some(model)) => Ok(model),
            (Err(failure), None) => Err(failure),
            (Ok(Obtained::Absent { .. }), None) => Err(Failure::NotOffered("service index")),
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
            .fresh_until(&document.entry, &self.gate(ask))
        {
            Deadline::At(time) if outcome != Outcome::Stale => {
                time.duration_since(now).unwrap_or(UNCONFIRMED_MODEL)
            }
            Deadline::At(_) | Deadline::Never => UNCONFIRMED_MODEL,
        };
        Ok(feed.learn(index, &document.entry, self.clock.instant() + left))
    }

    /// Looks a document up and says how to show it.
    pub(super) async fn view(
        &self,
        query: &Query<'_>,
        resource: &Resource,
    ) -> Result<Seen, Failure> {
        match resource {
            Resource::Autocomplete => {
                self.plain(query, resource, Class::Autocomplete, None, How::AsIs)
                    .await
            }
            Resource::Catalog(_) => {
                let model = self.model(query.feed, query.via).await?;
                self.plain(
                    query,
                    resource,
                    Class::CatalogLeaf,
                    None,
                    How::CatalogLeaf(model),
                )
                .await
            }
            Resource::Registration { hive, id, part } => {
                self.registration(query, hive, id, part).await
            }
            Resource::Search => {
                let model = self.model(query.feed, query.via).await?;
                self.plain(query, resource, Class::Search, None, How::Search(model))
                    .await
            }
            Resource::ServiceIndex => self.service_index(query).await,
            Resource::VersionList(id) => self.version_list(query, id).await,
            Resource::VulnerabilityIndex => {
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
            Resource::Content { .. }
            | Resource::Link { .. }
            | Resource::Publish(_)
            | Resource::SymbolPublish(_) => {
                Err(Failure::Internal("a resource that is no document"))
            }
        }
    }

    async fn service_index(&self, query: &Query<'_>) -> Result<Seen, Failure> {
        let ask = self.service_index_ask(query.feed, query.demand, query.via);
        let obtained = self.document(&ask).await?;
        if let Obtained::Document {
            document, outcome, ..
        } = &obtained
        {
            self.learn(query.feed, &ask, document, *outcome)?;
        }
        Ok(self.shown(&ask, obtained, How::ServiceIndex))
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
            Obtained::Absent { reason, .. } => Seen::Absent(reason),
            Obtained::Document {
                document,
                outcome,
                reason,
            } => {
                let deadline = ask
                    .feed
                    .policy(ask.class)
                    .fresh_until(&document.entry, &self.gate(ask));
                Seen::Shown(Shown {
                    how,
                    sources: vec![document],
                    outcome,
                    reason,
                    deadline,
                })
            }
        }
    }

    async fn registration(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        part: &RegistrationPart,
    ) -> Result<Seen, Failure> {
        let model = self.model(query.feed, query.via).await?;
        let resource = Resource::Registration {
            hive: hive.to_owned(),
            id: id.clone(),
            part: part.clone(),
        };
        let how = How::Registration {
            model,
            hive: hive.to_owned(),
            id: id.clone(),
        };
        let ask = self.ask_for_resource(query, &resource, part.class(), Some(id));
        let before = if matches!(part, RegistrationPart::Page { .. }) {
            self.stored(&ask.key).await
        } else {
            None
        };
        let obtained = self.document(&ask).await?;
        match (&obtained, part) {
            (
                Obtained::Absent { .. },
                RegistrationPart::Page {
                    bounds: Some(bounds),
                    ..
                },
            ) => {
                if let Some(seen) = self.covering_page(query, hive, id, bounds, &how).await? {
                    return Ok(seen);
                }
                let named = query.feed.settings.freshness.page_named;
                let kept =
                    before.filter(|stored| self.clock.since(stored.entry.validated_at) < named);
                match kept {
                    Some(stored) => self.kept_page(&ask, &stored, how).await,
                    None => Ok(self.shown(&ask, obtained, how)),
                }
            }
            _ => Ok(self.shown(&ask, obtained, how)),
        }
    }

    /// A page that the upstream has replaced, but that an answer named not long ago (protocol fact 2.2.15).
    async fn kept_page(
        &self,
        ask: &Ask,
        stored: &crate::store::Stored,
        how: How,
    ) -> Result<Seen, Failure> {
        let document = self.read(stored).await;
        Ok(match document {
            None => Seen::Absent(None),
            Some(document) => Seen::Shown(Shown {
                how,
                sources: vec![document],
                outcome: Outcome::Stale,
                reason: Some(Reason::Replaced),
                deadline: Deadline::At(
                    ask.feed
                        .policy(ask.class)
                        .fresh_until(&stored.entry, &self.gate(ask))
                        .time(),
                ),
            }),
        })
    }

    /// The page of a refreshed index that covers bounds whose own page is gone.
    async fn covering_page(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        bounds: &(Version, Version),
        how: &How,
    ) -> Result<Option<Seen>, Failure> {
        let How::Registration { model, .. } = how else {
            return Ok(None);
        };
        let ask = Ask {
            demand: self.forced_once(&query.feed.key(Class::RegistrationIndex, Some(id), hive)),
            ..self.registration_ask(query, hive, id, RegistrationPart::Index)
        };
        let Obtained::Document {
            document,
            outcome,
            reason,
        } = self.document(&ask).await?
        else {
            return Ok(None);
        };
        let Ok(index) = registration::read(document.text()) else {
            return Ok(None);
        };
        let Some(at) = index.pages.iter().position(|page| covers(page, bounds)) else {
            return Ok(None);
        };
        let Some(page) = index.pages.get(at) else {
            return Ok(None);
        };
        if page.inlined {
            let how = How::InlinedPage {
                model: Arc::clone(model),
                hive: hive.to_owned(),
                id: id.clone(),
                page: at,
            };
            let obtained = Obtained::Document {
                document,
                outcome,
                reason,
            };
            return Ok(Some(self.shown(&ask, obtained, how)));
        }
        let Some(url) = &page.url else {
            return Ok(None);
        };
        let ask = self.named_ask(query, Class::RegistrationPage, id, url);
        match self.document(&ask).await? {
            Obtained::Absent { .. } => Ok(None),
            obtained @ Obtained::Document { .. } => {
                Ok(Some(self.shown(&ask, obtained, how.clone())))
            }
        }
    }

    async fn version_list(&self, query: &Query<'_>, id: &PackageId) -> Result<Seen, Failure> {
        let without_flat_container = match query.feed.model() {
            Some(model) => model.is_without_flat_container(),
            // A stored list needs no index; only a list that must be fetched does.
            None => {
                let key = query.feed.key(Class::VersionList, Some(id), "");
                self.stored(&key).await.is_none()
                    && self
                        .model(query.feed, query.via)
                        .await?
                        .is_without_flat_container()
            }
        };
        if without_flat_container {
            return self.list_of_registrations(query, id).await;
        }
        let resource = Resource::VersionList(id.clone());
        self.plain(query, &resource, Class::VersionList, Some(id), How::AsIs)
            .await
    }

    /// A version list made of the registrations of an upstream that has no flat container (protocol fact 7.1.15).
    async fn list_of_registrations(
        &self,
        query: &Query<'_>,
        id: &PackageId,
    ) -> Result<Seen, Failure> {
        let Some(documents) = self.registrations_of(query, id, None).await? else {
            return Ok(Seen::Absent(None));
        };
        let mut shown = documents;
        shown.how = How::VersionList;
        Ok(Seen::Shown(shown))
    }

    /// An id's registration index and those of its pages that `wanted` lies in, or all.
    pub(super) async fn registrations_of(
        &self,
        query: &Query<'_>,
        id: &PackageId,
        wanted: Option<&(Version, Version)>,
    ) -> Result<Option<Shown>, Failure> {
        let model = self.model(query.feed, query.via).await?;
        let hive = model
            .fullest_hive()
            .ok_or(Failure::NotOffered("registrations"))?
            .token
            .clone();
        self.registrations_in(query, &hive, id, wanted).await
    }

    /// The same, in a hive of the caller's choice.
    pub(super) async fn registrations_in(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        wanted: Option<&(Version, Version)>,
    ) -> Result<Option<Shown>, Failure> {
        let ask = self.registration_ask(query, hive, id, RegistrationPart::Index);
        let Seen::Shown(mut all) = self.shown(&ask, self.document(&ask).await?, How::AsIs) else {
            return Ok(None);
        };
        let index = all
            .sources
            .first()
            .map(|source| registration::read(source.text()));
        let pages = index
            .and_then(Result::ok)
            .map(|index| index.pages)
            .unwrap_or_default();
        for page in pages.iter().filter(|page| !page.inlined) {
            let is_wanted = wanted.is_none_or(|bounds| covers(page, bounds));
            let Some(url) = page.url.as_ref().filter(|_| is_wanted) else {
                continue;
            };
            let ask = self.named_ask(query, Class::RegistrationPage, id, url);
            if let Seen::Shown(page) = self.shown(&ask, self.document(&ask).await?, How::AsIs) {
                all.deadline = all.deadline.min(page.deadline);
                (all.outcome, all.reason) =
                    worse((all.outcome, all.reason), (page.outcome, page.reason));
                all.sources.extend(page.sources);
            }
        }
        Ok(Some(all))
    }

    async fn vulnerability_page(&self, query: &Query<'_>, token: &str) -> Result<Seen, Failure> {
        let index = self.ask_for_resource(
            query,
            &Resource::VulnerabilityIndex,
            Class::VulnerabilityIndex,
            None,
        );
        let Obtained::Document { document, .. } = self.document(&index).await? else {
            return Ok(Seen::Absent(None));
        };
        let pages = vulnerabilities::read_index(document.text())
            .map_err(|_| Failure::Internal("a stored vulnerability index that cannot be read"))?;
        // A token of an earlier or another instance's index gets the current page of that name.
        let name = token.rsplit_once('-').map(|(name, _)| name);
        let page = pages
            .iter()
            .find(|page| page.token() == token)
            .or_else(|| pages.iter().find(|page| Some(page.name.as_str()) == name));
        let Some(page) = page else {
            return Ok(Seen::Absent(None));
        };
        let ask = self.vulnerability_page_ask(query.feed, page, query.via);
        let obtained = self.document(&ask).await?;
        Ok(self.shown(&ask, obtained, How::AsIs))
    }

    /// Fetches and stores every page that a new vulnerability index names: an index is served only with its pages, for a
    /// missing one costs every restore a warning and seconds (protocol fact 9.16).
    pub(super) async fn store_pages(&self, ask: &Ask, text: &Bytes) -> Result<(), Failure> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let pages = vulnerabilities::read_index(text)
            .map_err(|_| Failure::Internal("a checked vulnerability index that cannot be read"))?;
        for page in &pages {
            let page_ask = self.vulnerability_page_ask(&ask.feed, page, &ask.via);
            if let Obtained::Absent { .. } = Box::pin(self.document(&page_ask)).await? {
                let origin = ask.feed.access.upstream().host().to_owned();
                return Err(Failure::BadBody {
                    origin,
                    what: format!("page {:?} is missing", page.name),
                });
            }
        }
        Ok(())
    }

    /// Forced, unless this key was forced a moment ago.
    pub(super) fn forced_once(&self, key: &crate::cache::key::Key) -> Demand {
        if self.forced.first(key.clone(), (), self.clock.instant()) {
            Demand::Forced
        } else {
            Demand::None
        }
    }
}

impl How {
    /// The text of a view. Pure, and for large documents heavy: the caller decides where it runs.
    pub(super) fn render(&self, sources: &[Document], base: &str) -> Result<Bytes, &'static str> {
        let first = sources.first().ok_or("a view without sources")?;
        let text = first.text();
        let linker = |model, hive, id| Linker {
            model,
            base,
            hive,
            id,
        };
        let rewritten = match self {
            Self::AsIs => return Ok(first.text.clone()),
            Self::CatalogLeaf(model) => {
                let leaf = catalog::read_leaf(text).map_err(|_| "a stored catalog leaf")?;
                let id = leaf
                    .details
                    .id
                    .as_deref()
                    .and_then(|id| PackageId::parse(id).ok());
                let edits = linker(model, None, id.as_ref())
                    .others(&leaf.links, leaf.details.version.as_deref());
                splice::splice(text, edits)
            }
            Self::InlinedPage {
                model,
                hive,
                id,
                page,
            } => {
                let index = registration::read(text).map_err(|_| "a stored registration")?;
                let span = index
                    .pages
                    .get(*page)
                    .ok_or("a page that is gone")?
                    .span
                    .clone();
                let text = text.get(span).ok_or("a page outside its index")?;
                let document = registration::read(text).map_err(|_| "an inlined page")?;
                splice::splice(
                    text,
                    linker(model, Some(hive), Some(id)).registration(&document),
                )
            }
            Self::Registration { model, hive, id } => {
                let document = registration::read(text).map_err(|_| "a stored registration")?;
                splice::splice(
                    text,
                    linker(model, Some(hive), Some(id)).registration(&document),
                )
            }
            Self::Search(model) => {
                let results = search::read_search(text).map_err(|_| "search results")?;
                splice::splice(text, linker(model, None, None).others(&results.links, None))
            }
            Self::ServiceIndex => {
                let index = service_index::read(text).map_err(|_| "a stored service index")?;
                index.render(&OurLinks {
                    base: base.to_owned(),
                })
            }
            Self::VersionList => {
                let mut versions = Vec::new();
                for source in sources {
                    let document =
                        registration::read(source.text()).map_err(|_| "a stored registration")?;
                    let texts = document
                        .leaves
                        .iter()
                        .filter_map(|leaf| leaf.version.as_deref());
                    versions.extend(texts.filter_map(|text| Version::parse(text).ok()));
                }
                version_list::render_version_list(&versions)
            }
            Self::VulnerabilityIndex => {
                let links = OurLinks {
                    base: base.to_owned(),
                };
                vulnerabilities::render_index(text, |page| links.vulnerability_page(&page.token()))
                    .map_err(|_| "a stored vulnerability index")?
            }
        };
        Ok(rewritten.into())
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

/// Whether a page covers bounds.
fn covers(page: &Page, (lower, upper): &(Version, Version)) -> bool {
    let bound = |text: &Option<String>| text.as_deref().and_then(|text| Version::parse(text).ok());
    match (bound(&page.lower), bound(&page.upper)) {
        (Some(low), Some(high)) => {
            low <= *lower && *upper <= high || *lower <= high && low <= *upper
        }
        _ => false,
    }
}

/// Of two outcomes the one that says more about the whole.
fn worse(
    one: (Outcome, Option<Reason>),
    other: (Outcome, Option<Reason>),
) -> (Outcome, Option<Reason>) {
    let rank = |outcome| match outcome {
        Outcome::Stale => 5,
        Outcome::Bypass => 4,
        Outcome::Miss => 3,
        Outcome::Coalesced => 2,
        Outcome::Revalidated => 1,
        Outcome::Absent
        | Outcome::Failed
        | Outcome::Hit
        | Outcome::Local
        | Outcome::Refused
        | Outcome::Relayed => 0,
    };
    if rank(other.0) > rank(one.0) {
        other
    } else {
        one
    }
}
