//! The numbers of the store, for metrics and readiness. Refuses to judge them.

use std::sync::atomic::{AtomicU64, Ordering};

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
