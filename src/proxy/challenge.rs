//! An upstream's refusal of a client's own credential, handed on: what it asks for, less what cannot pass us.
//!
//! Some authentication schemes are bound to a connection or to the address that was asked (RFC 4559, RFC 7616): through a
//! proxy with addresses and connections of its own they cannot succeed, and a connection that one client signed in on
//! would serve the next. So they are neither offered to a client nor taken from one.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::Proxy;
use super::body::{Body, next_chunk};
use super::checks::decode;
use super::document::Ask;
use super::failure::Failure;
use super::outcome::{Outcome, Reason};
use super::respond::{self, Facts, Note};
use crate::upstream::Fetched;

/// Longest body of a refusal that is handed on: they are pages for people.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// Schemes that are bound to a connection, to the address asked, or to several requests in a row.
pub(super) const BOUND_SCHEMES: [&str; 8] = [
    "digest",
    "hoba",
    "kerberos",
    "mutual",
    "negotiate",
    "ntlm",
    "scram-sha-1",
    "scram-sha-256",
];

/// What may stand behind a scheme: a parameter, or the next one where it has none.
const ENDS_SCHEME: [u8; 3] = *b" \t,";

/// An upstream's 401 or 403 to a client's own credential.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) status: StatusCode,
    /// The host that said so.
    pub(super) origin: String,
    /// Its reason phrase, where that is not the canonical one.
    reason: Option<Bytes>,
    /// What of its headers is handed on.
    headers: HeaderMap,
    body: Bytes,
    /// Schemes that were left out, where nothing else was offered.
    only: Vec<String>,
}

/// The scheme of a credential that cannot pass a proxy, in the words of our list.
pub(super) fn bound_scheme(authorization: &HeaderValue) -> Option<&'static str> {
    bound(scheme_of(authorization.as_bytes()))
}

/// What a credential or a challenge begins with.
fn scheme_of(text: &[u8]) -> &[u8] {
    let mut parts = text.split(|byte| ENDS_SCHEME.contains(byte));
    parts.next().unwrap_or_default()
}

/// The word of our list for a scheme that cannot pass a proxy.
fn bound(scheme: &[u8]) -> Option<&'static str> {
    let known = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(scheme);
    BOUND_SCHEMES.iter().find(known).copied()
}

