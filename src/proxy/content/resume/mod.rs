//! Goes on with a body that broke off: asks for the rest, and judges whether what comes is the rest of the same body.
//!
//! The rest is asked for where the whole was, by the same walk over the endpoints: a signed link may have to be signed again.
//! Refuses the rest of anything that is not for certain the same body, and to go on for ever with a line that brings nothing.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::coding::Decoder;
use super::lead::head_of;
use super::line::{Line, Skipped};
use super::{File, Want};
use crate::cache::range::Part;
use crate::proxy::Proxy;
use crate::proxy::failure::Failure;
use crate::proxy::fetch::status_failure;
use crate::proxy::live::Identity;
use crate::proxy::outcome::{Reason, Resumption};
use crate::telemetry::{Family, Kind};
use crate::upstream::{Conditional, FetchMethod, Fetched, Pauses, Rest};

/// A line that brings this much between two breaks is worth asking again: less may be what the buffers on the way held.
const PROGRESS_BYTES: u64 = 64 * 1024;
/// What breaks that came sooner may cost in a row, at one each.
const MAX_POOR: u32 = 4;
/// What a line costs that fell silent before it broke: with the default idle limit of 30 s it is given up before the client's
/// own hundred seconds are over (protocol fact 3.4.1).
const SILENCE: u32 = 2;
/// How often the rest of one body is asked for at all: a gigabyte over a line that breaks every megabyte.
const MAX_RESUMES: u32 = 1024;

const RESUMES: Family = Family {
    name: "sluice_resumes_total",
    help: "Questions for the rest of a body that broke off, by what came of them.",
    kind: Kind::Counter,
};

/// Goes on with one body, as often as that is worth it.
#[derive(Debug)]
pub(in crate::proxy) struct Resume {
    proxy: Proxy,
    want: Want,
    identity: Identity,
    tries: Tries,
}

/// How often the rest of a body was asked for, and whether that brought anything.
#[derive(Debug)]
struct Tries {
    pauses: Pauses,
    all: u32,
    poor: u32,
    /// Where the body broke off last.
    last_at: u64,
}

/// Why a body does not go on.
#[derive(Debug)]
pub(in crate::proxy) enum Stop {
    /// There is another body now, or what the upstream says of this one is not to be relied on.
    Changed(Failure),
    /// The upstream gives nothing, or too little.
    Failed(Failure),
}

impl Stop {
    pub(in crate::proxy) fn into_failure(self) -> Failure {
        match self {
            Self::Changed(failure) | Self::Failed(failure) => failure,
        }
    }
}

/// What an answer to a question for the rest of a body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Neither: the upstream has no answer for now, or none for whoever asks.
    Neither,
    /// Not for certain the same body, for this reason.
    Other(&'static str),
    /// The rest, from the very byte on.
    Rest,
    /// The same body from its start.
    Whole,
}

impl Want {
    /// Whether its check sees every byte of it, so that pieces need no digest of the whole: packages by the checksums of
    /// their files, certificates by their fingerprint.
    pub(in crate::proxy) fn is_checked_throughout(&self) -> bool {
        self.is_package() || matches!(self.file, File::Certificate(_))
    }
}

impl Tries {
    fn new(at: u64) -> Self {
        Self {
            pauses: Pauses::by_chance(),
            all: 0,
            poor: 0,
            last_at: at,
        }
    }

    /// Whether a body that broke off at `at`, and so for `cost`, is asked for once more.
    fn may_try(&mut self, at: u64, cost: u32) -> bool {
        if at.saturating_sub(self.last_at) >= PROGRESS_BYTES {
            self.poor = 0;
            self.pauses = Pauses::by_chance();
        }
        self.last_at = at;
        self.poor += cost;
        self.all += 1;
        self.poor <= MAX_POOR && self.all <= MAX_RESUMES
    }
}

impl Resume {
    /// For the body `identity`, of which the first `at` bytes are there.
    pub(in crate::proxy) fn new(proxy: &Proxy, want: &Want, identity: &Identity, at: u64) -> Self {
        Self {
            proxy: proxy.clone(),
            want: want.clone(),
            identity: identity.clone(),
            tries: Tries::new(at),
        }
    }

    /// The rest of the body, which broke off at `at` as `broke` says; `digest` is that of what is there.
    pub(in crate::proxy) async fn rest(
        &mut self,
        at: u64,
        digest: &md5::Md5,
        broke: Failure,
    ) -> Result<Line, Stop> {
        let Self {
            proxy,
            want,
            identity,
            tries,
        } = self;
        let cost = match broke.reason() {
            Reason::TimedOut => SILENCE,
            _ => 1,
        };
        loop {
            if !tries.may_try(at, cost) {
                proxy.note_resume(want, at, Resumption::Failed, "too many breaks");
                return Err(Stop::Failed(broke));
            }
            tokio::time::sleep(tries.pauses.lengthen()).await;
            let fetched = match proxy.ask_for_rest(want, identity, at, None).await {
                Ok(fetched) => fetched,
                Err(failure) => {
                    proxy.note_resume(want, at, Resumption::Failed, failure.reason().word());
                    return Err(Stop::Failed(failure));
                }
            };
            let line = match judge(&fetched, identity, at) {
                Verdict::Neither => {
                    let failure = status_failure(&fetched.origin, fetched.status);
                    proxy.note_resume(want, at, Resumption::Failed, failure.reason().word());
                    return Err(Stop::Failed(failure));
                }
                Verdict::Other(why) => {
                    proxy.note_resume(want, at, Resumption::Refused, why);
                    return Err(Stop::Changed(broke));
                }
                Verdict::Rest => Line::new(fetched.body, at, identity.length),
                Verdict::Whole => {
                    let line = Line::new(fetched.body, 0, identity.length);
                    match line.skip(at, digest).await {
                        Ok(line) => line,
                        Err(Skipped::Broke) => continue,
                        Err(Skipped::Differs) => {
                            let why = "it begins with other bytes";
                            proxy.note_resume(want, at, Resumption::Refused, why);
                            return Err(Stop::Changed(broke));
                        }
                    }
                }
            };
            proxy.note_resume(want, at, Resumption::Resumed, "");
            return Ok(line);
        }
    }
}

