//! What is kept: `sluice::store`, with a key for each target and variant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sluice::cache::entry::{Entry, UpstreamValidator};
use sluice::cache::epoch::Gate;
use sluice::cache::key::{Key, Parts};
use sluice::store::{Draft, Lookup, Raise, Store, StoreFault, Stored};

use crate::origin::{Ask, Got};
use crate::rules::{freshened, made_at, variant, vary};

const FEED: &str = "cache-tests";

/// The store, and what tells the variants of a target apart.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    store: Store,
    /// For each target, the fields that its last response was chosen by.
    varies: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Shelf {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            varies: Arc::default(),
        }
    }

    /// What is stored for a request.
    pub(crate) async fn find(&self, ask: &Ask) -> Option<Stored> {
        match self.store.lookup(&self.key(ask)).await {
            Lookup::Found(stored) => Some(stored),
            Lookup::Absent | Lookup::Unavailable(_) => None,
        }
    }

    /// What gates that.
    pub(crate) fn gate(&self, ask: &Ask) -> Gate {
        self.store.gate(FEED, Some(&ask.target))
    }

    /// Stores an answer whose request began under `gate`. Freshness counts from when the origin made it.
    ///
    /// # Errors
    /// What the disk does.
    pub(crate) async fn keep(
        &self,
        ask: &Ask,
        gate: Gate,
        got: &Got,
    ) -> Result<Stored, StoreFault> {
        let names: Vec<String> = vary(&got.headers).collect();
        self.lock().insert(ask.target.clone(), names);
        let bytes = u64::try_from(got.body.len()).ok();
        let mut writer = self.store.begin(&self.key(ask), bytes).await?;
        writer.write(got.body.clone()).await?;
        writer.sync_hash().await?;
        Ok(writer.publish(Draft {
            epoch: gate.epoch,
            status: got.status,
            headers: got.headers.clone(),
            upstream_validator: UpstreamValidator::of(&got.headers),
            origin: String::new(),
            fetched_at: got.received_at,
            validated_at: made_at(&got.headers, got.asked_at, got.received_at),
        }))
    }

    /// Brings what is stored up to date with a 304.
    pub(crate) fn refresh(&self, stored: &Stored, gate: Gate, got: &Got) -> Stored {
        let headers = freshened(&stored.entry.headers, &got.headers);
        let validated_at = made_at(&got.headers, got.asked_at, got.received_at);
        self.store
            .refresh(stored, validated_at, gate.epoch, Some(headers.clone()));
        Stored {
            entry: Arc::new(Entry {
                epoch: gate.epoch,
                headers,
                validated_at,
                ..(*stored.entry).clone()
            }),
            body: stored.body.clone(),
        }
    }

    /// Something was done to this target: what is stored of it must be asked for again.
    pub(crate) fn invalidate(&self, target: &str) {
        self.store.raise(FEED, Some(target), Raise::Refresh);
    }

    fn key(&self, ask: &Ask) -> Key {
        let names = self.lock().get(&ask.target).cloned().unwrap_or_default();
        Key::new(&Parts {
            feed: FEED,
            id: Some(&ask.target),
            class: "response",
            variant: &variant(&names, &ask.headers),
            ..Parts::default()
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.varies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How old a stored response is.
pub(crate) fn age_of(entry: &Entry, now: SystemTime) -> Duration {
    now.duration_since(entry.validated_at).unwrap_or_default()
}
