//! What a failure says: in the reason phrase, the one thing of it that a user of `dotnet restore` sees over HTTP/1.1
//! (protocol fact 9.11), and at length in the body. No secrets, no queries.

use std::time::SystemTime;

use http::StatusCode;
use hyper::ext::ReasonPhrase;

use super::failure::Failure;
use super::integrity::{Dispute, Doubt};

/// Longest reason phrase, as nuget.org limits its own (protocol fact 4.2.6).
const MAX_REASON_BYTES: usize = 512;

/// What is said at length of a feed that is offline.
const OFFLINE: &str =
    "This feed is offline: only what is stored is served, and nothing is sent upstream.";

/// What a failure says in the reason phrase, and at length in the body.
pub(super) fn words_for(failure: &Failure, what: &str, now: SystemTime) -> (String, String) {
    match failure {
        Failure::BadBody {
            origin,
            what: problem,
        } => (
            format!("{origin} sent a bad {what}: {problem}"),
            "It was not stored; the next request asks again.".into(),
        ),
        Failure::Blocked { rule } => (
            format!("{what} is blocked by the rule {rule:?}"),
            "The rule stands in `block` of this feed in Sluice's configuration.".into(),
        ),
        Failure::Challenged(challenge) => challenge.words(),
        Failure::CredentialWanted { why, .. } => wanted(why, what, now),
        Failure::Doubted(doubt) => doubted(doubt, what, now),
        Failure::HtmlPage { origin } => (
            format!("{origin} sent an HTML page (to log in?), no copy of {what}"),
            "A feed answers with JSON. Check the URL and the credential of this feed.".into(),
        ),
        Failure::Internal(what) => (
            format!("internal error: {what}"),
            "This is a bug in Sluice.".into(),
        ),
        Failure::Loop { origin } => (
            format!("{origin} leads back to this instance, no copy of {what}"),
            "The upstream of this feed, or one behind it, is Sluice itself: check the upstream of each feed on the way."
                .into(),
        ),
        Failure::Member { member, failure } => {
            let (short, long) = words_for(failure, what, now);
            (
                format!("member {member}: {short}"),
                format!("{long} Another member is not asked in its place."),
            )
        }
        Failure::NotAuthorized { origin, status } => (
            format!(
                "{origin} answered {} to Sluice, no copy of {what}",
                status.as_u16()
            ),
            "Check the credential of this feed in Sluice's configuration.".into(),
        ),
        Failure::NoRoomForUpload(fault) => (
            format!("the upload cannot be put on disk: {fault}"),
            "This feed's upstream wants to know its length first (push_length).".into(),
        ),
        Failure::NothingPasses {
            origin,
            schemes,
            status,
        } => nothing_passes(origin, schemes, *status),
        Failure::NotOffered(resource) => (
            format!("the upstream offers no {resource}"),
            "Its service index does not list the resource.".into(),
        ),
        Failure::Offline => (
            format!("offline, {what} needs the upstream"),
            OFFLINE.into(),
        ),
        Failure::OfflineAbsent => (format!("offline, no copy of {what}"), OFFLINE.into()),
        Failure::OnlyIfCached => (
            format!("no copy of {what}, and the request allows the store alone"),
            "Cache-Control: only-if-cached was sent.".into(),
        ),
        Failure::OwnLimit { origin } => own_limit(origin, what),
        Failure::Resting {
            origin,
            status,
            until,
        } => resting(origin, *status, *until, what),
        Failure::TooLarge { origin, max_bytes } => (
            format!("{origin} sent a {what} of more than {max_bytes} bytes"),
            "The limit is max_document_bytes.".into(),
        ),
        Failure::Unreachable {
            origin,
            since,
            cause,
            detail,
            ..
        } => (
            format!(
                "{}, no copy of {what}",
                unreachable(origin, *since, cause.as_deref(), now)
            ),
            detail.clone(),
        ),
        Failure::UpstreamStatus { origin, status } => error_of(origin, *status, what),
        Failure::Unproven(why) => unproven(why, what, now),
        Failure::V2Feed { origin, v3 } => (
            format!("{origin} is a V2 feed, try {v3}, no copy of {what}"),
            "Sluice speaks V3: the upstream of this feed must be the URL of a V3 service index."
                .into(),
        ),
        Failure::Withdrawn { since } => (
            format!("{what} was withdrawn upstream, since {}", clock_time(*since, now)),
            "It is held here, and this feed serves no withdrawn versions (`withdrawn` in Sluice's configuration).".into(),
        ),
    }
}

fn unreachable(origin: &str, since: SystemTime, cause: Option<&str>, now: SystemTime) -> String {
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!(
        "{origin} unreachable since {}{cause}",
        clock_time(since, now)
    )
}