impl Proxy {
    /// Asks every endpoint in order for a file from offset `at` on.
    pub(super) async fn ask_for_rest(
        &self,
        want: &Want,
        identity: &Identity,
        at: u64,
        validators: Option<Conditional>,
    ) -> Result<Fetched, Failure> {
        let last = identity.length.unwrap_or(u64::MAX).saturating_sub(1);
        let asked = Conditional {
            rest: Some(Rest {
                first: at,
                last,
                if_range: identity.etag.clone().filter(is_strong),
            }),
            ..validators.unwrap_or_default()
        };
        let fetched = self.ask_for(want, FetchMethod::Get, Some(asked)).await?;
        self.check_heard(&want.ask, &fetched).await?;
        Ok(fetched)
    }

    /// Counts and logs what came of asking for the rest of a body.
    pub(super) fn note_resume(&self, want: &Want, at: u64, outcome: Resumption, why: &str) {
        let (feed, outcome) = (&want.ask.feed.name, outcome.word());
        let labels = [("feed", &**feed), ("outcome", outcome)];
        self.telemetry.add(&RESUMES, &labels, 1);
        tracing::info!(key = ?want.ask.key, at, outcome, why, "the rest of a body was asked for");
    }
}

impl Identity {
    /// Whether a later answer can be told to bring the rest of this body: by its length, and by an entity tag or a date.
    pub(in crate::proxy) fn can_be_continued(&self) -> bool {
        let has_validator =
            self.etag.as_ref().is_some_and(|etag| !is_weak(etag)) || self.last_modified.is_some();
        self.length.is_some() && has_validator
    }

    /// Whether a 206 repeats the validator that tells this body: the bytes of its entity tag, else its date. A weak tag tells
    /// one meaning from another and not one body from another (RFC 9110 section 8.8.1), so it must be repeated, and the date
    /// too.
    fn is_repeated_by(&self, headers: &HeaderMap) -> bool {
        let repeats = |name, own: &Option<HeaderValue>| headers.get(name) == own.as_ref();
        match &self.etag {
            Some(etag) if !is_weak(etag) => repeats(header::ETAG, &self.etag),
            Some(_) if !repeats(header::ETAG, &self.etag) => false,
            Some(_) | None => {
                self.last_modified.is_some() && repeats(header::LAST_MODIFIED, &self.last_modified)
            }
        }
    }
}

fn is_weak(etag: &HeaderValue) -> bool {
    etag.as_bytes().starts_with(b"W/")
}

/// Whether an entity tag may stand in `If-Range`: quoted and not weak. nuget.org's has no quotes (protocol fact 2.8.3), and
/// who reads the field by the letter takes that for a date that does not match.
fn is_strong(etag: &HeaderValue) -> bool {
    let bytes = etag.as_bytes();
    bytes.len() > 1 && bytes.starts_with(b"\"") && bytes.ends_with(b"\"")
}

/// What an answer to a question for the rest of the body `identity` from `at` on is.
pub(super) fn judge(fetched: &Fetched, identity: &Identity, at: u64) -> Verdict {
    match fetched.status {
        StatusCode::PARTIAL_CONTENT => judge_part(&fetched.headers, fetched.length, identity, at),
        StatusCode::OK if head_of(fetched).identity.is_that_of(identity) => Verdict::Whole,
        StatusCode::OK => Verdict::Other("another body"),
        StatusCode::RANGE_NOT_SATISFIABLE => Verdict::Other("no such bytes"),
        _ => Verdict::Neither,
    }
}

fn judge_part(headers: &HeaderMap, length: Option<u64>, identity: &Identity, at: u64) -> Verdict {
    let mut ranges = headers.get_all(header::CONTENT_RANGE).iter();
    let range = match (ranges.next(), ranges.next()) {
        (Some(range), None) => range.to_str().ok().and_then(Part::read),
        _ => None,
    };
    // Several parts in one body name their ranges within it.
    let Some(part) = range else {
        return Verdict::Other("no single range");
    };
    if Some(part.total) != identity.length {
        return Verdict::Other("another length");
    }
    if part.start != at || length.is_some_and(|length| length != part.end - part.start) {
        return Verdict::Other("other bytes");
    }
    if !matches!(Decoder::of(headers), Ok(Decoder::Plain)) {
        return Verdict::Other("a coding");
    }
    if !identity.is_repeated_by(headers) {
        return Verdict::Other("another validator");
    }
    Verdict::Rest
}

#[cfg(test)]
mod tests;
