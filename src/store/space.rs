//! Room for the index on a disk that is full: rows wait for it, and bodies go for it.
//!
//! An index that runs out of room in the middle of a write is lost and must be rebuilt. So rows wait while there is
//! little, blocks or names of files, whoever took them; what is evicted can be fetched again. Refuses to let a request
//! wait with them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Count, Shared};
use crate::platform;

/// An index is not opened with less room than this: sled writes about this much before its first row.
pub(super) const OPEN_BYTES: u64 = 8 << 20;
/// Rows are not written with less: some segments of sled's log, half a MiB each, and a snapshot.
pub(super) const ROW_BYTES: u64 = 4 << 20;
/// Nor with fewer names of files left; sled makes two at a time.
const NAMES: u64 = 16;
/// Bodies leave this free however low the setting is: else they would take what the index waits for.
pub(super) const FLOOR_BYTES: u64 = 2 * OPEN_BYTES;
/// How often a full disk is looked at again.
const POLL: Duration = Duration::from_secs(5);

/// Whether the index waits for room.
#[derive(Debug, Default)]
pub(super) struct Scarcity(AtomicBool);

/// What is missing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Missing {
    bytes: u64,
    names: u64,
}

impl Scarcity {
    pub(super) fn is_waited_out(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Waits until the disk has `bytes` for the index; `false` if the process ends first.
    pub(super) async fn wait_for_index_room(self: &Arc<Self>, bytes: u64) -> bool {
        if self.missing_for_index(bytes).await.is_none() {
            return true;
        }
        self.scarcity.0.store(true, Ordering::Relaxed);
        tracing::warn!("the disk is full: the index waits for room");
        let made = loop {
            let Some(missing) = self.missing_for_index(bytes).await else {
                break true;
            };
            if *self.counted.borrow() == Count::Done {
                self.evict_for_index(missing.bytes, missing.names).await;
                if self.missing_for_index(bytes).await.is_none() {
                    break true;
                }
            }
            if self.pause(POLL).await {
                break false;
            }
        };
        self.scarcity.0.store(false, Ordering::Relaxed);
        made
    }

    /// Waits before a full disk is tried again; `false` if the process ends first.
    pub(super) async fn wait_on_full_disk(&self) -> bool {
        self.scarcity.0.store(true, Ordering::Relaxed);
        let is_over = self.pause(POLL).await;
        self.scarcity.0.store(false, Ordering::Relaxed);
        !is_over
    }

    async fn missing_for_index(&self, bytes: u64) -> Option<Missing> {
        let (layout, probe) = (self.layout.clone(), self.settings.probe.clone());
        let space = move || {
            let of_test = probe.and_then(|probe| probe.free_space());
            let space = platform::space(layout.root(), layout.portability);
            Ok(space.map(|space| (of_test.unwrap_or(space.free), space.names)))
        };
        let (free, names) = self.quiet(space).await.ok().flatten()?;
        let missing = Missing {
            bytes: bytes.saturating_sub(free),
            names: NAMES.saturating_sub(names),
        };
        (missing != Missing::default()).then_some(missing)
    }
}

/// Gives back the room of an index that died for want of room: its handle is leaked, so that deleting the files would not.
pub(super) fn empty_index(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            File::options().write(true).open(entry.path())?.set_len(0)?;
        }
    }
    Ok(())
}
