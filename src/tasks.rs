//! The only spawner.
//!
//! Every task and every blocking call of the process is started, named and tracked here, so that draining can wait for
//! all of them. Blocking work is a short `spawn_blocking`, never a thread of our own: tokio's paused clock waits for
//! the former and not for the latter. It refuses to know what the work is.

use std::future::Future;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Spawns and tracks the work of the process. Clones share one tracker.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    /// Fires once when draining begins; long-lived tasks end on it.
    draining: CancellationToken,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Every task ended within the time allowed.
    Complete,
    /// Some work was given up: a blocking call past its deadline, or a task that did not end.
    GivenUp,
}

impl Tasks {
    /// A tracker without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` as a tracked task under a span that carries `name`.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that spawns"
        )]
        tokio::spawn(
            self.tracker
                .track_future(work.instrument(tracing::debug_span!("task", name))),
        )
    }

    /// Runs a short blocking call off the async threads.
    ///
    /// # Errors
    /// [`JoinError`] if the call panicked.
    pub async fn blocking<F, R>(&self, name: &'static str, work: F) -> Result<R, JoinError>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let span = tracing::debug_span!("blocking", name);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that spawns"
        )]
        let call = tokio::task::spawn_blocking({
            let token = self.tracker.token();
            move || {
                let _tracked = token;
                span.in_scope(work)
            }
        });
        call.await
    }

    /// Completes when draining begins.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Tells every task to end, without waiting for them.
    pub fn begin_drain(&self) {
        self.draining.cancel();
        self.tracker.close();
    }

    /// Begins draining and waits at most `limit` for all tasks to end.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.begin_drain();
        match tokio::time::timeout(limit, self.tracker.wait()).await {
            Ok(()) => Drained::Complete,
            Err(_) => Drained::GivenUp,
        }
    }

    /// How many tasks and blocking calls are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}
