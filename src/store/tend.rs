//! The index's life: opening, loading, rebuilding, writing, dying; and the store's upkeep.
//!
//! Each is a tracked task. Refuses to let any of it delay a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::fault::StoreFault;
use super::index::{Burial, Live, MAX_VALUE_BYTES, row};
use super::lookup::adopted;
use super::marks::MarkKind;
use super::pending::Pace;
use super::quota::Checked;
use super::record::{GateRow, Row, decode_absence, decode_mark, decode_proof};
use super::settings::Step;
use super::{Count, Shared, pins, recover, space};
use crate::cache::proof::ProofKey;
use crate::platform;

/// Rows that one scan of the index loads: a few milliseconds.
const SCAN_STEP: usize = 4096;
/// While more rows than this wait, a rebuild waits too: requests' rows go first.
const REBUILD_BACKLOG: usize = 256;
/// Bodies that one call of a rebuild opens.
const REBUILD_STEP: usize = 64;
/// moka keeps what is not asked for until its upkeep runs.
const MEMORY_UPKEEP: Duration = Duration::from_secs(1);
/// Pins are looked at, uses are written and the index is measured this often: a few calls that touch no body.
const DISK_UPKEEP: Duration = Duration::from_secs(60);

impl Shared {
    /// Gives up the index in folder `number` and tries the next.
    pub(super) fn index_died(self: &Arc<Self>, number: u64, fault: StoreFault) {
        let burial = self.index.bury(number, fault);
        if burial == Burial::Already {
            return;
        }
        if fault == StoreFault::DiskFull {
            let shared = Arc::clone(self);
            self.io.tasks.spawn("dead index", async move {
                let folder = shared.layout.index(number);
                let _ = shared.quiet(move || space::empty_index(&folder)).await;
            });
        }
        // Nobody waits for proofs of an index that is no more.
        self.proofs.end_loading();
        let dropped = self.pending.drain();
        tracing::warn!(%fault, number, rows = dropped.len(), ?burial, "the index died");
        self.settle_changes(dropped.iter());
        if let Burial::Next(next) = burial
            && !self.is_ending()
        {
            let shared = Arc::clone(self);
            self.io.tasks.spawn("index", open_index(shared, next));
        }
    }

    pub(super) fn put_gate(&self, gate: &GateRow) {
        self.change(row::gate(gate), Some(gate.encode()), None);
    }
}

/// Opens the index, loads what lives in memory, adds rows of bodies that it does not know.
pub(super) async fn open_index(shared: Arc<Shared>, number: u64) {
    let limit = shared.settings.index_deadline;
    let live = loop {
        if !shared.wait_for_index_room(space::OPEN_BYTES).await {
            return;
        }
        let folder = shared.layout.index(number);
        let open = move || Live::open(&folder, number);
        match shared.io.call(Step::IndexOpen, limit, open).await {
            Ok(live) => break Arc::new(live),
            // Somebody was faster. Nothing is lost but time.
            Err(StoreFault::DiskFull) if shared.wait_on_full_disk().await => {}
            Err(fault) => return shared.index_died(number, fault),
        }
    };
    if !shared.index.opened(&live) {
        // The store was closed meanwhile.
        let close = move || {
            live.close();
            Ok(())
        };
        let _ = shared.quiet(close).await;
        return;
    }
    if let Err(fault) = load(&shared, &live).await {
        return shared.index_died(number, fault);
    }
    let marker = {
        let live = Arc::clone(&live);
        let read = move || live.read(row::REBUILT);
        shared.io.call(Step::IndexRead, limit, read).await
    };
    match marker {
        Err(fault) => return shared.index_died(number, fault),
        Ok(Some(_)) => {}
        Ok(None) => {
            for gate in shared.gates.rows() {
                shared.put_gate(&gate);
            }
            shared.put_proofs();
            for kind in MarkKind::ALL {
                for mark in shared.marks.of(kind).all() {
                    shared.put_mark(kind, &mark);
                }
            }
            if !rebuild(&shared, number).await {
                return;
            }
            shared.change(row::REBUILT.to_vec(), Some(vec![1]), None);
        }
    }
    shared.index.rebuilt(number);
    measure(&shared).await;
}

