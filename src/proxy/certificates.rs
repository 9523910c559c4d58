//! The certificates that a feed's packages are signed with: watched while packages are in use, whether clients are told of
//! them or not.
//!
//! A certificate is withdrawn when its key is stolen, and packages signed anew replace the old ones then (protocol fact
//! 2.6.11). So a changed list makes every package due that was confirmed before. A first list is no change.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Proxy;
use super::document::Ask;
use super::errand::Errand;
use super::failure::Failure;
use super::feed::Feed;
use super::view::{MIN_PAUSE, Query};
use crate::cache::decision::Demand;
use crate::cache::epoch::Epoch;
use crate::nuget::service_index::SignaturesVersion;
use crate::nuget::signatures;
use crate::store::Stored;

/// In place of an id and a version, of which none is spelled so: the epoch of this name tells when the list changed. It is
/// a number of microseconds since 1970.
const CHANGED: (&str, &str) = ("/certificates", "*list");

/// What is known of a feed's packages as a whole. A reload keeps it.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Whether packages were asked for since that was last asked.
    is_used: AtomicBool,
    /// The fingerprints that each version of the signatures named last.
    certificates: Mutex<HashMap<String, BTreeSet<String>>>,
}

impl Upkeep {
    /// Notes that a package is asked for.
    pub(super) fn note_use(&self) {
        // Every hit comes by here, and a write each time would have processors wait for one another.
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    fn take_use(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    /// Remembers what a version of the signatures names; says whether that is another list than before. `before` is what
    /// is stored, for a list that this process has not seen.
    fn learn(
        &self,
        version: &str,
        before: Option<BTreeSet<String>>,
        now: BTreeSet<String>,
    ) -> bool {
        let mut known = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = known.insert(version.to_owned(), now.clone()).or(before);
        last.is_some_and(|last| last != now)
    }
}

/// The fingerprints that a document names.
fn fingerprints(text: &str) -> Option<BTreeSet<String>> {
    let document = signatures::read(text).ok()?;
    let certificates = document.certificates.into_iter();
    Some(certificates.map(|certificate| certificate.sha256).collect())
}

impl Proxy {
    /// When the list of a feed's certificates last changed, if it ever did.
    pub(super) fn certificates_changed_at(&self, feed: &Feed) -> Option<SystemTime> {
        let (id, version) = CHANGED;
        let epoch = self.store.version_gate(&feed.name, id, version);
        (epoch > Epoch::default()).then(|| SystemTime::UNIX_EPOCH + Duration::from_micros(epoch.0))
    }

    /// Takes account of signatures that came: `stored` is what they replace.
    pub(super) async fn learn_certificates(&self, ask: &Ask, stored: Option<&Stored>, text: &str) {
        let Some(now) = fingerprints(text) else {
            return;
        };
        let before = match stored {
            Some(stored) => self.read(stored).await,
            None => None,
        };
        let before = before.and_then(|before| fingerprints(before.text()));
        if ask.feed.upkeep.learn(ask.key.rest(), before, now) {
            let feed = &*ask.feed.name;
            tracing::warn!(
                feed,
                "the feed's signing certificates changed: its packages are asked about again"
            );
            let (id, version) = CHANGED;
            self.store.raise_version(feed, id, version);
        }
    }

    /// Has a feed's signatures asked for whenever they grow old while its packages are in use.
    pub(super) async fn watch_certificates(&self, feed: &Arc<Feed>) {
        self.warn_of_no_signers(feed).await;
        loop {
            let pause = feed.settings.freshness.signatures.max(MIN_PAUSE);
            tokio::time::sleep(pause).await;
            if !feed.upkeep.take_use() {
                continue;
            }
            match self.ask_for_certificates(feed).await {
                Ok(()) | Err(Failure::NotOffered(_)) => {}
                Err(failure) => {
                    feed.upkeep.note_use();
                    tracing::info!(feed = &*feed.name, reason = %failure.reason(), "the signing certificates are not at hand");
                }
            }
        }
    }

    /// Asks for the newest signatures that the upstream offers, unless what is stored is fresh.
    async fn ask_for_certificates(&self, feed: &Arc<Feed>) -> Result<(), Failure> {
        let query = Query {
            feed,
            base: "",
            query: "",
            demand: Demand::None,
            since: self.clock.instant(),
            errand: &Errand::of_ours(),
        };
        let mut last = Failure::NotOffered("repository signatures");
        for version in SignaturesVersion::ALL.into_iter().rev() {
            let ask = self.signatures_ask(&query, version);
            match self.document(&ask).await {
                Ok(_) => return Ok(()),
                Err(failure @ Failure::NotOffered(_)) => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_changes_against_the_last_one_of_its_version() {
        let upkeep = Upkeep::default();
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        assert!(!upkeep.learn("5.0.0", None, set(&["a"])), "the first");
        assert!(!upkeep.learn("5.0.0", None, set(&["a"])));
        assert!(upkeep.learn("5.0.0", None, set(&["a", "b"])));
        // Known better than what another audience has stored.
        let stored = Some(set(&["a"]));
        assert!(!upkeep.learn("5.0.0", stored, set(&["b", "a"])));
        assert!(!upkeep.learn("4.9.0", Some(set(&["a"])), set(&["a"])));
        assert!(upkeep.learn("4.7.0", Some(set(&["a"])), set(&[])));
    }

    #[test]
    fn use_is_taken_once() {
        let upkeep = Upkeep::default();
        assert!(!upkeep.take_use());
        upkeep.note_use();
        assert!(upkeep.take_use());
        assert!(!upkeep.take_use());
    }
}
