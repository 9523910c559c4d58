//! One stored body, read whole and held against what its trailer, its name and the accounts say.
//!
//! In small pieces, so that requests' reads come between. Refuses to change anything.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use ring::digest;

use super::Shared;
use super::fault::StoreFault;
use super::layout::OpenedFile;
use super::settings::Step;
use super::walk::Progress;
use crate::cache::key::Key;
use crate::platform;

/// Read in one call: short enough that other blocking calls come between.
const STEP_BYTES: u64 = 1 << 20;

/// What is wrong with what is stored.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Damage {
    /// It is counted with other blocks than it takes, or is not there at all.
    Accounts,
    /// Its bytes have another crc32c than they had when they were written.
    Checksum,
    /// Its bytes have another SHA-512.
    Digest,
    /// A file among the bodies that is none of ours.
    Foreign,
    /// Its name is that of another key.
    Name,
    /// A file of a body that nobody writes any more.
    Temporary,
    /// It ends in no trailer: it was cut, or written by somebody else.
    Trailer,
    /// The disk does not give it.
    Unreadable,
}

impl Damage {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Checksum => "checksum",
            Self::Digest => "digest",
            Self::Foreign => "foreign",
            Self::Name => "name",
            Self::Temporary => "temporary",
            Self::Trailer => "trailer",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a body turned out to be.
#[derive(Debug)]
pub(super) enum Verdict {
    /// As it should be.
    Good(Box<OpenedFile>),
    /// Deleted or replaced meanwhile, or written by a later release.
    Gone,
    /// Not as it should be, its key and sequence where they are known.
    Bad(Damage, Option<(Key, u64)>),
    /// The store ends.
    Ending,
}

/// How fast bodies are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Haste {
    /// A pause of this length after each step.
    Pausing(Duration),
    /// As fast as the disk gives them.
    Urgent,
}

impl Shared {
    /// Reads the body of this name whole.
    pub(super) async fn check_body(
        self: &Arc<Self>,
        key: [u8; 32],
        haste: Haste,
        progress: &Progress,
    ) -> Verdict {
        let layout = self.layout.clone();
        let opened = match self
            .io
            .call(Step::Open, self.settings.index_deadline, move || {
                layout.open(&key)
            })
            .await
        {
            Ok(Some(opened)) => opened,
            Ok(None) => return Verdict::Gone,
            Err(StoreFault::Rotten | StoreFault::Truncated) => {
                return self.confirmed(key, None, Damage::Trailer).await;
            }
            Err(_) => return Verdict::Bad(Damage::Unreadable, None),
        };
        let entry = &opened.trailer.entry;
        let known = (entry.key.clone(), entry.sequence);
        if *entry.key.bytes() != key {
            return Verdict::Bad(Damage::Name, Some(known));
        }
        let found = match self.hashes_of(&opened, haste, progress).await {
            Ok(Some(found)) => found,
            Ok(None) => return Verdict::Ending,
            Err(StoreFault::Truncated) => {
                return self.confirmed(key, Some(known), Damage::Trailer).await;
            }
            Err(_) => return Verdict::Bad(Damage::Unreadable, Some(known)),
        };
        let (crc, sha512) = found;
        if crc != opened.trailer.body_crc {
            return self.confirmed(key, Some(known), Damage::Checksum).await;
        }
        if sha512.as_ref() != entry.sha512 {
            return self.confirmed(key, Some(known), Damage::Digest).await;
        }
        Verdict::Good(Box::new(opened))
    }

    /// The damage, unless the body was replaced or deleted meanwhile.
    async fn confirmed(
        self: &Arc<Self>,
        key: [u8; 32],
        known: Option<(Key, u64)>,
        damage: Damage,
    ) -> Verdict {
        let layout = self.layout.clone();
        let there = self.quiet(move || layout.open(&key)).await;
        let is_same = match (&there, &known) {
            (Ok(Some(there)), Some((_, sequence))) => there.trailer.entry.sequence == *sequence,
            (Ok(_), _) => false,
            (Err(_), _) => true,
        };
        if is_same {
            Verdict::Bad(damage, known)
        } else {
            Verdict::Gone
        }
    }

    /// crc32c and SHA-512 of a body; `None` if the store ends meanwhile.
    async fn hashes_of(
        self: &Arc<Self>,
        opened: &OpenedFile,
        haste: Haste,
        progress: &Progress,
    ) -> Result<Option<(u32, digest::Digest)>, StoreFault> {
        let file = Arc::new(
            opened
                .file
                .try_clone()
                .map_err(|error| StoreFault::from(&error))?,
        );
        let length = opened.trailer.entry.body_bytes;
        let mut state = (0, digest::Context::new(&digest::SHA512));
        let mut at = 0;
        while at < length {
            let end = length.min(at + STEP_BYTES);
            let file: Arc<File> = Arc::clone(&file);
            let work = move || {
                let (crc, mut sha512) = state;
                let mut buffer = vec![0; usize::try_from(end - at).unwrap_or(0)];
                platform::read_exact_at(&file, &mut buffer, at)?;
                sha512.update(&buffer);
                Ok((crc32c::crc32c_append(crc, &buffer), sha512))
            };
            state = self
                .io
                .call(Step::Read, self.settings.body_deadline, work)
                .await?;
            progress.add(0, end - at);
            at = end;
            let is_ending = match haste {
                Haste::Pausing(time) => self.pause(time).await,
                Haste::Urgent => self.is_ending(),
            };
            if is_ending {
                return Ok(None);
            }
        }
        let (crc, sha512) = state;
        Ok(Some((crc, sha512.finish())))
    }

    /// Whether a body is counted with the blocks that it takes. `None` if it was replaced or deleted meanwhile, or cannot
    /// be looked at. Nobody changes it while this looks.
    pub(super) async fn is_counted_right(self: &Arc<Self>, key: [u8; 32]) -> Option<bool> {
        let limit = self.settings.index_deadline;
        let guard = self.locks.lock(&key, limit).await.ok()?;
        let shared = Arc::clone(self);
        let look = move || {
            let _guard = guard;
            let on_disk = shared.layout.disk_bytes_of(&key)?;
            Ok((on_disk, shared.quota.bytes_of(&key)))
        };
        match self.quiet(look).await.ok()? {
            (None, None) => None,
            (on_disk, counted) => Some(on_disk == counted),
        }
    }
}
