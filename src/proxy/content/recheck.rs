//! Asking about files that never stop being fresh: once a week, and after the feed's certificates changed, behind a hit.
//!
//! Packages are signed anew, deleted and published again, if seldom (protocol fact 2.1.14). What is due is served as before;
//! the question costs its headers unless there is another file by now. Refuses to hold a hit up, and to ask while the
//! upstream is in trouble.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::HeaderName;
use tokio::time::Instant;

use super::Want;
use super::coding::Decoder;
use super::lead::{ContentState, Landed};
use super::list::Found;
use crate::cache::decision::{Demand, Reach};
use crate::cache::entry::{Entry, UpstreamValidator};
use crate::cache::epoch::Epoch;
use crate::cache::recheck::is_due;
use crate::proxy::Proxy;
use crate::proxy::checks::sent_md5;
use crate::proxy::document::Ask;
use crate::proxy::outcome::Outcome;
use crate::proxy::route::Content;
use crate::store::Stored;
use crate::telemetry::{Family, Kind};
use crate::upstream::Fetched;

/// Questions at once: nobody waits for them, and clients' fetches go first.
pub(in crate::proxy) const MAX_AT_ONCE: usize = 2;
/// Questions that wait for their turn: as many as the packages of a large solution. More are asked at a later hit.
pub(in crate::proxy) const MAX_WAITING: usize = 1024;
/// After a question the next one comes this much later at the earliest, if the first came to nothing.
const AGAIN_AFTER_QUESTION: Duration = Duration::from_secs(10 * 60);
/// The same after the upstream said that it has no such file any more.
pub(in crate::proxy) const AGAIN_AFTER_GONE: Duration = Duration::from_secs(24 * 60 * 60);

/// Times in rows are that much earlier than in memory at most.
const ROW_PRECISION: Duration = Duration::from_millis(1);

pub(super) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

