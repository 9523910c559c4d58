//! Verification: every stored body is read, and files, rows and accounts are held against each other.
//!
//! What a crash may leave by design is no damage but a loose end: a body without a row is adopted at its next hit, a row
//! without a body is forgotten at its next miss. Refuses to mend anything that it was not asked to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use super::check::Damage;
use super::check::{Haste, Verdict};
use super::commit::{Aside, Durability};
use super::fault::StoreFault;
use super::index::{IndexState, row};
use super::layout::hex;
use super::lookup::InIndex;
use super::quota::Checked;
use super::walk::Progress;
use super::{Count, Shared, Store, recover, tend};
use crate::cache::key::Key;

/// Beside requests, each piece of a body is followed by a pause: about half of the disk is theirs even where it is slow.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a file may stand in `tmp/` after its writer is gone: its deletion or its renaming is under way.
const LEFT_OVER_WAIT: Duration = Duration::from_secs(1);
const LEFT_OVER_LOOKS: u32 = 12;

/// What is done about damage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repair {
    /// Damaged bodies are set aside, the accounts and loose ends are mended.
    Mend,
    /// Nothing.
    ReportOnly,
}

/// Whether requests are served meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serving {
    /// They go first.
    Requests,
    /// There are none.
    Nobody,
}

/// Damage to one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub damage: Damage,
    /// Name of the file.
    pub file: String,
    /// What is kept there, where that is known.
    pub key: Option<Key>,
}

/// What a verification came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Bodies that were read.
    pub bodies: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Findings.
    pub damaged: u64,
    /// Bodies set aside now.
    pub set_aside: u64,
    /// Bodies without a row, or with that of another body: adopted at their next hit.
    pub without_row: u64,
    /// Rows without a body.
    pub without_body: u64,
    /// Names and lengths of the bodies that were set aside before or now, kept for somebody to look at.
    pub quarantine: Vec<(String, u64)>,
    /// State of the index; rows are looked at only while there is one.
    pub index: IndexState,
    /// Whether everything was looked at: the store did not end meanwhile, nor did whoever listens.
    pub is_complete: bool,
}

impl Store {
    /// Reads everything, and tells each finding at once. Ends early if nobody listens any more.
    pub async fn verify(
        &self,
        repair: Repair,
        serving: Serving,
        findings: &mpsc::Sender<Finding>,
        progress: &Progress,
    ) -> Report {
        let mut counted = self.shared.counted.subscribe();
        let _ = counted.wait_for(|count| *count == Count::Done).await;
        // One that takes longer to open is looked at without its rows.
        let limit = self.shared.settings.index_deadline;
        let _ = tokio::time::timeout(limit, self.shared.index.settled()).await;
        let mut verification = Verification {
            shared: &self.shared,
            repair,
            haste: match serving {
                Serving::Nobody => Haste::Urgent,
                Serving::Requests => Haste::Pausing(PAUSE),
            },
            findings,
            progress,
            report: Report {
                bodies: 0,
                bytes: 0,
                damaged: 0,
                set_aside: 0,
                without_row: 0,
                without_body: 0,
                quarantine: Vec::new(),
                index: self.shared.index.state(),
                is_complete: false,
            },
        };
        verification.report.is_complete = verification.run().await.is_some();
        verification.report
    }

    /// Completes once the index is open and everything is counted, or there will be none.
    pub async fn ready(&self) {
        let mut counted = self.shared.counted.subscribe();
        let _ = counted.wait_for(|count| *count == Count::Done).await;
        while matches!(
            self.usage().index,
            IndexState::Opening | IndexState::Rebuilding
        ) {
            if self.shared.pause(Duration::from_millis(20)).await {
                return;
            }
        }
    }
}

/// A verification under way.
struct Verification<'a> {
    shared: &'a Arc<Shared>,
    repair: Repair,
    haste: Haste,
    findings: &'a mpsc::Sender<Finding>,
    progress: &'a Progress,
    report: Report,
}

