//! The door to the upstreams: fetch and publish.
//!
//! [`Upstream::fetch`] asks one address and follows it to an answer: turns, retries within the hold, redirects, the
//! breaker of each origin. [`Upstream::publish`] sends a client's upload once. It refuses to know what an answer means:
//! any status but a redirect, and the passing failures while the hold lasts, is handed to the caller as it came. It
//! keeps no answer and sends nothing of a client on a read but the credential that a feed's access passes on.

mod attempt;
pub mod auth;
mod body;
pub mod connect;
mod error;
mod fetch;
mod health;
mod keeper;
mod line;
mod pool;
mod probe;
mod publish;
mod queue;
mod rate;
mod redirect;
mod resolve;
mod resting;
mod retry;
mod secret;
mod settings;
mod stake;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod turns;
pub mod url;
pub mod way;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use self::auth::Access;
pub use self::body::ResponseBody;
use self::connect::{Connect, PrivateAddresses};
pub use self::error::{Phase, RedirectFault, UpstreamError};
pub use self::fetch::{Accept, Conditional, Fetch, FetchMethod, Fetched, HeardBy, Rest};
pub use self::health::OriginState;
use self::keeper::Presented;
use self::line::Line;
use self::probe::MayProbe;
pub use self::publish::{PublishError, PublishFault, PublishReply, PublishRequest, Sent};
pub use self::retry::{Pauses, is_passing};
pub use self::settings::Settings;
pub use self::stake::{Asker, Stake, Urgency};
pub use self::turns::Backlog;
use self::url::{Address, Origin};
use self::way::Way;
pub use self::way::WaySettings;
use crate::clock::Clock;
use crate::tasks::Tasks;

/// The most origins remembered; redirects may bring many.
const MAX_ORIGINS: usize = 1024;

/// What we say of ourselves upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Product {
    /// The value of `User-Agent`.
    pub user_agent: String,
    /// Eight hex digits that tell this installation's `Via` from another's.
    pub via_token: String,
}

/// Asks upstreams. Clones share connections, permits and what is known of each origin.
#[derive(Clone)]
pub struct Upstream {
    /// Whoever asks obeys the settings of when it began.
    current: Arc<ArcSwap<Shared>>,
}

struct Shared {
    clock: Clock,
    connector: Arc<dyn Connect>,
    /// What whoever asks next gets, as long as there is anybody to ask for.
    current: Weak<ArcSwap<Self>>,
    /// Outlive a reload.
    lines: Arc<Mutex<HashMap<LineKey, Arc<Line>>>>,
    may_probe: Arc<RwLock<MayProbe>>,
    product: Product,
    /// Of whoever asks, from its start to its end.
    settings: Arc<Settings>,
    /// What holds now, for what outlives whoever asks: health and pooled connections.
    in_force: Arc<ArcSwap<Settings>>,
    tasks: Tasks,
}

impl Upstream {
    /// Asks over connections of `connector`. Call it within a runtime: a task of its own lets go of idle connections
    /// when draining begins.
    #[must_use]
    pub fn new(
        settings: Settings,
        connector: Arc<dyn Connect>,
        clock: Clock,
        tasks: Tasks,
        product: Product,
    ) -> Self {
        let settings = Arc::new(settings);
        let lines: Arc<Mutex<HashMap<_, _>>> = Arc::default();
        let weak = Arc::downgrade(&lines);
        let drained = tasks.clone();
        tasks.spawn("upstream drain", async move {
            drained.draining().await;
            if let Some(lines) = weak.upgrade() {
                lock(&lines).values().for_each(|line| line.renew());
            }
        });
        let current = Arc::new_cyclic(|current| {
            ArcSwap::from_pointee(Shared {
                clock,
                connector,
                current: Weak::clone(current),
                lines,
                may_probe: Arc::new(RwLock::new(Box::new(|_| true))),
                product,
                settings: Arc::clone(&settings),
                in_force: Arc::new(ArcSwap::new(settings)),
                tasks,
            })
        });
        Self { current }
    }

    /// Obeys other settings from the next request on; what is under way ends as it began. What is known of each origin
    /// stays, its connections too. `max_connections` stays what it was.
    pub fn reload(&self, settings: Settings) {
        let before = self.shared();
        let settings = Settings {
            max_connections: before.settings.max_connections,
            ..settings
        };
        if settings == *before.settings {
            return;
        }
        let settings = Arc::new(settings);
        before.in_force.store(Arc::clone(&settings));
        // Pooled clients connect and read as they were told when they were made.
        let is_pool_old = settings.connect_timeout != before.settings.connect_timeout
            || settings.max_header_bytes != before.settings.max_header_bytes;
        for line in before.lines().values() {
            line.reconsider();
            if is_pool_old {
                line.renew();
            }
        }
        self.current.store(Arc::new(Shared {
            clock: before.clock.clone(),
            connector: Arc::clone(&before.connector),
            current: Weak::clone(&before.current),
            lines: Arc::clone(&before.lines),
            may_probe: Arc::clone(&before.may_probe),
            product: before.product.clone(),
            settings,
            in_force: Arc::clone(&before.in_force),
            tasks: before.tasks.clone(),
        }));
    }

