//! Faults of a running store, and the one way in which it makes a blocking call.
//!
//! A fault never fails a request that the upstream can answer: the caller goes on without the store. So a fault is
//! one word for the log and a counter, without a cause to be shown to a client. Each is counted; the log tells of the
//! first of those that come together, and a damaged body once, when it is set aside.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::{Fault, Probe, Step};
use crate::clock::Clock;
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
    /// A stored body is gone, and nobody here deleted it.
    Missing,
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
    pub const ALL: [Self; 9] = [
        Self::DiskFull,
        Self::IndexDead,
        Self::Io,
        Self::Missing,
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
            Self::Missing => "missing",
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

impl StoreFault {
    /// Whether it is damage to one body, which the log tells of when that is set aside or forgotten.
    fn is_of_one_body(self) -> bool {
        match self {
            Self::Missing | Self::Rotten | Self::Truncated => true,
            Self::DiskFull
            | Self::IndexDead
            | Self::Io
            | Self::NoRoom
            | Self::Panicked
            | Self::Timeout => false,
        }
    }
}

/// After this long without a fault, the next of its kind is news again.
const QUIET: Duration = Duration::from_secs(60);
/// Faults that go on and on are told of again this often.
const REMINDER: Duration = Duration::from_secs(60 * 60);

/// How often each fault happened, and which the log has told of.
#[derive(Debug)]
pub(super) struct FaultCounts {
    clock: Clock,
    kinds: [Kind; StoreFault::ALL.len()],
}

#[derive(Debug, Default)]
struct Kind {
    count: AtomicU64,
    told: Mutex<Option<Told>>,
}

/// A run of faults of one kind.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// When the log told of it.
    at: Instant,
    /// The last fault.
    last: Instant,
}

impl Kind {
    /// Whether the log shall tell of a fault that happens now.
    fn is_news(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let at = told
            .filter(|told| now - told.last < QUIET && now - told.at < REMINDER)
            .map(|told| told.at);
        *told = Some(Told {
            at: at.unwrap_or(now),
            last: now,
        });
        at.is_none()
    }
}

impl FaultCounts {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            kinds: Default::default(),
        }
    }

    pub(super) fn count(&self, fault: StoreFault) {
        self.count_because(fault, None);
    }

    fn count_because(&self, fault: StoreFault, error: Option<&io::Error>) {
        let mut kinds = self.kinds.iter().zip(StoreFault::ALL);
        let Some((kind, _)) = kinds.find(|(_, known)| *known == fault) else {
            return;
        };
        let count = kind.count.fetch_add(1, Ordering::Relaxed) + 1;
        if !fault.is_of_one_body() && kind.is_news(self.clock.instant()) {
            let error = error.map(ToString::to_string);
            tracing::warn!(%fault, error, count, "the store fails; requests go on without it");
        }
    }

    pub(super) fn snapshot(&self) -> Vec<(StoreFault, u64)> {
        let counts = self
            .kinds
            .iter()
            .map(|kind| kind.count.load(Ordering::Relaxed));
        StoreFault::ALL.into_iter().zip(counts).collect()
    }
}

/// What came of an attempt that failed.
#[derive(Debug)]
struct Failed {
    fault: StoreFault,
    error: Option<io::Error>,
}

impl From<StoreFault> for Failed {
    fn from(fault: StoreFault) -> Self {
        Self { fault, error: None }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self {
            fault: StoreFault::from(&error),
            error: Some(error),
        }
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
    pub(super) fn new(tasks: Tasks, clock: Clock, probe: Option<Probe>) -> Self {
        Self {
            tasks,
            probe,
            faults: FaultCounts::new(clock),
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
        self.count_faults(limit, self.attempt(Some(step), fault, work))
            .await
    }

    /// As `call`, for steps that no test breaks.
    pub(super) async fn unseen<R, F>(&self, limit: Duration, work: F) -> Result<R, StoreFault>
    where
        F: FnOnce() -> io::Result<R> + Send + 'static,
        R: Send + 'static,
    {
        self.count_faults(limit, self.attempt(None, None, work))
            .await
    }

    async fn count_faults<R>(
        &self,
        limit: Duration,
        attempt: impl Future<Output = Result<R, Failed>>,
    ) -> Result<R, StoreFault> {
        let done = tokio::time::timeout(limit, attempt).await;
        let outcome = done.unwrap_or(Err(StoreFault::Timeout.into()));
        outcome.map_err(|Failed { fault, error }| {
            self.faults.count_because(fault, error.as_ref());
            fault
        })
    }

    async fn attempt<R, F>(
        &self,
        step: Option<Step>,
        fault: Option<Fault>,
        work: F,
    ) -> Result<R, Failed>
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
                return Err(joined(panicked)
                    .err()
                    .unwrap_or(StoreFault::Panicked)
                    .into());
            }
        };
        if let Some(kind) = injected {
            return Err(io::Error::from(kind).into());
        }
        Ok(joined(self.tasks.blocking("store", work).await)?
            .inspect_err(|error| tracing::debug!(?step, %error, "a call of the store failed"))?)
    }
}

/// A call that panicked, or that the ending runtime never started.
fn joined<R>(outcome: Result<R, tokio::task::JoinError>) -> Result<R, StoreFault> {
    outcome.map_err(|_| StoreFault::Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn faults_that_come_together_are_told_of_once_and_every_hour() {
        let (kind, clock) = (Kind::default(), Clock::system());
        let mut told = Vec::new();
        for second in 0..7300_u64 {
            if kind.is_news(clock.instant()) {
                told.push(second);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [0, 3600, 7200]);
        tokio::time::sleep(QUIET).await;
        assert!(kind.is_news(clock.instant()));
        assert!(!kind.is_news(clock.instant()));
    }
}
