//! What is configured at one moment, and how a running proxy takes over another configuration.
//!
//! A request uses one [`Snapshot`] from start to end. A reload makes a new one and swaps it in whole: feeds whose
//! upstream stayed the same keep what was learned of it; what is stored, under way and known of each origin stays where
//! it is. It refuses to read a configuration.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::beside::{self, Beside};
use super::feed::{AccessGeneration, Face, Feed, Generation};
use super::ignored::Ignored;
use super::mode::{Mode, ModeState};
use super::settings::{FeedSettings, Settings};
use super::shortcut::Shortcuts;
use super::state::FeedError;
use super::union::{self, Union};
use super::{Proxy, Shared, render};
use crate::clock::Clock;
use crate::store::Raise;
use crate::tasks::Tasks;
use crate::upstream::Upstream;
use crate::upstream::auth::Access;
use crate::upstream::url::Origin;

/// The settings in force and what follows from them alone.
pub struct Snapshot {
    pub(super) settings: Settings,
    /// In the order of the configuration.
    pub(super) feeds: Vec<Arc<Feed>>,
    /// Where client binaries come from.
    pub(super) tools: Option<Arc<Feed>>,
    pub(super) unions: Vec<Arc<Union>>,
    /// Forwarded headers that came and were not believed under these settings.
    pub(super) ignored: Ignored,
    /// What plain requests were found to mean under these settings.
    pub(super) shortcuts: Shortcuts,
    /// Fires when another snapshot takes its place, for tasks that serve this one.
    pub(super) superseded: CancellationToken,
    shared: Arc<Shared>,
}

impl Snapshot {
    pub(super) fn new(settings: Settings, mounted: Mounted, shared: Arc<Shared>) -> Self {
        Self {
            settings,
            feeds: mounted.feeds,
            tools: mounted.tools,
            unions: mounted.unions,
            ignored: Ignored::default(),
            shortcuts: Shortcuts::new(),
            superseded: CancellationToken::new(),
            shared,
        }
    }

    /// Keeps who delivered what in unions: nobody could say it again.
    pub(super) fn keep_records(&self) {
        let names = self.unions.iter().map(|union| &*union.name);
        self.store.keep_feeds(names);
    }

    /// The feeds and what stands beside them.
    pub(super) fn all_feeds(&self) -> Vec<&Arc<Feed>> {
        with_beside(&self.feeds, self.tools.as_ref())
    }

    /// What clients see: every feed, what stands beside it, and every union.
    pub(super) fn faces(&self) -> impl Iterator<Item = Face<'_>> {
        let feeds = self.all_feeds().into_iter().map(Feed::face);
        feeds.chain(self.unions.iter().map(|union| union.face()))
    }
}

impl Deref for Snapshot {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("feeds", &self.feeds.len())
            .finish_non_exhaustive()
    }
}

/// What reloads share.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// Held by a reload, so that two never start from the same snapshot.
    turn: Mutex<()>,
    /// The last generation given to a feed's settings or access.
    generation: AtomicU64,
    /// Whether data is kept current without a request for it, which a new snapshot then has to go on with.
    pub(super) keeps_current: AtomicBool,
}

impl Reloads {
    fn next(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The feeds and unions that a configuration describes.
#[derive(Debug)]
pub(super) struct Mounted {
    feeds: Vec<Arc<Feed>>,
    tools: Option<Arc<Feed>>,
    unions: Vec<Arc<Union>>,
}

impl Mounted {
    /// Tells each upstream's origin what it is probed with.
    pub(super) fn set_probes(&self, upstream: &Upstream) {
        for feed in with_beside(&self.feeds, self.tools.as_ref()) {
            if let Err(error) = upstream.set_probe(&feed.settings.upstream, &feed.access) {
                tracing::warn!(feed = &*feed.name, %error, "the upstream cannot be probed");
            }
        }
    }
}

/// Feeds and what stands beside them. Feeds come last: of those that share an origin, one of them says how it is probed.
fn with_beside<'a>(feeds: &'a [Arc<Feed>], tools: Option<&'a Arc<Feed>>) -> Vec<&'a Arc<Feed>> {
    let beside = feeds.iter().flat_map(|feed| feed.beside.feeds());
    beside.chain(tools).chain(feeds).collect()
}

/// What these settings describe. Feeds that `before` has are continued.
///
/// # Errors
/// [`FeedError`] if one cannot be mounted; nothing has changed then.
pub(super) fn mount(
    settings: &Settings,
    before: Option<&Snapshot>,
    reloads: &Reloads,
    means: &Means<'_>,
) -> Result<Mounted, FeedError> {
    let mounting = Mounting {
        before: before.map(Snapshot::all_feeds).unwrap_or_default(),
        generation: Generation(reloads.next()),
        reloads,
        means,
    };
    let mut feeds = Vec::with_capacity(settings.feeds.len());
    for feed in &settings.feeds {
        // What stands beside a feed is offline with it.
        let mode = mounting.mode(&feed.name, feed.mode);
        let beside = Beside {
            audit: mounting.companion(beside::audit(feed), &mode)?,
            symbols: mounting.companion(beside::symbols(feed), &mode)?,
        };
        feeds.push(mounting.feed(feed.clone(), beside, mode)?);
    }
    let tools = beside::tools(&settings.tools);
    let tools = mounting.companion(tools, &Arc::new(ModeState::new(Mode::Online)))?;
    let known = before.map_or(&[][..], |before| &before.unions);
    let unions = union::mount(&settings.unions, &feeds, known, mounting.generation)?;
    Ok(Mounted {
        feeds,
        tools,
        unions,
    })
}

/// What feeds are mounted with.
struct Mounting<'a> {
    before: Vec<&'a Arc<Feed>>,
    generation: Generation,
    reloads: &'a Reloads,
    means: &'a Means<'a>,
}

impl Mounting<'_> {
    fn feed(
        &self,
        settings: FeedSettings,
        beside: Beside,
        mode: Arc<ModeState>,
    ) -> Result<Arc<Feed>, FeedError> {
        let named = |known: &&&Arc<Feed>| *known.name == *settings.name;
        let same_upstream = |known: &&&Arc<Feed>| known.settings.upstream == settings.upstream;
        let known = self.before.iter().find(named).filter(same_upstream);
        let same_access = known.filter(|known| {
            let old = &known.settings;
            old.credential == settings.credential
                && old.ways == settings.ways
                && old.passes_credentials_on() == settings.passes_credentials_on()
        });
        let (access, asked_with) = match same_access {
            Some(known) => (known.access.clone(), known.asked_with),
            None => (
                access(&settings, self.means)?,
                AccessGeneration(self.reloads.next()),
            ),
        };
        Ok(Arc::new(match known {
            Some(known) => known.continued(settings, access, self.generation, asked_with, beside),
            None => Feed::new(settings, access, self.generation, asked_with, beside, mode),
        }))
    }

