//! Never backwards: an answer that is older than what is stored is not admitted for a while.
//!
//! The edges of an upstream lag behind one another, and a client that was once told of a version must not be told that
//! there is none. Until [`OLDER_REFUSED_FOR`] has passed since the first such answer in a row, the stored one answers. A
//! raised epoch ends that: whoever raised it knows that the upstream has something else now.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LAST_MODIFIED};
use tokio::time::Instant;

use super::Proxy;
use super::checks::sha512;
use super::document::{Ask, Document};
use super::outcome::Reason;
use super::route::Class;
use crate::cache::decision::Demand;
use crate::cache::epoch::Epoch;
use crate::cache::made::{Made, OLDER_REFUSED_FOR};
use crate::nuget::commit_time;
use crate::store::Stored;
use crate::telemetry::{Family, Kind};

/// How long after an older answer the upstream is asked again.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long older answers in a row are remembered for a document that nobody asks for meanwhile. Forgetting costs
/// another [`OLDER_REFUSED_FOR`].
pub(super) const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const OLDER_ANSWERS: Family = Family {
    name: "sluice_older_answers_total",
    help: "Answers of an upstream that were not stored because they are older than what is.",
    kind: Kind::Counter,
};

/// Older answers in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct OlderAnswers {
    first_at: Instant,
    last_at: Instant,
}

/// A document that came, checked and not stored yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    /// The epoch that its flight began with.
    pub(super) epoch: Epoch,
    pub(super) headers: &'a HeaderMap,
    /// As it came.
    pub(super) raw: &'a Bytes,
    /// Decoded.
    pub(super) text: &'a Bytes,
}

impl Proxy {
    /// The stored document, if what came is older and not to be believed yet.
    pub(super) async fn kept_back(
        &self,
        ask: &Ask,
        stored: &Stored,
        came: &Came<'_>,
    ) -> Option<Document> {
        let document = if stored.entry.epoch < came.epoch || stored.entry.sha512 == sha512(came.raw)
        {
            None
        } else {
            self.read(stored).await
        };
        let validator = &stored.entry.upstream_validator;
        let before = document.filter(|before| {
            let new = made(ask.class, came.text, came.headers.get(LAST_MODIFIED));
            let known = made(ask.class, &before.text, validator.last_modified.as_ref());
            new.is_before(&known)
        });
        let Some(document) = before else {
            self.older.forget(&ask.key);
            return None;
        };
        let now = self.clock.instant();
        let known = self.older.of(&ask.key, now);
        let first_at = known.map_or(now, |known| known.first_at);
        let (key, origin, reason) = (&ask.key, &stored.entry.origin, Reason::OlderAnswer);
        if now.saturating_duration_since(first_at) >= OLDER_REFUSED_FOR {
            tracing::info!(?key, origin, %reason, "the upstream keeps to an older document: it is stored");
            self.older.forget(key);
            return None;
        }
        if known.is_none() {
            tracing::warn!(?key, origin, %reason, "the upstream sent an older document than the stored one");
        }
        let last_at = now;
        let answers = OlderAnswers { first_at, last_at };
        self.older.note(key.clone(), answers, now);
        let labels = [("feed", &*ask.feed.label), ("class", ask.class.word())];
        self.telemetry.add(&OLDER_ANSWERS, &labels, 1);
        // There is such a thing, whatever it was like.
        self.store.forget_absence(&ask.own_key());
        Some(document)
    }

    /// The stored document, if the upstream sent an older one so lately that it is not asked again yet.
    pub(super) async fn just_kept_back(
        &self,
        ask: &Ask,
        epoch: Epoch,
        stored: &Stored,
    ) -> Option<Document> {
        let now = self.clock.instant();
        let known = self.older.of(&ask.key, now)?;
        let is_asked = ask.demand != Demand::None
            || stored.entry.epoch < epoch
            || now.saturating_duration_since(known.last_at) >= ASKED_AGAIN_AFTER;
        if is_asked || !self.standing(ask).await.is_good() {
            return None;
        }
        self.read(stored).await
    }
}

/// When a document was made. Registrations and the catalog say so themselves; of all others the answer does.
fn made(class: Class, text: &Bytes, last_modified: Option<&HeaderValue>) -> Made {
    let tells = matches!(
        class,
        Class::CatalogIndex
            | Class::CatalogLeaf
            | Class::CatalogPage
            | Class::RegistrationIndex
            | Class::RegistrationLeaf
            | Class::RegistrationPage
    );
    let text = std::str::from_utf8(text).ok().filter(|_| tells);
    let committed_at = text.and_then(commit_time::read).map(SystemTime::from);
    Made::of(committed_at, last_modified)
}