const RECHECKS: Family = Family {
    name: "sluice_content_rechecks_total",
    help: "Stored files of packages that the upstream was asked about behind a hit, by what came of it.",
    kind: Kind::Counter,
};

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) enum Purpose {
    /// A client's answer.
    Answer,
    /// To know whether the stored one is what the upstream has. Nobody waits.
    Recheck,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Finding {
    Changed,
    Confirmed,
    Failed,
    Gone,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// The same file, to be asked about whatever is stored.
fn question_for(want: &Want) -> Want {
    Want {
        ask: Ask {
            demand: Demand::Forced,
            ..want.ask.clone()
        },
        purpose: Purpose::Recheck,
        ..want.clone()
    }
}

impl Proxy {
    /// Has the upstream asked about a stored file that is given, if it is due and nothing speaks against asking.
    pub(super) fn recheck_behind(&self, want: &Want, stored: &Stored) {
        if want.ask.demand == Demand::None && self.is_due(want, &stored.entry) {
            self.ask_behind(want, stored.entry.validated_at);
        }
    }

    /// Has the upstream asked about a stored file that it last confirmed at `validated_at`, unless it is in trouble or was
    /// asked lately.
    pub(in crate::proxy) fn ask_behind(&self, want: &Want, validated_at: SystemTime) {
        let ask = &want.ask;
        if self.reach(ask) != Reach::Live {
            return;
        }
        let now = self.clock.instant();
        let pause = self.rechecks.of(&ask.key, now);
        if pause.is_some_and(|until: Instant| now < until) {
            return;
        }
        let Ok(place) = Arc::clone(&self.recheck_places).try_acquire_owned() else {
            return;
        };
        let until = now + AGAIN_AFTER_QUESTION;
        self.rechecks.note(ask.key.clone(), until, now);
        let proxy = self.clone();
        let mut want = question_for(want);
        want.ask = Ask {
            since: now,
            ..want.ask.behind()
        };
        self.tasks.spawn("recheck", async move {
            let _place = place;
            tokio::select! {
                () = proxy.tasks.draining() => {}
                () = Box::pin(proxy.recheck(&want, validated_at)) => {}
            }
        });
    }

    /// Whether a file is to be asked about: at a certain age, a package also once its feed's certificates have changed
    /// (protocol fact 2.6.11).
    fn is_due(&self, want: &Want, entry: &Entry) -> bool {
        let feed = &want.ask.feed;
        let every = feed.settings.freshness.content_revalidated;
        let Some(every) = every.filter(|_| want.ask.class.is_content()) else {
            return false;
        };
        let changed_at = if want.is_package() {
            self.certificates_changed_at(feed)
        } else {
            None
        };
        is_due(entry.validated_at, every, changed_at, self.clock.now())
    }

    async fn recheck(&self, want: &Want, validated_at: SystemTime) {
        let Ok(_turn) = self.recheck_turns.acquire().await else {
            return;
        };
        // The wait may have been long: others may have asked meanwhile.
        let Some(stored) = self.stored(&want.ask.key).await else {
            return;
        };
        if stored.entry.validated_at > validated_at + ROW_PRECISION {
            return;
        }
        let finding = match &self.source_of(want) {
            Some(package) => self.recheck_by_package(package, &stored).await,
            None => self.ask_again(want, &stored).await,
        };
        if finding == Finding::Gone {
            let now = self.clock.instant();
            let until = now + AGAIN_AFTER_GONE;
            self.rechecks.note(want.ask.key.clone(), until, now);
        }
        let (feed, class) = (&*want.ask.feed.label, want.ask.class.word());
        let labels = [("feed", feed), ("class", class), ("result", finding.word())];
        self.telemetry.add(&RECHECKS, &labels, 1);
        tracing::debug!(key = ?want.ask.key, finding = finding.word(), "a stored file was asked about");
    }

    /// Takes part in the flight for a file until its verdict.
    async fn ask_again(&self, want: &Want, before: &Stored) -> Finding {
        let Some(state) = self.verdict_on(want).await else {
            return Finding::Failed;
        };
        match state {
            ContentState::Done(Ok(Landed::Stored(_, Outcome::Hit) | Landed::Absent(_))) => {
                Finding::Gone
            }
            ContentState::Done(Ok(Landed::Resumed(now) | Landed::Stored(now, _)))
                if now.entry.sha512 == before.entry.sha512 =>
            {
                Finding::Confirmed
            }
            ContentState::Done(Ok(Landed::Resumed(_) | Landed::Stored(..))) => Finding::Changed,
            ContentState::Asking(_)
            | ContentState::Cut { .. }
            | ContentState::Done(Err(_))
            | ContentState::Past(_)
            | ContentState::Refused(..)
            | ContentState::Streaming(_) => Finding::Failed,
        }
    }

    /// Takes part in a flight that asks for a file, whatever is stored, until its verdict.
    pub(in crate::proxy) async fn ask_anew(&self, want: &Want) {
        // What came of it shows in the store.
        let _ = self.verdict_on(&question_for(want)).await;
    }

    /// The verdict of the flight for a file; `None` if its leader is lost.
    async fn verdict_on(&self, want: &Want) -> Option<ContentState> {
        let (mut ticket, _) = self.board_content(want, want.gate(self).epoch);
        let landed = ticket.wait_for(ContentState::is_landed).await;
        landed.ok().map(|state| state.clone())
    }

    /// A manifest that is made of its package is as current as that.
    async fn recheck_by_package(&self, package: &Want, manifest: &Stored) -> Finding {
        let package = question_for(package);
        let Some(before) = self.stored(&package.ask.key).await else {
            // Made of what is evicted by now.
            return Finding::Gone;
        };
        let finding = if self.is_due(&package, &before.entry) {
            self.ask_again(&package, &before).await
        } else {
            Finding::Confirmed
        };
        if finding == Finding::Confirmed
            && let Some(package) = self.stored(&package.ask.key).await
        {
            let (validated_at, epoch) = (package.entry.validated_at, manifest.entry.epoch);
            self.store.refresh(manifest, validated_at, epoch, None);
        }
        finding
    }

    /// What is made of a package goes with it when the upstream has replaced it.
    pub(super) async fn follow_package(&self, want: &Want, before: &Stored, landed: &Landed) {
        let (Landed::Resumed(now) | Landed::Stored(now, _)) = landed else {
            return;
        };
        let model = want.ask.feed.model();
        if !want.is_package()
            || now.entry.sha512 == before.entry.sha512
            || !model.is_some_and(|model| model.is_without_flat_container())
        {
            return;
        }
        if let (Some(id), Some(version)) = (&want.ask.id, want.version()) {
            let manifest = Content::Manifest.class();
            let key = want.ask.feed.key(manifest, Some(id), version.as_str());
            self.store.remove(&key).await;
        }
    }

    /// The upstream has no such file. A stored file of a package that nobody deleted through us is withdrawn and stays;
    /// what a client's own credential does not see says nothing of what is stored.
    pub(super) async fn no_more(
        &self,
        want: &Want,
        epoch: Epoch,
        status: http::StatusCode,
        stored: Option<Stored>,
    ) -> Landed {
        let ask = &want.ask;
        let held = stored.filter(|stored| {
            ask.class.is_content() && ask.feed.client.is_none() && stored.entry.epoch >= epoch
        });
        let Some(stored) = held else {
            self.note_absent(want, epoch, status).await;
            return Landed::Absent(ask.feed.audience());
        };
        if want.is_package() {
            self.withdraw(&ask.feed, &ask.key);
        }
        match want.purpose {
            Purpose::Answer => Landed::Absent(ask.feed.audience()),
            Purpose::Recheck => {
                self.compare_with_list(want, Found::Missing).await;
                Landed::Stored(stored, Outcome::Hit)
            }
        }
    }
}

/// Whether an answer brings the very file that is stored, so that its body need not be read: by the digest that came with
/// both, else by its length and every validator.
pub(super) fn is_unchanged(fetched: &Fetched, entry: &Entry) -> bool {
    if let (Some(new), Some(known)) = (sent_md5(&fetched.headers), sent_md5(&entry.headers)) {
        return new == known;
    }
    let validator = UpstreamValidator::of(&fetched.headers);
    let says_something = validator.etag.is_some() || validator.last_modified.is_some();
    let is_plain = matches!(Decoder::of(&fetched.headers), Ok(Decoder::Plain));
    says_something
        && is_plain
        && fetched.length == Some(entry.body_bytes)
        && validator == entry.upstream_validator
}
