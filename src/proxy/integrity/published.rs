//! What upstreams publish of their packages, compared with what is stored.
//!
//! Some write the SHA-512 into their registrations; nuget.org's name a leaf of the catalog, which has it (protocol facts
//! 2.2.4, 2.5.1). What a document says may be of another time than the package: registrations lag behind, packages are signed
//! anew, and the catalog keeps a leaf of each state. So a difference counts only once the upstream's word of now confirms it.

use std::sync::Arc;

use bytes::Bytes;

use super::MAX_WAITING;
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::nuget::{catalog, registration};
use crate::proxy::Proxy;
use crate::proxy::content::Want;
use crate::proxy::document::{Ask, Obtained};
use crate::proxy::errand::Errand;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::model::Base;
use crate::proxy::outcome::Outcome;
use crate::proxy::route::{Class, Content, Resource};
use crate::proxy::settings::Scrutiny;
use crate::proxy::view::{Query, Seen};
use crate::telemetry::{Family, Kind};

const COMPARED: Family = Family {
    name: "sluice_package_hashes_total",
    help: "Stored packages compared with the hash that their upstream publishes, by what came of it.",
    kind: Kind::Counter,
};

/// What came of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Finding {
    /// The package is what is published.
    Agrees,
    /// It is not.
    Differs,
    /// Too many waited.
    Skipped,
    /// What is published is not at hand.
    Unknown,
    /// No hash is published.
    Unpublished,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Differs => "differs",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::Unpublished => "unpublished",
        }
    }
}

/// A hash that a document publishes, and how the document came about.
#[derive(Clone, Copy, Debug)]
struct Published {
    sha512: [u8; 64],
    outcome: Outcome,
}

impl Proxy {
    /// Compares a package that just came, or that the upstream just confirmed, with what is published of it, behind
    /// whoever waits for it.
    pub(in crate::proxy) fn compare_hash_behind(&self, want: &Want) {
        if !want.is_package() || want.ask.feed.settings.package_hashes == Scrutiny::Off {
            return;
        }
        let demand = if want.ask.feed.settings.seek_package_hashes {
            Demand::None
        } else {
            Demand::StoredOnly
        };
        let proxy = self.clone();
        let want = Want {
            ask: want.ask.behind(),
            ..want.clone()
        };
        let feed = Arc::clone(&want.ask.feed);
        self.in_turn(&feed, async move {
            let finding = match proxy.published(&want, demand).await {
                Ok(Some(published)) => proxy.compare(&want, published.sha512).await,
                Ok(None) => Finding::Unpublished,
                Err(failure) => {
                    tracing::debug!(key = ?want.ask.key, "nothing is known of its hash: {failure}");
                    Finding::Unknown
                }
            };
            proxy.count_finding(&want.ask.feed, finding);
        });
    }

    /// Compares what is held with the hashes that a document which a client asked for publishes. What we asked for we compare
    /// ourselves.
    pub(in crate::proxy) fn heed_hashes(&self, ask: &Ask, text: &Bytes) {
        let is_silent = || memchr::memmem::find(text, b"\"packageHash\"").is_none();
        let is_off = ask.feed.settings.package_hashes == Scrutiny::Off;
        if is_off || ask.errand.is_ours() || is_silent() {
            return;
        }
        let (proxy, class, text) = (self.clone(), ask.class, text.clone());
        let (feed, id) = (Arc::clone(&ask.feed), ask.id.clone());
        self.in_turn(&ask.feed, async move {
            // Registrations may have many megabytes.
            let read = move || published_in(class, id.as_ref(), &text);
            let published = proxy.tasks.blocking("package hashes", read).await;
            let (wants, hashes): (Vec<Want>, Vec<[u8; 64]>) = published
                .unwrap_or_default()
                .into_iter()
                .map(|(id, version, sha512)| (proxy.package(&feed, &id, &version), sha512))
                .unzip();
            let keys: Vec<_> = wants.iter().map(|want| want.ask.key.clone()).collect();
            let held = proxy.store.holds(&keys).await;
            for ((want, sha512), is_held) in wants.into_iter().zip(hashes).zip(held) {
                if is_held {
                    let finding = proxy.compare(&want, sha512).await;
                    proxy.count_finding(&feed, finding);
                }
            }
        });
    }

    /// Does work that nobody waits for, once it is its turn, unless the process ends or too much waits.
    pub(super) fn in_turn(&self, feed: &Feed, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(place) = Arc::clone(&self.scrutiny.places).try_acquire_owned() else {
            tracing::debug!(most = MAX_WAITING, "too many packages wait to be compared");
            return self.count_finding(feed, Finding::Skipped);
        };
        let proxy = self.clone();
        let work = Box::pin(work);
        self.tasks.spawn("package hash", async move {
            let _place = place;
            let in_turn = async {
                if let Ok(_turn) = proxy.scrutiny.turns.acquire().await {
                    work.await;
                }
            };
            tokio::select! {
                () = proxy.tasks.draining() => {}
                () = in_turn => {}
            }
        });
    }

    fn count_finding(&self, feed: &Feed, finding: Finding) {
        let labels = [("feed", &*feed.label), ("result", finding.word())];
        self.telemetry.add(&COMPARED, &labels, 1);
    }