/// What speaks against a package.
fn doubted(doubt: &Doubt, what: &str, now: SystemTime) -> (String, String) {
    match doubt {
        Doubt::Disputed(Dispute {
            since, published, ..
        }) => (
            format!(
                "{what} has not the SHA-512 that its upstream publishes, since {}",
                clock_time(*since, now)
            ),
            format!(
                "Published is {published}; what was delivered has another, and the upstream gave no other. This feed serves \
                 no such packages (`package_hashes` in Sluice's configuration)."
            ),
        ),
        Doubt::Unsigned { problem, since } => (
            format!(
                "{what} is not signed by its repository: {problem}, since {}",
                clock_time(*since, now)
            ),
            "The upstream gave no other, and this feed serves no such packages (`repository_signatures` in \
             Sluice's configuration)."
                .into(),
        ),
    }
}

/// That an upstream answered with an error of its own.
fn error_of(origin: &str, status: StatusCode, what: &str) -> (String, String) {
    if status == StatusCode::TOO_MANY_REQUESTS {
        return (
            format!("{origin} refuses by rate (429), no copy of {what}"),
            "It gets more requests from here than it allows.".into(),
        );
    }
    (
        format!("{origin} answered {}, no copy of {what}", status.as_u16()),
        "The upstream's own error; it was asked again as long as a request may be held.".into(),
    )
}

/// That our own limits are what was waited for.
fn own_limit(origin: &str, what: &str) -> (String, String) {
    (
        format!("too many requests wait for {origin} here, no copy of {what}"),
        "Sluice's own limits are what it waited for: max_upstream_connections, max_upstream_requests_per_second, \
         max_upstream_bytes_per_second."
            .into(),
    )
}

/// That an upstream refuses for a while, and until when.
fn resting(origin: &str, status: StatusCode, until: SystemTime, what: &str) -> (String, String) {
    let (date, status) = (httpdate::fmt_http_date(until), status.as_u16());
    let time = date.get(17..25).unwrap_or_default();
    (
        format!("{origin} refuses by rate ({status}) until {time}, no copy of {what}"),
        format!("It wants no requests until {date} (Retry-After), and gets none."),
    )
}

/// That a credential is demanded in the place of an upstream which does not answer.
fn wanted(why: &Failure, what: &str, now: SystemTime) -> (String, String) {
    let (short, long) = outage(why, now).unwrap_or_else(|| words_for(why, what, now));
    let short = format!("{short}; copies are for credentials that the upstream let in before");
    (short, long)
}

/// That there is a copy, and no proof for it.
fn unproven(why: &Failure, what: &str, now: SystemTime) -> (String, String) {
    let Some((short, long)) = outage(why, now) else {
        return words_for(why, what, now);
    };
    let short =
        format!("{short}, and the upstream has not let this credential in for {what} lately");
    (short, long)
}

/// How an upstream does not answer, whether there is a copy or not.
fn outage(why: &Failure, now: SystemTime) -> Option<(String, String)> {
    match why {
        Failure::Unreachable {
            origin,
            since,
            cause,
            detail,
            ..
        } => {
            let short = unreachable(origin, *since, cause.as_deref(), now);
            Some((short, detail.clone()))
        }
        Failure::UpstreamStatus { origin, status } => {
            let short = format!("{origin} answered {}", status.as_u16());
            let long = "A stored copy is given only to a credential that the upstream let in: within proof_grace, in an \
                        outage.";
            Some((short, long.into()))
        }
        Failure::Offline => {
            let short = "offline".to_owned();
            Some((short, OFFLINE.into()))
        }
        _ => None,
    }
}

/// That an upstream offers only what is bound to a connection or to the address that was asked.
fn nothing_passes(origin: &str, schemes: &str, status: StatusCode) -> (String, String) {
    let status = status.as_u16();
    (
        format!("{origin} answered {status} and offers only {schemes}, which cannot pass a proxy"),
        "Such a scheme is bound to a connection or to the address that was asked. Have the upstream offer Basic, or \
         give this feed a credential of its own in Sluice's configuration."
            .into(),
    )
}

/// Hours and minutes (UTC) of `time`, with its day if that is not today.
fn clock_time(time: SystemTime, now: SystemTime) -> String {
    // "Sun, 06 Nov 1994 08:49:37 GMT"
    let text = httpdate::fmt_http_date(time);
    let day = |text: &str| text.get(5..11).map(str::to_owned);
    let minutes = text.get(17..22).unwrap_or_default();
    match day(&text) {
        Some(day_of) if day(&httpdate::fmt_http_date(now)).as_ref() != Some(&day_of) => {
            format!("{day_of} {minutes}")
        }
        _ => minutes.to_owned(),
    }
}

/// A reason phrase of ours: printable ASCII, at most [`MAX_REASON_BYTES`].
pub(super) fn reason_phrase(text: &str) -> Option<ReasonPhrase> {
    let clean: String = format!("Sluice: {text}")
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .take(MAX_REASON_BYTES)
        .collect();
    ReasonPhrase::try_from(clean.into_bytes()).ok()
}
