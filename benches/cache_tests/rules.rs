//! What a response says about its being stored and served again, for a shared cache that has no policy of its own
//! (RFC 9111, RFC 5861, RFC 9213).
//!
//! Sluice has such a policy and obeys none of this (see `sluice::cache::freshness`), so it stands here. What both need,
//! directives and times, is read by `sluice::cache`. Nothing is guessed: a response that names no time is stale at once.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sluice::cache::cache_control::{directives, seconds};
use sluice::cache::entry::age;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Fields of one connection that none of its `Connection` names (RFC 9110 section 7.6.1, RFC 9111 section 3.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that describe the stored body, which a 304 does not bring (RFC 9111 section 3.2).
const OF_THE_BODY: [HeaderName; 4] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
];

/// What the directives of a response say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    max_age: Option<Duration>,
    must_revalidate: bool,
    must_understand: bool,
    no_cache: bool,
    no_store: bool,
    private: bool,
    public: bool,
    s_maxage: Option<Duration>,
    stale_while_revalidate: Duration,
    /// By `Expires`.
    until_expires: Option<Duration>,
}

impl Rules {
    /// Reads a response that was received at `received_at`. A valid `CDN-Cache-Control` replaces `Cache-Control` and
    /// `Expires` (RFC 9213 section 2.2).
    pub(crate) fn of(headers: &HeaderMap, received_at: SystemTime) -> Self {
        let mut rules = Self::default();
        if let Some(targeted) = targeted(headers) {
            for (name, time) in targeted {
                rules.note(&name, time);
            }
            return rules;
        }
        for directive in directives(headers, &header::CACHE_CONTROL) {
            let known = KNOWN.iter().find(|name| directive.is(name));
            if let Some(name) = known {
                rules.note(name, directive.time());
            }
        }
        rules.until_expires = until_expires(headers, received_at);
        rules
    }

    /// Of two directives of one name the first counts; a time that is none is over (RFC 9111 section 4.2.1).
    fn note(&mut self, name: &str, time: Option<Duration>) {
        let time = time.unwrap_or_default();
        match name {
            "max-age" => self.max_age = self.max_age.or(Some(time)),
            "must-revalidate" | "proxy-revalidate" => self.must_revalidate = true,
            "must-understand" => self.must_understand = true,
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "s-maxage" => self.s_maxage = self.s_maxage.or(Some(time)),
            "stale-while-revalidate" => self.stale_while_revalidate = time,
            _ => {}
        }
    }

    /// How long it is fresh, counted from when the origin made it. One that names no time, or must be asked for each
    /// time, never is.
    pub(crate) fn fresh_for(&self) -> Duration {
        let named = self.s_maxage.or(self.max_age).or(self.until_expires);
        named.filter(|_| !self.no_cache).unwrap_or_default()
    }

    /// Whether it may be served stale where the origin fails.
    pub(crate) fn may_be_stale(&self) -> bool {
        !(self.must_revalidate || self.no_cache || self.s_maxage.is_some())
    }

    /// Whether it may be served and asked for behind the answer once it is this old.
    pub(crate) fn may_be_asked_behind(&self, age: Duration) -> bool {
        self.may_be_stale() && age < self.fresh_for() + self.stale_while_revalidate
    }

