//! What of a feed's documents is shown: nothing that a rule hides, and of a feed that is offline only versions whose
//! package is stored. What is stored stays as it is; a document without anything to hide passes untouched.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::registrations::MAX_PAGES_AT_ONCE;
use super::{How, Query, Seen, Shown};
use crate::cache::entry::Entry;
use crate::cache::freshness::Deadline;
use crate::nuget::id::PackageId;
use crate::nuget::registration::{self, Page};
use crate::nuget::rule::BlockRules;
use crate::nuget::sift::{self, Outside, Sifted};
use crate::nuget::version::Version;
use crate::nuget::{ReadError, catalog};
use crate::proxy::Proxy;
use crate::proxy::asks::parameter;
use crate::proxy::checks::sha512;
use crate::proxy::document::{Document, Obtained};
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::mode::Mode;
use crate::proxy::render::INLINE_BYTES;
use crate::proxy::route::{Class, Resource};
use crate::proxy::told::id_of;

/// What a document names packages by.
#[derive(Clone, Debug)]
enum Sort {
    /// One package.
    CatalogLeaf,
    /// Ids.
    Ids,
    /// A leaf whose URL says which version it is of.
    Leaf(PackageId, Version),
    /// Leaves of one id.
    Registration(PackageId),
    /// Results of any id.
    Search,
    /// Versions of one id, in autocomplete results.
    Versions(PackageId),
    /// Versions of one id, in a list.
    VersionList(PackageId),
}

/// What may be shown.
#[derive(Debug)]
struct Sieve {
    rules: BlockRules,
    /// Offline, the packages that are stored.
    stored: Option<HashSet<Package>>,
    /// The first rule that hid something.
    hid: Mutex<Option<String>>,
}

/// One version of an id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Package {
    id: PackageId,
    version: Version,
}

impl Proxy {
    /// What of a view the feed shows.
    pub(in crate::proxy) async fn sifted(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        seen: Seen,
    ) -> Result<Seen, Failure> {
        let mode = self.mode_of(query.feed);
        let shown = match (seen, mode) {
            (Seen::Absent(_), Mode::Offline) => return Err(Failure::Offline),
            (seen @ Seen::Absent(_), Mode::Online) => return Ok(seen),
            (Seen::Shown(shown), _) => shown,
        };
        let rules = &query.feed.settings.block;
        let concern = id_of(resource).map_or(!rules.is_empty(), |id| rules.concern(id));
        match sort_of(query, resource, &shown) {
            Some(sort) if concern || mode == Mode::Offline => {
                let shown = Box::pin(self.sift(query, mode, &sort, shown)).await?;
                Ok(Seen::Shown(shown))
            }
            _ => Ok(Seen::Shown(shown)),
        }
    }

    async fn sift(
        &self,
        query: &Query<'_>,
        mode: Mode,
        sort: &Sort,
        shown: Shown,
    ) -> Result<Shown, Failure> {
        let mut shown = of_its_own(shown)?;
        let (outside, deadline) = self.outside(query, mode, sort, &shown).await?;
        let sieve = self.sieve(query.feed, mode, sort, &shown, &outside).await?;
        let (sieve, outside) = (Arc::new(sieve), Arc::new(outside));
        let (mut dropped, mut left) = (0, 0);
        let mut sources = Vec::with_capacity(shown.sources.len());
        for source in shown.sources {
            let (sort, sieve, outside) = (sort.clone(), Arc::clone(&sieve), Arc::clone(&outside));
            let text = source.clone();
            let sifted = self
                .apart(source.text.len(), move || {
                    sieve.sift(&sort, text.text(), &outside)
                })
                .await?;
            dropped += sifted.dropped;
            left += sifted.left;
            sources.push(match sifted.text {
                Some(text) => left_of(&source, text),
                None => source,
            });
        }
        let may_be_empty = matches!(sort, Sort::Ids | Sort::Search | Sort::Versions(_));
        if left == 0 && dropped > 0 && !may_be_empty {
            return Err(sieve.failure());
        }
        shown.sources = sources;
        shown.deadline = shown.deadline.min(deadline);
        Ok(shown)
    }