/// Loads epochs, absences, marks, proofs, and, once the bodies are counted, their last uses.
async fn load(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), StoreFault> {
    let now = shared.clock.now();
    scan(shared, live, row::GATE, |_, value| {
        if let Some(gate) = GateRow::decode(value)
            && let Some(changed) = shared.gates.load(&gate, now)
        {
            shared.put_gate(&changed);
        }
    })
    .await?;
    scan(shared, live, row::ABSENCE, |_, value| {
        if let Some((key, absence)) = decode_absence(value) {
            for gone in shared.absences.load(&key, &absence) {
                shared.change(row::absence(&gone), None, None);
            }
        }
    })
    .await?;
    load_marks(shared, live).await?;
    load_proofs(shared, live).await?;
    let mut counted = shared.counted.subscribe();
    let _ = counted.wait_for(|count| *count == Count::Done).await;
    let mut uses: Vec<([u8; 32], u32)> = Vec::new();
    scan(shared, live, row::USE, |name, value| {
        let key = name.get(1..).and_then(|key| key.first_chunk::<32>());
        let hour = value.first_chunk::<4>();
        if let (Some(key), Some(hour)) = (key, hour) {
            uses.push((*key, u32::from_le_bytes(*hour)));
        }
    })
    .await?;
    for (key, hour) in uses {
        if shared.quota.contains(&key) {
            shared.quota.load_use(&key, hour);
        } else {
            // Its body was evicted or deleted since.
            shared.change(row::last_use(&key), None, None);
        }
    }
    for mark in MarkKind::ALL
        .map(|kind| shared.marks.of(kind).all())
        .concat()
    {
        // Its body went without the row that told so.
        if !shared.quota.contains(mark.key.bytes()) && !shared.overlay.contains(mark.key.bytes()) {
            shared.end_marks(mark.key.bytes());
        }
    }
    shared.quota.end_counting();
    Ok(())
}

async fn load_marks(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), StoreFault> {
    for kind in MarkKind::ALL {
        let marks = shared.marks.of(kind);
        scan(shared, live, kind.letter(), |name, value| {
            let Some(mark) = decode_mark(value) else {
                return;
            };
            if !marks.load(mark) {
                shared.change(name.to_vec(), None, None);
            }
        })
        .await?;
        marks.end_loading();
    }
    Ok(())
}

async fn load_proofs(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), StoreFault> {
    scan(shared, live, row::PROOF, |name, value| {
        let key = name.get(1..).and_then(|key| key.first_chunk::<32>());
        if let (Some(key), Some(proven_at)) = (key, decode_proof(value)) {
            for gone in shared.proofs.load(ProofKey::from_bytes(*key), proven_at) {
                shared.change(row::proof(&gone), None, None);
            }
        }
    })
    .await?;
    shared.proofs.end_loading();
    Ok(())
}

pub(super) async fn scan(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    kind: u8,
    mut see: impl FnMut(&[u8], &[u8]),
) -> Result<(), StoreFault> {
    let limit = shared.settings.index_deadline;
    let mut after = None;
    loop {
        let (reader, from) = (Arc::clone(live), after.take());
        let read = move || reader.scan(kind, from, SCAN_STEP);
        let rows = shared.io.call(Step::IndexRead, limit, read).await?;
        for (name, value) in &rows {
            see(name, value);
        }
        if rows.len() < SCAN_STEP {
            return Ok(());
        }
        after = rows.into_iter().next_back().map(|(name, _)| name);
    }
}

/// Adds a row for every body without one; `false` if the index was given up or the process ends meanwhile.
async fn rebuild(shared: &Arc<Shared>, number: u64) -> bool {
    for folder in 0..=u8::MAX {
        let mut keys = recover::list(shared, folder).await;
        while !keys.is_empty() {
            let step = keys.split_off(keys.len().saturating_sub(REBUILD_STEP));
            for key in step {
                adopt(shared, key).await;
            }
            while shared.pending.waiting() > REBUILD_BACKLOG {
                shared.pending.below(REBUILD_BACKLOG).await;
            }
            if shared.is_ending() || shared.index.number() != number {
                return false;
            }
        }
    }
    // The marker must not be durable before the rows are; batches keep the order.
    shared.index.live().is_some()
}

/// Writes the row of one body, as its trailer tells it or as this process knows it better.
pub(super) async fn adopt(shared: &Arc<Shared>, key: [u8; 32]) {
    let limit = shared.settings.index_deadline;
    let Ok(_guard) = shared.locks.lock(&key, limit).await else {
        return;
    };
    let layout = shared.layout.clone();
    let open = move || layout.open(&key);
    // A damaged one is set aside by the lookup that hits it.
    let Ok(Some(opened)) = shared.quiet(open).await else {
        return;
    };
    let entry = adopted(&opened);
    shared.saw_sequence(entry.sequence);
    let sequence = entry.sequence;
    if shared.overlay.contains(&key) {
        // Its own row is on its way.
        return;
    }
    let entry = match shared.held(&entry.key) {
        Some(known) if known.entry.sequence == sequence => (*known.entry).clone(),
        Some(_) | None => entry,
    };
    if !shared.quota.contains(&key) {
        let keep = shared.pins.keep(&entry.key);
        shared
            .quota
            .insert(&key, opened.disk_bytes, Checked::No, keep, None);
    }
    let value = Row::encode(&entry, MAX_VALUE_BYTES);
    shared.change(row::entry(&key), Some(value), None);
}

