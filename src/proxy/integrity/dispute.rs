//! Packages whose bytes are not those that their upstream publishes: marked, asked for again, served with a warning or
//! refused.

use std::time::SystemTime;

use crate::cache::decision::{Demand, Reach};
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::content::{Delivery, Want};
use crate::proxy::failure::Failure;
use crate::proxy::outcome::{Outcome, Reason};
use crate::proxy::settings::Scrutiny;
use crate::proxy::told::hash_of;
use crate::store::{Mark, MarkKind, Stored};
use crate::telemetry::{Family, Kind};

const REQUESTS: Family = Family {
    name: "sluice_disputed_requests_total",
    help: "Requests for packages with another hash than the one that the upstream publishes, by what was done.",
    kind: Kind::Counter,
};

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

    /// What is delivered of a package that may be disputed, or of what is made of it. Where the feed enforces hashes, the
    /// upstream is asked for another one first, as long as a request may be held.
    pub(in crate::proxy) async fn past_dispute(
        &self,
        want: &Want,
        mut delivery: Delivery,
    ) -> Result<Delivery, Failure> {
        if !self.store.has_marks(MarkKind::Disputed) || !matches!(delivery, Delivery::Stored { .. })
        {
            return Ok(delivery);
        }
        let of_package = self.source_of(want);
        let package = of_package.as_ref().unwrap_or(want);
        let Some(dispute) = self.dispute_of(package) else {
            return Ok(delivery);
        };
        if want.ask.feed.settings.package_hashes == Scrutiny::Enforce {
            self.settle(package, dispute).await?;
            if let (None, Some(stored)) = (&of_package, self.stored(&want.ask.key).await) {
                delivery = Delivery::Stored {
                    stored,
                    outcome: Outcome::Revalidated,
                    reason: None,
                };
            }
            return Ok(delivery);
        }
        self.tell_disputed(want, &mut delivery);
        Ok(delivery)
    }

    /// Asks for a disputed package again.
    ///
    /// # Errors
    /// [`Failure::Disputed`] if it is disputed after that, or the upstream may not be asked now.
    async fn settle(&self, package: &Want, dispute: Dispute) -> Result<(), Failure> {
        let ask = &package.ask;
        let was_asked = |proxy: &Self| {
            let now = proxy.clock.instant();
            proxy.scrutiny.asked_again.of(&ask.key, now).is_some()
        };
        let may_ask = self.reach(ask) == Reach::Live && ask.demand != Demand::StoredOnly;
        if may_ask && !was_asked(self) {
            let left = self.left_of(self.settings.max_hold, ask);
            let _ = tokio::time::timeout(left, self.ask_anew(package)).await;
            let now = self.clock.instant();
            self.scrutiny.asked_again.note(ask.key.clone(), (), now);
        }
        match self.dispute_of(package) {
            None => {
                self.scrutiny.asked_again.forget(&ask.key);
                Ok(())
            }
            Some(_) => {
                self.count_disputed(package, "refused");
                Err(Failure::Disputed {
                    since: dispute.since,
                    published: dispute.published,
                })
            }
        }
    }

    fn tell_disputed(&self, want: &Want, delivery: &mut Delivery) {
        if let Delivery::Stored {
            outcome: Outcome::Hit,
            reason,
            ..
        } = delivery
        {
            *reason = Some(Reason::Disputed);
        }
        self.count_disputed(want, "served");
        let now = self.clock.instant();
        if self.scrutiny.named.first(want.ask.key.clone(), (), now) {
            tracing::warn!(
                feed = &*want.ask.feed.name,
                id = want.ask.id.as_ref().map(PackageId::as_str),
                version = want.version().map(Version::as_str),
                "a disputed package is served"
            );
        }
    }

    fn count_disputed(&self, want: &Want, done: &'static str) {
        let labels = [("feed", &*want.ask.feed.label), ("done", done)];
        self.telemetry.add(&REQUESTS, &labels, 1);
    }
}
