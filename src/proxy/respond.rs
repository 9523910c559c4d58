//! Answer or failure → response: HEAD, ranges, 304, headers. The only place that picks status codes and reason phrases.
//!
//! Over HTTP/1.1 the reason phrase is the one thing of a failure that a user of `dotnet restore` sees (protocol fact
//! 9.11), so every failure says there what happened, and at length in the body.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::body::{Body, Source};
pub use super::facts::Transport;
pub(super) use super::facts::{Facts, Note};
use super::failure::Failure;
use super::live::{Live, StoredRescue};
use super::outcome::{Outcome, Reason, cache_status};
use super::refusal::{Refusal, challenge};
use super::words::{reason_phrase, words_for};
use crate::cache::entry::Entry;
use crate::cache::range::{self, Satisfied};
use crate::cache::validator::{self, Condition};
use crate::store::Answer;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const VIA: HeaderName = HeaderName::from_static("via");

/// Content is asked again at most daily by a client that obeys; versions hardly ever change (protocol fact 2.1.14).
const CONTENT_CACHING: HeaderValue = HeaderValue::from_static("max-age=86400");
/// Documents change at any time.
pub(super) const DOCUMENT_CACHING: HeaderValue = HeaderValue::from_static("no-cache");

pub(super) const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Bodies up to this size cost less as bytes than as an address token (a measured crossover).
const MIN_TOKEN_BYTES: u64 = 64 * 1024;
/// The only headers of a stored response that clients get: no cookies, no transport policy of another host, no
/// warnings meant for one publisher (protocol facts 3.1.8, 4.2.7).
const SENT_HEADERS: [HeaderName; 2] = [header::CONTENT_TYPE, header::LAST_MODIFIED];

/// A rendered document.
pub(super) fn document(facts: &Facts<'_>, answer: &Answer, note: &Note) -> Response<Body> {
    let mut headers = answer.headers.clone();
    let status = match validator::evaluate(facts.headers, headers.get(header::ETAG)) {
        Condition::Met => answer.status,
        Condition::NotModified => {
            // Some readers would decode the body that it does not have (RFC 9110 section 15.4.5).
            headers.remove(header::CONTENT_ENCODING);
            StatusCode::NOT_MODIFIED
        }
    };
    let length = Some(answer.body.len() as u64);
    let body = || Body::full(answer.body.clone());
    finish(facts, status, headers, note, length, body)
}

