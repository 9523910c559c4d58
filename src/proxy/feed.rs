//! A feed at run time: its settings, what it asks with, and what was learned of its upstream.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::beside::Beside;
use super::certificates::Upkeep;
use super::mode::ModeState;
use super::model::Model;
use super::proof::Client;
use super::route::Class;
use super::settings::FeedSettings;
use super::trouble::Troubles;
use super::view::CatalogPages;
use crate::cache::entry::Entry;
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::freshness::Policy;
use crate::cache::key::{Audience, Key, Parts};
use crate::nuget::id::PackageId;
use crate::nuget::service_index::ServiceIndex;
use crate::upstream::auth::Access;

/// A feed: its settings and what was learned of its upstream.
#[derive(Debug)]
pub(super) struct Feed {
    /// Its name, shared with log lines.
    pub(super) name: Arc<str>,
    /// What log and metrics call it: an upstream beside a feed counts as that feed.
    pub(super) label: Arc<str>,
    pub(super) settings: Arc<FeedSettings>,
    /// What its requests carry, and the origins that may see it.
    pub(super) access: Access,
    /// Of its settings: answers in memory that were made under others are not its own.
    pub(super) generation: Generation,
    /// Of its access: requests join no flight that asks with another.
    pub(super) asked_with: AccessGeneration,
    /// Further upstreams of it.
    pub(super) beside: Beside,
    /// Shared with the feed as other clients use it.
    pub(super) bases: Arc<Bases>,
    /// What is wrong with its upstream, for readiness; shared with the feed as it was before a reload and as other clients
    /// use it.
    pub(super) troubles: Arc<Troubles>,
    /// Whether it asks its upstream; shared likewise.
    pub(super) mode: Arc<ModeState>,
    /// What is known of its packages as a whole; shared likewise.
    pub(super) upkeep: Arc<Upkeep>,
    /// The client whose credential its requests carry, where it passes those on.
    pub(super) client: Option<Client>,
    /// Shared likewise: where resources lie is no secret.
    state: Arc<Mutex<State>>,
}

/// Tells the settings of a feed or union from those before a reload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Generation(pub(super) u64);

/// Tells a feed's upstream, credential and way there from those before a reload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct AccessGeneration(pub(super) u64);

/// Base URLs whose answers are kept in memory.
#[derive(Debug, Default)]
pub(super) struct Bases(Mutex<HashSet<String>>);

/// What clients see of a feed, or of a union of feeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Face<'a> {
    pub(super) name: &'a Arc<str>,
    /// What log and metrics call it.
    pub(super) label: &'a Arc<str>,
    pub(super) generation: Generation,
    pub(super) bases: &'a Bases,
    /// The feeds whose epochs gate its answers.
    pub(super) feeds: &'a [Arc<Feed>],
}

impl Bases {
    /// Whether answers for this base URL may be kept, of `most` in all.
    pub(super) fn admit(&self, base_url: &str, most: usize) -> bool {
        let mut admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted.contains(base_url) {
            return true;
        }
        if admitted.len() >= most {
            return false;
        }
        admitted.insert(base_url.to_owned());
        true
    }
}

#[derive(Debug, Default)]
struct State {
    model: Option<Arc<Model>>,
    model_fresh_until: Option<Instant>,
    /// The catalog's pages as its index names them.
    catalog: Option<Arc<CatalogPages>>,
    /// When old vulnerability data was last warned of.
    warned_at: Option<SystemTime>,
    /// The highest epoch that a publish raised: search results are about every id.
    last_publish: Gate,
    /// Whether clients have asked for vulnerabilities since that was last asked here.
    is_audited: bool,
    /// Since when each origin has failed without a success in between.
    trouble: HashMap<String, SystemTime>,
}

/// Origins whose trouble is remembered at most: redirects can name any number of hosts.
pub(super) const MAX_TROUBLED_ORIGINS: usize = 256;

impl Feed {
    pub(super) fn new(
        settings: FeedSettings,
        access: Access,
        generation: Generation,
        asked_with: AccessGeneration,
        beside: Beside,
        mode: Arc<ModeState>,
    ) -> Self {
        let label = match settings.name.split(':').next() {
            // The first segment of its paths, as of any other.
            None | Some("") => "-",
            Some(name) => name,
        };
        Self {
            label: label.into(),
            name: settings.name.as_str().into(),
            settings: Arc::new(settings),
            access,
            generation,
            asked_with,
            beside,
            bases: Arc::default(),
            mode,
            upkeep: Arc::default(),
            troubles: Arc::default(),
            client: None,
            state: Arc::default(),
        }
    }

    /// The same feed under other settings: what was learned of its upstream stays, shared with requests under way.
    pub(super) fn continued(
        &self,
        settings: FeedSettings,
        access: Access,
        generation: Generation,
        asked_with: AccessGeneration,
        beside: Beside,
    ) -> Self {
        let mut state = self.lock();
        if let Some(model) = &state.model {
            model.lend(&access);
        }
        // Whether it is fresh depends on the settings.
        state.model_fresh_until = None;
        Self {
            name: Arc::clone(&self.name),
            label: Arc::clone(&self.label),
            settings: Arc::new(settings),
            access,
            generation,
            asked_with,
            beside,
            // Their answers were made under the settings of before.
            bases: Arc::default(),
            mode: Arc::clone(&self.mode),
            upkeep: Arc::clone(&self.upkeep),
            troubles: Arc::clone(&self.troubles),
            client: None,
            state: Arc::clone(&self.state),
        }
    }