impl Verification<'_> {
    /// `None` if it ended early.
    async fn run(&mut self) -> Option<()> {
        for folder in 0..=u8::MAX {
            let keys = recover::list(self.shared, folder).await;
            for key in &keys {
                self.body(*key).await?;
            }
            self.accounts(folder, &keys).await?;
            self.foreign(folder).await?;
        }
        self.rows().await?;
        self.left_over().await?;
        let layout = self.shared.layout.clone();
        let listed = self.shared.quiet(move || layout.quarantined()).await;
        self.report.quarantine = listed.unwrap_or_default();
        Some(())
    }

    async fn tell(&mut self, damage: Damage, file: String, key: Option<Key>) -> Option<()> {
        self.report.damaged += 1;
        let finding = Finding { damage, file, key };
        self.findings.send(finding).await.ok()
    }

    /// Reads one body and looks at its row.
    async fn body(&mut self, key: [u8; 32]) -> Option<()> {
        let shared = self.shared;
        let verdict = shared.check_body(key, self.haste, self.progress).await;
        self.progress.add(1, 0);
        match verdict {
            Verdict::Ending => None,
            Verdict::Gone => Some(()),
            Verdict::Bad(damage, known) => {
                if self.repair == Repair::Mend && damage != Damage::Unreadable {
                    shared.set_rotten_aside(key, known.as_ref(), damage).await;
                    self.report.set_aside += 1;
                }
                self.tell(damage, hex(&key), known.map(|(key, _)| key))
                    .await
            }
            Verdict::Good(opened) => {
                let entry = &opened.trailer.entry;
                self.report.bodies += 1;
                self.report.bytes += entry.body_bytes;
                shared.quota.set_checked(&key);
                if shared.is_counted_right(key).await == Some(false) {
                    if self.repair == Repair::Mend {
                        shared.count_right(key).await;
                    }
                    let name = Some(entry.key.clone());
                    self.tell(Damage::Accounts, hex(&key), name).await?;
                }
                self.row_of(key, &entry.key, entry.sequence).await;
                Some(())
            }
        }
    }

    /// Whether a body has its row. One on its way counts as there.
    async fn row_of(&mut self, key: [u8; 32], name: &Key, sequence: u64) {
        let shared = self.shared;
        let settled = shared.pending.below(0);
        let is_good = match shared.read_row(name).await {
            InIndex::Row(row) => row.sequence == sequence,
            InIndex::Nothing => false,
            InIndex::Silent => true,
        };
        if is_good || shared.overlay.contains(&key) {
            return;
        }
        let _ = tokio::time::timeout(shared.settings.index_deadline, settled).await;
        let is_good = match shared.read_row(name).await {
            InIndex::Row(row) => row.sequence >= sequence,
            InIndex::Nothing => !shared.quota.contains(&key),
            InIndex::Silent => true,
        };
        if !is_good {
            self.report.without_row += 1;
            if self.repair == Repair::Mend {
                tend::adopt(shared, key).await;
            }
        }
    }

    /// Bodies that are counted and not there.
    async fn accounts(&mut self, folder: u8, keys: &[[u8; 32]]) -> Option<()> {
        let listed: HashSet<&[u8; 32]> = keys.iter().collect();
        let is_missing =
            |key: &[u8; 32]| super::layout::fold(key) == folder && !listed.contains(key);
        for key in self.shared.quota.keys(is_missing) {
            if self.shared.is_counted_right(key).await == Some(false) {
                if self.repair == Repair::Mend {
                    self.shared.count_right(key).await;
                }
                self.tell(Damage::Accounts, hex(&key), None).await?;
            }
        }
        Some(())
    }

    /// Files among the bodies that are none.
    async fn foreign(&mut self, folder: u8) -> Option<()> {
        let layout = self.shared.layout.clone();
        let list = move || layout.foreign_in(folder);
        for file in self.shared.quiet(list).await.unwrap_or_default() {
            self.tell(Damage::Foreign, file, None).await?;
        }
        Some(())
    }

    /// Rows without a body.
    async fn rows(&mut self) -> Option<()> {
        let shared = self.shared;
        let Some(live) = shared.index.live() else {
            return Some(());
        };
        let mut names = Vec::new();
        let scanned = tend::scan(shared, &live, row::ENTRY, |name, _| {
            let key = name.get(1..).and_then(|key| key.first_chunk::<32>());
            names.extend(key.filter(|key| !shared.quota.contains(key)));
        });
        if let Err(fault) = scanned.await {
            tracing::warn!(%fault, "the rows could not be read");
            return Some(());
        }
        for key in names {
            let guard = shared
                .locks
                .lock(&key, shared.settings.index_deadline)
                .await;
            let Ok(_guard) = guard else {
                continue;
            };
            let layout = shared.layout.clone();
            let is_there = shared.quiet(move || Ok(layout.has_body(&key))).await;
            let is_orphan = is_there == Ok(false)
                && !shared.overlay.contains(&key)
                && !shared.pending.has(&row::entry(&key));
            if is_orphan {
                self.report.without_body += 1;
                if self.repair == Repair::Mend {
                    shared.change(row::entry(&key), None, None);
                }
            }
        }
        Some(())
    }

    /// Files in `tmp/` that nobody writes.
    async fn left_over(&mut self) -> Option<()> {
        let mut left: Option<HashSet<String>> = None;
        for _ in 0..LEFT_OVER_LOOKS {
            let layout = self.shared.layout.clone();
            let list = move || layout.temporary_files();
            let files = self.shared.quiet(list).await.unwrap_or_default();
            let owned = &self.shared.temporary_files;
            let abandoned = files.into_iter().filter(|name| !owned.has(name));
            let now: HashSet<String> = match &left {
                None => abandoned.collect(),
                Some(before) => abandoned.filter(|name| before.contains(name)).collect(),
            };
            if now.is_empty() {
                return Some(());
            }
            left = Some(now);
            if self.shared.pause(LEFT_OVER_WAIT).await {
                return None;
            }
        }
        let mut left: Vec<String> = left.unwrap_or_default().into_iter().collect();
        left.sort();
        for file in left {
            if self.repair == Repair::Mend {
                let layout = self.shared.layout.clone();
                let name = file.clone();
                let _ = self
                    .shared
                    .quiet(move || layout.remove_temporary(&name))
                    .await;
            }
            self.tell(Damage::Temporary, file, None).await?;
        }
        Some(())
    }
}

