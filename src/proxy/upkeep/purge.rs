//! Purging: epochs rise first, so that nothing that was asked for before comes back, then what is stored goes.
//!
//! Who delivered which version first (`union::record`) outlives a purge of the package: else another member could deliver
//! other bytes under it. It goes only where the feed made of others is named.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Age, Kept as KeptFeed, Made, Purge, Upkeep, Which, removed_json};
use crate::cache::entry::Entry;
use crate::cache::epoch::Gate;
use crate::cache::key::Key;
use crate::nuget::id::PackageId;
use crate::nuget::pattern::IdPattern;
use crate::proxy::asks::gate_name;
use crate::proxy::document::TEXT;
use crate::proxy::route::Class;
use crate::proxy::union::RECORD_CLASS;
use crate::store::{Choice, Kept, Progress, Raise, Scope};

impl Upkeep {
    pub(super) async fn purge(&self, order: &Purge, progress: &Progress) -> Value {
        if let Some(union) = self
            .unions
            .iter()
            .find(|union| Some(&union.name) == order.feed.as_ref())
        {
            return self.forget_deliveries(union, order).await;
        }
        let feeds: Vec<&KeptFeed> = match &order.feed {
            Some(name) => self.feeds.iter().filter(|feed| feed.is_of(name)).collect(),
            None => self.feeds.iter().collect(),
        };
        let choice = self.choice(order);
        if order.age == Age::Any {
            self.raise(order, &feeds, &choice).await;
        }
        let removed = self.store.purge(&choice, progress).await;
        self.forget_answers(order.feed.as_deref());
        tracing::info!(?order, feeds = ?removed.feeds, pinned = removed.pinned, "what was stored was purged");
        removed_json(&removed)
    }

    /// Raises the epochs of what is to go.
    async fn raise(&self, order: &Purge, feeds: &[&KeptFeed], choice: &Choice) {
        let raise = |feed: &str, id: Option<&str>| {
            self.store.raise(feed, id, Raise::Refresh);
            self.store.raise_content(feed, id);
        };
        match &order.which {
            Which::Version(id, version) => {
                for feed in feeds {
                    self.store
                        .raise_version(&feed.name, id.as_str(), version.as_str());
                }
            }
            Which::Id(id) => feeds
                .iter()
                .for_each(|feed| raise(&feed.name, Some(id.as_str()))),
            Which::Fitting(pattern) if !pattern.is_everything() => {
                for (feed, id) in self.store.ids(choice).await {
                    raise(&feed, Some(&id));
                }
            }
            Which::All | Which::Fitting(_) => feeds.iter().for_each(|feed| raise(&feed.name, None)),
        }
    }

    fn choice(&self, order: &Purge) -> Choice {
        let id = match &order.which {
            Which::Id(id) | Which::Version(id, _) => Some(id.as_str()),
            Which::All | Which::Fitting(_) => None,
        };
        let named = order.feed.as_ref();
        let of_name = named.map(|name| self.feeds.iter().filter(|feed| feed.is_of(name)));
        let names = of_name.into_iter().flatten().map(|feed| feed.name.as_str());
        let choice = Choice::everything(Scope::new(names, id));
        let choice = match &order.which {
            Which::All if named.is_some() => choice,
            Which::All | Which::Id(_) => choice.named(is_no_record),
            Which::Fitting(pattern) => {
                let pattern = pattern.clone();
                choice.named(move |key| is_no_record(key) && fits(&pattern, key))
            }
            Which::Version(_, version) => {
                let version = version.as_str().to_owned();
                choice.named(move |key| is_content(key) && key.rest() == version)
            }
        };
        match order.age {
            Age::Any => choice,
            Age::Stale => {
                let staleness = Staleness::of(self);
                choice.aged(move |kept| staleness.has(kept))
            }
        }
    }

    /// Forgets the answers in memory that may hold something of a feed, or of any.
    fn forget_answers(&self, feed: Option<&str>) {
        let Some(feed) = feed else {
            return self.store.answers().clear();
        };
        let of_it = |name: &str| {
            let mut unions = self.unions.iter().filter(|union| union.name == name);
            name.split(':').next() == Some(feed)
                || unions.any(|union| union.members.iter().any(|member| member == feed))
        };
        self.store.answers().retain(|key| {
            let mut parts = key.split('\u{1f}');
            let name = match parts.next() {
                Some(TEXT) => parts.next(),
                name => name,
            };
            !name.is_some_and(of_it)
        });
    }

