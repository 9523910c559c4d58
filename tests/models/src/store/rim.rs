//! The rest of what commits call.

/// The index: rows by their names.
pub(crate) mod index {
    use std::collections::BTreeMap;

    use crate::store::pending::Batch;
    use crate::sync::Mutex;

    pub(crate) const MAX_VALUE_BYTES: usize = usize::MAX;

    #[derive(Default)]
    pub(crate) struct Index(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

    impl Index {
        pub(in crate::store) fn write(&self, batch: &Batch) {
            let mut rows = self.0.lock().expect("no panic");
            for (row, change) in &batch.changes {
                match &change.value {
                    Some(value) => rows.insert(row.clone(), value.clone()),
                    None => rows.remove(row),
                };
            }
        }

        /// The sequences that the rows name.
        pub(crate) fn rows(&self) -> BTreeMap<[u8; 32], u64> {
            let rows = self.0.lock().expect("no panic");
            let whole = |(row, value): (&Vec<u8>, &Vec<u8>)| {
                let key = row.as_slice().try_into().expect("a key");
                let value = value.as_slice().try_into().expect("a sequence");
                (key, u64::from_le_bytes(value))
            };
            rows.iter().map(whole).collect()
        }
    }

    pub(crate) mod row {
        pub(crate) fn entry(key: &[u8; 32]) -> Vec<u8> {
            key.to_vec()
        }
    }
}

/// Bodies that memory holds open.
pub(crate) mod memory {
    use std::collections::BTreeMap;

    use std::time::SystemTime;

    use crate::store::body::Stored;
    use crate::sync::Mutex;

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Found {
        Row,
    }

    #[derive(Default)]
    pub(crate) struct Handles(Mutex<BTreeMap<[u8; 32], Stored>>);

    impl Handles {
        pub(crate) fn insert(&self, stored: &Stored, _: Found, _: SystemTime) {
            let mut held = self.0.lock().expect("no panic");
            let key = stored.entry.key.bytes();
            let newer = |held: &Stored| held.entry.sequence > stored.entry.sequence;
            if !stored.body.is_retired() && !held.get(key).is_some_and(newer) {
                held.insert(*key, stored.clone());
            }
        }

        pub(crate) fn remove(&self, key: &[u8; 32]) {
            self.0.lock().expect("no panic").remove(key);
        }

        pub(crate) fn find(&self, key: &[u8; 32]) -> Option<Stored> {
            self.0.lock().expect("no panic").get(key).cloned()
        }
    }
}

/// What is counted, and what may be evicted.
pub(crate) mod quota {
    use std::collections::BTreeMap;

    use crate::cache::key::Key;
    use crate::store::body::Reservation;
    use crate::sync::Mutex;

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Checked {
        Yes,
    }

    #[derive(Default)]
    pub(crate) struct Quota(Mutex<BTreeMap<[u8; 32], u64>>);

    impl Quota {
        pub(crate) fn insert(
            &self,
            key: &[u8; 32],
            bytes: u64,
            _: Checked,
            _: Keep,
            _: Option<Reservation>,
        ) -> u64 {
            let mut counted = self.0.lock().expect("no panic");
            counted.insert(*key, bytes).unwrap_or_default()
        }

        pub(crate) fn remove(&self, key: &[u8; 32]) -> u64 {
            let mut counted = self.0.lock().expect("no panic");
            counted.remove(key).unwrap_or_default()
        }

        pub(crate) fn keys(&self) -> Vec<[u8; 32]> {
            self.0.lock().expect("no panic").keys().copied().collect()
        }
    }

    /// Nothing is pinned.
    pub(crate) struct Pins;

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Keep {
        WhileUsed,
    }

    impl Pins {
        pub(crate) fn keep(&self, _: &Key) -> Keep {
            Keep::WhileUsed
        }
    }
}

/// What rows and trailers hold: here the sequence.
pub(crate) mod record {
    use crate::cache::entry::Entry;

    pub(crate) struct Row;

    impl Row {
        pub(crate) fn encode(entry: &Entry, _: usize) -> Vec<u8> {
            entry.sequence.to_le_bytes().to_vec()
        }
    }

    pub(crate) struct Trailer {
        pub(crate) entry: Entry,
        pub(crate) body_crc: u32,
    }
}

pub(crate) mod settings {
    use std::time::Duration;

    pub(crate) struct Settings {
        pub(crate) index_deadline: Duration,
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Step {
        Rename,
        Row,
        Sync,
        Trailer,
        Unlink,
        Write,
    }
}

/// The writing of a body, which is over when it is committed.
pub(crate) mod write {
    use std::path::PathBuf;
    use std::sync::Arc;

    use crate::store::Shared;
    use crate::store::body::Body;
    use crate::store::disk::Disk;
    use crate::store::fault::StoreFault;
    use crate::store::settings::Step;
    use crate::sync::Mutex;

    #[derive(Debug)]
    pub(crate) struct Sink;

    /// A temporary file, deleted unless it got its name.
    pub(crate) struct Temporary {
        pub(crate) disk: Arc<Disk>,
        pub(crate) path: Option<PathBuf>,
    }

    impl std::fmt::Debug for Temporary {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("Temporary").field(&self.path).finish()
        }
    }

    impl Temporary {
        pub(crate) fn path(&self) -> PathBuf {
            self.path.clone().expect("it has no name yet")
        }

        pub(crate) fn keep(&mut self) {
            self.path = None;
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            if let Some(path) = self.path.take() {
                self.disk.forget(&path);
            }
        }
    }

    pub(crate) async fn flush(
        shared: &Arc<Shared>,
        _: &Arc<Mutex<Sink>>,
        _: &Body,
    ) -> Result<(), StoreFault> {
        let nothing = || Ok(());
        shared
            .io
            .call(Step::Write, shared.settings.index_deadline, nothing)
            .await
    }
}
