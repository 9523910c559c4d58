//! Bodies that readers hold open.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, Ordering};

use super::disk::File;
use super::quota::Quota;
use crate::cache::entry::Entry;
use crate::sync::Mutex;

#[derive(Clone, Debug)]
pub struct Stored {
    pub entry: Arc<Entry>,
    pub body: Body,
}

#[derive(Clone)]
pub struct Body(Arc<Inner>);

struct Inner {
    file: Arc<File>,
    retired: AtomicBool,
}

/// Room of the disk for a body under way: here without end.
pub(crate) struct Reservation;

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Body").field(&self.0.file.sequence).finish()
    }
}

impl Body {
    pub(crate) fn new(file: Arc<File>) -> Self {
        Self(Arc::new(Inner {
            file,
            retired: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.0.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.0.file
    }

    pub(crate) fn join_reservation(&self, _: Reservation) {}

    pub(crate) fn take_reservation(&self) -> Option<Reservation> {
        None
    }
}

/// Which open bodies of a key are stored no more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Retire {
    All,
    Below(u64),
}

#[derive(Default)]
pub(crate) struct OpenBodies(Mutex<Vec<([u8; 32], Body)>>);

impl OpenBodies {
    pub(crate) fn share(&self, key: &[u8; 32], _: u64, body: Body) -> Body {
        let mut open = self.0.lock().expect("no panic");
        open.push((*key, body.clone()));
        body
    }

    pub(crate) fn retire(&self, key: &[u8; 32], which: Retire, _: u64, _: &Quota) {
        let open = self.0.lock().expect("no panic");
        for (_, body) in open.iter().filter(|(of, _)| of == key) {
            if !matches!(which, Retire::Below(sequence) if body.file().sequence >= sequence) {
                body.0.retired.store(true, Ordering::SeqCst);
            }
        }
    }
}