/// The one writer of the index.
pub(super) async fn write_rows(shared: Arc<Shared>) {
    while shared.pending.ready().await {
        let Some(live) = shared.index.settled().await else {
            let dropped = shared.pending.drain();
            shared.settle_changes(dropped.iter());
            continue;
        };
        if !shared.wait_for_index_room(space::ROW_BYTES).await {
            let dropped = shared.pending.drain();
            tracing::warn!(rows = dropped.len(), "rows were given up on a full disk");
            shared.settle_changes(dropped.iter());
            continue;
        }
        let limit = shared.settings.index_deadline;
        let batch = Arc::new(shared.pending.take(shared.clock.instant()));
        let (writer, changes) = (Arc::clone(&live), Arc::clone(&batch));
        let write = move || writer.write(&changes);
        let written = shared.io.call(Step::Row, limit, write).await;
        shared.settle_changes(batch.changes.iter().map(|(_, change)| change));
        shared.pending.settle();
        match written {
            Ok(()) => {
                let rows = u64::try_from(batch.changes.len()).unwrap_or(u64::MAX);
                shared.written_rows.fetch_add(rows, Ordering::Relaxed);
            }
            Err(fault) => shared.index_died(live.number, fault),
        }
    }
}

/// Keeps the memory tier in order, writes uses, measures the index.
pub(super) async fn keep_up(shared: Arc<Shared>) {
    let layout = shared.layout.clone();
    let (ballast, min_free) = (
        shared.settings.ballast_bytes,
        shared.limits.min_free_bytes(),
    );
    let _ = shared
        .quiet(move || recover::make_ballast(&layout, ballast, min_free))
        .await;
    let mut since_disk = Duration::ZERO;
    while !shared.pause(MEMORY_UPKEEP).await {
        shared.answers.maintain();
        shared.partials.forget_old(shared.clock.instant());
        shared.quota.set_hour(hour(shared.clock.now()));
        shared.shrink().await;
        since_disk += MEMORY_UPKEEP;
        if since_disk >= DISK_UPKEEP {
            since_disk = Duration::ZERO;
            shared.write_uses();
            shared.open_bodies.sweep();
            shared.warn_of_shortage();
            pins::watch(&shared).await;
            measure(&shared).await;
        }
    }
}

/// Measures what is on the disk beside the bodies, and the room that is left.
async fn measure(shared: &Arc<Shared>) {
    let (layout, number) = (shared.layout.clone(), shared.index.number());
    let measure = move || {
        let space = platform::space(layout.root(), layout.portability);
        Ok((recover::overhead_bytes(&layout, number), space))
    };
    if let Ok((overhead, space)) = shared.quiet(measure).await {
        shared.quota.set_overhead(overhead);
        let free = space.map_or(u64::MAX, |space| space.free);
        shared.free_bytes.store(free, Ordering::Relaxed);
    }
}

impl Shared {
    /// Queues the rows of uses noted since the last time.
    pub(super) fn write_uses(&self) {
        let uses: HashMap<[u8; 32], u32> = std::mem::take(&mut *self.lock_uses());
        for (key, hour) in uses {
            if self.quota.contains(&key) {
                let value = hour.to_le_bytes().to_vec();
                self.change(row::last_use(&key), Some(value), None);
            }
        }
    }

    /// Ends the writer once nothing can come any more, and every other task at once.
    pub(super) fn end(&self) {
        self.ending.send_replace(true);
        self.partials.clear();
        self.pending.set_pace(Pace::End);
    }
}

/// Ends the store's tasks when the process drains.
pub(super) async fn end_on_drain(shared: Arc<Shared>) {
    let tasks = shared.io.tasks.clone();
    tokio::select! {
        () = tasks.draining() => {}
        () = shared.ended() => {}
    }
    shared.write_uses();
    shared.pending.set_pace(Pace::Hurry);
    // Every writer and every publication holds a permit: with all of them back, no row can come.
    let all = shared.max_pending;
    let _ = tokio::select! {
        all = Arc::clone(&shared.permits).acquire_many_owned(all) => Some(all),
        () = shared.ended() => None,
    };
    shared.end();
}

/// Hours since 1970.
pub(super) fn hour(now: SystemTime) -> u32 {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(since.as_secs() / 3600).unwrap_or(u32::MAX)
}
