//! A feed at run time: what its upstream's service index says, and where every resource of it lies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::failure::Failure;
use super::mode::ModeState;
use super::route::{Class, Content, RegistrationPart, Resource};
use super::settings::FeedSettings;
use super::trouble::Troubles;
use tokio::time::Instant;

use crate::cache::entry::Entry;
use crate::cache::epoch::{Epoch, Gate};
use crate::cache::freshness::Policy;
use crate::cache::key::{Audience, Key, Parts};
use crate::nuget::id::PackageId;
use crate::nuget::service_index::{Hive, Service, ServiceIndex};
use crate::nuget::version::Version;
use crate::upstream::auth::Access;
use crate::upstream::url::Origin;

/// A feed: its settings and what was learned of its upstream.
#[derive(Debug)]
pub(super) struct Feed {
    /// Its name, shared with log lines.
    pub(super) name: Arc<str>,
    pub(super) settings: FeedSettings,
    /// What its requests carry, and the origins that may see it.
    pub(super) access: Access,
    /// Of its settings: answers in memory that were made under others are not its own.
    pub(super) generation: Generation,
    /// Of its access: requests join no flight that asks with another.
    pub(super) asked_with: AccessGeneration,
    /// What is wrong with its upstream, for readiness; shared with the feed as it was before a reload.
    pub(super) troubles: Arc<Troubles>,
    /// Whether it asks its upstream; shared likewise.
    pub(super) mode: Arc<ModeState>,
    /// Shared likewise.
    state: Arc<Mutex<State>>,
}

/// Tells a feed's settings from those before a reload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Generation(pub(super) u64);

/// Tells a feed's upstream, credential and way there from those before a reload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct AccessGeneration(pub(super) u64);

#[derive(Debug, Default)]
struct State {
    model: Option<Arc<Model>>,
    model_fresh_until: Option<Instant>,
    /// The highest epoch that a publish raised: search results are about every id.
    last_publish: Gate,
    /// Base URLs whose answers are kept in memory.
    base_urls: HashSet<String>,
    /// Whether clients have asked for vulnerabilities since that was last asked here.
    is_audited: bool,
    /// Since when each origin has failed without a success in between.
    trouble: HashMap<String, SystemTime>,
}

/// Origins whose trouble is remembered at most: redirects can name any number of hosts.
pub(super) const MAX_TROUBLED_ORIGINS: usize = 256;

/// What the upstream's service index says, ready for use.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) index: ServiceIndex,
    /// When and what it was read from: an older one never replaces it.
    source: (SystemTime, [u8; 64]),
    /// Registration hives, those of earlier indexes too.
    pub(super) hives: Vec<Hive>,
    /// Every base seen so far, this index's and earlier ones' (a link in a stored document may name an old one). The
    /// longest comes first, for it wins.
    bases: Vec<(String, Base)>,
}

/// What lies below a base.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Base {
    /// Catalog documents.
    Catalog,
    /// The flat container.
    FlatContainer,
    /// The registration hive with this token.
    Hive(String),
}