    /// Whether a shared cache may store this answer to a GET (RFC 9111 section 3), and would have any use of it.
    pub(crate) fn may_store(
        &self,
        request: &HeaderMap,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        let is_understood = status.canonical_reason().is_some();
        let forbidden = if self.must_understand {
            !is_understood
        } else {
            self.no_store
        };
        let mut asked = directives(request, &header::CACHE_CONTROL);
        let refused = asked.any(|directive| directive.is("no-store"));
        let is_part = [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let shared = !request.contains_key(header::AUTHORIZATION)
            || self.public
            || self.must_revalidate
            || self.s_maxage.is_some();
        let has_validator =
            headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
        let useful = has_validator || !self.fresh_for().is_zero();
        let varies_by_all = vary(headers).any(|name| name == "*");
        useful && shared && !(forbidden || refused || is_part || self.private || varies_by_all)
    }
}

/// Directives that are obeyed.
const KNOWN: [&str; 10] = [
    "max-age",
    "must-revalidate",
    "must-understand",
    "no-cache",
    "no-store",
    "private",
    "proxy-revalidate",
    "public",
    "s-maxage",
    "stale-while-revalidate",
];

/// The directives meant for caches like this one; `None` if there are none or the field is not well-formed, whatever is
/// wrong with it (RFC 9213 section 2.1).
fn targeted(headers: &HeaderMap) -> Option<Vec<(String, Option<Duration>)>> {
    let lines = headers.get_all(CDN_CACHE_CONTROL).iter();
    let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    let found: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    let directives = found.into_iter().map(|(name, value)| {
        let ListEntry::Item(item) = value else {
            return None;
        };
        let time = match item.bare_item {
            BareItem::Boolean(_) => None,
            BareItem::Integer(number) => Some(seconds(number.to_string().as_bytes())?),
            _ => return None,
        };
        Some((name.as_str().to_owned(), time))
    });
    let directives: Vec<_> = directives.collect::<Option<_>>()?;
    (!directives.is_empty()).then_some(directives)
}

/// What `Expires` says, counted from `Date`; nothing of it is left where it is no date (RFC 9111 section 5.3).
fn until_expires(headers: &HeaderMap, received_at: SystemTime) -> Option<Duration> {
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let (first, second) = (lines.next()?, lines.next());
    let expires = date(first).filter(|_| second.is_none());
    let made_at = headers.get(header::DATE).and_then(date);
    let time = expires.and_then(|at| at.duration_since(made_at.unwrap_or(received_at)).ok());
    Some(time.unwrap_or_default())
}

/// A date in any case, which a cache should read (RFC 9111 section 4.2).
fn date(value: &HeaderValue) -> Option<SystemTime> {
    let mut text = value.to_str().ok()?.to_ascii_lowercase();
    let mut begins = true;
    for at in 0..text.len() {
        let is_letter = text.as_bytes()[at].is_ascii_lowercase();
        if is_letter && begins {
            text[at..=at].make_ascii_uppercase();
        }
        begins = !is_letter;
    }
    httpdate::parse_http_date(&text.replace("Gmt", "GMT")).ok()
}

/// When the origin made a response, as far as a cache can know (RFC 9111 section 4.2.3).
pub(crate) fn made_at(
    headers: &HeaderMap,
    asked_at: SystemTime,
    received_at: SystemTime,
) -> SystemTime {
    let delay = received_at.duration_since(asked_at).unwrap_or_default();
    let by_date = headers.get(header::DATE).and_then(date);
    let apparent = by_date.and_then(|date| received_at.duration_since(date).ok());
    // `Date` tells whole seconds.
    let apparent = Duration::from_secs(apparent.unwrap_or_default().as_secs());
    let old = apparent.max(age(headers) + delay);
    received_at
        .checked_sub(old)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Names of the request's fields that the response was chosen by (RFC 9110 section 12.5.5); `*` among them is all.
pub(crate) fn vary(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let lines = headers.get_all(header::VARY).iter();
    let names = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty())
}

/// Which variant a request asks for, where the response was chosen by these fields: their members without the spaces
/// between them, which mean nothing (RFC 9111 section 4.1).
pub(crate) fn variant(names: &[String], request: &HeaderMap) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    let mut variant = String::new();
    for name in names {
        let lines = request.get_all(&name).iter();
        let members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        let members: Vec<String> = members
            .map(|member| String::from_utf8_lossy(member.trim_ascii()).into_owned())
            .collect();
        variant.push_str(&format!("{name}={members:?};"));
    }
    variant
}

/// Fields that go beyond one connection.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = headers.clone();
    HOP_BY_HOP.iter().for_each(|name| drop(kept.remove(name)));
    named.iter().for_each(|name| drop(kept.remove(name)));
    kept
}

/// The fields of a stored response after a 304 brought it up to date (RFC 9111 section 3.2).
pub(crate) fn freshened(stored: &HeaderMap, brought: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    // How old the body was when it came says nothing of the 304.
    headers.remove(header::AGE);
    for name in brought.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        headers.remove(name);
        for value in brought.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// Whether `If-Modified-Since` is met by a stored response: by its `Last-Modified`, else its `Date` (RFC 9111 section
/// 4.3.2). Sluice itself ignores the field (see `sluice::cache::validator`).
pub(crate) fn is_unmodified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let since = request.get(header::IF_MODIFIED_SINCE).and_then(date);
    let changed = stored
        .get(header::LAST_MODIFIED)
        .or(stored.get(header::DATE));
    let changed = changed.and_then(date);
    since
        .zip(changed)
        .is_some_and(|(since, changed)| changed <= since)
}
