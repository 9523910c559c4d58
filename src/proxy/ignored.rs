//! Forwarded headers that came from a peer who is not believed, told once for each such peer.
//!
//! A reverse proxy that nobody named in `trusted_proxies` makes every link of ours point past it (protocol facts 3.9.4,
//! 7.1.9), and nothing fails until a client follows one. It refuses to complain of a header that would change nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use http::{header, request};
use serde_json::{Value, json};

use super::Peer;
use super::base::{ForwardedFamily, Settings, X_HOST, X_PREFIX, X_PROTO, last};

/// Peers that are told of: a proxy farm has fewer, and a client that plays proxy must not fill the log.
const MAX_PEERS: usize = 16;

/// Who sent headers that were not believed.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    peers: Mutex<BTreeMap<IpAddr, Vec<&'static str>>>,
}

impl Ignored {
    /// Looks at a request; the first of a peer whose headers would have changed its links is logged.
    pub(super) fn note(&self, settings: &Settings, parts: &request::Parts, peer: Peer) {
        let headers = ignored(settings, parts, peer);
        if headers.is_empty() {
            return;
        }
        let ip = peer.addr.ip().to_canonical();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS || peers.contains_key(&ip) {
            return;
        }
        tracing::warn!(
            peer = %ip,
            headers = headers.join(", "),
            "forwarded headers are ignored and links do not follow them; if this is a reverse proxy of yours, set {}",
            setting_for(ip)
        );
        peers.insert(ip, headers);
    }

    /// The peers, for `/readyz`.
    pub(super) fn report(&self) -> Value {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let list = peers.iter().map(|(ip, headers)| {
            json!({"peer": ip.to_string(), "headers": headers, "setting": setting_for(*ip)})
        });
        list.collect()
    }
}

fn setting_for(ip: IpAddr) -> String {
    format!("trusted_proxies = [\"{ip}\"] or public_url")
}

/// The headers that would have changed the base URL, had their sender been believed.
fn ignored(settings: &Settings, parts: &request::Parts, peer: Peer) -> Vec<&'static str> {
    let ip = peer.addr.ip().to_canonical();
    if settings.public_url.is_some() || settings.trusts(ip) {
        return Vec::new();
    }
    let headers = &parts.headers;
    if settings.forwarded == ForwardedFamily::Rfc7239 {
        let tells = last(headers, &header::FORWARDED).is_some_and(|element| {
            let element = element.to_ascii_lowercase();
            // Of loopback the scheme is believed.
            element.contains("host=") || (element.contains("proto=") && !ip.is_loopback())
        });
        return if tells { vec!["Forwarded"] } else { Vec::new() };
    }
    let mut found = Vec::new();
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => last(headers, &header::HOST).unwrap_or(""),
    };
    if last(headers, &X_HOST).is_some_and(|forwarded| !forwarded.eq_ignore_ascii_case(host)) {
        found.push("X-Forwarded-Host");
    }
    if last(headers, &X_PREFIX).is_some_and(|prefix| !prefix.trim_end_matches('/').is_empty()) {
        found.push("X-Forwarded-Prefix");
    }
    let scheme = peer.scheme.word();
    let proto = last(headers, &X_PROTO);
    if !ip.is_loopback() && proto.is_some_and(|proto| !proto.eq_ignore_ascii_case(scheme)) {
        found.push("X-Forwarded-Proto");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Scheme, Transport};

    const HOST: (&str, &str) = ("host", "cache:6850");

    fn peer(addr: &str) -> Peer {
        Peer {
            addr: addr.parse().unwrap(),
            scheme: Scheme::Http,
            transport: Transport::Copy,
        }
    }

    fn parts(lines: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().uri("/v3/index.json");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn settings() -> Settings {
        Settings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Settings::default()
        }
    }

    #[track_caller]
    fn check(addr: &str, lines: &[(&str, &str)], expected: &[&str]) {
        let lines = [&[HOST], lines].concat();
        let found = ignored(&settings(), &parts(&lines), peer(addr));
        assert_eq!(found, expected, "{addr} {lines:?}");
    }

    #[test]
    fn only_what_would_have_changed_a_link_is_told() {
        let (stranger, loopback, trusted) = ("192.0.2.1:1", "127.0.0.1:1", "10.1.2.3:1");
        let all = [
            ("x-forwarded-host", "packages.example"),
            ("x-forwarded-prefix", "/nuget"),
            ("x-forwarded-proto", "https"),
        ];
        let names = [
            "X-Forwarded-Host",
            "X-Forwarded-Prefix",
            "X-Forwarded-Proto",
        ];
        check(stranger, &all, &names);
        check(loopback, &all, &names[..2]);
        check(trusted, &all, &[]);
        check(stranger, &[], &[]);
        let idle = [
            ("x-forwarded-host", "Cache:6850"),
            ("x-forwarded-prefix", "/"),
            ("x-forwarded-proto", "http"),
        ];
        check(stranger, &idle, &[]);
        check(stranger, &[("x-forwarded-for", "192.0.2.9")], &[]);
        check(stranger, &[("forwarded", "host=a")], &[]);
    }

    #[test]
    fn the_other_family_is_told_where_it_is_the_one_that_is_read() {
        let settings = Settings {
            forwarded: ForwardedFamily::Rfc7239,
            ..settings()
        };
        let told = |addr, value| {
            !ignored(&settings, &parts(&[HOST, ("forwarded", value)]), peer(addr)).is_empty()
        };
        assert!(told("192.0.2.1:1", "proto=https"));
        assert!(!told("127.0.0.1:1", "proto=https"));
        assert!(told("127.0.0.1:1", "Host=a;proto=https"));
        assert!(!told("10.0.0.1:1", "host=a"));
    }

    #[test]
    fn a_public_url_needs_no_headers() {
        let fixed = Settings {
            public_url: Some("https://packages.example".into()),
            ..settings()
        };
        let parts = parts(&[HOST, ("x-forwarded-host", "packages.example")]);
        assert_eq!(
            ignored(&fixed, &parts, peer("192.0.2.1:1")),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn each_peer_is_told_once_with_the_setting_and_peers_are_bounded() {
        let all = Ignored::default();
        let parts = parts(&[HOST, ("x-forwarded-host", "packages.example")]);
        for _ in 0..2 {
            all.note(&settings(), &parts, peer("192.0.2.1:1"));
        }
        assert_eq!(
            all.report(),
            json!([{
                "peer": "192.0.2.1",
                "headers": ["X-Forwarded-Host"],
                "setting": "trusted_proxies = [\"192.0.2.1\"] or public_url",
            }])
        );
        for last in 0..50 {
            all.note(&settings(), &parts, peer(&format!("198.51.100.{last}:1")));
        }
        assert_eq!(all.report().as_array().unwrap().len(), MAX_PEERS);
    }
}
