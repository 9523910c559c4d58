//! Who delivered which version first: kept, so that the bytes of two members never come under one version (protocol fact
//! 7.3.6), whatever the members list later and in whatever order they stand then.
//!
//! What is known of an id is one small stored document of the union's own, which is never evicted; beside it a short memory
//! saves reading it for every package. A store that cannot take it costs the memory of what was recorded since the start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;

use super::Union;
use crate::cache::epoch::Epoch;
use crate::cache::key::{Audience, Key, Parts};
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::store::{Draft, Lookup, Store, StoreFault};

/// Ids remembered: some megabytes. What is forgotten is read again.
const MAX_IDS: usize = 16 * 1024;
/// Part of stored keys: never change it.
pub(in crate::proxy) const CLASS: &str = "union-record";

/// Part of the stored text: never change it.
const FIRST: &str = "first";

/// Names of the members that delivered versions of one id first.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries(BTreeMap<String, String>);

impl Deliveries {
    /// Who delivered a version first.
    pub(super) fn of(&self, version: &Version) -> Option<&str> {
        self.0.get(version.as_str()).map(String::as_str)
    }

    /// Reads a stored text; `None` if it is none.
    fn read(text: &[u8]) -> Option<Self> {
        let mut document: serde_json::Value = serde_json::from_slice(text).ok()?;
        let first = document.get_mut(FIRST)?.take();
        serde_json::from_value(first).ok().map(Self)
    }

    /// The text to store. A later release may put more beside what it holds now.
    fn write(&self) -> String {
        serde_json::json!({ FIRST: self.0 }).to_string()
    }
}

/// What is remembered of the records.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Records {
    ids: Mutex<HashMap<PackageId, Arc<Slot>>>,
}

/// What is known of one id.
#[derive(Debug, Default)]
struct Slot {
    /// `None` until it was read.
    known: tokio::sync::Mutex<Option<Deliveries>>,
    /// Held while it is written, so that what is written last is the latest.
    writing: tokio::sync::Mutex<()>,
}

impl Records {
    fn of(&self, id: &PackageId) -> Arc<Slot> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= MAX_IDS && !ids.contains_key(id) {
            // One that somebody holds is being read or written.
            ids.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(ids.entry(id.clone()).or_default())
    }
}

impl Records {
    /// The ids of which something is remembered.
    pub(in crate::proxy) fn known_ids(&self) -> Vec<PackageId> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.keys().cloned().collect()
    }

    /// Forgets who delivered the versions of an id, or one of them; says how many that were. What is being delivered
    /// meanwhile may be recorded again.
    pub(in crate::proxy) async fn forget(
        &self,
        store: &Store,
        now: SystemTime,
        union: &str,
        id: &PackageId,
        version: Option<&Version>,
    ) -> usize {
        let (slot, key) = (self.of(id), key_in(union, id));
        let _writing = slot.writing.lock().await;
        let mut known = slot.known.lock().await;
        if known.is_none() {
            *known = stored_record(store, &key).await;
        }
        let Some(deliveries) = &mut *known else {
            return 0;
        };
        let before = deliveries.0.len();
        match version {
            None => deliveries.0.clear(),
            Some(version) => {
                deliveries.0.remove(version.as_str());
            }
        }
        let forgotten = before - deliveries.0.len();
        if deliveries.0.is_empty() {
            store.remove(&key).await;
        } else if forgotten > 0 {
            let text = deliveries.write();
            if let Err(fault) = write_record(store, now, &key, text.into()).await {
                tracing::debug!(?key, %fault, "who delivered a package could not be stored");
            }
        }
        forgotten
    }
}

impl Proxy {
    /// Who delivered the versions of an id first.
    pub(super) async fn recorded(&self, union: &Union, id: &PackageId) -> Deliveries {
        let slot = union.records.of(id);
        let mut known = slot.known.lock().await;
        if known.is_none() {
            *known = stored_record(&self.store, &key_of(union, id)).await;
        }
        known.clone().unwrap_or_default()
    }

    /// Records that `member` delivers a version, unless another one did before; says who.
    pub(super) async fn record(
        &self,
        union: &Arc<Union>,
        id: &PackageId,
        version: &Version,
        member: &str,
    ) -> String {
        let (slot, key) = (union.records.of(id), key_of(union, id));
        let mut known = slot.known.lock().await;
        if known.is_none() {
            *known = stored_record(&self.store, &key).await;
        }
        // To write without having read would forget what was recorded before.
        let Some(deliveries) = &mut *known else {
            return member.to_owned();
        };
        if let Some(first) = deliveries.of(version) {
            // A member that is gone delivers nothing any more.
            if union.members.iter().any(|feed| *feed.name == *first) {
                return first.to_owned();
            }
        }
        let (version, own) = (version.as_str().to_owned(), member.to_owned());
        deliveries.0.insert(version, own);
        drop(known);
        let proxy = self.clone();
        self.tasks.spawn("record", async move {
            let _writing = slot.writing.lock().await;
            let text = match &*slot.known.lock().await {
                Some(deliveries) => deliveries.write(),
                None => return,
            };
            let now = proxy.clock.now();
            if let Err(fault) = write_record(&proxy.store, now, &key, text.into()).await {
                tracing::debug!(?key, %fault, "who delivered a package could not be stored");
            }
        });
        member.to_owned()
    }
}

/// What is stored; `None` if the store cannot say.
async fn stored_record(store: &Store, key: &Key) -> Option<Deliveries> {
    match store.lookup(key).await {
        Lookup::Absent => Some(Deliveries::default()),
        Lookup::Found(stored) => match stored.body.read_all().await {
            Ok(text) => match Deliveries::read(&text) {
                Some(deliveries) => Some(deliveries),
                None => {
                    store.quarantine(&stored, "unreadable").await;
                    Some(Deliveries::default())
                }
            },
            Err(fault @ (StoreFault::Rotten | StoreFault::Truncated)) => {
                store.quarantine(&stored, fault.word()).await;
                Some(Deliveries::default())
            }
            Err(fault) => {
                tracing::debug!(?key, %fault, "who delivered a package cannot be read");
                None
            }
        },
        Lookup::Unavailable(fault) => {
            tracing::debug!(?key, %fault, "the store cannot be asked");
            None
        }
    }
}

async fn write_record(
    store: &Store,
    now: SystemTime,
    key: &Key,
    text: Bytes,
) -> Result<(), StoreFault> {
    let mut writer = store.begin(key, Some(text.len() as u64)).await?;
    writer.write(text).await?;
    drop(writer.publish(Draft {
        epoch: Epoch::default(),
        status: StatusCode::OK,
        headers: Default::default(),
        upstream_validator: Default::default(),
        origin: String::new(),
        fetched_at: now,
        validated_at: now,
    }));
    Ok(())
}

fn key_of(union: &Union, id: &PackageId) -> Key {
    key_in(&union.name, id)
}

fn key_in(union: &str, id: &PackageId) -> Key {
    Key::new(&Parts {
        feed: union,
        id: Some(id.as_str()),
        class: CLASS,
        rest: "",
        variant: "",
        audience: Audience::Shared,
    })
}
