//! Versions that are held here and that the upstream has no more.
//!
//! One is marked when a list that just came names it no longer, when the list itself is gone, or when the upstream says that
//! it has no such package; and it is so no more once a list names it again or the upstream delivers it. To be unlisted is
//! not to be withdrawn: lists name unlisted versions too (protocol fact 2.1.3). Where clients' own credentials are passed on
//! nothing is marked: what one of them does not see says nothing of what there is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Proxy;
use super::content::{Delivery, Want};
use super::document::{Ask, Document};
use super::errand::Errand;
use super::failure::Failure;
use super::feed::Feed;
use super::outcome::{Outcome, Reason};
use super::route::{Class, Content};
use super::settings::Withdrawn;
use super::view::Query;
use crate::cache::decision::Demand;
use crate::cache::key::Key;
use crate::nuget::id::PackageId;
use crate::nuget::registration;
use crate::nuget::version::Version;
use crate::nuget::version_list::read_version_list;
use crate::store::{Mark, MarkKind, Named, Stored};
use crate::telemetry::{Family, Kind};

/// Lists lag behind what is published: a version that none has named yet, and that the upstream delivered this lately, is
/// asked for by itself before it counts as withdrawn.
const LISTED_WITHIN: Duration = Duration::from_secs(60 * 60);
/// How long the log names a version no second time.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

const REQUESTS: Family = Family {
    name: "sluice_withdrawn_requests_total",
    help: "Requests for files of versions that the upstream has no more, by what was done.",
    kind: Kind::Counter,
};
/// What a list says.
struct Listed {
    versions: HashSet<Version>,
    /// What the one before it said, where that is known.
    before: HashSet<Version>,
}

impl Proxy {
    /// Marks a version that the upstream said it has no more.
    pub(super) fn withdraw(&self, feed: &Feed, key: &Key) {
        let mark = Mark {
            key: key.clone(),
            since: self.clock.now(),
            detail: String::new(),
        };
        if self.store.mark(MarkKind::Withdrawn, mark) {
            let (id, version) = (key.id(), key.rest());
            tracing::warn!(
                feed = &*feed.name,
                id,
                version,
                "a version that is held here is withdrawn: the upstream has it no more"
            );
        }
    }

    /// The upstream has a file: if it is a package, its version is not withdrawn.
    pub(super) fn end_withdrawal(&self, want: &Want) {
        if want.is_package() && self.store.has_marks(MarkKind::Withdrawn) {
            self.store.end_mark(MarkKind::Withdrawn, &want.ask.key);
        }
    }

    /// Since when the version that a file belongs to is withdrawn.
    fn withdrawn_since(&self, want: &Want) -> Option<SystemTime> {
        if !self.store.has_marks(MarkKind::Withdrawn) || !want.ask.class.is_content() {
            return None;
        }
        let (id, version) = want.ask.id.as_ref().zip(want.version())?;
        let feed = &want.ask.feed;
        let key = feed.key(Class::Package, Some(id), version.as_str());
        let mark = self.store.mark_of(MarkKind::Withdrawn, &key);
        mark.map(|mark| mark.since)
    }

    /// Refuses a file of a withdrawn version where the feed says so; else gives since when it is withdrawn.
    pub(super) fn check_withdrawn(&self, want: &Want) -> Result<Option<SystemTime>, Failure> {
        let Some(since) = self.withdrawn_since(want) else {
            return Ok(None);
        };
        match want.ask.feed.settings.withdrawn {
            Withdrawn::Block => {
                self.count_withdrawn(want, "blocked");
                Err(Failure::Withdrawn { since })
            }
            Withdrawn::Serve => Ok(Some(since)),
        }
    }

    /// Says of a delivery that it is of a withdrawn version.
    pub(super) fn tell_withdrawn(&self, want: &Want, delivery: &mut Delivery) {
        let Delivery::Stored {
            outcome, reason, ..
        } = delivery
        else {
            return;
        };
        if *outcome == Outcome::Hit {
            *reason = Some(Reason::Withdrawn);
        }
        self.count_withdrawn(want, "served");
        let now = self.clock.instant();
        if self.named_withdrawn.first(want.ask.key.clone(), (), now) {
            let ask = &want.ask;
            let (id, version) = (ask.id.as_ref(), want.version());
            tracing::warn!(
                feed = &*ask.feed.name,
                id = id.map(PackageId::as_str),
                version = version.map(Version::as_str),
                "a withdrawn version is served"
            );
        }
    }

