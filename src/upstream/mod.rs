//! The door to the upstreams: fetch and publish.
//!
//! [`Upstream::fetch`] asks one address and follows it to an answer: permits, retries within the hold, redirects, the
//! breaker of each origin. [`Upstream::publish`] sends a client's upload once. It refuses to know what an answer means:
//! any status but a redirect, and the passing failures while the hold lasts, is handed to the caller as it came. It
//! keeps no answer and sends nothing of a client on a read.

pub mod auth;
mod body;
pub mod connect;
mod error;
mod fetch;
mod health;
mod line;
mod probe;
mod publish;
mod redirect;
mod resolve;
mod retry;
mod settings;
#[cfg(test)]
mod tests;
pub mod url;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use self::auth::Access;
pub use self::body::ResponseBody;
use self::connect::{Connect, PrivateAddresses};
pub use self::error::{Phase, RedirectFault, UpstreamError};
pub use self::fetch::{Accept, Conditional, Fetch, FetchMethod, Fetched};
pub use self::health::OriginState;
use self::line::Line;
pub use self::publish::{PublishError, PublishFault, PublishReply, PublishRequest, Sent};
pub use self::retry::is_passing;
pub use self::settings::Settings;
use self::url::{Address, Origin};
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
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    connector: Arc<dyn Connect>,
    lines: Mutex<HashMap<Origin, Arc<Line>>>,
    product: Product,
    settings: Arc<Settings>,
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
        let shared = Arc::new(Shared {
            clock,
            connector,
            lines: Mutex::default(),
            product,
            settings: Arc::new(settings),
            tasks,
        });
        let (weak, tasks) = (Arc::downgrade(&shared), shared.tasks.clone());
        shared.tasks.spawn("upstream drain", async move {
            tasks.draining().await;
            if let Some(shared) = weak.upgrade() {
                shared.lines().values().for_each(|line| line.renew());
            }
        });
        Self { shared }
    }

    /// What this module obeys.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What is known of an origin. One that was never asked is live.
    #[must_use]
    pub fn state(&self, origin: &Origin) -> OriginState {
        let line = self.shared.lines().get(origin).cloned();
        line.map_or(OriginState::Live, |line| line.health.state())
    }

    /// Has the origin of `url` probed with a GET of it, without credentials, when it does not answer. Without this it
    /// is probed with a HEAD of its root.
    ///
    /// # Errors
    /// [`UpstreamError::BadUrl`] if `url` is no address.
    pub fn set_probe(&self, url: &str, access: &Access) -> Result<(), UpstreamError> {
        let address = Address::parse(url.as_bytes()).map_err(UpstreamError::BadUrl)?;
        let line = self.shared.line(address.origin());
        if address.origin() == access.upstream() {
            line.allow_private_probes();
        }
        line.set_probe(address);
        Ok(())
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("settings", &self.shared.settings)
            .field("product", &self.shared.product)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, origin: &Origin) -> Arc<Line> {
        let mut lines = self.lines();
        if let Some(line) = lines.get(origin) {
            return Arc::clone(line);
        }
        if lines.len() >= MAX_ORIGINS {
            // Those that nobody uses and nobody would miss.
            lines.retain(|_, line| {
                Arc::strong_count(line) > 1 || line.health.state() != OriginState::Live
            });
        }
        let line = Arc::new(Line::new(origin.clone(), self));
        if lines.len() < MAX_ORIGINS {
            lines.insert(origin.clone(), Arc::clone(&line));
        }
        line
    }

    /// Whether a feed may reach private addresses at this origin: at its configured upstream always, elsewhere only if
    /// that is private too. A name that must be looked up is left to the connection.
    async fn allowance(
        &self,
        origin: &Origin,
        access: &Access,
    ) -> Result<PrivateAddresses, UpstreamError> {
        if origin == access.upstream() {
            return Ok(PrivateAddresses::Allow);
        }
        if !origin.is_private_by_name() {
            return Ok(PrivateAddresses::Refuse);
        }
        if self.connector.is_private(access.upstream()).await {
            return Ok(PrivateAddresses::Allow);
        }
        Err(UpstreamError::PrivateAddress {
            origin: origin.clone(),
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
