//! Bodies that broke off: kept for a while, so that a later fetch of their key goes on where they ended.
//!
//! A partial body keeps its temporary file, its hashes and its room, which counts as that of a body under way does and is
//! the first to go. None outlives the process: the folder of temporary files is cleared at a start. Refuses to know
//! whether the rest that somebody brings belongs to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::write::{BodyWriter, Parts};
use crate::cache::key::Key;

/// How long a partial body is kept: a client that gave up, and the build behind it, are back within minutes.
const KEEP_TIME: Duration = Duration::from_secs(15 * 60);
/// Each holds a file open.
const MAX_PARTIALS: usize = 32;
/// Part of the cap that all of them may hold: they displace what is known to be whole.
const ROOM_SHARE: u64 = 4;

/// A body that broke off. Dropping it deletes it.
#[derive(Debug)]
pub struct Partial {
    shared: Arc<Shared>,
    number: u64,
    written: u64,
}

/// The partial bodies of a store, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Partials(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    kept: VecDeque<Kept>,
    next_number: u64,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    until: Instant,
    parts: Parts,
}

impl Partials {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in, and gives its number and what had to go for it. `None` if it takes more than `max_bytes` by itself.
    fn add(&self, parts: Parts, until: Instant, max_bytes: u64) -> Option<(u64, Vec<Kept>)> {
        let bytes = parts.reserved;
        let left = max_bytes.checked_sub(bytes)?;
        let mut gone = Vec::new();
        let mut table = self.lock();
        while table.kept.len() >= MAX_PARTIALS || table.bytes() > left {
            gone.push(table.kept.pop_front()?);
        }
        let number = table.next_number;
        table.next_number += 1;
        table.kept.push_back(Kept {
            number,
            until,
            parts,
        });
        Some((number, gone))
    }

    /// Those that `goes` names, taken out.
    fn take_all(&self, goes: impl Fn(&Kept) -> bool) -> Vec<Kept> {
        let mut table = self.lock();
        let (gone, kept) = std::mem::take(&mut table.kept)
            .into_iter()
            .partition::<VecDeque<_>, _>(goes);
        table.kept = kept;
        gone.into()
    }

    fn pop_oldest(&self) -> Option<Parts> {
        Some(self.lock().kept.pop_front()?.parts)
    }

    /// How many there are, and the bytes that are reserved for them.
    pub(super) fn sums(&self) -> (usize, u64) {
        let table = self.lock();
        (table.kept.len(), table.bytes())
    }

    /// Deletes all of them.
    pub(super) fn clear(&self) {
        drop(self.take_all(|_| true));
    }

    /// Deletes those whose key is chosen.
    pub(super) fn forget_where(&self, chosen: impl Fn(&Key) -> bool) {
        drop(self.take_all(|kept| chosen(kept.parts.place.key())));
    }

    /// Deletes those whose time is over.
    pub(super) fn forget_old(&self, now: Instant) {
        drop(self.take_all(|kept| kept.until <= now));
    }
}

impl Table {
    fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.parts.reserved).sum()
    }
}

impl Partial {
    /// Bytes that it has.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether it is still there: its time may be over, or its room needed.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let now = self.shared.clock.instant();
        let table = self.shared.partials.lock();
        let mut kept = table.kept.iter();
        kept.any(|kept| kept.number == self.number && kept.until > now)
    }

    /// Goes on writing behind its last byte, under a sequence drawn now. `None` if it is no longer kept.
    pub async fn resume(self) -> Option<BodyWriter> {
        if !self.is_kept() {
            return None;
        }
        let permit = self.shared.permit().await.ok()?;
        let parts = self.take()?;
        let sequence = self.shared.draw_sequence();
        Some(BodyWriter::from_parts(parts, sequence, permit))
    }

    fn take(&self) -> Option<Parts> {
        let mut taken = self
            .shared
            .partials
            .take_all(|kept| kept.number == self.number);
        Some(taken.pop()?.parts)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl BodyWriter {
    /// Keeps what was written for a quarter of an hour, for a later fetch to go on with. `None` if that cannot be: nothing
    /// was written, a write failed, or it takes more room than partial bodies may.
    pub async fn keep(self) -> Option<Partial> {
        let (shared, written) = (Arc::clone(self.shared()), self.written());
        if written == 0 || shared.is_ending() {
            return None;
        }
        let parts = self.take_apart().await?;
        let until = shared.clock.instant() + KEEP_TIME;
        let max_bytes = shared.quota.sums().cap / ROOM_SHARE;
        let (number, gone) = shared.partials.add(parts, until, max_bytes)?;
        drop(gone);
        Some(Partial {
            shared,
            number,
            written,
        })
    }
}

impl Shared {
    /// Deletes the oldest partial body for its room; `false` if there is none.
    pub(super) async fn drop_partial(&self) -> bool {
        let Some(parts) = self.partials.pop_oldest() else {
            return false;
        };
        let Parts {
            place,
            temporary,
            reserved,
            ..
        } = parts;
        tracing::debug!(key = ?place.key(), bytes = reserved, "a partial body goes for its room");
        // Its room is given back when it is closed, at the end of this call.
        temporary.delete().await;
        true
    }
}
