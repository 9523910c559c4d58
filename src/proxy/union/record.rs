//! Who delivered which version first: kept, so that the bytes of two members never come under one version (protocol fact
//! 7.3.6), whatever the members list later and in whatever order they stand then.
//!
//! What is known of an id is one small stored document of the union's own, beside which a short memory saves reading it
//! for every package. A store that cannot take it costs the memory of what was recorded since the start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::StatusCode;

use super::Union;
use crate::cache::epoch::Epoch;
use crate::cache::key::{Audience, Key, Parts};
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::store::{Draft, Lookup, StoreFault};

/// Ids remembered: some megabytes. What is forgotten is read again.
const MAX_IDS: usize = 16 * 1024;
/// Part of stored keys: never change it.
const CLASS: &str = "union-record";

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
pub(super) struct Records {
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

impl Proxy {
    /// Who delivered the versions of an id first.
    pub(super) async fn recorded(&self, union: &Union, id: &PackageId) -> Deliveries {
        let slot = union.records.of(id);
        let mut known = slot.known.lock().await;
        if known.is_none() {
            *known = self.stored_record(&key_of(union, id)).await;
        }
        // The document must outlive the packages that it speaks of.
        self.store.note_use(&key_of(union, id));
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
            *known = self.stored_record(&key).await;
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
            if let Err(fault) = proxy.write_record(&key, text.into()).await {
                tracing::warn!(?key, %fault, "who delivered a package could not be stored");
            }
        });
        member.to_owned()
    }

    /// What is stored; `None` if the store cannot say.
    async fn stored_record(&self, key: &Key) -> Option<Deliveries> {
        match self.store.lookup(key).await {
            Lookup::Absent => Some(Deliveries::default()),
            Lookup::Found(stored) => match stored.body.read_all().await {
                Ok(text) => match Deliveries::read(&text) {
                    Some(deliveries) => Some(deliveries),
                    None => {
                        self.store.quarantine(&stored, "unreadable").await;
                        Some(Deliveries::default())
                    }
                },
                Err(fault) => {
                    tracing::warn!(?key, %fault, "who delivered a package cannot be read");
                    None
                }
            },
            Lookup::Unavailable(fault) => {
                tracing::warn!(?key, %fault, "the store cannot be asked");
                None
            }
        }
    }

    async fn write_record(&self, key: &Key, text: Bytes) -> Result<(), StoreFault> {
        let mut writer = self.store.begin(key, Some(text.len() as u64)).await?;
        writer.write(text).await?;
        let now = self.clock.now();
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
}

fn key_of(union: &Union, id: &PackageId) -> Key {
    Key::new(&Parts {
        feed: &union.name,
        id: Some(id.as_str()),
        class: CLASS,
        rest: "",
        variant: "",
        audience: Audience::Shared,
    })
}
