//! The numbers of the store, for metrics and readiness. Refuses to judge them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::Shared;
use super::fault::StoreFault;
use super::index::IndexState;

/// How full and how well the store is.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Bytes that stored bodies take on the disk.
    pub body_bytes: u64,
    /// Stored bodies.
    pub entries: usize,
    /// Bytes held for bodies under way and for those that broke off.
    pub reserved_bytes: u64,
    /// Bodies that broke off and are kept for the rest to come.
    pub partials: usize,
    /// Bytes of the reserved ones that are held for those.
    pub partial_bytes: u64,
    /// Bytes of deleted bodies that somebody still reads.
    pub lingering_bytes: u64,
    /// Bytes of the index and of bodies set aside, as last measured.
    pub index_bytes: u64,
    /// What all of those together may take; `u64::MAX` until the default is known.
    pub max_store_bytes: u64,
    /// Room on the file system, as last measured; `u64::MAX` where that is not known.
    pub free_bytes: u64,
    /// Bodies evicted for room since the start.
    pub evictions: u64,
    /// Bytes that those took.
    pub evicted_bytes: u64,
    /// Those of them that went within a day of their last use.
    pub recent_evictions: u64,
    /// Bytes that those took.
    pub recent_evicted_bytes: u64,
    /// Bodies that pins keep.
    pub pinned: u64,
    /// Bytes that those take.
    pub pinned_bytes: u64,
    /// Bytes that the scrub has read since the start.
    pub scrubbed_bytes: u64,
    /// Damaged bodies that the scrub has found since the start.
    pub scrub_damaged: u64,
    /// When the scrub last had read everything.
    pub scrub_completed: Option<SystemTime>,
    /// State of the index.
    pub index: IndexState,
    /// Indexes given up since the start.
    pub index_deaths: u64,
    /// Rows written since the start.
    pub written_rows: u64,
    /// Rows that are not durable yet.
    pub pending_rows: usize,
    /// Entries found through the overlay, for want of a durable row.
    pub pending_entries: usize,
    /// Checked bodies that could not be stored.
    pub failed_commits: u64,
    /// Bodies found without a row.
    pub adopted: u64,
    /// Damaged bodies set aside.
    pub quarantined: u64,
    /// Remembered 404s.
    pub absences: usize,
    /// Remembered proofs of clients' credentials.
    pub proofs: usize,
    /// Bodies held open between requests.
    pub open_bodies: usize,
    /// Bytes of answers in memory.
    pub answer_bytes: u64,
    /// What those may take: the setting, less where the control group's memory is small.
    pub max_answer_bytes: u64,
    /// Answers in memory.
    pub answers: u64,
    /// How often each fault happened.
    pub faults: Vec<(StoreFault, u64)>,
}

impl Shared {
    pub(super) fn usage(&self) -> Usage {
        let sums = self.quota.sums();
        let (partials, partial_bytes) = self.partials.sums();
        let (answer_bytes, answers) = self.answers.size();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            body_bytes: sums.live,
            entries: sums.entries,
            reserved_bytes: sums.reserved,
            partials,
            partial_bytes,
            lingering_bytes: sums.lingering,
            index_bytes: sums.overhead,
            max_store_bytes: sums.cap,
            free_bytes: count(&self.free_bytes),
            evictions: sums.evictions,
            evicted_bytes: sums.evicted,
            recent_evictions: sums.recent_evictions,
            recent_evicted_bytes: sums.recent_evicted,
            pinned: sums.pinned_bodies,
            pinned_bytes: sums.pinned,
            scrubbed_bytes: self.scrubbed.bytes(),
            scrub_damaged: self.scrubbed.damaged(),
            scrub_completed: self.scrubbed.completed(),
            index: self.index.state(),
            index_deaths: count(&self.index.deaths),
            written_rows: count(&self.written_rows),
            pending_rows: self.pending.len(),
            pending_entries: self.overlay.len(),
            failed_commits: count(&self.failed_commits),
            adopted: count(&self.adopted),
            quarantined: count(&self.quarantined),
            absences: self.absences.len(),
            proofs: self.proofs.len(),
            open_bodies: self.handles.len(),
            answer_bytes,
            max_answer_bytes: self.answers.max_bytes(),
            answers,
            faults: self.io.faults.snapshot(),
        }
    }
}

impl Shared {
    /// Says, at most once a day, that what went had been used within a day, and which cap would have kept it.
    pub(super) fn warn_of_shortage(&self) {
        if let Some(shortage) = self.quota.take_shortage() {
            tracing::warn!(
                bodies = shortage.bodies,
                bytes = shortage.bytes,
                max_store_bytes = self.quota.sums().cap,
                sufficient_max_store_bytes = shortage.sufficient_cap,
                "what was used within the last 24 hours had to go for room; a max_store_bytes of that many would have kept it"
            );
        }
    }
}
