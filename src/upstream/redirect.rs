//! Where an answer sends us.
//!
//! Redirects are followed here and not by a library, so that a signed target goes out byte for byte (protocol facts
//! 2.1.20, 5.2.4). It refuses to leave https for http.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};

use super::error::{RedirectFault, UpstreamError};
use super::url::{Address, Scheme};

/// Whether a status sends us elsewhere. The others of the 3xx class are answers.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// The target of a redirect that `from` answered with.
pub(super) fn target(
    from: &Address,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Address, UpstreamError> {
    let bad = |why| UpstreamError::BadRedirect {
        origin: from.origin().clone(),
        status,
        why,
    };
    let location = headers
        .get(LOCATION)
        .ok_or_else(|| bad(RedirectFault::NoLocation))?;
    let to = from
        .join(location.as_bytes())
        .map_err(|why| bad(RedirectFault::Target(why)))?;
    match (from.origin().scheme(), to.origin().scheme()) {
        (Scheme::Https, Scheme::Http) => Err(bad(RedirectFault::Downgrade)),
        (Scheme::Http, _) | (Scheme::Https, Scheme::Https) => Ok(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::url::BadUrl;

    #[track_caller]
    fn check(from: &str, location: Option<&str>, expected: Result<&str, RedirectFault>) {
        let from = Address::parse(from.as_bytes()).unwrap();
        let headers = location
            .map(|location| (LOCATION, location.parse().unwrap()))
            .into_iter()
            .collect();
        let status = StatusCode::FOUND;
        let expected = match expected {
            Ok(url) => Ok(Address::parse(url.as_bytes()).unwrap()),
            Err(why) => Err(UpstreamError::BadRedirect {
                origin: from.origin().clone(),
                status,
                why,
            }),
        };
        assert_eq!(target(&from, status, &headers), expected, "{location:?}");
    }

    #[test]
    fn targets_are_resolved_and_never_lose_tls() {
        let http = "http://a/b?c";
        let https = "https://a/b?c";
        check(http, Some("/d?sig=%2B+"), Ok("http://a/d?sig=%2B+"));
        check(http, Some("https://x/"), Ok("https://x/"));
        check(https, Some("//x/d"), Ok("https://x/d"));
        check(https, Some("http://a/"), Err(RedirectFault::Downgrade));
        check(https, None, Err(RedirectFault::NoLocation));
        check(
            https,
            Some("ftp://a/"),
            Err(RedirectFault::Target(BadUrl::Scheme)),
        );
        check(
            https,
            Some("https://u:p@x/"),
            Err(RedirectFault::Target(BadUrl::UserInfo)),
        );
    }
}