impl Feed {
    pub(super) fn new(
        settings: FeedSettings,
        access: Access,
        generation: Generation,
        asked_with: AccessGeneration,
        mode: Arc<ModeState>,
    ) -> Self {
        Self {
            name: settings.name.as_str().into(),
            settings,
            access,
            generation,
            asked_with,
            mode,
            troubles: Arc::default(),
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
    ) -> Self {
        let mut state = self.lock();
        if let Some(model) = &state.model {
            model.lend(&access);
        }
        // Whether it is fresh depends on the settings.
        state.model_fresh_until = None;
        // Their answers were made under the settings of before.
        state.base_urls.clear();
        Self {
            name: Arc::clone(&self.name),
            settings,
            access,
            generation,
            asked_with,
            mode: Arc::clone(&self.mode),
            troubles: Arc::clone(&self.troubles),
            state: Arc::clone(&self.state),
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

    /// Whether answers for this base URL may be kept in memory.
    pub(super) fn admits(&self, base_url: &str, max_base_urls: usize) -> bool {
        let mut state = self.lock();
        if state.base_urls.contains(base_url) {
            return true;
        }
        if state.base_urls.len() >= max_base_urls {
            return false;
        }
        state.base_urls.insert(base_url.to_owned());
        true
    }

    /// Notes that a client wants vulnerability data.
    pub(super) fn note_audit(&self) {
        self.lock().is_audited = true;
    }

    /// Whether a client has wanted vulnerability data since this was last asked.
    pub(super) fn take_audit(&self) -> bool {
        std::mem::take(&mut self.lock().is_audited)
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

    /// The name of a stored response of this feed.
    pub(super) fn key(&self, class: Class, id: Option<&PackageId>, rest: &str) -> Key {
        Key::new(&Parts {
            feed: &self.name,
            id: id.map(PackageId::as_str),
            class: class.word(),
            rest,
            variant: "",
            audience: Audience::Shared,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    fn new(index: ServiceIndex, source: (SystemTime, [u8; 64]), before: Option<&Self>) -> Self {
        let mut hives = index.hives();
        let mut bases = BTreeMap::new();
        if let Some(before) = before {
            bases.extend(before.bases.iter().cloned());
            for hive in &before.hives {
                if !hives.iter().any(|known| known.token == hive.token) {
                    hives.push(hive.clone());
                }
            }
        }
        for hive in &hives {
            bases.insert(hive.base.clone(), Base::Hive(hive.token.clone()));
        }
        if let Some(base) = index.catalog_base() {
            bases.insert(base, Base::Catalog);
        }
        for base in index.endpoints(Service::PackageBase) {
            bases.insert(with_slash(base), Base::FlatContainer);
        }
        let mut bases: Vec<_> = bases.into_iter().collect();
        bases.sort_by_key(|(base, _)| std::cmp::Reverse(base.len()));
        Self {
            index,
            source,
            hives,
            bases,
        }
    }

    /// Lets the origins that the index names learn the credential.
    fn lend(&self, access: &Access) {
        let resources = self.index.resources.iter();
        for resource in resources.filter(|resource| resource.is_url()) {
            if let Ok(origin) = Origin::of(&resource.url) {
                access.add_origin(&origin);
            }
        }
    }

    /// The base that `url` lies below, and the rest of it.
    pub(super) fn split<'u>(&self, url: &'u str) -> Option<(&Base, &'u str)> {
        self.bases
            .iter()
            .find_map(|(base, kind)| Some((kind, url.strip_prefix(base.as_str())?)))
    }

    /// The hive with this token.
    pub(super) fn hive(&self, token: &str) -> Option<&Hive> {
        self.hives.iter().find(|hive| hive.token == token)
    }

    /// The hive that lists most: the one with SemVer 2 packages where there is one (protocol fact 2.2.22).
    pub(super) fn fullest_hive(&self) -> Option<&Hive> {
        self.hives.first()
    }

    /// Whether version lists and content come from registrations, for want of a flat container (protocol fact 7.1.15).
    pub(super) fn is_without_flat_container(&self) -> bool {
        self.index.endpoints(Service::PackageBase).is_empty() && !self.hives.is_empty()
    }

    /// Where the upstream keeps a resource: its endpoints in order of preference.
    ///
    /// # Errors
    /// [`Failure::NotOffered`] if its index does not list it.
    pub(super) fn locate(&self, resource: &Resource, query: &str) -> Result<Vec<String>, Failure> {
        let urls: Vec<String> = match resource {
            Resource::Autocomplete => self.with_query(Service::Autocomplete, query),
            Resource::Catalog(rest) => self
                .bases_of(&Base::Catalog)
                .map(|base| format!("{base}{rest}"))
                .collect(),
            Resource::Content { id, version, file } => self.content(id, version, *file),
            Resource::Link { .. } | Resource::ServiceIndex | Resource::VulnerabilityPage(_) => {
                return Err(Failure::Internal(
                    "a place that the service index does not tell",
                ));
            }
            Resource::Publish(_) => self.plain(Service::PackagePublish),
            Resource::Registration { hive, id, part } => self
                .hive(hive)
                .map(|hive| format!("{}{}/{}", hive.base, id.to_path(), part.path()))
                .into_iter()
                .collect(),
            Resource::Search => self.with_query(Service::Search, query),
            Resource::SymbolPublish(_) => self.plain(Service::SymbolPublish),
            Resource::VersionList(id) => self
                .plain(Service::PackageBase)
                .iter()
                .map(|base| format!("{}{}/index.json", with_slash(base), id.to_path()))
                .collect(),
            Resource::VulnerabilityIndex => self.plain(Service::VulnerabilityInfo),
        };
        if urls.is_empty() {
            Err(Failure::NotOffered(resource.kind()))
        } else {
            Ok(urls)
        }
    }

    fn content(&self, id: &PackageId, version: &Version, file: Content) -> Vec<String> {
        self.plain(Service::PackageBase)
            .iter()
            .map(|base| {
                let (base, name) = (with_slash(base), file.file_name(id, version));
                format!("{base}{}/{}/{name}", id.to_path(), version.as_str())
            })
            .collect()
    }

    fn plain(&self, service: Service) -> Vec<String> {
        self.index
            .endpoints(service)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Endpoints with their own query replaced, as the real client does it (protocol fact 2.3.3).
    fn with_query(&self, service: Service, query: &str) -> Vec<String> {
        let endpoint = |url: &str| {
            let bare = url.split(['?', '#']).next().unwrap_or_default();
            if query.is_empty() {
                bare.to_owned()
            } else {
                format!("{bare}?{query}")
            }
        };
        self.index
            .endpoints(service)
            .into_iter()
            .map(endpoint)
            .collect()
    }

    fn bases_of<'a>(&'a self, wanted: &'a Base) -> impl Iterator<Item = &'a str> {
        self.bases
            .iter()
            .filter(move |(_, kind)| kind == wanted)
            .map(|(base, _)| base.as_str())
    }
}

impl RegistrationPart {
    /// The rest of the path, behind the id.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Index => "index.json",
            Self::Leaf(rest) | Self::Page { rest, .. } => rest,
        }
    }

    /// Its cache class.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Index => Class::RegistrationIndex,
            Self::Leaf(_) => Class::RegistrationLeaf,
            Self::Page { .. } => Class::RegistrationPage,
        }
    }
}

impl Resource {
    /// What people call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Autocomplete => "autocomplete",
            Self::Catalog(_) => "catalog",
            Self::Content { .. } => "package content",
            Self::Link { .. } => "link",
            Self::Publish(_) => "publish",
            Self::Registration { .. } => "registrations",
            Self::Search => "search",
            Self::ServiceIndex => "service index",
            Self::SymbolPublish(_) => "symbol publish",
            Self::VersionList(_) => "version list",
            Self::VulnerabilityIndex | Self::VulnerabilityPage(_) => "vulnerability data",
        }
    }
}

/// A base URL with its final slash, which some upstreams leave out (protocol fact 1.1.22).
pub(super) fn with_slash(base: &str) -> String {
    if base.ends_with('/') {
        base.to_owned()
    } else {
        format!("{base}/")
    }
}

#[cfg(test)]
impl Model {
    /// A model of this index alone.
    pub(super) fn for_test(index: ServiceIndex) -> Self {
        Self::new(index, (SystemTime::UNIX_EPOCH, [0; 64]), None)
    }
}
