//! Faults of a running store, and the one way in which it makes a blocking call.
//!
//! A fault never fails a request that the upstream can answer: the caller goes on without the store. So a fault is
//! one word for the log and a counter, without a cause to be shown to a client.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::settings::{Fault, Probe, Step};
use crate::tasks::Tasks;

/// Why the store could not do what it was asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StoreFault {
    /// The file system is full.
    DiskFull,
    /// The index is closed, dead or not open yet.
    IndexDead,
    /// Another error of the operating system.
    Io,
    /// The cap or the free-space floor leaves no room, whatever is evicted.
    NoRoom,
    /// A call panicked.
    Panicked,
    /// Stored bytes are not what was written.
    Rotten,
    /// A call missed its deadline.
    Timeout,
    /// A body ends before it should.
    Truncated,
}

impl StoreFault {
    /// All faults, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::DiskFull,
        Self::IndexDead,
        Self::Io,
        Self::NoRoom,
        Self::Panicked,
        Self::Rotten,
        Self::Timeout,
        Self::Truncated,
    ];

    /// The word for logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::DiskFull => "disk-full",
            Self::IndexDead => "index-dead",
            Self::Io => "io",
            Self::NoRoom => "no-room",
            Self::Panicked => "panicked",
            Self::Rotten => "rotten",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
        }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for StoreFault {}

impl From<&io::Error> for StoreFault {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Rotten,
            io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => Self::DiskFull,
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io,
        }
    }
}

/// How often each fault happened.
#[derive(Debug, Default)]
pub(super) struct FaultCounts([AtomicU64; StoreFault::ALL.len()]);

impl FaultCounts {
    pub(super) fn count(&self, fault: StoreFault) {
        for (counter, known) in self.0.iter().zip(StoreFault::ALL) {
            if known == fault {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn snapshot(&self) -> Vec<(StoreFault, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        StoreFault::ALL.into_iter().zip(counts).collect()
    }
}

/// Makes the store's blocking calls: off the async threads, each with a deadline, a panic caught.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) tasks: Tasks,
    probe: Option<Probe>,
    pub(super) faults: FaultCounts,
}

impl Io {
    pub(super) fn new(tasks: Tasks, probe: Option<Probe>) -> Self {
        Self {
            tasks,
            probe,
            faults: FaultCounts::default(),
        }
    }

    /// Runs `work` and waits at most `limit` for it. After that the work may still finish; what it then returns is
    /// dropped, so a lock that it must not outlive belongs into it.
    pub(super) async fn call<R, F>(
        &self,
        step: Step,
        limit: Duration,
        work: F,
    ) -> Result<R, StoreFault>
    where
        F: FnOnce() -> io::Result<R> + Send + 'static,
        R: Send + 'static,
    {
        let fault = self.probe.as_ref().and_then(|probe| probe.ask(step));
        self.count_faults(limit, self.attempt(fault, work)).await
    }

    /// As `call`, for steps that no test breaks.
    pub(super) async fn unseen<R, F>(&self, limit: Duration, work: F) -> Result<R, StoreFault>
    where
        F: FnOnce() -> io::Result<R> + Send + 'static,
        R: Send + 'static,
    {
        self.count_faults(limit, self.attempt(None, work)).await
    }

    async fn count_faults<R>(
        &self,
        limit: Duration,
        attempt: impl Future<Output = Result<R, StoreFault>>,
    ) -> Result<R, StoreFault> {
        let done = tokio::time::timeout(limit, attempt).await;
        let outcome = done.unwrap_or(Err(StoreFault::Timeout));
        if let Err(fault) = &outcome {
            self.faults.count(*fault);
        }
        outcome
    }

    async fn attempt<R, F>(&self, fault: Option<Fault>, work: F) -> Result<R, StoreFault>
    where
        F: FnOnce() -> io::Result<R> + Send + 'static,
        R: Send + 'static,
    {
        let injected = match fault {
            None => None,
            // A hang is simulated here and not on a thread, since a thread that hangs holds a test's clock back.
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Io(kind)) => Some(kind),
            Some(Fault::Panic) => {
                let panics = || std::panic::resume_unwind(Box::new("injected"));
                let panicked = self.tasks.blocking::<_, ()>("store", panics).await;
                return Err(joined(panicked).err().unwrap_or(StoreFault::Panicked));
            }
        };
        if let Some(kind) = injected {
            return Err(StoreFault::from(&io::Error::from(kind)));
        }
        joined(self.tasks.blocking("store", work).await)?.map_err(|error| {
            tracing::debug!(%error, "a call of the store failed");
            StoreFault::from(&error)
        })
    }
}

/// A call that panicked, or that the ending runtime never started.
fn joined<R>(outcome: Result<R, tokio::task::JoinError>) -> Result<R, StoreFault> {
    outcome.map_err(|_| StoreFault::Panicked)
}