impl Shared {
    /// Sets a damaged body aside and counts it.
    pub(super) async fn set_rotten_aside(
        self: &Arc<Self>,
        key: [u8; 32],
        known: Option<&(Key, u64)>,
        damage: Damage,
    ) {
        self.io.faults.count(StoreFault::Rotten);
        self.set_aside(Aside {
            file: &key,
            key: known.map(|(key, _)| key),
            sequence: known.map(|(_, sequence)| *sequence),
            why: damage.word(),
        })
        .await;
    }

    /// Counts a body with the blocks that it takes; one that is gone is forgotten.
    async fn count_right(self: &Arc<Self>, key: [u8; 32]) {
        let limit = self.settings.index_deadline;
        let Ok(guard) = self.locks.lock(&key, limit).await else {
            return;
        };
        let shared = Arc::clone(self);
        let count = move || {
            let _guard = guard;
            let Some(opened) = shared.layout.open(&key)? else {
                return Ok(shared.layout.has_body(&key));
            };
            let keep = shared.pins.keep(&opened.trailer.entry.key);
            let before = shared
                .quota
                .insert(&key, opened.disk_bytes, Checked::Yes, keep, None);
            // Nothing was deleted, so nothing lingers.
            shared.quota.lingered(before);
            Ok(true)
        };
        if self.quiet(count).await == Ok(false)
            && let Err(fault) = self.delete(&key, Durability::None).await
        {
            tracing::warn!(%fault, "a body that is gone could not be forgotten");
        }
    }
}
