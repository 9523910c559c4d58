//! Cases: Host and absolute form; X-Forwarded and RFC 7239 from strangers, loopback and trusted peers; lists;
//! malformed values; public_url; allowed_hosts.

use super::*;

const LOOPBACK: &str = "127.0.0.1:1";
const STRANGER: &str = "198.51.100.7:1";
const TRUSTED: &str = "10.1.2.3:1";

fn settings() -> Settings {
    Settings {
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a net")],
        ..Settings::default()
    }
}

fn find(settings: &Settings, peer: &str, lines: &[(&str, &str)]) -> Result<Address, AddressError> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    settings.address(
        &headers,
        &Uri::from_static("/v3/index.json"),
        peer.parse().expect("a peer"),
        Scheme::Http,
    )
}

#[track_caller]
fn check(peer: &str, lines: &[(&str, &str)], expected: &str) {
    let found = find(&settings(), peer, lines).map(|address| address.base_url);
    assert_eq!(found.as_deref(), Ok(expected), "{peer} {lines:?}");
}

#[track_caller]
fn refused(peer: &str, lines: &[(&str, &str)]) {
    let found = find(&settings(), peer, lines);
    assert!(
        matches!(found, Err(AddressError::Malformed { .. })),
        "{lines:?}: {found:?}"
    );
}

const HOST: (&str, &str) = ("host", "cache:6850");

#[test]
fn strangers_are_believed_for_their_host_alone() {
    check(STRANGER, &[HOST], "http://cache:6850");
    check(STRANGER, &[("host", "[::1]:6850")], "http://[::1]:6850");
    check(
        STRANGER,
        &[
            HOST,
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-prefix", "/p"),
        ],
        "http://cache:6850",
    );
}

#[test]
fn loopback_is_believed_for_the_scheme_and_trusted_peers_for_all() {
    let all = [
        HOST,
        ("x-forwarded-proto", "ftp, HTTPS"),
        ("x-forwarded-host", "inner, packages.example"),
        ("x-forwarded-prefix", "/nuget/"),
    ];
    check(LOOPBACK, &all, "https://cache:6850");
    check(TRUSTED, &all, "https://packages.example/nuget");
}

#[test]
fn tls_of_ours_makes_the_scheme_and_http_2_names_the_host_in_the_uri() {
    let uri = Uri::from_static("https://packages.example:6853/v3/index.json");
    let find = |lines: &[(&'static str, &'static str)], peer: &str| {
        let lines = lines.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let headers: HeaderMap = lines.collect();
        let peer = peer.parse().expect("a peer");
        let found = settings().address(&headers, &uri, peer, Scheme::Https);
        found.expect("readable").base_url
    };
    assert_eq!(find(&[], STRANGER), "https://packages.example:6853");
    assert_eq!(find(&[HOST], STRANGER), "https://packages.example:6853");
    // A proxy that is believed and took plain HTTP itself.
    let plain = [("x-forwarded-proto", "http")];
    assert_eq!(find(&plain, TRUSTED), "http://packages.example:6853");
    assert_eq!(find(&plain, STRANGER), "https://packages.example:6853");
}

#[test]
fn only_one_family_of_headers_is_read() {
    let lines = [
        HOST,
        (
            "forwarded",
            "for=192.0.2.1;proto=http, for=\"[2001:db8::1]:47\";proto=https;host=packages.example",
        ),
        ("x-forwarded-host", "evil.example"),
    ];
    check(TRUSTED, &lines, "http://evil.example");
    let rfc = Settings {
        forwarded: ForwardedFamily::Rfc7239,
        ..settings()
    };
    let found = find(&rfc, TRUSTED, &lines).expect("readable");
    assert_eq!(found.base_url, "https://packages.example");
    assert_eq!(
        found.client,
        "2001:db8::1".parse::<IpAddr>().expect("an address")
    );
}

#[test]
fn the_clients_address_comes_from_trusted_peers_only() {
    let lines = [HOST, ("x-forwarded-for", "198.51.100.1, 192.0.2.9")];
    let client = |peer| {
        find(&settings(), peer, &lines)
            .expect("readable")
            .client
            .to_string()
    };
    assert_eq!(client(TRUSTED), "192.0.2.9");
    assert_eq!(client(LOOPBACK), "127.0.0.1");
    assert_eq!(client("[::ffff:198.51.100.7]:1"), "198.51.100.7");
}

#[test]
fn what_is_malformed_is_refused() {
    refused(STRANGER, &[]);
    refused(STRANGER, &[("host", "")]);
    refused(STRANGER, &[("host", "a b")]);
    refused(STRANGER, &[("host", "a,b")]);
    refused(STRANGER, &[HOST, HOST]);
    refused(TRUSTED, &[HOST, ("host", "b"), ("x-forwarded-host", "c")]);
    refused(STRANGER, &[("host", "a/b")]);
    refused(STRANGER, &[("host", "user@a")]);
    refused(STRANGER, &[("host", "a:99999")]);
    refused(STRANGER, &[("host", "a:+80")]);
    refused(STRANGER, &[("host", "[::1")]);
    refused(LOOPBACK, &[HOST, ("x-forwarded-proto", "gopher")]);
    refused(TRUSTED, &[HOST, ("x-forwarded-host", "a\"b")]);
    refused(TRUSTED, &[HOST, ("x-forwarded-prefix", "nuget")]);
    refused(TRUSTED, &[HOST, ("x-forwarded-prefix", "/a/../b")]);
    refused(TRUSTED, &[HOST, ("x-forwarded-for", "unknown")]);
}

#[test]
fn public_url_overrides_everything_and_allowed_hosts_limit_it() {
    let fixed = Settings {
        public_url: Some("https://packages.example/x".into()),
        ..settings()
    };
    assert_eq!(
        find(&fixed, STRANGER, &[HOST]).expect("readable").base_url,
        "https://packages.example/x"
    );
    let limited = Settings {
        allowed_hosts: vec!["Cache".into()],
        ..settings()
    };
    assert!(find(&limited, STRANGER, &[HOST]).is_ok());
    assert_eq!(
        find(&limited, STRANGER, &[("host", "other:6850")]),
        Err(AddressError::Misdirected("other:6850".into()))
    );
}