    fn count_withdrawn(&self, want: &Want, done: &'static str) {
        let labels = [("feed", &*want.ask.feed.label), ("done", done)];
        self.telemetry.add(&REQUESTS, &labels, 1);
    }

    /// Compares a list that just came with what is held of its id, behind whoever asked for it.
    pub(super) fn compare_list_behind(&self, ask: &Ask, stored: Option<&Stored>, text: &str) {
        let (Some(id), Some(versions)) = (&ask.id, versions_in(text)) else {
            return;
        };
        let (proxy, feed, id) = (self.clone(), Arc::clone(&ask.feed), id.clone());
        let stored = stored.cloned();
        self.tasks.spawn("withdrawn", async move {
            let before = match &stored {
                Some(stored) => proxy.read(stored).await,
                None => None,
            };
            let before = before.and_then(|before| versions_in(before.text()));
            let before = before.unwrap_or_default();
            let listed = Listed { versions, before };
            proxy.compare_with_held(&feed, &id, &listed).await;
        });
    }

    /// The same for registrations that stand for a list, all of one id's.
    pub(super) fn compare_registrations_behind(
        &self,
        feed: &Arc<Feed>,
        id: &PackageId,
        sources: &[Document],
    ) {
        if feed.client.is_some() {
            return;
        }
        let mut versions = HashSet::new();
        for source in sources {
            let Ok(document) = registration::read(source.text()) else {
                return;
            };
            let texts = document.leaves.into_iter().filter_map(|leaf| leaf.version);
            versions.extend(texts.filter_map(|text| Version::parse(&text).ok()));
        }
        self.compare_behind(feed, id, versions);
    }

    /// The same for a list that is gone, by two words of the upstream: it names nothing.
    pub(super) fn compare_lost_list_behind(&self, ask: &Ask) {
        let is_list = match ask.class {
            Class::VersionList => true,
            Class::RegistrationIndex => ask.feed.model().is_some_and(|model| {
                let of_hive = |token: &str| ask.key.rest().starts_with(&format!("{token}/"));
                model.is_without_flat_container()
                    && model
                        .fullest_hive()
                        .is_some_and(|hive| of_hive(&hive.token))
            }),
            _ => false,
        };
        if let Some(id) = ask.id.as_ref().filter(|_| is_list)
            && ask.feed.client.is_none()
        {
            self.compare_behind(&ask.feed, id, HashSet::new());
        }
    }

    fn compare_behind(&self, feed: &Arc<Feed>, id: &PackageId, versions: HashSet<Version>) {
        let (proxy, feed, id) = (self.clone(), Arc::clone(feed), id.clone());
        let before = HashSet::new();
        let listed = Listed { versions, before };
        self.tasks.spawn("withdrawn", async move {
            proxy.compare_with_held(&feed, &id, &listed).await;
        });
    }

    async fn compare_with_held(&self, feed: &Arc<Feed>, id: &PackageId, listed: &Listed) {
        let Some(held) = self.store.stored_of(&feed.name, id.as_str()).await else {
            return;
        };
        for Named { key, validated_at } in held {
            if key.class() != Class::Package.word() {
                continue;
            }
            let Ok(version) = Version::parse(key.rest()) else {
                continue;
            };
            if listed.versions.contains(&version) {
                if self.store.has_marks(MarkKind::Withdrawn) {
                    self.store.end_mark(MarkKind::Withdrawn, &key);
                }
            } else if listed.before.contains(&version)
                || self.clock.since(validated_at) >= LISTED_WITHIN
            {
                self.withdraw(feed, &key);
            } else {
                let query = Query {
                    feed,
                    base: "",
                    query: "",
                    demand: Demand::None,
                    since: self.clock.instant(),
                    errand: &Errand::of_ours(),
                };
                let want = self.want(&query, id, &version, Content::Package, None);
                self.ask_behind(&want, validated_at);
            }
        }
    }
}

/// The versions that a list names; `None` if it is none.
fn versions_in(text: &str) -> Option<HashSet<Version>> {
    let list = read_version_list(text).ok()?;
    let versions = list.versions.iter();
    Some(
        versions
            .filter_map(|text| Version::parse(text).ok())
            .collect(),
    )
}
