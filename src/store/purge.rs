//! Removing what an operator chooses: purging, after which it does not come back, and trimming, which is eviction by hand.
//!
//! Refuses to raise an epoch: whoever purges does that first.

use std::sync::Arc;

use super::commit::{Aside, Durability};
use super::fault::StoreFault;
use super::index::row;
use super::quota::{Keep, UnusedSince};
use super::walk::{Choice, Kept, Met, Progress, Removed};
use super::{Shared, Store, recover, tend};
use crate::cache::entry::Entry;
use crate::clock::Clock;

/// Since when a body must not have been used to be trimmed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeepUsedSince {
    /// This time ago; to the hour, for uses are known to the hour.
    Ago(std::time::Duration),
    /// The start of this process.
    Start,
}

impl KeepUsedSince {
    fn hour(self, clock: &Clock) -> UnusedSince {
        match self {
            Self::Ago(time) => {
                let then = clock.now().checked_sub(time);
                UnusedSince::Hour(then.map_or(0, tend::hour))
            }
            Self::Start => UnusedSince::Start,
        }
    }
}

impl Store {
    /// Removes what is chosen: bodies, rows, absences; of what is chosen by name alone, bodies under way are not stored
    /// either. Durable when this returns.
    pub async fn purge(&self, choice: &Choice, progress: &Progress) -> Removed {
        let shared = &self.shared;
        let mut removed = Removed::default();
        if !choice.is_by_age() {
            shared.writers.drop_where(|key| choice.takes_key(key));
            shared.partials.forget_where(|key| choice.takes_key(key));
        }
        removed.absences = shared.purge_absences(choice).await;
        for stored in shared.overlay.all() {
            if choice.takes(Kept::Entry(&stored.entry)) {
                shared
                    .remove_chosen(&stored.entry, &mut removed, progress)
                    .await;
            }
        }
        for folder in 0..=u8::MAX {
            let before = removed.total();
            for key in recover::list(shared, folder).await {
                if choice.scope().holds(&key) {
                    shared.purge_one(key, choice, &mut removed, progress).await;
                }
            }
            let layout = shared.layout.clone();
            if removed.total() > before
                && shared
                    .quiet(move || layout.sync_shard(folder))
                    .await
                    .is_err()
            {
                tracing::warn!("a purge may not outlive a power cut");
            }
            if shared.is_ending() {
                break;
            }
        }
        removed
    }

    /// Evicts every body that was not used since then and is not pinned.
    pub async fn trim(&self, keep: KeepUsedSince, progress: &Progress) -> Removed {
        let shared = &self.shared;
        let mut removed = Removed::default();
        for key in shared.quota.idle(keep.hour(&shared.clock)) {
            if let Ok(Met::Entry(entry)) = shared.meet(key).await {
                shared.remove_chosen(&entry, &mut removed, progress).await;
            }
            if shared.is_ending() {
                break;
            }
        }
        removed
    }
}

impl Removed {
    fn total(&self) -> u64 {
        self.feeds.values().map(|tally| tally.responses).sum()
    }
}

impl Shared {
    async fn purge_one(
        self: &Arc<Self>,
        key: [u8; 32],
        choice: &Choice,
        removed: &mut Removed,
        progress: &Progress,
    ) {
        match self.meet(key).await {
            Ok(Met::Entry(entry)) if choice.takes(Kept::Entry(&entry)) => {
                self.remove_chosen(&entry, removed, progress).await;
            }
            Ok(Met::Rotten) => {
                self.set_aside(Aside {
                    file: &key,
                    key: None,
                    sequence: None,
                    why: StoreFault::Rotten.word(),
                })
                .await;
            }
            Ok(Met::Entry(_) | Met::Gone) => progress.add(1, 0),
            Err(fault) => {
                removed.failed += 1;
                tracing::warn!(%fault, "a stored response could not be looked at");
            }
        }
    }

    async fn remove_chosen(
        self: &Arc<Self>,
        entry: &Entry,
        removed: &mut Removed,
        progress: &Progress,
    ) {
        match self.delete(entry.key.bytes(), Durability::None).await {
            Ok(deleted) if deleted.entries > 0 => {
                let tally = removed
                    .feeds
                    .entry(entry.key.feed().to_owned())
                    .or_default();
                tally.responses += 1;
                tally.bytes += deleted.freed;
                removed.pinned += u64::from(self.pins.keep(&entry.key) == Keep::Pinned);
                progress.add(1, deleted.freed);
            }
            Ok(_) => {}
            Err(fault) => {
                removed.failed += 1;
                tracing::warn!(key = ?entry.key, %fault, "a stored response could not be removed");
            }
        }
    }

    /// Forgets the chosen absences; says how many.
    async fn purge_absences(self: &Arc<Self>, choice: &Choice) -> u64 {
        let in_index = match choice.is_plain() {
            true => None,
            false => self.absences_in_index().await,
        };
        let gone: Vec<[u8; 32]> = match in_index {
            // Without their names, all of the scope go: that costs questions and nothing else.
            None => self.absences.forget_where(|key| choice.scope().holds(key)),
            Some(found) => found
                .into_iter()
                .filter(|(key, absence)| choice.takes(Kept::Absence(key, absence)))
                .filter_map(|(key, _)| self.absences.forget(&key))
                .collect(),
        };
        for key in &gone {
            self.change(row::absence(key), None, None);
        }
        gone.len().try_into().unwrap_or(u64::MAX)
    }
}
