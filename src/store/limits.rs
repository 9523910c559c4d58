//! The settings that a running store can change: its cap, the room that it leaves free, and how often it reads itself.
//!
//! It refuses to evict: the upkeep does, each second, as it does after a restart with a lower cap.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::settings::Settings;
use super::{Shared, Store, pins, space};
use crate::platform;

/// The default cap is at most this, so that a first start on a large disk does not surprise.
const DEFAULT_CAP_BYTES: u64 = 10 << 30;

/// The limits in force.
#[derive(Debug)]
pub(super) struct Limits(RwLock<Values>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Values {
    max_store_bytes: Option<u64>,
    min_free_bytes: u64,
    scrub_every: Option<Duration>,
}

impl Values {
    fn of(settings: &Settings) -> Self {
        Self {
            max_store_bytes: settings.max_store_bytes,
            min_free_bytes: settings.min_free_bytes,
            scrub_every: settings.scrub_every,
        }
    }
}

impl Limits {
    pub(super) fn of(settings: &Settings) -> Self {
        Self(RwLock::new(Values::of(settings)))
    }

    /// Room that bodies leave free on the file system.
    pub(super) fn min_free_bytes(&self) -> u64 {
        self.values().min_free_bytes.max(space::FLOOR_BYTES)
    }

    /// Within which time each body is read and checked once.
    pub(super) fn scrub_every(&self) -> Option<Duration> {
        self.values().scrub_every
    }

    fn values(&self) -> Values {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Obeys another `max_store_bytes`, `min_free_bytes` and `scrub_every` from now on; every other setting stays what it was. What
    /// stands above a lower cap is evicted behind this call. Pins are read again, too.
    pub async fn reload(&self, settings: &Settings) {
        pins::watch(&self.shared).await;
        let (limits, wanted) = (&self.shared.limits, Values::of(settings));
        if limits.values() != wanted {
            *limits.0.write().unwrap_or_else(PoisonError::into_inner) = wanted;
            set_cap(&self.shared).await;
        }
    }
}

/// Has the quota obey the cap that is set, or the default one, which depends on what is stored and what is free.
pub(super) async fn set_cap(shared: &Arc<Shared>) {
    let layout = shared.layout.clone();
    let space = move || Ok(platform::space(layout.root(), layout.portability));
    let free = shared.quiet(space).await.ok().flatten();
    // Looked at last, so that of two callers both set what was wanted last.
    let cap = shared.limits.values().max_store_bytes.unwrap_or_else(|| {
        let held = shared.quota.sums().live;
        free.map_or(DEFAULT_CAP_BYTES, |space| {
            DEFAULT_CAP_BYTES.min((space.free / 2).saturating_add(held))
        })
    });
    shared.quota.set_cap(cap);
}
