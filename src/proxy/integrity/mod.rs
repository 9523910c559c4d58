//! Whether a stored package is what its upstream says it is.
//!
//! Documents of the upstream publish the SHA-512 of its packages; a package that has another is *disputed*. Others name the
//! certificates that the repository signs with; a package without such a signature is *unsigned*. Nobody waits for that:
//! packages are looked at behind the answers that they were fetched for, and documents when they come. Either is a mark on
//! the stored package. What comes of it the feed's settings say: such packages are served with a warning, or
//! asked for again and refused while the upstream delivers nothing else.

mod dispute;
mod doubt;
mod published;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(super) use self::dispute::Dispute;
pub(super) use self::doubt::Doubt;
use super::MAX_RECENT;
use super::recent::Recent;
use super::withdrawn::LOG_INTERVAL;
use crate::cache::key::Key;

/// Comparisons at once: nobody waits for them.
const MAX_AT_ONCE: usize = 2;
/// Comparisons that wait for their turn: more than any restore fetches packages. Beyond, a package is compared when its
/// upstream is next asked about it.
const MAX_WAITING: usize = 4096;
/// A disputed package that the upstream delivered unchanged is asked for again this much later at the earliest: the client
/// tries six times within seconds, and each time costs the whole package.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// After a week the upstream is asked about a package anyway, which is looked at then.
const UNJUDGED_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is remembered of comparisons.
pub(super) struct Scrutiny {
    /// For those that are about to be made, and for those that are.
    places: Arc<Semaphore>,
    turns: Semaphore,
    /// Disputed packages that were asked for again in vain a moment ago.
    asked_again: Recent<Key, ()>,
    /// Disputed packages that the log named a while ago.
    named: Recent<Key, ()>,
    /// Packages whose signature the newest list of certificates did not judge, for it was not at hand; when that was.
    unjudged: Recent<Key, Instant>,
    /// Feeds whose upstream lists no certificates, by name, as the log said a while ago.
    without_signers: Recent<String, ()>,
}

impl Default for Scrutiny {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            turns: Semaphore::new(MAX_AT_ONCE),
            asked_again: Recent::new(AGAIN_AFTER, MAX_RECENT),
            named: Recent::new(LOG_INTERVAL, MAX_RECENT),
            unjudged: Recent::new(UNJUDGED_FOR, MAX_RECENT),
            without_signers: Recent::new(LOG_INTERVAL, MAX_RECENT),
        }
    }
}
