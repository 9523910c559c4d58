//! RFC 3986 sections 2, 5.2 and 5.4; protocol facts 2.1.20 and 5.2.4.

use super::*;

#[track_caller]
fn check_parse(url: &str, expected: Result<(&str, &str), BadUrl>) {
    let parsed = Address::parse(url.as_bytes());
    let parsed = parsed
        .as_ref()
        .map(|address| (address.origin.to_string(), address.target.clone()))
        .map_err(|error| *error);
    assert_eq!(
        parsed,
        expected.map(|(origin, target)| (origin.to_owned(), target.to_owned())),
        "{url}"
    );
}

#[test]
fn addresses_are_kept_as_written() {
    check_parse(
        "https://API.NuGet.org/v3/index.json",
        Ok(("https://api.nuget.org", "/v3/index.json")),
    );
    check_parse("HTTP://h:8080", Ok(("http://h:8080", "/")));
    check_parse("https://h:443/a", Ok(("https://h", "/a")));
    check_parse("http://h:/a#part", Ok(("http://h", "/a")));
    check_parse("https://h?a=b", Ok(("https://h", "/?a=b")));
    check_parse("http://[::1]:81/x", Ok(("http://[::1]:81", "/x")));
    check_parse(
        "https://h/a%2fB/../c?sig=a%2Bb+c/d==&x=[1]&t='(;)*!",
        Ok(("https://h", "/a%2fB/../c?sig=a%2Bb+c/d==&x=[1]&t='(;)*!")),
    );
    check_parse(
        "https://h/a b/\u{e9}|{x}?q=\"<\\^`>",
        Ok(("https://h", "/a%20b/%C3%A9%7C%7Bx%7D?q=%22%3C%5C%5E%60%3E")),
    );
}

#[test]
fn what_is_no_address_is_refused() {
    check_parse("ftp://h/", Err(BadUrl::Scheme));
    check_parse("/relative", Err(BadUrl::Scheme));
    check_parse("https:h", Err(BadUrl::Scheme));
    check_parse("https:///a", Err(BadUrl::Host));
    check_parse("https://h\\x/a", Err(BadUrl::Host));
    check_parse("https://b\u{fc}cher/a", Err(BadUrl::Host));
    check_parse("https://[::g]/", Err(BadUrl::Host));
    check_parse("https://user:pw@h/", Err(BadUrl::UserInfo));
    check_parse("https://h:0/", Err(BadUrl::Port));
    check_parse("https://h:65536/", Err(BadUrl::Port));
    check_parse("https://h:+1/", Err(BadUrl::Port));
    check_parse("https://[::1]x/", Err(BadUrl::Port));
    check_parse(
        &format!("https://h/{}", "a".repeat(MAX_URL_BYTES)),
        Err(BadUrl::TooLong),
    );
}

#[track_caller]
fn check_join(location: &str, expected: &str) {
    let base = Address::parse(b"http://a/b/c/d;p?q").unwrap();
    let joined = base.join(location.as_bytes()).unwrap();
    assert_eq!(
        format!("{}{}", joined.origin, joined.target),
        expected,
        "{location}"
    );
}

#[test]
fn locations_resolve_against_the_address_asked() {
    check_join("g", "http://a/b/c/g");
    check_join("./g", "http://a/b/c/g");
    check_join("g/", "http://a/b/c/g/");
    check_join("/g", "http://a/g");
    check_join("//g", "http://g/");
    check_join("?y", "http://a/b/c/d;p?y");
    check_join("g?y", "http://a/b/c/g?y");
    check_join("#s", "http://a/b/c/d;p?q");
    check_join("g#s", "http://a/b/c/g");
    check_join("", "http://a/b/c/d;p?q");
    check_join(".", "http://a/b/c/");
    check_join("..", "http://a/b/");
    check_join("../g", "http://a/b/g");
    check_join("../../..", "http://a/");
    check_join("../../../g", "http://a/g");
    check_join("g;x=1/../y", "http://a/b/c/y");
    check_join("g?y/../x", "http://a/b/c/g?y/../x");
    check_join("https://x/../y?%2F+", "https://x/../y?%2F+");
    check_join("/x/./y?a/../b", "http://a/x/./y?a/../b");
    check_join("\u{e9}?\u{e9}", "http://a/b/c/%C3%A9?%C3%A9");
}

#[test]
fn a_location_of_another_scheme_is_refused() {
    let base = Address::parse(b"http://a/b").unwrap();
    assert_eq!(base.join(b"file:///etc/passwd"), Err(BadUrl::Scheme));
    assert_eq!(base.join(b"g:h"), Err(BadUrl::Scheme));
}

#[test]
fn what_hyper_sends_is_what_was_written() {
    let url = "https://h:8443/p/a%2fb;c=1//d?sig=%2B+/==&[x]='(*)!$@:,~";
    let uri = Address::parse(url.as_bytes()).unwrap().uri().unwrap();
    assert_eq!(uri.to_string(), url);
}

#[track_caller]
fn check_private(host: &str, expected: bool) {
    let origin = Origin::of(&format!("http://{host}/")).unwrap();
    assert_eq!(origin.is_private_by_name(), expected, "{host}");
}

#[test]
fn private_hosts_are_known_by_their_literals() {
    for host in [
        "127.0.0.1",
        "127.9.9.9",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "0.1.2.3",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "a.LOCALHOST",
    ] {
        check_private(host, true);
    }
    for host in [
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "169.253.0.1",
        "[2606:4700::1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::808:808]",
        "api.nuget.org",
        "localhost.example",
    ] {
        check_private(host, false);
    }
}
