//! Registrations: an index with its pages, a page that the upstream has replaced, and lists made of them.

use std::sync::Arc;

use super::{How, Query, Seen, Shown};
use crate::cache::decision::Demand;
use crate::cache::freshness::{self, Deadline};
use crate::nuget::id::PackageId;
use crate::nuget::registration::{self, Page, Registration};
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::document::{Ask, Document, Obtained};
use crate::proxy::failure::Failure;
use crate::proxy::model::Model;
use crate::proxy::outcome::{Outcome, Reason};
use crate::proxy::route::{Class, RegistrationPart, Resource};
use crate::store::Stored;

/// Pages of one index that are asked for at a time: one after the other, those of an id with thousands of versions
/// would take longer than a request may be held.
pub(super) const MAX_PAGES_AT_ONCE: usize = 8;

/// Whose registrations are wanted, and in which hive.
#[derive(Clone, Debug)]
pub(super) struct Shelf<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) model: Arc<Model>,
    pub(super) hive: &'a str,
    pub(super) id: &'a PackageId,
}

impl Shelf<'_> {
    pub(super) fn how(&self, version: Option<Version>) -> How {
        How::Registration {
            model: Arc::clone(&self.model),
            hive: self.hive.to_owned(),
            id: self.id.clone(),
            version,
        }
    }
}

/// What came of asking for an index and its pages.
enum Gathered {
    /// The index names a page that its host, this one, does not have.
    PageMissing(String),
    Seen(Seen),
}

impl Proxy {
    pub(super) async fn registration(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        part: &RegistrationPart,
    ) -> Result<Seen, Failure> {
        let model = self.model_with_hive(query, hive).await?;
        let shelf = Shelf {
            query,
            model,
            hive,
            id,
        };
        let ask = self.registration_ask(query, hive, id, part.clone());
        match part {
            RegistrationPart::Page { bounds, .. } => self.page(&shelf, &ask, bounds.as_ref()).await,
            RegistrationPart::Index => {
                let obtained = self.document(&ask).await?;
                Ok(self.shown(&ask, obtained, shelf.how(None)))
            }
            RegistrationPart::Leaf(rest) => {
                let obtained = self.document(&ask).await?;
                Ok(self.shown(&ask, obtained, shelf.how(version_in(rest))))
            }
        }
    }

    /// A page, or what stands in its place once the upstream has replaced it (protocol fact 2.2.15).
    pub(super) async fn page(
        &self,
        shelf: &Shelf<'_>,
        ask: &Ask,
        bounds: Option<&(Version, Version)>,
    ) -> Result<Seen, Failure> {
        let before = self.stored(&ask.key).await;
        let obtained = self.document(ask).await?;
        if matches!(obtained, Obtained::Document { .. }) {
            return Ok(self.shown(ask, obtained, shelf.how(None)));
        }
        let kept = match before {
            Some(stored) => self.kept(shelf, ask, &stored).await,
            None => None,
        };
        let of_the_copy = || bounds_of(&registration::read(kept.as_ref()?.text()).ok()?);
        let bounds = bounds.cloned().or_else(of_the_copy);
        let covering = match &bounds {
            // Whoever allows the store alone gets what it says.
            _ if shelf.query.demand == Demand::StoredOnly => None,
            Some(bounds) => self.covering_page(shelf, bounds, kept.as_ref()).await?,
            None => None,
        };
        Ok(match (covering, kept) {
            (Some(seen), _) => seen,
            (None, Some(document)) => Seen::Shown(Shown {
                how: shelf.how(None),
                deadline: Deadline::At(document.entry.validated_at),
                sources: vec![document],
                outcome: Outcome::Stale,
                reason: Some(Reason::Replaced),
                stamp: None,
            }),
            (None, None) => self.shown(ask, obtained, shelf.how(None)),
        })
    }

    /// The copy of a page that an answer named not too long ago.
    async fn kept(&self, shelf: &Shelf<'_>, ask: &Ask, stored: &Stored) -> Option<Document> {
        // A 404 proves nothing, so whoever got one here needs a proof from elsewhere.
        if !self.standing(ask).await.is_good() {
            return None;
        }
        let mut named_at = stored.entry.validated_at;
        let index = self.index_ask(shelf);
        if let Some(index) = self.stored(&index.key).await
            && let Some(document) = self.read(&index).await
            && let Ok(registration) = registration::read(document.text())
        {
            let is_this = |url: &String| {
                let named = self.named_ask(shelf.query, Class::RegistrationPage, shelf.id, url);
                named.key == ask.key
            };
            if registration
                .pages
                .iter()
                .filter_map(|page| page.url.as_ref())
                .any(is_this)
            {
                named_at = named_at.max(index.entry.validated_at);
            }
        }
        let page_named = ask.feed.settings.freshness.page_named;
        if freshness::within(named_at, page_named, self.clock.now()) {
            self.read(stored).await
        } else {
            None
        }
    }

