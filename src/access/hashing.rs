//! What was found of passwords, and the queue of those to be hashed.
//!
//! A password is hashed once however many requests bring it, and remembered for minutes, so a restore costs one hash.
//! Wrong ones are remembered for seconds. Kept are keyed hashes under a key of this process, so that neither a core dump
//! nor a swapped page holds a password, or a hash that is faster to try than the one in the file.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::{hmac, rand};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::flight::Flights;

/// How long a right password is remembered: longer than a restore, short enough that nobody wonders.
const RIGHT_FOR: Duration = Duration::from_secs(10 * 60);
/// How long a wrong one is: the client tries six times, a second apart (protocol fact 3.5.4).
const WRONG_FOR: Duration = Duration::from_secs(10);
/// Passwords remembered, a hundred bytes each.
const MAX_VERDICTS: usize = 16 * 1024;
/// Hashes at once: each takes a core and 19 MiB.
const MAX_AT_ONCE: usize = 2;
/// Hashes that may wait; more are refused at once.
const MAX_WAITING: usize = 256;
/// Hashes in a row, and the pace behind them: a build farm's users arrive together, and an attack on names and
/// passwords from everywhere must leave a core to those who are known.
const BURST: u32 = 64;
const PACE: Duration = Duration::from_millis(50);
/// Hashes that go on although whoever asked has left: all of them, since each is short and worth its verdict.
const MAX_ABANDONED: usize = MAX_WAITING;

/// A user name and password, as they are remembered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Mark([u8; 32]);

/// What a check came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Checked {
    /// It is the user's password.
    Right,
    /// Nobody looked: too many wait, or this address tried too often.
    Throttled,
    /// It is nobody's.
    Wrong,
}

/// What is known and what is under way.
pub(super) struct Hashing {
    key: hmac::Key,
    verdicts: Mutex<HashMap<Mark, (Instant, Checked)>>,
    pub(super) flights: Flights<Mark, Option<Checked>>,
    /// Those who wait and those who hash.
    pub(super) queue: Semaphore,
    /// Those who hash.
    pub(super) places: Semaphore,
    /// When the hashes so far are all earned.
    earned_at: Mutex<Option<Instant>>,
}

/// The remembered verdicts, held so that nothing is noted meanwhile.
pub(super) struct Verdicts<'a>(MutexGuard<'a, HashMap<Mark, (Instant, Checked)>>);

impl Hashing {
    /// Nothing known yet, under a new key.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?,
            verdicts: Mutex::default(),
            flights: Flights::new(MAX_ABANDONED),
            queue: Semaphore::new(MAX_WAITING),
            places: Semaphore::new(MAX_AT_ONCE),
            earned_at: Mutex::default(),
        })
    }

    /// How a user name and password are remembered.
    pub(super) fn mark(&self, user: &str, password: &str) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(user.as_bytes());
        // A name holds no colon, so no other pair gives the same bytes.
        context.update(b":");
        context.update(password.as_bytes());
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        Mark(mark)
    }

    /// What was found of it, if that is recent.
    pub(super) fn recall(&self, mark: &Mark, now: Instant) -> Option<Checked> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, checked) = verdicts.get(mark)?;
        is_recent(*at, *checked, now).then_some(*checked)
    }

    /// The verdicts, to note one or to forget all.
    pub(super) fn verdicts(&self) -> Verdicts<'_> {
        Verdicts(self.verdicts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the next hash may begin.
    pub(super) fn next_turn(&self, now: Instant) -> Instant {
        let mut earned_at = self
            .earned_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let next = earned_at.map_or(now, |at| at.max(now)) + PACE;
        *earned_at = Some(next);
        // An instant before the clock's zero would be now as well.
        next.checked_sub(PACE * BURST)
            .map_or(now, |turn| turn.max(now))
    }
}

impl Verdicts<'_> {
    /// Notes a verdict.
    pub(super) fn note(&mut self, mark: Mark, checked: Checked, now: Instant) {
        let all = &mut self.0;
        if all.len() >= MAX_VERDICTS {
            all.retain(|_, (at, checked)| is_recent(*at, *checked, now));
            // Forgetting costs a hash each.
            if all.len() >= MAX_VERDICTS {
                all.clear();
            }
        }
        all.insert(mark, (now, checked));
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn is_recent(at: Instant, checked: Checked, now: Instant) -> bool {
    let time = match checked {
        Checked::Right => RIGHT_FOR,
        Checked::Throttled => Duration::ZERO,
        Checked::Wrong => WRONG_FOR,
    };
    now.saturating_duration_since(at) < time
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn verdicts_are_remembered_for_their_time() {
        let hashing = Hashing::new().expect("random bytes");
        let now = Instant::now();
        let (right, wrong) = (hashing.mark("a", "b"), hashing.mark("a", "c"));
        assert_ne!(right, wrong);
        assert_ne!(hashing.mark("ab", ""), hashing.mark("a", "b"));
        assert_ne!(Hashing::new().expect("random bytes").mark("a", "b"), right);
        hashing.verdicts().note(right, Checked::Right, now);
        hashing.verdicts().note(wrong, Checked::Wrong, now);
        assert_eq!(hashing.recall(&wrong, now), Some(Checked::Wrong));
        assert_eq!(hashing.recall(&wrong, now + WRONG_FOR), None);
        assert_eq!(
            hashing.recall(&right, now + WRONG_FOR),
            Some(Checked::Right)
        );
        assert_eq!(hashing.recall(&right, now + RIGHT_FOR), None);
        hashing.verdicts().forget();
        assert_eq!(hashing.recall(&right, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_stays_bounded() {
        let hashing = Hashing::new().expect("random bytes");
        let now = Instant::now();
        for number in 0..MAX_VERDICTS + 5 {
            let mark = hashing.mark("a", &number.to_string());
            hashing.verdicts().note(mark, Checked::Wrong, now);
        }
        assert!(hashing.verdicts().0.len() <= MAX_VERDICTS);
    }

    #[tokio::test(start_paused = true)]
    async fn hashes_in_a_row_are_free_and_then_paced() {
        let hashing = Hashing::new().expect("random bytes");
        let now = Instant::now();
        for _ in 0..BURST {
            assert_eq!(hashing.next_turn(now), now);
        }
        assert_eq!(hashing.next_turn(now), now + PACE);
        assert_eq!(hashing.next_turn(now), now + PACE * 2);
        let later = now + PACE * (BURST + 2);
        assert_eq!(hashing.next_turn(later), later);
    }
}