/// Makes room in an answer's headers for those that every response adds: filling in is cheaper than growing.
pub(super) fn reserve(headers: &mut HeaderMap, length: usize) {
    headers.insert(CACHE_STATUS, HeaderValue::from_static("sluice"));
    headers.insert(VIA, HeaderValue::from_static("1.1 sluice"));
    headers.insert(header::AGE, HeaderValue::from_static("0"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// A stored file of the flat container.
pub(super) fn content(facts: &Facts<'_>, rescue: StoredRescue, note: &Note) -> Response<Body> {
    let (entry, body) = (&rescue.stored.entry, &rescue.stored.body);
    let etag = content_etag(entry);
    let mut headers = content_headers(&entry.headers);
    headers.insert(header::ETAG, etag.clone());
    if validator::evaluate(facts.headers, Some(&etag)) == Condition::NotModified {
        return finish(
            facts,
            StatusCode::NOT_MODIFIED,
            headers,
            note,
            Some(0),
            Body::empty,
        );
    }
    let length = body.len();
    let asked = match facts
        .headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
    {
        // Only a GET has ranges (RFC 9110 section 14.2).
        Some(value)
            if *facts.method == Method::GET
                && validator::range_applies(facts.headers, Some(&etag)) =>
        {
            range::read(value).satisfy(length)
        }
        _ => Satisfied::Whole,
    };
    let (status, start, end) = match asked {
        Satisfied::Whole => (StatusCode::OK, 0, length),
        Satisfied::Part { start, end } => {
            headers.insert(header::CONTENT_RANGE, content_range(start, end, length));
            (StatusCode::PARTIAL_CONTENT, start, end)
        }
        Satisfied::Unsatisfiable => return unsatisfiable(facts, headers, note, length),
    };
    finish(facts, status, headers, note, Some(end - start), || {
        stored_body(facts, rescue, start, end)
    })
}

/// Whole or part of a stored file, by the cheapest way that the transport allows.
fn stored_body(facts: &Facts<'_>, rescue: StoredRescue, start: u64, end: u64) -> Body {
    let plain = facts.version == Version::HTTP_11 && facts.transport == Transport::Sendfile;
    if plain
        && end - start > MIN_TOKEN_BYTES
        && let Some(token) = rescue.proxy.store.token(&rescue.stored, start..end)
    {
        return Body::full(token);
    }
    let live = Live::of_stored(rescue, start, end);
    Body::from_source(Source::Live(Box::new(live)), Some(end - start))
}

/// A file that is still being fetched, or a stream past the store. `live` delivers the part that `Live` was told.
pub(super) fn live(
    facts: &Facts<'_>,
    upstream_headers: &HeaderMap,
    live: Live,
    note: &Note,
) -> Response<Body> {
    let mut headers = content_headers(upstream_headers);
    let length = live.length();
    let status = match live.part() {
        Some((start, end, total)) => {
            headers.insert(header::CONTENT_RANGE, content_range(start, end, total));
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    finish(facts, status, headers, note, length, || {
        Body::from_source(Source::Live(Box::new(live)), length)
    })
}

/// The answer to a HEAD for content that is not stored: the upstream's own headers.
pub(super) fn head_of_content(
    facts: &Facts<'_>,
    upstream_headers: &HeaderMap,
    length: Option<u64>,
    note: &Note,
) -> Response<Body> {
    let headers = content_headers(upstream_headers);
    finish(facts, StatusCode::OK, headers, note, length, Body::empty)
}

/// A range that lies behind the end of a body of known length.
pub(super) fn unsatisfiable(
    facts: &Facts<'_>,
    mut headers: HeaderMap,
    note: &Note,
    length: u64,
) -> Response<Body> {
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    finish(
        facts,
        StatusCode::RANGE_NOT_SATISFIABLE,
        headers,
        note,
        Some(0),
        Body::empty,
    )
}

/// The upstream has no such thing.
pub(super) fn absent(facts: &Facts<'_>, what: &str, note: &Note) -> Response<Body> {
    let text = format!("Sluice: the upstream has no {what}.\n");
    plain(facts, StatusCode::NOT_FOUND, None, text, note)
}

/// Nothing could be served.
pub(super) fn failure(
    facts: &Facts<'_>,
    failure: &Failure,
    what: &str,
    note: &Note,
) -> Response<Body> {
    if let Failure::Challenged(challenge) = failure {
        return challenge.respond(facts, what);
    }
    let (short, long) = words_for(failure, what, facts.clock.now());
    let text = format!("Sluice: {short}.\n{long}\n");
    let mut response = plain(facts, status_for(failure), Some(&short), text, note);
    let headers = response.headers_mut();
    if let Failure::CredentialWanted { feed, .. } = failure {
        headers.insert(header::WWW_AUTHENTICATE, challenge(feed));
    } else if failure.reason() == Reason::RateLimited {
        // The client obeys up to an hour of it (protocol fact 3.5.3), so it never gets the upstream's own.
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The request itself is turned away.
pub(super) fn refusal(facts: &Facts<'_>, refusal: &Refusal) -> Response<Body> {
    let (status, text) = match refusal {
        Refusal::BadRequest(problem) => (StatusCode::BAD_REQUEST, problem.clone()),
        Refusal::Blocked(said) | Refusal::Forbidden(said) => (StatusCode::FORBIDDEN, said.clone()),
        Refusal::Loop => (
            StatusCode::LOOP_DETECTED,
            "the request has passed this instance before: its upstream leads back to it".into(),
        ),
        Refusal::MethodNotAllowed(allowed) => (
            StatusCode::METHOD_NOT_ALLOWED,
            format!("method {}: expected one of {allowed}", facts.method),
        ),
        Refusal::Misdirected(problem) => (StatusCode::MISDIRECTED_REQUEST, problem.clone()),
        Refusal::NoSuchPath(problem) => (StatusCode::NOT_FOUND, problem.clone()),
        Refusal::Stalled => (
            StatusCode::REQUEST_TIMEOUT,
            "the upload stopped coming".into(),
        ),
        Refusal::Throttled(said) => (StatusCode::TOO_MANY_REQUESTS, said.clone()),
        Refusal::TooLarge(problem) => (StatusCode::PAYLOAD_TOO_LARGE, problem.clone()),
        Refusal::Unauthenticated { said, .. } => (StatusCode::UNAUTHORIZED, said.clone()),
        Refusal::V2(said) => (StatusCode::GONE, said.clone()),
    };
    let note = Note::of(Outcome::Refused, Some(refusal.reason()));
    let body = format!("Sluice: {text}.\n");
    let mut response = plain(facts, status, Some(&text), body, &note);
    let headers = response.headers_mut();
    match refusal {
        Refusal::MethodNotAllowed(allowed) => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        Refusal::Throttled(_) => {
            // The client obeys up to an hour of it (protocol fact 3.5.3).
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Refusal::Unauthenticated { feed, .. } => {
            headers.insert(header::WWW_AUTHENTICATE, challenge(feed));
        }
        Refusal::BadRequest(_)
        | Refusal::Blocked(_)
        | Refusal::Forbidden(_)
        | Refusal::Loop
        | Refusal::Misdirected(_)
        | Refusal::NoSuchPath(_)
        | Refusal::Stalled
        | Refusal::TooLarge(_)
        | Refusal::V2(_) => {}
    }
    response
}

/// A page of our own.
pub(super) fn page(facts: &Facts<'_>, content_type: &'static str, text: String) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let bytes = Bytes::from(text);
    let note = Note::of(Outcome::Local, None);
    let length = Some(bytes.len() as u64);
    finish(facts, StatusCode::OK, headers, &note, length, || {
        Body::full(bytes)
    })
}

/// The answer to a browser's preflight for search (protocol fact 2.3.12).
pub(super) fn preflight(facts: &Facts<'_>) -> Response<Body> {
    let mut headers = HeaderMap::new();
    allow_any_origin(&mut headers);
    let fixed = HeaderValue::from_static;
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        fixed("GET, HEAD, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        fixed("If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since"),
    );
    finish(
        facts,
        StatusCode::NO_CONTENT,
        headers,
        &Note::of(Outcome::Local, None),
        None,
        Body::empty,
    )
}

/// Lets a page of any origin read the answer (protocol fact 2.3.12).
pub(super) fn allow_any_origin(headers: &mut HeaderMap) {
    let fixed = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        fixed("ETag, Last-Modified, Cache-Status, Age"),
    );
}

/// An upstream's answer to a publish (protocol facts 4.2.5 to 4.2.7), or its refusal of a client's credential: unchanged.
pub(super) fn relayed(
    facts: &Facts<'_>,
    outcome: Outcome,
    status: StatusCode,
    reason: Option<&[u8]>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let note = Note::of(outcome, None);
    let length = http_body::Body::size_hint(&body).exact();
    let mut response = finish(facts, status, headers, &note, length, || body);
    if let Some(phrase) = reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
        response.extensions_mut().insert(phrase);
    }
    response
}

/// The status that each failure amounts to. 401 and 403 of the upstream never become a challenge to the client
/// (protocol fact 5.2.5), unless they are about the client's own credential; and no outage becomes a 404.
fn status_for(failure: &Failure) -> StatusCode {
    match failure {
        Failure::BadBody { .. }
        | Failure::Doubted(_)
        | Failure::HtmlPage { .. }
        | Failure::NotAuthorized { .. }
        | Failure::TooLarge { .. }
        | Failure::V2Feed { .. } => StatusCode::BAD_GATEWAY,
        Failure::Challenged(challenge) => challenge.status,
        Failure::CredentialWanted { .. } => StatusCode::UNAUTHORIZED,
        Failure::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Failure::Loop { .. } => StatusCode::LOOP_DETECTED,
        Failure::Member { failure, .. } => status_for(failure),
        Failure::NoRoomForUpload(_) => StatusCode::INSUFFICIENT_STORAGE,
        Failure::NothingPasses { status, .. } => *status,
        Failure::Blocked { .. }
        | Failure::NotOffered(_)
        | Failure::OfflineAbsent
        | Failure::Withdrawn { .. } => StatusCode::NOT_FOUND,
        Failure::Offline | Failure::OwnLimit { .. } | Failure::Resting { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Failure::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
        Failure::Unproven(why) => status_for(why),
        Failure::Unreachable {
            reason: Reason::BreakerOpen,
            ..
        } => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Unreachable {
            reason: Reason::HeldOut | Reason::TimedOut,
            ..
        } => StatusCode::GATEWAY_TIMEOUT,
        Failure::Unreachable {
            reason: Reason::RateLimited,
            ..
        } => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Unreachable { .. } => StatusCode::BAD_GATEWAY,
        Failure::UpstreamStatus { status, .. } => match status.as_u16() {
            429 | 503 => StatusCode::SERVICE_UNAVAILABLE,
            504 => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        },
    }
}

fn plain(
    facts: &Facts<'_>,
    status: StatusCode,
    reason: Option<&str>,
    text: String,
    note: &Note,
) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, PLAIN_TEXT);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let bytes = Bytes::from(text);
    let length = Some(bytes.len() as u64);
    let mut response = finish(facts, status, headers, note, length, || Body::full(bytes));
    if let Some(phrase) = reason.and_then(reason_phrase) {
        response.extensions_mut().insert(phrase);
    }
    response
}

fn content_headers(stored: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    for name in SENT_HEADERS {
        if let Some(value) = stored.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, octets);
    }
    headers.insert(header::CACHE_CONTROL, CONTENT_CACHING);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers
}

/// Our tag of a stored file: a hash of its bytes, the same on every instance.
fn content_etag(entry: &Entry) -> HeaderValue {
    etag_of(&entry.sha512)
}

/// The entity tag that the first 16 bytes of a hash make.
pub(super) fn etag_of(hash: &[u8]) -> HeaderValue {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in hash.iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

fn content_range(start: u64, end: u64, total: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {start}-{}/{total}", end.saturating_sub(1)))
        .unwrap_or(HeaderValue::from_static("bytes */*"))
}

fn finish(
    facts: &Facts<'_>,
    status: StatusCode,
    mut headers: HeaderMap,
    note: &Note,
    length: Option<u64>,
    body: impl FnOnce() -> Body,
) -> Response<Body> {
    headers.insert(
        CACHE_STATUS,
        cache_status(note.outcome, note.reason, note.ttl),
    );
    headers.insert(VIA, HeaderValue::from_static("1.1 sluice"));
    let now = facts.clock.now();
    let age = now
        .duration_since(note.validated_at.unwrap_or(now))
        .unwrap_or(Duration::ZERO);
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    let without_body = status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT;
    match length.filter(|_| !without_body) {
        Some(length) => headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.remove(header::CONTENT_LENGTH),
    };
    let body = if *facts.method == Method::HEAD || without_body {
        Body::empty()
    } else {
        body()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(*note);
    response
}
