//! Short, bounded memories: what was refused, demanded or answered a moment ago.
//!
//! Losing one costs a request to the upstream and nothing else, so a full memory forgets all rather than choose.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Values that are remembered for a while.
pub(super) struct Recent<K, V> {
    /// How long.
    keep: Duration,
    /// How many.
    max_entries: usize,
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(keep: Duration, max_entries: usize) -> Self {
        Self {
            keep,
            max_entries,
            entries: Mutex::default(),
        }
    }

    /// The value that was noted for `key`, if that is recent.
    pub(super) fn of(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.lock();
        let (at, value) = entries.get(key)?;
        (now.saturating_duration_since(*at) < self.keep).then(|| value.clone())
    }

    /// Notes a value.
    pub(super) fn note(&self, key: K, value: V, now: Instant) {
        let mut entries = self.lock();
        if entries.len() >= self.max_entries {
            entries.retain(|_, (at, _)| now.saturating_duration_since(*at) < self.keep);
            if entries.len() >= self.max_entries {
                entries.clear();
            }
        }
        entries.insert(key, (now, value));
    }

    /// Forgets a value.
    pub(super) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Notes `key` unless it is noted already; says whether it was not.
    pub(super) fn first(&self, key: K, value: V, now: Instant) -> bool {
        if self.of(&key, now).is_some() {
            return false;
        }
        self.note(key, value, now);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Recent<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent")
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn remembers_for_a_while_and_stays_bounded() {
        let recent = Recent::new(Duration::from_secs(2), 2);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(recent.first("a", 1, start));
        assert!(!recent.first("a", 2, after(1)));
        assert_eq!(recent.of(&"a", after(1)), Some(1));
        assert_eq!(recent.of(&"a", after(2)), None);
        assert!(recent.first("a", 3, after(2)));
        recent.note("b", 4, after(3));
        recent.note("c", 5, after(3));
        assert_eq!(recent.of(&"c", after(3)), Some(5));
        assert!(recent.lock().len() <= 2);
        recent.forget(&"c");
        assert_eq!(recent.of(&"c", after(3)), None);
    }
}
