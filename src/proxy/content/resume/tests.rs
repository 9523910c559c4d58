//! What is taken for the rest of a body (RFC 9110 sections 13.1.5, 14.4, 15.3.7; protocol facts 2.8.2, 2.8.3).

use super::*;

const MODIFIED: &str = "Wed, 04 Nov 2026 10:00:00 GMT";

fn identity(etag: &str, modified: &str) -> Identity {
    let value = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a value"));
    Identity {
        length: Some(1000),
        etag: value(etag),
        last_modified: value(modified),
        md5: None,
    }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().expect("a value"));
    }
    headers
}

/// What a 206 with these validators and this range is to who has 400 bytes of a thousand.
fn judged(identity: &Identity, range: &str, fields: &[(&'static str, &str)]) -> Verdict {
    let mut all = headers(fields);
    all.append("content-range", range.parse().expect("a value"));
    judge_part(&all, Some(600), identity, 400)
}

const REST: &str = "bytes 400-999/1000";

#[track_caller]
fn check(etag: &str, modified: &str, fields: &[(&'static str, &str)], expected: bool) {
    let verdict = judged(&identity(etag, modified), REST, fields);
    let wanted = if expected {
        Verdict::Rest
    } else {
        Verdict::Other("another validator")
    };
    assert_eq!(verdict, wanted, "{etag} {modified} {fields:?}");
}

#[test]
fn the_validator_must_be_repeated_byte_for_byte() {
    let dated = ("last-modified", MODIFIED);
    for tag in ["\"0x8DC\"", "0x8DC0FFEE"] {
        check(tag, MODIFIED, &[("etag", tag), dated], true);
        check(tag, MODIFIED, &[("etag", tag)], true);
        check(tag, MODIFIED, &[("etag", "\"other\""), dated], false);
        check(tag, MODIFIED, &[dated], false);
    }
    // The same tag with quotes on one side alone is another: nobody says that it is the same.
    check("0x8DC", MODIFIED, &[("etag", "\"0x8DC\""), dated], false);
    check("", MODIFIED, &[dated], true);
    check("", MODIFIED, &[("etag", "\"new\""), dated], true);
    check("", MODIFIED, &[], false);
    let other = ("last-modified", "Wed, 04 Nov 2026 10:00:01 GMT");
    check("", MODIFIED, &[other], false);
    check("", "", &[], false);
    check("W/\"a\"", MODIFIED, &[("etag", "W/\"a\""), dated], true);
    check("W/\"a\"", MODIFIED, &[("etag", "W/\"b\""), dated], false);
    check("W/\"a\"", MODIFIED, &[("etag", "W/\"a\"")], false);
    check("W/\"a\"", "", &[("etag", "W/\"a\"")], false);
}

#[test]
fn the_range_must_be_the_one_that_is_missing() {
    let (own, tag) = (identity("0x8DC", ""), ("etag", "0x8DC"));
    for (range, expected) in [
        (REST, Verdict::Rest),
        ("bytes 400-998/999", Verdict::Other("another length")),
        ("bytes 400-999/*", Verdict::Other("no single range")),
        ("bytes 399-998/1000", Verdict::Other("other bytes")),
        ("bytes 0-599/1000", Verdict::Other("other bytes")),
        // The header names fewer bytes than the body has.
        ("bytes 400-500/1000", Verdict::Other("other bytes")),
        ("bytes */1000", Verdict::Other("no single range")),
        ("items 400-999/1000", Verdict::Other("no single range")),
    ] {
        assert_eq!(judged(&own, range, &[tag]), expected, "{range}");
    }
    let shorter = headers(&[tag, ("content-range", "bytes 400-500/1000")]);
    let verdict = judge_part(&shorter, Some(101), &own, 400);
    assert_eq!(verdict, Verdict::Rest, "a server may send less");
    let multipart = headers(&[tag, ("content-type", "multipart/byteranges; boundary=a")]);
    let verdict = judge_part(&multipart, None, &own, 400);
    assert_eq!(verdict, Verdict::Other("no single range"));
    let twice = [tag, ("content-range", REST)];
    assert_eq!(
        judged(&own, REST, &twice),
        Verdict::Other("no single range")
    );
    let coded = [tag, ("content-encoding", "gzip")];
    assert_eq!(judged(&own, REST, &coded), Verdict::Other("a coding"));
}

#[test]
fn only_a_strong_tag_stands_in_if_range() {
    for (tag, expected) in [
        ("\"0x8DC\"", true),
        ("0x8DC", false),
        ("W/\"0x8DC\"", false),
        ("\"", false),
        ("", false),
    ] {
        assert_eq!(is_strong(&HeaderValue::from_static(tag)), expected, "{tag}");
    }
}

#[test]
fn what_has_no_length_or_no_validator_cannot_go_on() {
    assert!(identity("0x8DC", "").can_be_continued());
    assert!(identity("", MODIFIED).can_be_continued());
    assert!(!identity("", "").can_be_continued());
    assert!(!identity("W/\"a\"", "").can_be_continued());
    let unknown = Identity {
        length: None,
        ..identity("0x8DC", MODIFIED)
    };
    assert!(!unknown.can_be_continued());
}

#[test]
fn a_line_that_brings_nothing_is_given_up() {
    let mut tries = Tries::new(0);
    let in_a_row = (0..100).take_while(|_| tries.may_try(10, 1)).count();
    assert_eq!(in_a_row, MAX_POOR as usize);
    let mut tries = Tries::new(0);
    let bytes = |n: u64| n * (PROGRESS_BYTES - 1);
    let drops = (1..100).take_while(|n| tries.may_try(bytes(*n), 1)).count();
    assert_eq!(drops, MAX_POOR as usize);
    let mut tries = Tries::new(0);
    let steps = (1..10_000).take_while(|n| tries.may_try(n * PROGRESS_BYTES, SILENCE));
    assert_eq!(steps.count(), MAX_RESUMES as usize);
}