    /// The same feed as one client uses it.
    pub(super) fn of_client(&self, client: Client, access: Access) -> Self {
        Self {
            name: Arc::clone(&self.name),
            label: Arc::clone(&self.label),
            settings: Arc::clone(&self.settings),
            access,
            generation: self.generation,
            asked_with: self.asked_with,
            beside: self.beside.clone(),
            bases: Arc::clone(&self.bases),
            mode: Arc::clone(&self.mode),
            upkeep: Arc::clone(&self.upkeep),
            troubles: Arc::clone(&self.troubles),
            client: Some(client),
            state: Arc::clone(&self.state),
        }
    }

    /// What clients see of it.
    pub(super) fn face(self: &Arc<Self>) -> Face<'_> {
        Face {
            name: &self.name,
            label: &self.label,
            generation: self.generation,
            bases: &self.bases,
            feeds: std::slice::from_ref(self),
        }
    }

    /// Notes what a publish raised some id's epoch to.
    pub(super) fn note_publish(&self, epoch: Epoch, now: SystemTime) {
        let gate = &mut self.lock().last_publish;
        *gate = Gate {
            epoch: gate.epoch.max(epoch),
            published_at: Some(now),
        };
    }

    /// What gates documents that are about every id of the feed: `own` is the feed's gate.
    pub(super) fn gate_of_all(&self, own: Gate) -> Gate {
        let last = self.lock().last_publish;
        Gate {
            epoch: own.epoch.max(last.epoch),
            published_at: own.published_at.max(last.published_at),
        }
    }

    /// The model, if it need not be asked for again yet.
    pub(super) fn fresh_model(&self, now: Instant) -> Option<Arc<Model>> {
        let state = self.lock();
        state
            .model
            .clone()
            .filter(|_| state.model_fresh_until.is_some_and(|until| now < until))
    }

    /// The model, if a service index has been read.
    pub(super) fn model(&self) -> Option<Arc<Model>> {
        self.lock().model.clone()
    }

    /// Has the service index asked for again before the model is relied upon.
    pub(super) fn doubt_model(&self) {
        self.lock().model_fresh_until = None;
    }

    /// Makes a model of `index` unless a newer one is there, and lets credentials go to the origins it names. It need
    /// not be asked for again before `fresh_until`.
    pub(super) fn learn(
        &self,
        index: ServiceIndex,
        entry: &Entry,
        fresh_until: Instant,
    ) -> Arc<Model> {
        let mut state = self.lock();
        state.model_fresh_until = Some(fresh_until);
        let source = (entry.fetched_at, entry.sha512);
        let known = state
            .model
            .as_ref()
            .filter(|model| model.source.1 == source.1 || model.source.0 > source.0);
        if let Some(model) = known {
            // It may have been learned under the access of before a reload.
            model.lend(&self.access);
            return Arc::clone(model);
        }
        let model = Arc::new(Model::new(index, source, state.model.as_deref()));
        model.lend(&self.access);
        state.model = Some(Arc::clone(&model));
        model
    }

    /// Notes that a client wants vulnerability data.
    pub(super) fn note_audit(&self) {
        self.lock().is_audited = true;
    }

    /// Whether a client has wanted vulnerability data since this was last asked.
    pub(super) fn take_audit(&self) -> bool {
        std::mem::take(&mut self.lock().is_audited)
    }

    /// Whether to warn of old vulnerability data now: `pause` after the last time.
    pub(super) fn take_warning(&self, now: SystemTime, pause: Duration) -> bool {
        let mut state = self.lock();
        let is_early = |last: SystemTime| now.duration_since(last).is_ok_and(|since| since < pause);
        if state.warned_at.is_some_and(is_early) {
            return false;
        }
        state.warned_at = Some(now);
        true
    }

    /// The catalog's pages, if its index was read.
    pub(super) fn catalog_pages(&self) -> Option<Arc<CatalogPages>> {
        self.lock().catalog.clone()
    }

    /// Keeps what the catalog's index says of its pages.
    pub(super) fn keep_catalog_pages(&self, pages: Arc<CatalogPages>) {
        self.lock().catalog = Some(pages);
    }

    /// Notes that an origin failed; says since when it has.
    pub(super) fn note_failure(&self, origin: &str, now: SystemTime) -> SystemTime {
        let mut state = self.lock();
        if state.trouble.len() >= MAX_TROUBLED_ORIGINS && !state.trouble.contains_key(origin) {
            return now;
        }
        *state.trouble.entry(origin.to_owned()).or_insert(now)
    }

    /// Notes that an origin answered.
    pub(super) fn note_success(&self, origin: &str) {
        self.lock().trouble.remove(origin);
        self.troubles.note_answer(origin);
    }

    /// How a class is kept in this feed.
    pub(super) fn policy(&self, class: Class) -> Policy {
        self.settings.freshness.policy(class)
    }

    /// The name of a stored response of this feed. What a credential may see of an id differs, so documents are kept for
    /// each audience alone; a file is the same for all who may see it.
    pub(super) fn key(&self, class: Class, id: Option<&PackageId>, rest: &str) -> Key {
        Key::new(&Parts {
            feed: &self.name,
            id: id.map(PackageId::as_str),
            class: class.word(),
            rest,
            variant: "",
            audience: match self.audience() {
                Audience::Credential(_) if class.is_content() => Audience::Proven,
                audience => audience,
            },
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