    /// A feed that stands beside another, if there is one.
    fn companion(
        &self,
        settings: Option<FeedSettings>,
        mode: &Arc<ModeState>,
    ) -> Result<Option<Arc<Feed>>, FeedError> {
        settings
            .map(|settings| self.feed(settings, Beside::default(), Arc::clone(mode)))
            .transpose()
    }

    /// The mode of a feed. An operator's order is for the name, whatever stands behind it.
    fn mode(&self, name: &str, configured: Mode) -> Arc<ModeState> {
        let known = self.before.iter().find(|known| *known.name == *name);
        known.map_or_else(
            || Arc::new(ModeState::new(configured)),
            |known| Arc::clone(&known.mode),
        )
    }
}

/// What reads a secret again that can change.
pub(super) struct Means<'a> {
    pub(super) clock: &'a Clock,
    pub(super) tasks: &'a Tasks,
}

fn access(feed: &FeedSettings, means: &Means<'_>) -> Result<Access, FeedError> {
    let origin =
        Origin::of(&feed.upstream).map_err(|why| FeedError::Upstream(feed.name.clone(), why))?;
    Access::open(
        &feed.name,
        origin,
        feed.credential.as_ref(),
        feed.ways.clone(),
        means.clock,
        means.tasks,
    )
    .map_err(|why| FeedError::Credential(feed.name.clone(), why))
}

impl Proxy {
    /// The proxy as it is configured now. What a caller holds may be of an earlier configuration, with which the
    /// requests go on that began under it.
    pub(super) fn now(&self) -> Self {
        Self {
            snapshot: self.current.load_full(),
            current: Arc::clone(&self.current),
        }
    }

    /// Obeys other settings from the next request on. Requests under way end as they began. `max_abandoned_flights`
    /// alone stays what it was.
    ///
    /// # Errors
    /// [`FeedError`] if a feed cannot be mounted; nothing has changed then.
    pub fn reload(&self, settings: Settings) -> Result<(), FeedError> {
        let _turn = self
            .reloads
            .turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        if before.settings == settings {
            return Ok(());
        }
        let means = Means {
            clock: &self.clock,
            tasks: &self.tasks,
        };
        let mounted = mount(&settings, Some(&before), &self.reloads, &means)?;
        mounted.set_probes(&self.upstream);
        let snapshot = Snapshot::new(settings, mounted, Arc::clone(&before.shared));
        snapshot.keep_records();
        for feed in snapshot.all_feeds() {
            let mut known = before.all_feeds().into_iter();
            let known = known.find(|known| known.name == feed.name);
            if known.is_some_and(|known| known.settings.upstream == feed.settings.upstream) {
                continue;
            }
            // What is stored under this name may be another upstream's, or as old as the feed's last time here: it
            // has to be asked for before it answers.
            self.store.raise(&feed.name, None, Raise::Refresh);
        }
        self.current.store(Arc::new(snapshot));
        before.superseded.cancel();
        self.current.load().obey_modes();
        // Why a key was refused may be what was changed.
        self.refusals.clear();
        let current = self.current.load();
        self.store
            .answers()
            .retain(|key| render::is_of(key, &current));
        if self.reloads.keeps_current.load(Ordering::Relaxed) {
            self.now().keep_current();
        }
        Ok(())
    }
}