    /// The page of a refreshed index that covers bounds whose own page is gone. With a copy of that page at hand, one
    /// that covers only a part of it is no better.
    pub(super) async fn covering_page(
        &self,
        shelf: &Shelf<'_>,
        bounds: &(Version, Version),
        kept: Option<&Document>,
    ) -> Result<Option<Seen>, Failure> {
        let ask = self.index_ask(shelf);
        let ask = Ask {
            demand: self.forced_once(&ask.key),
            ..ask
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
        let Some((at, page)) = covering(&index.pages, bounds, kept.is_some()) else {
            return Ok(None);
        };
        if page.inlined {
            let how = How::InlinedPage {
                model: Arc::clone(&shelf.model),
                hive: shelf.hive.to_owned(),
                id: shelf.id.clone(),
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
        let ask = self.named_ask(shelf.query, Class::RegistrationPage, shelf.id, url);
        match self.document(&ask).await? {
            Obtained::Absent(_) => Ok(None),
            obtained @ Obtained::Document { .. } => {
                Ok(Some(self.shown(&ask, obtained, shelf.how(None))))
            }
        }
    }

    fn index_ask(&self, shelf: &Shelf<'_>) -> Ask {
        let query = Query {
            demand: Demand::None,
            ..shelf.query.clone()
        };
        self.registration_ask(&query, shelf.hive, shelf.id, RegistrationPart::Index)
    }

    pub(super) async fn version_list(
        &self,
        query: &Query<'_>,
        id: &PackageId,
    ) -> Result<Seen, Failure> {
        let without_flat_container = match query.feed.model() {
            Some(model) => model.is_without_flat_container(),
            // A stored list needs no index; only a list that must be fetched does.
            None => {
                let key = query.feed.key(Class::VersionList, Some(id), "");
                self.stored(&key).await.is_none()
                    && self
                        .model(query.feed, query.errand, query.since)
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
        let seen = self.registrations_of(query, id, None).await?;
        Ok(match seen {
            Seen::Absent(missing) => Seen::Absent(missing),
            Seen::Shown(all) => {
                if all.outcome == Outcome::Miss {
                    self.compare_registrations_behind(query.feed, id, &all.sources);
                }
                Seen::Shown(Shown {
                    how: How::VersionList,
                    ..all
                })
            }
        })
    }

    /// An id's registration index and those of its pages that `wanted` lies in, or all.
    pub(in crate::proxy) async fn registrations_of(
        &self,
        query: &Query<'_>,
        id: &PackageId,
        wanted: Option<&(Version, Version)>,
    ) -> Result<Seen, Failure> {
        let model = self.model(query.feed, query.errand, query.since).await?;
        let hive = model
            .fullest_hive()
            .ok_or(Failure::NotOffered("registrations"))?
            .token
            .clone();
        self.registrations_in(query, &hive, id, wanted).await
    }

    /// The same, in a hive of the caller's choice. A page that is gone means that the index is old: it is asked for
    /// again, since without the page versions would seem not to exist.
    pub(in crate::proxy) async fn registrations_in(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        wanted: Option<&(Version, Version)>,
    ) -> Result<Seen, Failure> {
        self.model_with_hive(query, hive).await?;
        let index = self.registration_ask(query, hive, id, RegistrationPart::Index);
        let mut gathered = self.gather(query, &index, id, wanted).await?;
        if matches!(gathered, Gathered::PageMissing(_)) {
            let again = Ask {
                demand: self.forced_once(&index.key),
                ..index
            };
            gathered = self.gather(query, &again, id, wanted).await?;
        }
        match gathered {
            Gathered::PageMissing(origin) => Err(Failure::BadBody {
                origin,
                what: "its registration index names a page that it does not have".into(),
            }),
            Gathered::Seen(seen) => Ok(seen),
        }
    }

    async fn gather(
        &self,
        query: &Query<'_>,
        index: &Ask,
        id: &PackageId,
        wanted: Option<&(Version, Version)>,
    ) -> Result<Gathered, Failure> {
        let obtained = self.document(index).await?;
        let mut all = match self.shown(index, obtained, How::AsIs) {
            Seen::Shown(all) => all,
            absent @ Seen::Absent(_) => return Ok(Gathered::Seen(absent)),
        };
        let pages = all
            .sources
            .first()
            .and_then(|source| registration::read(source.text()).ok())
            .map(|index| index.pages)
            .unwrap_or_default();
        let asks: Vec<Ask> = pages
            .iter()
            .filter(|page| !page.inlined && wanted.is_none_or(|bounds| may_hold(page, bounds)))
            .filter_map(|page| page.url.as_ref())
            .map(|url| self.named_ask(query, Class::RegistrationPage, id, url))
            .collect();
        for some in asks.chunks(MAX_PAGES_AT_ONCE) {
            let under_way: Vec<_> = some.iter().map(|ask| self.begin_page(ask)).collect();
            for (page, ask) in under_way.into_iter().zip(some) {
                let obtained = page
                    .await
                    .map_err(|_| Failure::Internal("asking for a page panicked"))?;
                // Offline, what lies on a page that is not stored cannot be delivered anyway.
                if matches!(obtained, Err(Failure::Offline)) {
                    continue;
                }
                let obtained = obtained?;
                let Seen::Shown(page) = self.shown(ask, obtained, How::AsIs) else {
                    let origin = all.sources.first().map(|source| &source.entry.origin);
                    return Ok(Gathered::PageMissing(origin.cloned().unwrap_or_default()));
                };
                all.deadline = all.deadline.min(page.deadline);
                (all.outcome, all.reason) =
                    worse((all.outcome, all.reason), (page.outcome, page.reason));
                all.sources.extend(page.sources);
            }
        }
        Ok(Gathered::Seen(Seen::Shown(all)))
    }

    pub(super) fn begin_page(
        &self,
        ask: &Ask,
    ) -> tokio::task::JoinHandle<Result<Obtained, Failure>> {
        let (proxy, ask) = (self.clone(), ask.clone());
        self.tasks.spawn(
            "registration page",
            async move { proxy.document(&ask).await },
        )
    }
}

/// The version that a leaf's path names: its file, or the folder that the file is in.
pub(in crate::proxy) fn version_in(path: &str) -> Option<Version> {
    let first = path.split('/').next().unwrap_or_default();
    let first = percent_encoding::percent_decode_str(first)
        .decode_utf8()
        .ok()?;
    Version::parse(first.strip_suffix(".json").unwrap_or(&first)).ok()
}

pub(super) fn bounds_in(page: &Page) -> Option<(Version, Version)> {
    let bound = |text: &Option<String>| Version::parse(text.as_deref()?).ok();
    Some((bound(&page.lower)?, bound(&page.upper)?))
}

/// The bounds of a page document: what it says, else its first and last version.
fn bounds_of(document: &Registration) -> Option<(Version, Version)> {
    if let Some(bounds) = document.pages.first().and_then(bounds_in) {
        return Some(bounds);
    }
    let versions = || {
        let texts = document
            .leaves
            .iter()
            .filter_map(|leaf| leaf.version.as_deref());
        texts.filter_map(|text| Version::parse(text).ok())
    };
    Some((versions().min()?, versions().max()?))
}

/// Whether a page may hold versions within bounds: one that does not say its own may hold any.
fn may_hold(page: &Page, (lower, upper): &(Version, Version)) -> bool {
    bounds_in(page).is_none_or(|(low, high)| low <= *upper && *lower <= high)
}

/// The page that holds all versions within bounds; if none does, the one that holds the newest of them, unless several
/// share them and there is something better.
fn covering<'p>(
    pages: &'p [Page],
    bounds: &(Version, Version),
    has_better: bool,
) -> Option<(usize, &'p Page)> {
    let holds_all = |page: &Page| {
        bounds_in(page).is_some_and(|(low, high)| low <= bounds.0 && bounds.1 <= high)
    };
    let holds_some = |page: &Page| bounds_in(page).is_some() && may_hold(page, bounds);
    if let Some(found) = pages.iter().enumerate().find(|(_, page)| holds_all(page)) {
        return Some(found);
    }
    let mut some: Vec<_> = pages
        .iter()
        .enumerate()
        .filter(|(_, page)| holds_some(page))
        .collect();
    some.sort_by_cached_key(|(_, page)| bounds_in(page).map(|(_, high)| high));
    if some.len() > 1 && has_better {
        return None;
    }
    some.pop()
}

/// Of two outcomes the one that says more about the whole.
pub(in crate::proxy) fn worse(
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
        | Outcome::Challenged
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
