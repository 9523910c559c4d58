//! Keeps a feed's secret current: read at start behind everything else, again before it expires, and once when the
//! upstream refuses it.
//!
//! One task reads, so that many who ask at once cause one reading. It refuses to give up a secret that is still valid
//! because a newer one could not be read.

use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::auth::Credential;
use super::retry::chance;
use super::secret::{Reading, SecretFault};
use crate::clock::Clock;
use crate::tasks::Tasks;

/// How long a reading that brought nothing new stands: in between, a refused secret stays refused, and one that cannot
/// be read fails requests at once.
const VAIN_GAP: Duration = Duration::from_secs(10);

/// The first and the longest pause before a command that failed is run again although nobody asks.
const RETRIES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// The most by which a secret is read before it expires.
const MAX_LEAD: Duration = Duration::from_secs(600);

/// What is known of a secret.
#[derive(Clone, Debug, Default)]
struct Kept {
    current: Option<Current>,
    /// Since when it cannot be read, and why.
    fault: Option<(SystemTime, SecretFault)>,
    /// Rises with each secret that differs from the one before.
    generation: u64,
    /// How often it was read.
    readings: u64,
    /// When a reading last brought nothing new.
    vain_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Current {
    header: (HeaderName, HeaderValue),
    expires_at: Option<SystemTime>,
}

/// A credential as a request carries it.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    pub(super) header: (HeaderName, HeaderValue),
    pub(super) generation: u64,
}

/// Gives out a secret that may change. Clones share it; when the last is gone, reading ends.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    clock: Clock,
    demands: mpsc::Sender<()>,
    kept: watch::Receiver<Kept>,
}

impl Keeper {
    /// Keeps the secret of `credential`, whose feed is called so in the log. Call it within a runtime.
    pub(super) fn new(feed: &str, credential: Credential, clock: Clock, tasks: &Tasks) -> Self {
        let current = credential.known_header().map(|header| Current {
            header,
            expires_at: None,
        });
        let (state, kept) = watch::channel(Kept {
            current,
            ..Kept::default()
        });
        let (demands, demanded) = mpsc::channel(1);
        let reader = Reader {
            clock: clock.clone(),
            credential,
            demanded,
            failures: 0,
            feed: feed.to_owned(),
            state,
            tasks: tasks.clone(),
        };
        tasks.spawn("credential", reader.run());
        Self {
            clock,
            demands,
            kept,
        }
    }

    /// What a request carries now. Waits for a reading if there is nothing valid and none has failed just now.
    pub(super) async fn present(&self) -> Result<Presented, SecretFault> {
        if let Some(presented) = self.valid() {
            return Ok(presented);
        }
        self.read_again(None).await;
        self.valid().ok_or_else(|| {
            let kept = self.kept.borrow();
            let fault = kept.fault.as_ref().map(|(_, fault)| fault.clone());
            fault.unwrap_or(SecretFault::Expired)
        })
    }

    /// Has a secret that the upstream refused read again, once for all who say so. Whether there is another now.
    pub(super) async fn renew(&self, refused: u64) -> bool {
        self.read_again(Some(refused)).await;
        self.kept.borrow().generation != refused
    }

    /// The same without waiting.
    pub(super) fn suspect(&self, refused: u64) {
        if self.kept.borrow().generation == refused {
            // One that waits already is as good.
            let _ = self.demands.try_send(());
        }
    }

    /// Since when the secret cannot be read, and why.
    pub(super) fn fault(&self) -> Option<(SystemTime, SecretFault)> {
        self.kept.borrow().fault.clone()
    }

    fn valid(&self) -> Option<Presented> {
        let kept = self.kept.borrow();
        let current = kept.current.as_ref()?;
        let now = self.clock.now();
        let is_valid = current.expires_at.is_none_or(|at| now < at);
        is_valid.then(|| Presented {
            header: current.header.clone(),
            generation: kept.generation,
        })
    }

    async fn read_again(&self, refused: Option<u64>) {
        let mut kept = self.kept.clone();
        let seen = {
            let kept = kept.borrow();
            let is_other = refused.is_some_and(|refused| kept.generation != refused);
            if is_other || is_vain(&kept, self.clock.instant()) {
                return;
            }
            kept.readings
        };
        let _ = self.demands.try_send(());
        let _ = kept.wait_for(|kept| kept.readings > seen).await;
    }
}

