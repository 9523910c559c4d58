//! A rate that is kept evenly: so much a second, and hardly more at once.
//!
//! It is the generic cell rate algorithm (ITU-T I.371): a token bucket kept as the one instant at which everything given
//! so far is paid for. It refuses to wait, and to read time.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// What may come at once is this much time's worth, at least one turn: an origin that counts by the second sees the
/// rate kept in every second.
const BURST: Duration = Duration::from_millis(100);

/// So many units a second.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rate(pub(super) NonZeroU64);

impl Rate {
    /// How long it takes to pay for `units`.
    pub(super) fn time_of(self, units: u64) -> Duration {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.0.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How far ahead of its payment the next turn of `units` may be given.
    fn slack(self, units: u64) -> Duration {
        BURST.saturating_sub(self.time_of(units))
    }
}

/// How far what was given is paid for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When all of it is; none was given yet without this.
    clear_at: Option<Instant>,
}

impl Pace {
    /// When the next turn of `units` may be given; `None` is now.
    pub(super) fn ready_at(self, rate: Rate, units: u64, now: Instant) -> Option<Instant> {
        let ready = self.clear_at?.checked_sub(rate.slack(units))?;
        (ready > now).then_some(ready)
    }

    /// Notes that `units` were given.
    pub(super) fn give(&mut self, rate: Rate, units: u64, now: Instant) {
        let from = self.clear_at.map_or(now, |clear_at| clear_at.max(now));
        // Beyond what an instant can hold, nothing is due any more.
        self.clear_at = from.checked_add(rate.time_of(units)).or(self.clear_at);
    }

    /// Notes that `units` were not needed after all.
    pub(super) fn take_back(&mut self, rate: Rate, units: u64) {
        let clear_at = self.clear_at;
        self.clear_at = clear_at.and_then(|at| at.checked_sub(rate.time_of(units)));
    }
}

#[cfg(test)]
mod tests {
    //! Cases: rates below and above one turn in a burst, pauses, turns of more than was said, turns given back.

    use super::*;

    fn rate(per_second: u64) -> Rate {
        Rate(NonZeroU64::new(per_second).unwrap())
    }

    /// When each of `turns` turns of `units` is given, in milliseconds, if they are wanted from the start.
    async fn given(per_second: u64, units: u64, turns: usize) -> Vec<u128> {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut now = start;
        let mut all = Vec::new();
        for _ in 0..turns {
            now = pace.ready_at(rate(per_second), units, now).unwrap_or(now);
            pace.give(rate(per_second), units, now);
            all.push((now - start).as_millis());
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_evenly() {
        assert_eq!(given(10, 1, 4).await, [0, 100, 200, 300]);
        assert_eq!(given(1, 1, 3).await, [0, 1000, 2000]);
        // A tenth of a second's worth comes at once.
        assert_eq!(given(40, 1, 7).await, [0, 0, 0, 0, 25, 50, 75]);
        assert_eq!(given(1000, 500, 3).await, [0, 500, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_rate_and_a_burst() {
        for per_second in [1, 3, 10, 25, 64, 100, 1000] {
            let times = given(per_second, 1, 3000).await;
            let most = (0..times.len())
                .map(|first| {
                    let end = times[first] + 1000;
                    times[first..].iter().filter(|at| **at < end).count()
                })
                .max();
            let allowed = per_second + per_second.div_ceil(10).max(1);
            assert!(most.unwrap() as u64 <= allowed, "{per_second}: {most:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.give(rate(10), 1, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.ready_at(rate(10), 1, later), None);
        pace.give(rate(10), 1, later);
        let next = later + Duration::from_millis(100);
        assert_eq!(pace.ready_at(rate(10), 1, later), Some(next));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_costs_what_it_brought() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.give(rate(1000), 100, now);
        pace.give(rate(1000), 1900, now);
        let after = now + Duration::from_secs(2);
        assert_eq!(pace.ready_at(rate(1000), 100, now), Some(after));
        pace.take_back(rate(1000), 1900);
        let after = now + Duration::from_millis(100);
        assert_eq!(pace.ready_at(rate(1000), 100, now), Some(after));
        pace.take_back(rate(1000), 100);
        assert_eq!(pace.ready_at(rate(1000), 100, now), None);
    }

    #[test]
    fn no_number_is_too_large() {
        let most = u64::MAX;
        assert_eq!(rate(most).time_of(0), Duration::ZERO);
        assert_eq!(rate(1).time_of(most), Duration::from_nanos(most));
    }
}
