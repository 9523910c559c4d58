//! Packages whose bytes are not those that their upstream publishes: marked, and asked for again.

use std::time::SystemTime;

use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::content::Want;
use crate::proxy::settings::Scrutiny;
use crate::proxy::told::hash_of;
use crate::store::{Mark, MarkKind, Stored};

/// That a stored package is not what its upstream publishes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::proxy) struct Dispute {
    /// Since when that is known.
    pub(in crate::proxy) since: SystemTime,
    /// The SHA-512 that is published, in base64.
    pub(in crate::proxy) published: String,
    /// That of what is stored.
    pub(in crate::proxy) held: String,
}

impl Dispute {
    /// What a mark says.
    pub(in crate::proxy) fn of(mark: &Mark) -> Self {
        let (published, held) = mark.detail.split_once(' ').unwrap_or((&mark.detail, ""));
        Self {
            since: mark.since,
            published: published.to_owned(),
            held: held.to_owned(),
        }
    }

    /// The mark that says so.
    fn on(&self, want: &Want) -> Mark {
        Mark {
            key: want.ask.key.clone(),
            since: self.since,
            detail: format!("{} {}", self.published, self.held),
        }
    }
}

impl Proxy {
    /// Marks a package that is not what its upstream publishes now, and asks for it again.
    pub(super) async fn dispute(&self, want: &Want, stored: &Stored, published: &[u8; 64]) {
        let dispute = Dispute {
            since: self.clock.now(),
            published: hash_of(published),
            held: hash_of(&stored.entry.sha512),
        };
        let Some(before) = self.dispute_of(want) else {
            if self.store.mark(MarkKind::Disputed, dispute.on(want)) {
                tracing::warn!(
                    feed = &*want.ask.feed.name,
                    id = want.ask.id.as_ref().map(PackageId::as_str),
                    version = want.version().map(Version::as_str),
                    published = dispute.published,
                    held = dispute.held,
                    "a package that is held here is disputed: its upstream publishes another hash of it"
                );
                self.ask_anew(want).await;
            }
            return;
        };
        if (&before.published, &before.held) != (&dispute.published, &dispute.held) {
            let since = before.since;
            self.store.end_mark(MarkKind::Disputed, &want.ask.key);
            let dispute = Dispute { since, ..dispute };
            self.store.mark(MarkKind::Disputed, dispute.on(want));
        }
    }

    /// The dispute over a package, if there is one and the feed cares.
    pub(in crate::proxy) fn dispute_of(&self, want: &Want) -> Option<Dispute> {
        let is_heeded = want.ask.feed.settings.package_hashes != Scrutiny::Off;
        if !is_heeded || !want.is_package() || !self.store.has_marks(MarkKind::Disputed) {
            return None;
        }
        let mark = self.store.mark_of(MarkKind::Disputed, &want.ask.key)?;
        Some(Dispute::of(&mark))
    }

    /// The package is what its upstream publishes.
    pub(super) fn end_dispute(&self, want: &Want) {
        if self.dispute_of(want).is_some() {
            self.store.end_mark(MarkKind::Disputed, &want.ask.key);
            tracing::info!(
                feed = &*want.ask.feed.name,
                id = want.ask.id.as_ref().map(PackageId::as_str),
                version = want.version().map(Version::as_str),
                "a package is disputed no more: it is what its upstream publishes"
            );
        }
    }

    /// Takes account of a package that just came: one that is what was published ends a dispute.
    pub(in crate::proxy) fn heed_body(&self, want: &Want, stored: &Stored) {
        if let Some(dispute) = self.dispute_of(want)
            && dispute.published == hash_of(&stored.entry.sha512)
        {
            self.end_dispute(want);
        }
    }
}