fn is_vain(kept: &Kept, now: Instant) -> bool {
    kept.vain_at.is_some_and(|at| now < at + VAIN_GAP)
}

/// The task that reads.
struct Reader {
    clock: Clock,
    credential: Credential,
    demanded: mpsc::Receiver<()>,
    /// Readings that failed one after another.
    failures: u32,
    feed: String,
    state: watch::Sender<Kept>,
    tasks: Tasks,
}

impl Reader {
    async fn run(mut self) {
        // What was known at start need not be read before it is refused.
        let is_known = self.state.borrow().current.is_some();
        let mut due = (!is_known).then(|| self.clock.instant());
        loop {
            let far = self.clock.instant() + Duration::from_secs(1 << 30);
            tokio::select! {
                () = self.tasks.draining() => return,
                () = tokio::time::sleep_until(due.unwrap_or(far)), if due.is_some() => {}
                demand = self.demanded.recv() => {
                    if demand.is_none() {
                        return;
                    }
                    if is_vain(&self.state.borrow(), self.clock.instant()) {
                        continue;
                    }
                }
            }
            let outcome = tokio::select! {
                () = self.tasks.draining() => return,
                outcome = self.credential.secret().read(&self.tasks) => outcome,
            };
            due = self.take(outcome);
        }
    }

    /// Notes a reading; gives when the next is due, if that is known.
    fn take(&mut self, outcome: Result<Reading, SecretFault>) -> Option<Instant> {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        // Who demanded it while it was read has what this reading brings.
        while self.demanded.try_recv().is_ok() {}
        let outcome = outcome.and_then(|reading| {
            let header = self
                .credential
                .header_with(&reading.text)
                .map_err(|_| SecretFault::Output("what a header can carry"))?;
            match reading.expires_at {
                Some(at) if at <= wall => Err(SecretFault::Expired),
                expires_at => Ok(Current { header, expires_at }),
            }
        });
        match outcome {
            Ok(current) => {
                self.failures = 0;
                let due = current
                    .expires_at
                    .map(|at| now + before(at, wall, chance()));
                self.state.send_modify(|kept| {
                    let is_new = kept
                        .current
                        .as_ref()
                        .is_none_or(|old| old.header != current.header);
                    kept.generation += u64::from(is_new);
                    kept.vain_at = (!is_new).then_some(now);
                    if kept.fault.take().is_some() {
                        tracing::info!(feed = self.feed, "the credential can be read again");
                    }
                    kept.current = Some(current);
                    kept.readings += 1;
                });
                due
            }
            Err(fault) => {
                let (first, longest) = RETRIES;
                let pause = first * 2_u32.saturating_pow(self.failures.min(8));
                self.failures += 1;
                self.state.send_modify(|kept| {
                    if kept.fault.as_ref().is_none_or(|(_, known)| *known != fault) {
                        tracing::warn!(feed = self.feed, %fault, "the credential cannot be read");
                    }
                    let since = kept.fault.take().map_or(wall, |(since, _)| since);
                    kept.fault = Some((since, fault));
                    kept.vain_at = Some(now);
                    kept.readings += 1;
                });
                self.credential
                    .secret()
                    .known()
                    .is_none()
                    .then(|| now + pause.min(longest))
            }
        }
    }
}

/// How long after `now` a secret is read again that expires at `expires_at`: after 80 to 90 percent of its life by
/// chance, so that instances do not ask together, but at most [`MAX_LEAD`] early.
fn before(expires_at: SystemTime, now: SystemTime, chance: u8) -> Duration {
    let life = expires_at.duration_since(now).unwrap_or_default();
    let early = life / 10 + life / 10 * u32::from(chance) / 255;
    let latest = MAX_LEAD / 2 + MAX_LEAD / 2 * u32::from(chance) / 255;
    life - early.min(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_again_before_they_expire() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let check = |life: u64, chance, expected: u64| {
            let after = before(now + Duration::from_secs(life), now, chance);
            assert_eq!(after, Duration::from_secs(expected), "{life} {chance}");
        };
        check(100, 0, 90);
        check(100, 255, 80);
        check(3600, 0, 3300);
        check(3600, 255, 3000);
        check(86_400, 0, 86_100);
        check(86_400, 255, 85_800);
        check(0, 7, 0);
    }
}