    /// Compares a stored package with a hash that is published.
    async fn compare(&self, want: &Want, sha512: [u8; 64]) -> Finding {
        let Some(stored) = self.stored(&want.ask.key).await else {
            return Finding::Unknown;
        };
        let is_disputed = self.dispute_of(want).is_some();
        if stored.entry.sha512 == sha512 && !is_disputed {
            return Finding::Agrees;
        }
        match self.published(want, Demand::Forced).await {
            Ok(Some(now)) if now.outcome == Outcome::Stale => Finding::Unknown,
            Ok(Some(now)) if now.sha512 == stored.entry.sha512 => {
                self.end_dispute(want);
                Finding::Agrees
            }
            Ok(Some(now)) => {
                self.dispute(want, &stored, &now.sha512).await;
                Finding::Differs
            }
            Ok(None) => Finding::Unpublished,
            Err(failure) => {
                let reason = failure.reason();
                tracing::info!(key = ?want.ask.key, %reason, "whether its hash is right is not known: {failure}");
                Finding::Unknown
            }
        }
    }

    /// What is published of a package: in its registration, or in the catalog leaf that this names. `None` where nothing
    /// is.
    async fn published(&self, want: &Want, demand: Demand) -> Result<Option<Published>, Failure> {
        let Some((id, version)) = want.ask.id.as_ref().zip(want.version()) else {
            return Ok(None);
        };
        let errand = Errand::of_ours();
        let query = self.query_of_ours(&want.ask.feed, demand, &errand);
        let bounds = (version.clone(), version.clone());
        let seen = Box::pin(self.registrations_of(&query, id, Some(&bounds))).await?;
        let outcome = match &seen {
            Seen::Absent(_) => return Ok(None),
            Seen::Shown(shown) => shown.outcome,
        };
        let mut leaves = Vec::new();
        for source in seen.sources() {
            let Ok(document) = registration::read(source.text()) else {
                continue;
            };
            for leaf in document.leaves {
                let is_it = |text: &str| Version::parse(text).is_ok_and(|found| found == *version);
                if !leaf.version.as_deref().is_some_and(is_it) {
                    continue;
                }
                if let Some(sha512) = leaf.sha512 {
                    return Ok(Some(Published { sha512, outcome }));
                }
                leaves.extend(leaf.catalog_entry);
            }
        }
        for url in leaves {
            if let Some(sha512) = self.published_at(&query, id, version, &url).await? {
                return Ok(Some(Published { sha512, outcome }));
            }
        }
        Ok(None)
    }

    /// What the catalog leaf at this URL publishes of a version.
    async fn published_at(
        &self,
        query: &Query<'_>,
        id: &PackageId,
        version: &Version,
        url: &str,
    ) -> Result<Option<[u8; 64]>, Failure> {
        // A leaf never changes.
        let demand = match query.demand {
            Demand::Forced | Demand::None => Demand::None,
            Demand::StoredOnly => Demand::StoredOnly,
        };
        let query = Query {
            demand,
            ..query.clone()
        };
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        let model = query.feed.model();
        let rest = model.as_ref().and_then(|model| match model.split(bare) {
            Some((Base::Catalog, rest)) => Some(rest.to_owned()),
            _ => None,
        });
        let class = Class::CatalogLeaf;
        let ask = match rest {
            Some(rest) => self.ask_for_resource(&query, &Resource::Catalog(rest), class, None),
            None => self.named_ask(&query, class, id, url),
        };
        let Obtained::Document { document, .. } = Box::pin(self.document(&ask)).await? else {
            return Ok(None);
        };
        let said = published_in(class, Some(id), &document.text);
        let found = said.into_iter().find(|(_, found, _)| found == version);
        Ok(found.map(|(_, _, sha512)| sha512))
    }

    fn package(&self, feed: &Arc<Feed>, id: &PackageId, version: &Version) -> Want {
        let errand = Errand::of_ours();
        let query = self.query_of_ours(feed, Demand::None, &errand);
        self.want(&query, id, version, Content::Package, None)
    }

    pub(super) fn query_of_ours<'q>(
        &self,
        feed: &'q Arc<Feed>,
        demand: Demand,
        errand: &'q Errand,
    ) -> Query<'q> {
        Query {
            feed,
            base: "",
            query: "",
            demand,
            since: self.clock.instant(),
            errand,
        }
    }
}

/// The hashes that a document publishes: of a catalog leaf its own, of a registration those of its leaves. `id` is whose
/// document it is, where that is known: what it says of others counts for nothing.
fn published_in(
    class: Class,
    id: Option<&PackageId>,
    text: &Bytes,
) -> Vec<(PackageId, Version, [u8; 64])> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let said: Vec<_> = if class == Class::CatalogLeaf {
        let leaf = catalog::read_leaf(text).map(|leaf| leaf.details);
        let said = leaf.map(|details| (details.sha512(), details.id, details.version));
        said.into_iter().collect()
    } else {
        let leaves = registration::read(text).map(|document| document.leaves);
        let leaves = leaves.unwrap_or_default().into_iter();
        leaves
            .map(|leaf| (leaf.sha512, leaf.id, leaf.version))
            .collect()
    };
    let said = said.into_iter().filter_map(|(sha512, own, version)| {
        let own = match own {
            Some(own) => PackageId::parse(&own).ok(),
            None => id.cloned(),
        };
        let own = own.filter(|own| id.is_none_or(|id| id == own))?;
        Some((own, Version::parse(&version?).ok()?, sha512?))
    });
    said.collect()
}