    /// What the pages hold that an index only names, as far as something of them may be hidden; and how long that is
    /// fresh.
    async fn outside(
        &self,
        query: &Query<'_>,
        mode: Mode,
        sort: &Sort,
        shown: &Shown,
    ) -> Result<(HashMap<usize, Outside>, Deadline), Failure> {
        let (mut found, mut deadline) = (HashMap::new(), Deadline::Never);
        // A list is made of the index and its pages, each sifted by itself.
        let (Sort::Registration(id), Some(index)) = (sort, shown.sources.first()) else {
            return Ok((found, deadline));
        };
        if matches!(shown.how, How::VersionList) {
            return Ok((found, deadline));
        }
        let text = index.clone();
        let pages = self
            .apart(index.text.len(), move || registration::read(text.text()))
            .await?
            .pages;
        let rules = &query.feed.settings.block;
        let is_wanted = |page: &Page| {
            mode == Mode::Offline
                || super::registrations::bounds_in(page)
                    .is_none_or(|(lower, upper)| rules.concern_within(id, &lower, &upper))
        };
        let asks: Vec<_> = pages
            .iter()
            .enumerate()
            .filter(|(_, page)| !page.inlined && is_wanted(page))
            .filter_map(|(at, page)| {
                let url = page.url.as_ref()?;
                Some((at, self.named_ask(query, Class::RegistrationPage, id, url)))
            })
            .collect();
        for some in asks.chunks(MAX_PAGES_AT_ONCE) {
            let under_way: Vec<_> = some.iter().map(|(_, ask)| self.begin_page(ask)).collect();
            for (page, (at, ask)) in under_way.into_iter().zip(some) {
                let obtained = page
                    .await
                    .map_err(|_| Failure::Internal("asking for a page panicked"))?;
                let held = match obtained {
                    Ok(Obtained::Document { document, .. }) => {
                        let policy = ask.feed.policy(ask.class);
                        let until =
                            policy.fresh_until(&document.entry, &self.gate(ask), self.clock.now());
                        deadline = deadline.min(until);
                        let read = self.apart(document.text.len(), move || versions_of(&document));
                        Outside::Holds(read.await?)
                    }
                    // What is not stored cannot be delivered; online its own route will tell.
                    Ok(Obtained::Absent { .. }) | Err(_) if mode == Mode::Offline => Outside::Gone,
                    Ok(Obtained::Absent { .. }) | Err(_) => Outside::Unknown,
                };
                found.insert(*at, held);
            }
        }
        Ok((found, deadline))
    }

    /// What may be shown of what a view names. Offline, one question to the store for all of it.
    async fn sieve(
        &self,
        feed: &Arc<Feed>,
        mode: Mode,
        sort: &Sort,
        shown: &Shown,
        outside: &HashMap<usize, Outside>,
    ) -> Result<Sieve, Failure> {
        let rules = feed.settings.block.clone();
        let stored = match mode {
            Mode::Online => None,
            Mode::Offline => {
                let mut named = Vec::new();
                for source in &shown.sources {
                    let (text, sort) = (source.clone(), sort.clone());
                    let read = self.apart(source.text.len(), move || named_in(&sort, text.text()));
                    named.extend(read.await?);
                }
                if let Sort::Registration(id) = sort {
                    let versions = outside.values().filter_map(|page| match page {
                        Outside::Holds(versions) => Some(versions),
                        Outside::Gone | Outside::Unknown => None,
                    });
                    named.extend(versions.flatten().filter_map(|text| package(id, text)));
                }
                let keys: Vec<_> = named
                    .iter()
                    .map(|one| feed.key(Class::Package, Some(&one.id), one.version.as_str()))
                    .collect();
                let held = self.store.holds(&keys).await;
                let held = named.into_iter().zip(held).filter(|(_, is_held)| *is_held);
                Some(held.map(|(package, _)| package).collect())
            }
        };
        Ok(Sieve {
            rules,
            stored,
            hid: Mutex::default(),
        })
    }

    /// Reads a text, off the async threads if it is large.
    async fn apart<R: Send + 'static>(
        &self,
        bytes: usize,
        read: impl FnOnce() -> Result<R, ReadError> + Send + 'static,
    ) -> Result<R, Failure> {
        let read = if bytes <= INLINE_BYTES {
            read()
        } else {
            let done = self.tasks.blocking("sieve", read).await;
            done.map_err(|_| Failure::Internal("reading a document panicked"))?
        };
        read.map_err(|error| {
            tracing::error!(%error, "a document that was checked cannot be read");
            Failure::Internal("a stored document that cannot be read")
        })
    }
}

impl Sieve {
    fn sift(
        &self,
        sort: &Sort,
        text: &str,
        outside: &HashMap<usize, Outside>,
    ) -> Result<Sifted, ReadError> {
        match sort {
            Sort::CatalogLeaf => {
                let details = catalog::read_leaf(text)?.details;
                let id = details.id.and_then(|id| PackageId::parse(&id).ok());
                Ok(whole(id.is_none_or(|id| {
                    self.passes(&id, details.version.as_deref())
                })))
            }
            Sort::Ids => sift::names(text, |id| {
                let id = PackageId::parse(id);
                id.map_or(true, |id| self.rules.hiding(&id).is_none())
            }),
            Sort::Leaf(id, version) => Ok(whole(self.passes(id, Some(version.as_str())))),
            Sort::Registration(id) => sift::registration(
                text,
                |version| self.passes(id, version),
                |at, _| outside.get(&at).cloned().unwrap_or(Outside::Unknown),
            ),
            Sort::Search => sift::search(text, |id, version| {
                let id = PackageId::parse(id);
                id.map_or(true, |id| self.passes(&id, Some(version)))
            }),
            Sort::Versions(id) => sift::names(text, |version| self.passes(id, Some(version))),
            Sort::VersionList(id) => {
                sift::version_list(text, |version| self.passes(id, Some(version)))
            }
        }
    }

