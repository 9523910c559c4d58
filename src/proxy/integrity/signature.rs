//! Whether a stored package is signed by its upstream's repository, as far as that can be said here: by a certificate that the
//! repository lists, over these bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::AGAIN_AFTER;
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
use crate::nuget::nupkg::PackageFault;
use crate::nuget::package_signature::{self, SignatureFault};
use crate::nuget::service_index::SignaturesVersion;
use crate::nuget::signatures;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::content::Want;
use crate::proxy::document::Obtained;
use crate::proxy::errand::Errand;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::outcome::Outcome;
use crate::proxy::settings::Scrutiny;
use crate::store::{Mark, MarkKind, Stored};
use crate::telemetry::{Family, Kind};

const CHECKED: Family = Family {
    name: "sluice_package_signatures_total",
    help: "Stored packages looked at for the signature of their upstream's repository, by what came of it.",
    kind: Kind::Counter,
};

/// What came of a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Finding {
    /// The upstream lists no certificates.
    NotOffered,
    Signed,
    /// The list or the package is not at hand.
    Unknown,
    Unsigned,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Self::NotOffered => "not-offered",
            Self::Signed => "signed",
            Self::Unknown => "unknown",
            Self::Unsigned => "unsigned",
        }
    }
}

/// What a repository says of its signatures.
struct Listed {
    certificates: BTreeSet<String>,
    /// Whether it says that every package is signed.
    is_for_all: bool,
    /// Whether it is an old one, for want of the newest.
    is_stale: bool,
}

impl Proxy {
    /// Looks at the signature of a package that just came, or that the upstream just confirmed, behind whoever waits for it.
    pub(in crate::proxy) fn check_signature_behind(&self, want: &Want) {
        if !want.is_package() || want.ask.feed.settings.repository_signatures == Scrutiny::Off {
            return;
        }
        let (proxy, feed) = (self.clone(), Arc::clone(&want.ask.feed));
        let want = Want {
            ask: want.ask.behind(),
            ..want.clone()
        };
        self.in_turn(&feed, async move { proxy.check_signature(&want).await });
    }

    /// Looks at the signature of a stored package, and marks it if it should have another.
    pub(super) async fn check_signature(&self, want: &Want) {
        if want.ask.feed.settings.repository_signatures == Scrutiny::Off {
            return;
        }
        self.scrutiny.unjudged.forget(&want.ask.key);
        let finding = self.signature_finding(want).await;
        match finding {
            Finding::NotOffered => self.say_no_signers(&want.ask.feed),
            Finding::Unknown => self.note_unjudged(want),
            Finding::Signed | Finding::Unsigned => {}
        }
        let labels = [("feed", &*want.ask.feed.label), ("result", finding.word())];
        self.telemetry.add(&CHECKED, &labels, 1);
    }

    /// The newest list did not judge a package: it is looked at again once it is asked for a minute later.
    fn note_unjudged(&self, want: &Want) {
        let now = self.clock.instant();
        self.scrutiny.unjudged.note(want.ask.key.clone(), now, now);
    }

    /// Looks again at a package that is asked for and that the newest list has not judged.
    pub(super) fn judge_behind(&self, want: &Want) {
        if want.ask.feed.settings.repository_signatures == Scrutiny::Off {
            return;
        }
        let (now, key) = (self.clock.instant(), &want.ask.key);
        let is_due = |at: &Instant| now.saturating_duration_since(*at) >= AGAIN_AFTER;
        let noted = self.scrutiny.unjudged.of(key, now);
        if noted.as_ref().is_some_and(is_due) {
            self.scrutiny.unjudged.note(key.clone(), now, now);
            self.check_signature_behind(want);
        }
    }

