//! What an upstream asks of a client's own credential.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

use crate::proxy::challenge::{BOUND_SCHEMES, passable};

/// Lines of `WWW-Authenticate`: none that is handed on begins a challenge of a scheme that cannot pass a proxy, what is
/// handed on is handed on again as it is, and schemes are named only where nothing else is offered.
pub(crate) fn challenge(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').take(8);
    let lines: Vec<HeaderValue> = lines
        .filter_map(|line| HeaderValue::from_bytes(line.trim_ascii()).ok())
        .collect();
    let (kept, left_out) = passable(&headers(&lines));
    assert!(kept.is_empty() || left_out.is_empty(), "{left_out:?}");
    assert!(kept.len() <= lines.len());
    for value in &kept {
        let text = value.to_str().unwrap_or_default();
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let scheme = text.split(|c| !is_token(c)).next().unwrap_or_default();
        let rest = text.get(scheme.len()..).unwrap_or_default();
        let is_bound = BOUND_SCHEMES.contains(&scheme.to_ascii_lowercase().as_str());
        // A name and `=` is a parameter of no challenge.
        let begins = rest.is_empty() || rest.starts_with([' ', '\t', ',']);
        let is_parameter = rest.trim_start().starts_with('=');
        assert!(!is_bound || !begins || is_parameter, "{text:?}");
    }
    assert_eq!(passable(&headers(&kept)), (kept, Vec::new()));
}

fn headers(lines: &[HeaderValue]) -> HeaderMap {
    let lines = lines.iter().map(|line| (WWW_AUTHENTICATE, line.clone()));
    lines.collect()
}

/// Some challenges.
#[must_use]
pub(crate) fn challenge_lines() -> Vec<Vec<u8>> {
    [
        "Negotiate\nNTLM\nBasic realm=\"corp, \\\"x\\\", NTLM\", charset=\"UTF-8\"",
        "Bearer authorization_uri=\"https://a/b\", Basic realm=\"x\", TFS-Federated, ntlm TlRMTVNTUAA=",
        "Digest realm=\"a\", qop=\"auth, auth-int\", nonce=\"n\", Basic realm = \"b\"",
        " , ,\nDIGEST",
    ]
    .map(|lines| lines.as_bytes().to_vec())
    .to_vec()
}
