//! The only reader of time.
//!
//! Everything that needs the wall clock is handed a [`Clock`]; everything that needs a monotonic instant asks it too, so
//! that a test moves both with one `tokio::time::sleep`. It refuses to do anything but tell the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Tells the wall-clock time and the monotonic instant.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// Wall time derived from tokio's instant, so that a paused runtime moves both.
    Simulated {
        /// What it shows at `base`; jumps move it.
        start: Arc<Mutex<SystemTime>>,
        base: Instant,
    },
    System,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System,
        }
    }

    /// A clock that shows `start` now and moves with tokio's instant. For tests with a paused runtime.
    #[must_use]
    pub fn simulated(start: SystemTime) -> Self {
        Self {
            source: Source::Simulated {
                start: Arc::new(Mutex::new(start)),
                base: Instant::now(),
            },
        }
    }

    /// The wall-clock time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.source {
            Source::Simulated { start, base } => {
                *start.lock().unwrap_or_else(PoisonError::into_inner) + base.elapsed()
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that reads the machine's clock"
            )]
            Source::System => SystemTime::now(),
        }
    }

    /// Sets the wall-clock time of a simulated clock and its clones, as a time server does; instants go on. The machine's
    /// clock is left alone.
    pub fn set(&self, now: SystemTime) {
        if let Source::Simulated { start, base } = &self.source {
            *start.lock().unwrap_or_else(PoisonError::into_inner) = now - base.elapsed();
        }
    }

    /// The monotonic instant, for deadlines and intervals.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// How long ago `then` was, zero if it lies in the future.
    #[must_use]
    pub fn since(&self, then: SystemTime) -> Duration {
        self.now().duration_since(then).unwrap_or_default()
    }
}