impl Proxy {
    /// The refusal that an answer amounts to.
    pub(super) async fn challenge_of(&self, ask: &Ask, fetched: Fetched) -> Challenge {
        let (offered, only) = passable(&fetched.headers);
        let mut headers = HeaderMap::new();
        for value in offered {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
        let no_store = HeaderValue::from_static("no-store");
        headers.insert(header::CACHE_CONTROL, no_store);
        let mut body = BytesMut::new();
        let mut chunks = fetched.body;
        // A body that breaks off or is too long is left out: the status says it all.
        let whole = loop {
            match next_chunk(&mut chunks).await {
                None => break true,
                Some(Ok(chunk)) if (body.len() + chunk.len()) as u64 <= MAX_BODY_BYTES => {
                    body.extend_from_slice(&chunk);
                }
                Some(_) => break false,
            }
        };
        let text = Some(body.freeze())
            .filter(|_| whole)
            .and_then(|raw| decode(&fetched.headers, raw, MAX_BODY_BYTES).ok());
        if let (Some(_), Some(kind)) = (&text, fetched.headers.get(header::CONTENT_TYPE)) {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        tracing::debug!(key = ?ask.key, status = fetched.status.as_u16(), "the upstream refuses a client");
        Challenge {
            status: fetched.status,
            origin: fetched.origin.host().to_owned(),
            reason: fetched.reason,
            headers,
            body: text.unwrap_or_default(),
            only,
        }
    }
}

impl Challenge {
    /// What it says in short, and at length.
    pub(super) fn words(&self) -> (String, String) {
        let status = self.status.as_u16();
        (
            format!(
                "{} answered {status} to the client's credential",
                self.origin
            ),
            "The credential of the client is passed on to the upstream.".into(),
        )
    }

    /// The response that hands it on. Where only schemes were offered that cannot pass, it says so in their place.
    pub(super) fn respond(&self, facts: &Facts<'_>, what: &str) -> Response<Body> {
        if !self.only.is_empty() {
            let failure = Failure::NothingPasses {
                origin: self.origin.clone(),
                status: self.status,
                schemes: self.only.join(", "),
            };
            let note = Note::of(Outcome::Challenged, Some(Reason::NotAuthorized));
            return respond::failure(facts, &failure, what, &note);
        }
        respond::relayed(
            facts,
            Outcome::Challenged,
            self.status,
            self.reason.as_deref(),
            self.headers.clone(),
            Body::full(self.body.clone()),
        )
    }
}

/// The challenges of an answer that can pass us, as they were written; and, where there are others only, their schemes.
pub(super) fn passable(headers: &HeaderMap) -> (Vec<HeaderValue>, Vec<String>) {
    let (mut passable, mut left_out) = (Vec::new(), Vec::new());
    for line in headers.get_all(header::WWW_AUTHENTICATE) {
        // What is no text cannot be told apart; no scheme of ours looks like that.
        let Ok(text) = line.to_str() else {
            passable.push(line.clone());
            continue;
        };
        let mut kept = Vec::new();
        for challenge in challenges(text) {
            let scheme = scheme_of(challenge.as_bytes());
            if bound(scheme).is_some() {
                left_out.push(String::from_utf8_lossy(scheme).into_owned());
            } else {
                kept.push(challenge);
            }
        }
        passable.extend(
            HeaderValue::try_from(kept.join(", "))
                .ok()
                .filter(|value| !value.is_empty()),
        );
    }
    if !passable.is_empty() {
        left_out.clear();
    }
    (passable, left_out)
}

/// The challenges of one line (RFC 9110 section 11.6.1). A comma parts challenges as well as parameters: what begins with
/// a name and `=` belongs to the challenge before it.
fn challenges(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in items(line) {
        let name_bytes = item
            .find(|c: char| c == '=' || c.is_ascii_whitespace())
            .unwrap_or(item.len());
        let is_parameter = item[name_bytes..].trim_start().starts_with('=');
        match found.last_mut() {
            Some(last) if is_parameter => {
                last.push_str(", ");
                last.push_str(item);
            }
            _ => found.push(item.to_owned()),
        }
    }
    found
}

/// The items of a list, commas in quoted strings aside.
fn items(line: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let pieces = line.split(move |c: char| {
        let ends = c == ',' && !is_quoted;
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        ends
    });
    pieces.map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], kept: &[&str], left_out: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::WWW_AUTHENTICATE, line.parse().expect("a value"));
        }
        let (found, only) = passable(&headers);
        let found: Vec<_> = found
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect();
        assert_eq!(found, kept, "{lines:?}");
        assert_eq!(only, left_out, "{lines:?}");
    }

    #[test]
    fn schemes_that_cannot_pass_are_left_out() {
        let basic = r#"Basic realm="corp, \"x\", NTLM", charset="UTF-8""#;
        check(&[basic], &[basic], &[]);
        check(&["Negotiate", "NTLM", basic], &[basic], &[]);
        check(&[&format!("Negotiate, NTLM,{basic}")], &[basic], &[]);
        check(&[&format!("{basic}, ntlm TlRMTVNTUAA=")], &[basic], &[]);
        check(&[&format!("{basic}, ntlm\tTlRMTVNTUAA=")], &[basic], &[]);
        check(&[&format!(r#"{basic}, NTLM , a="b""#)], &[basic], &[]);
        check(
            &[r#"Bearer authorization_uri="https://a/b", Basic realm="x", TFS-Federated"#],
            &[r#"Bearer authorization_uri="https://a/b", Basic realm="x", TFS-Federated"#],
            &[],
        );
        check(
            &[r#"Digest realm="a", qop="auth, auth-int", nonce="n", Basic realm = "b""#],
            &[r#"Basic realm = "b""#],
            &[],
        );
    }

    #[test]
    fn when_nothing_is_left_it_is_said_what_there_was() {
        check(&["Negotiate", "NTLM"], &[], &["Negotiate", "NTLM"]);
        check(&[r#"DIGEST realm="a", nonce="b""#], &[], &["DIGEST"]);
        check(&[], &[], &[]);
        check(&[" , ,"], &[], &[]);
    }

    #[test]
    fn the_schemes_of_credentials_are_told() {
        let scheme = |value| bound_scheme(&HeaderValue::from_static(value));
        assert_eq!(scheme("Negotiate YII="), Some("negotiate"));
        assert_eq!(scheme("ntlm TlRM"), Some("ntlm"));
        assert_eq!(scheme("NTLM\tTlRM"), Some("ntlm"));
        assert_eq!(scheme("Basic dTpw"), None);
        assert_eq!(scheme("Bearer ntlm"), None);
    }
}
