//! The number that rises when what is stored of an id must be asked again.

use std::fmt;
use std::time::SystemTime;

/// An epoch of a feed or of one id in it. Higher is newer. Drawn as max(last + 1, microseconds since 1970), so that it
/// never restarts low when the index is lost.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next epoch after `self`, drawn at `now`.
    #[must_use]
    pub fn next(self, now: SystemTime) -> Self {
        Self(draw_after(self.0, now))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What gates the stored entries of one id: the higher of the id's and the feed's epoch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gate {
    /// Entries fetched under a lower epoch are stale.
    pub epoch: Epoch,
    /// When the last publish of this id went through us: for a while after it, documents are fresh for seconds only
    /// (protocol fact 4.2.8).
    pub published_at: Option<SystemTime>,
}

/// The next number of a series that must rise even when its last value was forgotten: max(`last` + 1, µs since 1970).
#[must_use]
pub fn draw_after(last: u64, now: SystemTime) -> u64 {
    let micros = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros();
    u64::try_from(micros)
        .unwrap_or(u64::MAX)
        .max(last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rises_with_the_clock_and_without_it() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(500);
        assert_eq!(draw_after(0, now), 500);
        assert_eq!(draw_after(499, now), 500);
        assert_eq!(draw_after(500, now), 501);
        assert_eq!(draw_after(9_000, now), 9_001);
        assert_eq!(draw_after(u64::MAX, now), u64::MAX);
    }
}