    /// Whether a version of an id is shown. What is no version, no rule about versions hides, and nobody can have.
    fn passes(&self, id: &PackageId, version: Option<&str>) -> bool {
        let version = version.and_then(|text| Version::parse(text).ok());
        let hiding = match &version {
            Some(version) => self.rules.hiding_version(id, version),
            None => self.rules.hiding(id),
        };
        if let Some(rule) = hiding {
            let mut hid = self.hid.lock().unwrap_or_else(PoisonError::into_inner);
            hid.get_or_insert_with(|| rule.as_str().to_owned());
            return false;
        }
        let Some(stored) = &self.stored else {
            return true;
        };
        version.is_some_and(|version| {
            let id = id.clone();
            stored.contains(&Package { id, version })
        })
    }

    /// Why nothing is left.
    fn failure(&self) -> Failure {
        let hid = self.hid.lock().unwrap_or_else(PoisonError::into_inner);
        match &*hid {
            Some(rule) if self.stored.is_none() => Failure::Blocked { rule: rule.clone() },
            _ => Failure::OfflineAbsent,
        }
    }
}

/// What a view's documents name packages by, if they do.
fn sort_of(query: &Query<'_>, resource: &Resource, shown: &Shown) -> Option<Sort> {
    match (resource, &shown.how) {
        (_, How::CatalogLeaf(_)) => Some(Sort::CatalogLeaf),
        (_, How::InlinedPage { id, .. }) => Some(Sort::Registration(id.clone())),
        (
            _,
            How::Registration {
                id,
                version: Some(version),
                ..
            },
        ) => Some(Sort::Leaf(id.clone(), version.clone())),
        (
            _,
            How::Registration {
                id, version: None, ..
            },
        ) => Some(Sort::Registration(id.clone())),
        (_, How::Search(_)) => Some(Sort::Search),
        (Resource::VersionList(id), How::VersionList) => Some(Sort::Registration(id.clone())),
        (Resource::VersionList(id), _) => Some(Sort::VersionList(id.clone())),
        (Resource::Autocomplete, _) => Some(match parameter(query.query, "id") {
            Some(id) => Sort::Versions(PackageId::parse(&id).ok()?),
            None => Sort::Ids,
        }),
        _ => None,
    }
}

/// A page that an index holds becomes a document of its own: which it is in the index may change.
fn of_its_own(mut shown: Shown) -> Result<Shown, Failure> {
    let How::InlinedPage {
        model,
        hive,
        id,
        page,
    } = &shown.how
    else {
        return Ok(shown);
    };
    let source = shown.sources.first_mut();
    let source = source.ok_or(Failure::Internal("a view without sources"))?;
    let index = registration::read(source.text())
        .map_err(|_| Failure::Internal("a stored registration that cannot be read"))?;
    let span = index.pages.get(*page).map(|page| page.span.clone());
    let span = span.ok_or(Failure::Internal("a page that is gone"))?;
    source.text = source.text.slice(span);
    shown.how = How::Registration {
        model: Arc::clone(model),
        hive: hive.clone(),
        id: id.clone(),
        version: None,
    };
    Ok(shown)
}

/// What is left of a document. Its hash is that of the text, for entity tags are made of it.
fn left_of(document: &Document, text: String) -> Document {
    let entry = Entry {
        sha512: sha512(text.as_bytes()),
        ..(*document.entry).clone()
    };
    Document {
        entry: Arc::new(entry),
        text: text.into(),
    }
}

/// A document that is shown whole or not at all.
fn whole(is_shown: bool) -> Sifted {
    Sifted {
        text: None,
        dropped: usize::from(!is_shown),
        left: usize::from(is_shown),
    }
}

fn package(id: &PackageId, version: &str) -> Option<Package> {
    let version = Version::parse(version).ok()?;
    Some(Package {
        id: id.clone(),
        version,
    })
}

/// Every package that a document names.
fn named_in(sort: &Sort, text: &str) -> Result<Vec<Package>, ReadError> {
    let mut named = Vec::new();
    let mut note = |id: &PackageId, version: &str| {
        named.extend(package(id, version));
        true
    };
    match sort {
        Sort::CatalogLeaf => {
            let details = catalog::read_leaf(text)?.details;
            let id = details.id.and_then(|id| PackageId::parse(&id).ok());
            if let (Some(id), Some(version)) = (id, details.version) {
                note(&id, &version);
            }
        }
        Sort::Ids => {}
        Sort::Leaf(id, version) => {
            note(id, version.as_str());
        }
        Sort::Registration(id) => {
            sift::registration(
                text,
                |version| version.is_none_or(|version| note(id, version)),
                |_, _| Outside::Unknown,
            )?;
        }
        Sort::Search => {
            sift::search(text, |id, version| {
                PackageId::parse(id).map_or(true, |id| note(&id, version))
            })?;
        }
        Sort::Versions(id) => {
            sift::names(text, |version| note(id, version))?;
        }
        Sort::VersionList(id) => {
            sift::version_list(text, |version| note(id, version))?;
        }
    }
    Ok(named)
}

/// The versions of a page, as written.
fn versions_of(page: &Document) -> Result<Vec<String>, ReadError> {
    let page = registration::read(page.text())?;
    Ok(page
        .leaves
        .into_iter()
        .filter_map(|leaf| leaf.version)
        .collect())
}