    /// Forgets who delivered what of a feed made of others.
    async fn forget_deliveries(&self, union: &Made, order: &Purge) -> Value {
        let (ids, version) = match &order.which {
            Which::Id(id) => (BTreeSet::from([id.clone()]), None),
            Which::Version(id, version) => (BTreeSet::from([id.clone()]), Some(version)),
            Which::All | Which::Fitting(_) => (self.recorded_ids(union, &order.which).await, None),
        };
        let mut forgotten = 0;
        // They have no freshness, so none of them is stale.
        for id in ids.iter().filter(|_| order.age == Age::Any) {
            let now = self.clock.now();
            let forget = union
                .records
                .forget(&self.store, now, &union.name, id, version);
            forgotten += forget.await;
        }
        self.forget_answers(Some(&union.name));
        tracing::info!(?order, forgotten, "who delivered what was purged");
        let mut done = removed_json(&crate::store::Removed::default());
        done["deliveries"] = forgotten.into();
        done["members"] = union.members.clone().into();
        done
    }

    /// The ids that a union has records of and that are chosen.
    async fn recorded_ids(&self, union: &Made, which: &Which) -> BTreeSet<PackageId> {
        let choice = Choice::everything(Scope::new([union.name.as_str()], None));
        let stored = self.store.ids(&choice).await.into_iter();
        let stored = stored.filter_map(|(_, id)| PackageId::parse(&id).ok());
        let is_chosen = |id: &PackageId| match which {
            Which::Fitting(pattern) => pattern.fits(id).is_some(),
            Which::All | Which::Id(_) | Which::Version(..) => true,
        };
        stored
            .chain(union.records.known_ids())
            .filter(is_chosen)
            .collect()
    }
}

fn is_no_record(key: &Key) -> bool {
    key.class() != RECORD_CLASS
}

fn is_content(key: &Key) -> bool {
    Class::of_word(key.class()).is_some_and(Class::is_content)
}

/// Whether it is streamed and gated as content is, though it belongs to no version.
fn is_file(class: Class) -> bool {
    matches!(class, Class::Certificate | Class::Symbols | Class::Tool)
}

fn fits(pattern: &IdPattern, key: &Key) -> bool {
    let id = key.id().and_then(|id| PackageId::parse(id).ok());
    id.is_some_and(|id| pattern.fits(&id).is_some())
}

/// Knows what is past its freshness.
struct Staleness {
    store: crate::store::Store,
    clock: crate::clock::Clock,
    feeds: Vec<KeptFeed>,
}

impl Staleness {
    fn of(upkeep: &Upkeep) -> Self {
        Self {
            store: upkeep.store.clone(),
            clock: upkeep.clock.clone(),
            feeds: upkeep.feeds.clone(),
        }
    }

    /// Whether something would be asked for again before it answers. Content is only where its version was deleted or
    /// purged; pages of a catalog never are, for its index says which of them still changes; and what belongs to no feed of
    /// this configuration is nobody's to ask for.
    fn has(&self, kept: Kept<'_>) -> bool {
        let key = match kept {
            Kept::Absence(key, _) => key,
            Kept::Entry(Entry { key, .. }) => key,
        };
        let feed = self.feeds.iter().find(|feed| feed.name == key.feed());
        let (Some(feed), Some(class)) = (feed, Class::of_word(key.class())) else {
            return false;
        };
        let policy = feed.freshness.policy(class);
        let now = self.clock.now();
        match kept {
            Kept::Absence(_, absence) => {
                let gate = self.gate(key, class);
                !policy.is_absence_fresh(absence, &gate, now)
            }
            Kept::Entry(_) if class == Class::CatalogPage => false,
            Kept::Entry(entry) if class.is_content() || is_file(class) => {
                let id = key.id().unwrap_or_default();
                let version = Some(key.rest()).filter(|_| class.is_content());
                let version = version.unwrap_or_default();
                entry.epoch < self.store.version_gate(key.feed(), id, version)
            }
            Kept::Entry(entry) => {
                let gate = self.gate(key, class);
                !policy.fresh_until(entry, &gate, now).is_ahead(now)
            }
        }
    }

    fn gate(&self, key: &Key, class: Class) -> Gate {
        let id = key.id().and_then(|id| PackageId::parse(id).ok());
        self.store.gate(key.feed(), gate_name(id.as_ref(), class))
    }
}
