//! One origin by one way, and everything that is kept for it: health, turns, pooled connections, what to probe it with.
//!
//! It refuses to decide whether and how often to ask.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, Uri};
use hyper::rt::Executor;

use super::connect::PrivateAddresses;
use super::error::UpstreamError;
use super::health::Health;
use super::pool::{Pool, Spare};
use super::turns::Turns;
use super::url::{Address, Origin, Scheme};
use super::way::{ForwardProxy, Way};
use super::wire::Dialer;
use super::{OriginQueue, Shared};
use crate::tasks::Tasks;

/// One origin.
pub(super) struct Line {
    /// Whether some feed may reach private addresses here: then probes may too.
    allowed: AtomicBool,
    pub(super) bodies: Turns,
    pub(super) health: Arc<Health>,
    origin: Origin,
    kept: Mutex<Kept>,
    pub(super) requests: Turns,
    way: Way,
}

#[derive(Default)]
struct Kept {
    /// For requests that may go to private addresses.
    allow: Option<Arc<Pool>>,
    /// For those that may not: they share no connection with the others.
    refuse: Option<Arc<Pool>>,
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
    pub(super) fn new(origin: Origin, way: Way, shared: &Shared) -> Self {
        Self {
            allowed: AtomicBool::new(false),
            bodies: Turns::of_bodies(shared),
            health: Arc::new(Health::new(
                origin.clone(),
                Arc::clone(&shared.in_force),
                shared.clock.clone(),
            )),
            origin,
            kept: Mutex::default(),
            requests: Turns::of_requests(shared),
            way,
        }
    }

    /// How it is asked now.
    pub(super) fn queue(&self) -> OriginQueue {
        OriginQueue {
            bodies: self.bodies.backlog(),
            origin: self.origin.clone(),
            requests: self.requests.backlog(),
            rests_for: self.health.resting.left(),
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The target of a request on a connection of its own: a proxy that reads it wants the whole address.
    pub(super) fn target(&self, address: &Address) -> Result<Uri, UpstreamError> {
        let target = match self.forwarded() {
            Some(_) => address.uri(),
            None => address.path_and_query().map(Uri::from),
        };
        target.map_err(UpstreamError::BadUrl)
    }

    /// Adds what a proxy that reads our requests wants to know of us.
    pub(super) fn introduce_to_proxy(&self, headers: &mut HeaderMap) {
        let authorization = self.forwarded().and_then(ForwardProxy::authorization);
        if let Some(value) = authorization {
            headers.insert(PROXY_AUTHORIZATION, value.clone());
        }
    }

    /// The proxy that reads our requests to this origin.
    pub(super) fn forwarded(&self) -> Option<&ForwardProxy> {
        let proxy = self.way.proxy.as_ref();
        proxy.filter(|_| self.origin.scheme() == Scheme::Http)
    }

    /// The settings have changed: what waits by those of before is looked at again.
    pub(super) fn reconsider(&self) {
        self.health.reconsider();
        self.bodies.reconsider();
        self.requests.reconsider();
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
            spare: Spare::default(),
            timeout: shared.in_force.load().connect_timeout,
            way: self.way.clone(),
        }
    }

    /// The kept connections. While draining none is kept.
    pub(super) fn pool(&self, shared: &Shared, private: PrivateAddresses) -> Arc<Pool> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match private {
            PrivateAddresses::Allow => &mut kept.allow,
            PrivateAddresses::Refuse => &mut kept.refuse,
        };
        let build = |max_idle| Arc::new(Pool::new(shared, self.dialer(shared, private), max_idle));
        if shared.tasks.is_draining() {
            *pool = None;
            return build(0);
        }
        Arc::clone(pool.get_or_insert_with(|| build(shared.settings.max_connections)))
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
