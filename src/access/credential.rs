//! What a request presents: a user's password, a token of ours, or something else.
//!
//! A token travels as the password of any user name (what NuGet clients can send: protocol fact 5.1.2), as a bearer
//! token, or as the API key of a push. Nothing here prints a secret, and nothing says whether it is right.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::secret::TokenSecret;

/// The key of a push (protocol fact 5.1.10).
pub const API_KEY: HeaderName = HeaderName::from_static("x-nuget-apikey");

/// Longest user name and longest secret that are looked at, in bytes: longer ones are nobody's, and hashing a
/// megabyte is no service to offer.
const MAX_BYTES: usize = 1024;

/// A credential as it came.
#[derive(Clone, Eq, PartialEq)]
pub enum Presented {
    /// Of a kind that we never gave out, or unreadable.
    Foreign,
    /// A user name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(TokenSecret),
}

impl Presented {
    /// The credential in `Authorization`, if there is one. Two of them are none of ours.
    #[must_use]
    pub fn in_authorization(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return Some(Self::Foreign);
        }
        Some(read(value.as_bytes()).unwrap_or(Self::Foreign))
    }

    /// The token in `X-NuGet-ApiKey`; `None` if there is no key, or one of somebody else's making.
    #[must_use]
    pub fn in_api_key(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(API_KEY)?.to_str().ok()?;
        TokenSecret::read(value.trim()).map(Self::Token)
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "Foreign",
            Self::Password { .. } => "Password(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// Reads a value of `Authorization` (RFC 9110 section 11.6.2): Basic (RFC 7617) or Bearer (RFC 6750).
fn read(value: &[u8]) -> Option<Presented> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return TokenSecret::read(rest).map(Presented::Token);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = text_of(STANDARD.decode(rest).ok()?);
    // The first colon ends the user's name (RFC 7617 section 2).
    let (user, password) = text.split_once(':')?;
    if user.len() > MAX_BYTES || password.len() > MAX_BYTES {
        return None;
    }
    Some(match TokenSecret::read(password) {
        Some(token) => Presented::Token(token),
        None => Presented::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        },
    })
}

/// Bytes as text: UTF-8, else Latin-1, as older clients encode (RFC 7617 section 2.1 leaves it open).
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> String {
        format!("slc_{}", "A".repeat(43))
    }

    #[track_caller]
    fn check(authorization: &[&str], expected: Option<Presented>) {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().expect("a header value"));
        }
        assert!(
            Presented::in_authorization(&headers) == expected,
            "{authorization:?}"
        );
    }

    fn basic(pair: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn password(user: &str, password: &str) -> Option<Presented> {
        Some(Presented::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    #[test]
    fn reads_basic_and_bearer() {
        let ours = TokenSecret::read(&token()).map(Presented::Token);
        assert!(ours.is_some());
        check(&[], None);
        check(&[&basic(b"alice:s3:cret")], password("alice", "s3:cret"));
        check(&["basic YTpi"], password("a", "b"));
        check(&["BASIC   YTpi "], password("a", "b"));
        check(&[&basic("a:ü".as_bytes())], password("a", "ü"));
        check(&[&basic(b"a:\xfc")], password("a", "ü"));
        check(&[&basic(b":")], password("", ""));
        check(
            &[&basic(format!("whoever:{}", token()).as_bytes())],
            ours.clone(),
        );
        check(&[&format!("Bearer {}", token())], ours.clone());
        check(&[&format!("bearer {}", token())], ours);
    }

    #[test]
    fn what_cannot_be_read_is_foreign_and_never_nothing() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic %%%",
            "Negotiate abc",
            "Bearer eyJhbGciOi",
            "Bearer slc_short",
            &basic(b"without a colon"),
            &basic(&[b'a'; 2000]),
            &basic(&[b":", &[b'a'; 2000][..]].concat()),
        ] {
            check(&[value], Some(Presented::Foreign));
        }
        check(&["Basic YTpi", "Basic YTpi"], Some(Presented::Foreign));
    }

    #[test]
    fn a_key_is_ours_or_none() {
        let key = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(API_KEY, value.parse().expect("a header value"));
            Presented::in_api_key(&headers)
        };
        assert!(key(&token()).is_some_and(|key| key != Presented::Foreign));
        assert!(key("key-of-the-upstream").is_none());
        assert!(Presented::in_api_key(&HeaderMap::new()).is_none());
    }

    #[test]
    fn nothing_prints_a_secret() {
        let shown = format!("{:?}", password("alice", "s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
