//! When what never stops being fresh is to be asked about all the same.
//!
//! A package hardly ever changes, but it can: it is signed anew, deleted, published again (protocol fact 2.1.14). Refuses
//! to call anything stale: what is due is served as before.

use std::time::{Duration, SystemTime};

use super::freshness::is_beyond;

/// Whether something that the upstream last confirmed at `validated_at` is due: `every` so often, and once after
/// `changed_at`. A clock that went back makes nothing due, unless it went back by more than that.
#[must_use]
pub fn is_due(
    validated_at: SystemTime,
    every: Duration,
    changed_at: Option<SystemTime>,
    now: SystemTime,
) -> bool {
    let age = now.duration_since(validated_at).unwrap_or_default();
    age >= every
        || is_beyond(validated_at, every, now)
        || changed_at.is_some_and(|changed_at| validated_at < changed_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn due_by_age_or_by_a_change_since() {
        let every = Duration::from_secs(100);
        let check = |changed_at: Option<u64>, now, expected| {
            let found = is_due(at(1000), every, changed_at.map(at), at(now));
            assert_eq!(found, expected, "{changed_at:?} {now}");
        };
        check(None, 1000, false);
        check(None, 1099, false);
        check(None, 1100, true);
        check(None, 900, false);
        check(None, 899, true);
        check(Some(1000), 1001, false);
        check(Some(999), 1001, false);
        check(Some(1001), 1002, true);
    }
}
