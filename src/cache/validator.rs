//! Entity tags of ours and the conditions that clients put on them (RFC 9110 sections 8.8 and 13).
//!
//! Two kinds of validator are never mixed: what the upstream sent is kept in
//! [`UpstreamValidator`](super::entry::UpstreamValidator) to revalidate with, what clients get is made here.

use http::{HeaderMap, HeaderValue, header};

/// Whether a conditional request gets the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// No condition, or it holds: the body.
    Met,
    /// The client's copy is current: 304.
    NotModified,
}

/// Evaluates `If-None-Match` against our tag. `If-Modified-Since` is not evaluated: a rewritten document changes with
/// its base URL, so its date says nothing (RFC 9110 section 13.1.3 lets a server ignore the field).
#[must_use]
pub fn evaluate(headers: &HeaderMap, etag: Option<&HeaderValue>) -> Condition {
    let Some(etag) = etag.and_then(|etag| etag.to_str().ok()) else {
        return Condition::Met;
    };
    let matches = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(tags)
        .any(|tag| tag == "*" || weak(tag) == weak(etag));
    if matches {
        Condition::NotModified
    } else {
        Condition::Met
    }
}

/// Whether a `Range` may be answered with a part: there is no `If-Range`, or it is our strong tag
/// (RFC 9110 section 13.1.5).
#[must_use]
pub fn range_applies(headers: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        Some(wanted) => {
            etag.is_some_and(|etag| etag == wanted && !etag.as_bytes().starts_with(b"W/"))
        }
    }
}

fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The members of a list of entity tags; a comma within quotes does not end one.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return None;
        }
        let open = rest
            .find('"')
            .filter(|&at| at == 0 || rest.starts_with("W/") && at == 2);
        let end = match open {
            Some(at) => rest[at + 1..]
                .find('"')
                .map_or(rest.len(), |close| at + close + 2),
            None => rest.find(',').unwrap_or(rest.len()),
        };
        let tag = rest[..end].trim_end();
        rest = &rest[end..];
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(if_none_match: &str, expected: Condition) {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::IF_NONE_MATCH,
            if_none_match.parse().expect("a value"),
        );
        let etag = HeaderValue::from_static("\"ab,c\"");
        assert_eq!(evaluate(&headers, Some(&etag)), expected, "{if_none_match}");
        assert_eq!(
            evaluate(&headers, None),
            Condition::Met,
            "without a tag of ours"
        );
    }

    #[test]
    fn compares_weakly_and_reads_lists() {
        check("\"ab,c\"", Condition::NotModified);
        check("W/\"ab,c\"", Condition::NotModified);
        check("\"x\" , W/\"y,z\",\"ab,c\"", Condition::NotModified);
        check("*", Condition::NotModified);
        check("\"ab\"", Condition::Met);
        check("ab,c", Condition::Met);
        check("\"x, \"ab", Condition::Met);
    }

    #[test]
    fn a_range_needs_the_strong_tag_we_sent() {
        let etag = HeaderValue::from_static("\"a\"");
        let mut headers = HeaderMap::new();
        assert!(range_applies(&headers, Some(&etag)));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"a\""));
        assert!(range_applies(&headers, Some(&etag)));
        assert!(!range_applies(&headers, None));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"b\""));
        assert!(!range_applies(&headers, Some(&etag)));
        let weak = HeaderValue::from_static("W/\"a\"");
        headers.insert(header::IF_RANGE, weak.clone());
        assert!(!range_applies(&headers, Some(&weak)));
    }
}
