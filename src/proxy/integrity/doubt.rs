//! What comes of a package that something speaks against: it is served with a warning, or asked for again and refused.

use std::fmt;
use std::time::SystemTime;

use super::Dispute;
use crate::cache::decision::{Demand, Reach};
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::content::{Delivery, Want};
use crate::proxy::failure::Failure;
use crate::proxy::outcome::{Outcome, Reason};
use crate::proxy::settings::Scrutiny;
use crate::store::MarkKind;
use crate::telemetry::{Family, Kind};

const REQUESTS: Family = Family {
    name: "sluice_doubted_requests_total",
    help: "Requests for packages that are disputed or unsigned, by what was done.",
    kind: Kind::Counter,
};

/// What speaks against a package.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::proxy) enum Doubt {
    /// It is not what the upstream publishes.
    Disputed(Dispute),
    /// It has no signature that it should have.
    Unsigned {
        /// What is wrong.
        problem: String,
        /// Since when that is known.
        since: SystemTime,
    },
}

impl Doubt {
    /// The word for it.
    pub(in crate::proxy) fn reason(&self) -> Reason {
        match self {
            Self::Disputed(_) => Reason::Disputed,
            Self::Unsigned { .. } => Reason::Unsigned,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disputed(_) => f.write_str("it has another hash than the one that is published"),
            Self::Unsigned { problem, .. } => f.write_str(problem),
        }
    }
}

impl Proxy {
    /// What speaks against a package, if the feed cares.
    pub(in crate::proxy) fn doubt_of(&self, want: &Want) -> Option<Doubt> {
        self.doubt_with(want, Scrutiny::Enforce)
            .or_else(|| self.doubt_with(want, Scrutiny::Warn))
    }

    /// What speaks against a package and is treated so.
    fn doubt_with(&self, want: &Want, scrutiny: Scrutiny) -> Option<Doubt> {
        let settings = &want.ask.feed.settings;
        if settings.package_hashes == scrutiny
            && let Some(dispute) = self.dispute_of(want)
        {
            return Some(Doubt::Disputed(dispute));
        }
        if settings.repository_signatures != scrutiny
            || !want.is_package()
            || !self.store.has_marks(MarkKind::Unsigned)
        {
            return None;
        }
        let mark = self.store.mark_of(MarkKind::Unsigned, &want.ask.key)?;
        Some(Doubt::Unsigned {
            problem: mark.detail,
            since: mark.since,
        })
    }

    /// What is delivered of a package that something may speak against, or of what is made of it. Where the feed refuses
    /// such packages, the upstream is asked for another one first, as long as a request may be held. What could not be
    /// judged is looked at again behind the answer.
    pub(in crate::proxy) async fn past_doubts(
        &self,
        want: &Want,
        mut delivery: Delivery,
    ) -> Result<Delivery, Failure> {
        if want.is_package() {
            self.judge_behind(want);
        }
        let has_marks = |kind| self.store.has_marks(kind);
        let is_rare = has_marks(MarkKind::Disputed) || has_marks(MarkKind::Unsigned);
        if !is_rare || !matches!(delivery, Delivery::Stored { .. }) {
            return Ok(delivery);
        }
        let source = self.source_of(want);
        let package = source.as_ref().unwrap_or(want);
        if self.doubt_with(package, Scrutiny::Enforce).is_some() {
            self.settle(package).await?;
            if let (None, Some(stored)) = (&source, self.stored(&want.ask.key).await) {
                delivery = Delivery::Stored {
                    stored,
                    outcome: Outcome::Revalidated,
                    reason: None,
                };
            }
        }
        if let Some(doubt) = self.doubt_with(package, Scrutiny::Warn) {
            self.tell_doubt(package, &doubt, &mut delivery);
        }
        Ok(delivery)
    }

    /// Asks again for a package that is refused as it is.
    ///
    /// # Errors
    /// What speaks against it after that, or if the upstream may not be asked now.
    async fn settle(&self, package: &Want) -> Result<(), Failure> {
        let ask = &package.ask;
        let was_asked = {
            let now = self.clock.instant();
            self.scrutiny.asked_again.of(&ask.key, now).is_some()
        };
        let may_ask = self.reach(ask) == Reach::Live && ask.demand != Demand::StoredOnly;
        if may_ask && !was_asked {
            let left = self.left_of(self.settings.max_hold, ask);
            let again = async {
                self.ask_anew(package).await;
                self.check_signature(package).await;
            };
            // What came of it the marks say.
            let _ = tokio::time::timeout(left, Box::pin(again)).await;
            let now = self.clock.instant();
            self.scrutiny.asked_again.note(ask.key.clone(), (), now);
        }
        let Some(doubt) = self.doubt_with(package, Scrutiny::Enforce) else {
            self.scrutiny.asked_again.forget(&ask.key);
            return Ok(());
        };
        self.count_doubt(package, &doubt, "refused");
        Err(Failure::Doubted(doubt))
    }

    fn tell_doubt(&self, package: &Want, doubt: &Doubt, delivery: &mut Delivery) {
        if let Delivery::Stored {
            outcome: Outcome::Hit,
            reason,
            ..
        } = delivery
        {
            *reason = Some(doubt.reason());
        }
        self.count_doubt(package, doubt, "served");
        let now = self.clock.instant();
        if self.scrutiny.named.first(package.ask.key.clone(), (), now) {
            tracing::warn!(
                feed = &*package.ask.feed.name,
                id = package.ask.id.as_ref().map(PackageId::as_str),
                version = package.version().map(Version::as_str),
                reason = %doubt.reason(),
                "a package that something speaks against is served"
            );
        }
    }

    fn count_doubt(&self, package: &Want, doubt: &Doubt, done: &'static str) {
        let feed = &*package.ask.feed.label;
        let labels = [
            ("feed", feed),
            ("done", done),
            ("reason", doubt.reason().word()),
        ];
        self.telemetry.add(&REQUESTS, &labels, 1);
    }
}