    async fn signature_finding(&self, want: &Want) -> Finding {
        // A list that is some minutes old may lack the newest certificate.
        for demand in [Demand::None, Demand::Forced] {
            let listed = match self.listed(&want.ask.feed, demand).await {
                Ok(listed) => listed,
                Err(Failure::NotOffered(_)) => return Finding::NotOffered,
                Err(failure) => {
                    tracing::debug!(key = ?want.ask.key, "who signs is not known: {failure}");
                    return Finding::Unknown;
                }
            };
            let Some(stored) = self.stored(&want.ask.key).await else {
                return Finding::Unknown;
            };
            let (is_for_all, is_stale) = (listed.is_for_all, listed.is_stale);
            let reader = stored.body.reader();
            let check = move || package_signature::check(reader, &listed.certificates);
            let fault = match self.tasks.blocking("package signature", check).await {
                Ok(Ok(())) => {
                    self.store.end_mark(MarkKind::Unsigned, &want.ask.key);
                    return Finding::Signed;
                }
                Ok(Err(SignatureFault::Package(PackageFault::Io(_)))) | Err(_) => {
                    return Finding::Unknown;
                }
                Ok(Err(fault)) => fault,
            };
            let is_absent = matches!(
                fault,
                SignatureFault::Missing | SignatureFault::NotByRepository
            );
            let scrutiny = want.ask.feed.settings.repository_signatures;
            if is_absent && !is_for_all && scrutiny != Scrutiny::Enforce {
                self.store.end_mark(MarkKind::Unsigned, &want.ask.key);
                return Finding::Unsigned;
            }
            let is_unlisted = matches!(fault, SignatureFault::Unlisted(_));
            if demand == Demand::Forced || !is_unlisted {
                if is_unlisted && is_stale {
                    self.note_unjudged(want);
                }
                self.mark_unsigned(want, &stored, &fault).await;
                return Finding::Unsigned;
            }
        }
        Finding::Unknown
    }

    async fn mark_unsigned(&self, want: &Want, stored: &Stored, fault: &SignatureFault) {
        let mark = Mark {
            key: want.ask.key.clone(),
            since: self.clock.now(),
            detail: fault.to_string(),
        };
        if self.store.mark(MarkKind::Unsigned, mark) {
            tracing::warn!(
                feed = &*want.ask.feed.name,
                id = want.ask.id.as_ref().map(PackageId::as_str),
                version = want.version().map(Version::as_str),
                origin = stored.entry.origin,
                %fault,
                "a package that is held here is not signed by its repository"
            );
            self.ask_anew(want).await;
        }
    }

    /// The certificates that a feed's upstream signs with, by the newest list that it offers.
    async fn listed(&self, feed: &Arc<Feed>, demand: Demand) -> Result<Listed, Failure> {
        let errand = Errand::of_ours();
        let query = self.query_of_ours(feed, demand, &errand);
        for version in SignaturesVersion::ALL.into_iter().rev() {
            let ask = self.signatures_ask(&query, version);
            match Box::pin(self.document(&ask)).await {
                Ok(Obtained::Document {
                    document, outcome, ..
                }) => {
                    let list = signatures::read(document.text())
                        .map_err(|_| Failure::Internal("a stored list that cannot be read"))?;
                    return Ok(Listed {
                        is_for_all: list.claims_all(),
                        is_stale: outcome == Outcome::Stale,
                        certificates: list
                            .certificates
                            .into_iter()
                            .map(|certificate| certificate.sha256)
                            .collect(),
                    });
                }
                Ok(Obtained::Absent(_)) | Err(Failure::NotOffered(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::NotOffered("repository signatures"))
    }

    /// Warns of a feed whose packages should be signed and whose upstream lists nobody who could have.
    pub(in crate::proxy) async fn warn_of_no_signers(&self, feed: &Arc<Feed>) {
        if feed.settings.repository_signatures == Scrutiny::Off {
            return;
        }
        if let Err(Failure::NotOffered(_)) = self.listed(feed, Demand::None).await {
            self.say_no_signers(feed);
        }
    }

    /// Says once a day that nothing is checked.
    fn say_no_signers(&self, feed: &Feed) {
        let (name, now) = (feed.name.to_string(), self.clock.instant());
        if self.scrutiny.without_signers.first(name, (), now) {
            tracing::warn!(
                feed = &*feed.name,
                "repository_signatures is set and the upstream lists no certificates: nothing is checked"
            );
        }
    }
}
