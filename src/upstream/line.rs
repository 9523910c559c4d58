//! One origin and everything that is kept for it: health, permits, pooled connections, what to probe it with.
//!
//! It refuses to decide whether and how often to ask.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use super::connect::PrivateAddresses;
use super::health::Health;
use super::url::{Address, Origin};
use super::wire::Dialer;
use crate::tasks::Tasks;

/// How long a connection is kept without a request: below the 60 s after which common load balancers drop it.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// How often an HTTP/2 connection with requests is asked whether it lives: a dead one would take every request of its
/// origin with it.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// One origin.
pub(super) struct Line {
    /// Whether some feed may reach private addresses here: then probes may too.
    allowed: AtomicBool,
    pub(super) health: Arc<Health>,
    origin: Origin,
    permits: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// For requests that may go to private addresses.
    allow: Option<Client<Dialer, Empty<Bytes>>>,
    /// For those that may not: they share no connection with the others.
    refuse: Option<Client<Dialer, Empty<Bytes>>>,
    probe: Option<Address>,
}

/// Runs hyper's tasks as tracked ones.
#[derive(Clone)]
pub(super) struct Spawner(pub(super) Tasks);

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn("upstream connection", work);
    }
}

impl Line {
    pub(super) fn new(origin: Origin, shared: &Shared) -> Self {
        Self {
            allowed: AtomicBool::new(false),
            health: Arc::new(Health::new(
                origin.clone(),
                Arc::clone(&shared.in_force),
                shared.clock.clone(),
            )),
            origin,
            permits: Arc::new(Semaphore::new(shared.settings.max_connections)),
            kept: Mutex::default(),
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Waits for one of the origin's connections.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there always is one.
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    pub(super) fn dialer(&self, shared: &Shared, private: PrivateAddresses) -> Dialer {
        if private == PrivateAddresses::Allow {
            self.allow_private_probes();
        }
        Dialer {
            connector: Arc::clone(&shared.connector),
            health: Arc::clone(&self.health),
            origin: self.origin.clone(),
            private,
            timeout: shared.in_force.load().connect_timeout,
        }
    }

    /// The pooled client. While draining it keeps no idle connection.
    pub(super) fn client(
        &self,
        shared: &Shared,
        private: PrivateAddresses,
    ) -> Client<Dialer, Empty<Bytes>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match private {
            PrivateAddresses::Allow => &mut kept.allow,
            PrivateAddresses::Refuse => &mut kept.refuse,
        };
        if shared.tasks.is_draining() {
            *client = None;
            return self.build(shared, private, 0);
        }
        client
            .get_or_insert_with(|| self.build(shared, private, shared.settings.max_connections))
            .clone()
    }

    fn build(
        &self,
        shared: &Shared,
        private: PrivateAddresses,
        max_idle: usize,
    ) -> Client<Dialer, Empty<Bytes>> {
        let max_header_bytes = shared.in_force.load().max_header_bytes;
        Client::builder(Spawner(shared.tasks.clone()))
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(max_idle)
            .http1_max_buf_size(max_header_bytes.max(8192))
            .http2_max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(self.dialer(shared, private))
    }

    /// Lets go of the idle connections: one that hangs says that the others may be dead too, and each would cost the
    /// next request a whole first-byte wait.
    pub(super) fn renew(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.allow, kept.refuse) = (None, None);
    }

    /// Lets probes reach private addresses, as some feed may.
    pub(super) fn allow_private_probes(&self) {
        self.allowed.store(true, Ordering::Relaxed);
    }

    /// What to ask when the origin is probed.
    pub(super) fn set_probe(&self, address: Address) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.probe = Some(address);
    }

    /// What to probe with, and whether the origin may be private.
    pub(super) fn probe(&self) -> (Option<Address>, PrivateAddresses) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let private = if self.allowed.load(Ordering::Relaxed) {
            PrivateAddresses::Allow
        } else {
            PrivateAddresses::Refuse
        };
        (kept.probe.clone(), private)
    }
}