    /// What this module obeys.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.shared().settings)
    }

    fn shared(&self) -> Arc<Shared> {
        self.current.load_full()
    }

    /// What is known of an origin, as a feed reaches it. One that was never asked is live.
    #[must_use]
    pub fn state(&self, origin: &Origin, access: &Access) -> OriginState {
        let key = LineKey::of(origin, access);
        let line = self.current.load().lines().get(&key).cloned();
        line.map_or(OriginState::Live, |line| line.health.state())
    }

    /// How every origin is asked that was lately, for metrics.
    #[must_use]
    pub fn queues(&self) -> Vec<OriginQueue> {
        let shared = self.shared();
        let queues: Vec<_> = shared.lines().values().map(|line| line.queue()).collect();
        queues
    }

    /// Has the origin of `url` probed with a GET of it, without credentials, when it does not answer. Without this it
    /// is probed with a HEAD of its root.
    ///
    /// # Errors
    /// [`UpstreamError::BadUrl`] if `url` is no address.
    pub fn set_probe(&self, url: &str, access: &Access) -> Result<(), UpstreamError> {
        let address = Address::parse(url.as_bytes()).map_err(UpstreamError::BadUrl)?;
        let line = self.shared().line(address.origin(), access);
        if address.origin() == access.upstream() {
            line.allow_private_probes();
        }
        line.set_probe(address);
        Ok(())
    }
}

/// How one origin is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginQueue {
    /// Pieces of bodies that wait to be taken.
    pub bodies: Backlog,
    /// The origin.
    pub origin: Origin,
    /// Requests that wait to be sent.
    pub requests: Backlog,
    /// How much longer nothing is sent to it, as it wished.
    pub rests_for: Duration,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("settings", &self.shared().settings)
            .field("product", &self.shared().product)
            .finish_non_exhaustive()
    }
}

/// An origin and a way that some feed reaches it by.
#[derive(Clone, Eq, Hash, PartialEq)]
struct LineKey {
    origin: Origin,
    way: Way,
}

impl LineKey {
    fn of(origin: &Origin, access: &Access) -> Self {
        Self {
            origin: origin.clone(),
            way: access.way(origin),
        }
    }
}

fn lock(lines: &Mutex<HashMap<LineKey, Arc<Line>>>) -> MutexGuard<'_, HashMap<LineKey, Arc<Line>>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, HashMap<LineKey, Arc<Line>>> {
        lock(&self.lines)
    }

    /// The line to an origin by the way of this feed: feeds that go by different ways share no connection, and what
    /// is known of the origin by one way says nothing of the other.
    fn line(&self, origin: &Origin, access: &Access) -> Arc<Line> {
        let key = LineKey::of(origin, access);
        let mut lines = self.lines();
        if let Some(line) = lines.get(&key) {
            return Arc::clone(line);
        }
        if lines.len() >= MAX_ORIGINS {
            // Those that nobody uses and nobody would miss.
            lines.retain(|_, line| {
                Arc::strong_count(line) > 1 || line.health.state() != OriginState::Live
            });
        }
        let line = Arc::new(Line::new(origin.clone(), key.way.clone(), self));
        if lines.len() < MAX_ORIGINS {
            lines.insert(key, Arc::clone(&line));
        }
        line
    }

    /// Whether a feed may reach private addresses at this origin: at its configured upstream always, elsewhere only if
    /// that is private too. A name that must be looked up is left to the connection; where a proxy looks it up, the
    /// name alone decides.
    async fn allowance(
        &self,
        origin: &Origin,
        access: &Access,
    ) -> Result<PrivateAddresses, UpstreamError> {
        if origin == access.upstream() {
            return Ok(PrivateAddresses::Allow);
        }
        let is_private = match access.way(origin).proxy {
            Some(_) => origin.is_inner_by_name(),
            None => origin.is_private_by_name(),
        };
        if !is_private {
            return Ok(PrivateAddresses::Refuse);
        }
        if self.has_private_upstream(access).await {
            return Ok(PrivateAddresses::Allow);
        }
        Err(UpstreamError::PrivateAddress {
            origin: origin.clone(),
        })
    }

    /// Whether a feed's configured upstream is private.
    async fn has_private_upstream(&self, access: &Access) -> bool {
        let upstream = access.upstream();
        match access.way(upstream).proxy {
            Some(_) => upstream.is_inner_by_name(),
            None => self.connector.is_private(upstream).await,
        }
    }

    /// The credential for a request to `origin` that was meant for `asked`, if it goes there.
    async fn credential(
        &self,
        origin: &Origin,
        asked: &Origin,
        access: &Access,
    ) -> Result<Option<Presented>, UpstreamError> {
        let presented = access.present(origin, asked).await;
        presented.map_err(|why| UpstreamError::CredentialUnavailable {
            origin: origin.clone(),
            why,
        })
    }

    /// The value of our `Via`, after those of the request that we ask for.
    fn via(&self, before: &[String]) -> String {
        let ours = format!("1.1 sluice-{}", self.product.via_token);
        let mut all: Vec<&str> = before.iter().map(String::as_str).collect();
        all.push(&ours);
        all.join(", ")
    }
}
