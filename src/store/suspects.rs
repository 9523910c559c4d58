//! Bodies that may be damaged: those whose first hit since the start was just answered, and those that turned out to be
//! shorter or unreadable while they were sent.
//!
//! Each is opened by name and its checksum checked behind all answers, one at a time and in small pieces; what is damaged
//! is set aside. Refuses to delay a request, and to hold open what waits.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::Stored;
use super::commit::Aside;
use super::fault::StoreFault;
use super::layout::belongs;
use super::lookup::adopted;
use super::quota::Checked;
use super::settings::Step;
use super::{Shared, Store};
use crate::cache::key::Key;

/// Bodies that wait to be checked; a full queue costs the check of some until their next hit. More than one build asks for
/// at once after a start, and some megabytes at most.
pub(super) const MAX_TO_CHECK: usize = 1 << 15;
/// Piece in which a body is read to check it: short enough that other blocking calls come between.
const CHECK_STEP: u64 = 1 << 20;

/// A body that may be damaged.
#[derive(Debug)]
pub(super) struct Suspect {
    key: Key,
    cause: Cause,
}

/// Why a body may be damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    /// It was asked for, for the first time since the start.
    FirstHit,
    /// It could not be sent to its end.
    Sending,
}

impl Store {
    /// The address token of these bytes, for a connection that calls `sendfile` (see [`crate::mapped`]); `None` while the
    /// body grows, for an empty range, beyond its end, and where the platform has no such call. Should the file turn out
    /// to be damaged while it is sent, the connection ends, and no later request gets it.
    #[must_use]
    pub fn token(&self, stored: &Stored, range: Range<u64>) -> Option<Bytes> {
        stored.body.token(range, || {
            let (to_check, key) = (self.shared.to_check.clone(), stored.entry.key.clone());
            move || {
                let suspect = Suspect {
                    key: key.clone(),
                    cause: Cause::Sending,
                };
                // With a full queue whoever is sent it next tells of it.
                to_check.try_send(suspect).is_ok()
            }
        })
    }
}

impl Shared {
    /// Has the checksum of a body checked behind its first hit since the start.
    pub(super) fn check_once(&self, stored: &Stored) {
        if !stored.body.take_check() {
            return;
        }
        let suspect = Suspect {
            key: stored.entry.key.clone(),
            cause: Cause::FirstHit,
        };
        if self.to_check.try_send(suspect).is_err() {
            // The queue is full; the next hit tries again.
            stored.body.want_check();
        }
    }

    async fn check_suspect(self: &Arc<Self>, suspect: &Suspect) {
        let key = &suspect.key;
        let (layout, bytes) = (self.layout.clone(), *key.bytes());
        let limit = self.settings.index_deadline;
        let open = move || layout.open(&bytes);
        let opened = match self.io.call(Step::Open, limit, open).await {
            Ok(Some(opened)) if belongs(&opened, key) => opened,
            // Deleted meanwhile, or of a later release.
            Ok(_) => return,
            Err(fault @ (StoreFault::Rotten | StoreFault::Truncated)) => {
                self.set_aside(Aside::nameless(key, fault.word())).await;
                return;
            }
            Err(_) => return self.check_later(key),
        };
        let entry = adopted(&opened);
        let stored = self.open(opened, entry);
        match self.checksum(&stored).await {
            Ok(Checked::Yes) => {
                self.quota.set_checked(key.bytes());
                stored.body.trust();
            }
            Ok(Checked::No) => {
                self.io.faults.count(StoreFault::Rotten);
                self.quarantine(&stored, StoreFault::Rotten.word()).await;
            }
            Err(fault @ (StoreFault::Rotten | StoreFault::Truncated)) => {
                self.quarantine(&stored, fault.word()).await;
            }
            // Who sent it could not read it either.
            Err(fault @ StoreFault::Io) if suspect.cause == Cause::Sending => {
                self.quarantine(&stored, fault.word()).await;
            }
            // The disk failed, not the body.
            Err(_) => self.check_later(key),
        }
    }

    /// Has the next hit try again.
    fn check_later(&self, key: &Key) {
        if let Some(stored) = self.handles.find(key, self.index.generation()) {
            stored.body.want_check();
            // Until then nobody knows better.
            stored.body.trust();
        }
    }

    async fn checksum(&self, stored: &Stored) -> Result<Checked, StoreFault> {
        let length = stored.body.len();
        let (mut at, mut crc) = (0, 0);
        while at < length {
            if self.is_ending() {
                return Err(StoreFault::Timeout);
            }
            let end = length.min(at + CHECK_STEP);
            let piece: Bytes = stored.body.read(at..end).await?;
            crc = crc32c::crc32c_append(crc, &piece);
            at = end;
        }
        Ok(match stored.body.crc() {
            Some(expected) if expected != crc => Checked::No,
            Some(_) | None => Checked::Yes,
        })
    }
}

/// Checks what may be damaged, until the store ends.
pub(super) async fn check_bodies(shared: Arc<Shared>, mut queue: mpsc::Receiver<Suspect>) {
    loop {
        let suspect = tokio::select! {
            suspect = queue.recv() => suspect,
            () = shared.ended() => None,
        };
        match suspect {
            Some(suspect) => shared.check_suspect(&suspect).await,
            None => return,
        }
    }
}
