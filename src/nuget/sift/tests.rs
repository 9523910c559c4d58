//! Cases: each kind of document with nothing, something and everything left out; separators at the front, in the middle
//! and at the end; and over made-up documents: without a rule that fits nothing changes, and what is left parses to the
//! original without what was dropped.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::nuget::version::Version;

/// Keeps all but these.
fn without<'a>(gone: &'a [&'a str]) -> impl Fn(&str) -> bool + 'a {
    move |version| !gone.contains(&version)
}

#[track_caller]
fn check_list(text: &str, gone: &[&str], expected: &str) {
    let sifted = version_list(text, without(gone)).expect("a list");
    assert_eq!(sifted.text.as_deref().unwrap_or(text), expected);
    assert_eq!(sifted.text.is_some(), text != expected);
}

#[test]
fn versions_go_with_one_comma_each() {
    const LIST: &str = r#"{ "versions": ["1", "2" ,"3"] , "x":[1]}"#;
    check_list(LIST, &[], LIST);
    check_list(LIST, &["9"], LIST);
    check_list(LIST, &["1"], r#"{ "versions": [ "2" ,"3"] , "x":[1]}"#);
    check_list(LIST, &["2"], r#"{ "versions": ["1" ,"3"] , "x":[1]}"#);
    check_list(LIST, &["3"], r#"{ "versions": ["1", "2" ] , "x":[1]}"#);
    check_list(LIST, &["1", "2"], r#"{ "versions": [ "3"] , "x":[1]}"#);
    check_list(LIST, &["2", "3"], r#"{ "versions": ["1" ] , "x":[1]}"#);
    check_list(LIST, &["1", "3"], r#"{ "versions": [ "2" ] , "x":[1]}"#);
    check_list(LIST, &["1", "2", "3"], r#"{ "versions": [ ] , "x":[1]}"#);
    check_list(
        r#"{"versions":["1","2",]}"#,
        &["2"],
        r#"{"versions":["1",]}"#,
    );
    check_list(r#"{"versions":["1",]}"#, &["1"], r#"{"versions":[]}"#);
    check_list("{}", &["1"], "{}");
    let counts = version_list(LIST, without(&["1"])).expect("a list");
    assert_eq!((counts.dropped, counts.left), (1, 2));
}

fn leaf(version: &str) -> Value {
    json!({"@id": version, "catalogEntry": {"id": "a", "version": version}})
}

fn page(lower: &str, upper: &str, versions: &[&str]) -> Value {
    let items: Vec<_> = versions.iter().map(|version| leaf(version)).collect();
    json!({"@id": lower, "count": items.len(), "items": items, "lower": lower, "upper": upper})
}

/// Sifts an index whose pages are all inlined.
fn sift(document: &Value, gone: &[&str]) -> (Value, usize, usize) {
    let text = document.to_string();
    let keep = |version: Option<&str>| version.is_none_or(without(gone));
    let sifted = registration(&text, keep, |_, _| Outside::Unknown).expect("a registration");
    let left = sifted.text.as_deref().unwrap_or(&text);
    let parsed = serde_json::from_str(left).expect(left);
    (parsed, sifted.dropped, sifted.left)
}

#[test]
fn leaves_and_pages_go_and_what_spoke_of_them_is_right() {
    let index = json!({"count": 2, "items": [
        page("1.0.0", "1.2.0", &["1.0.0", "1.1.0", "1.2.0"]), page("2.0.0-a", "2.0.0", &["2.0.0-A", "2.0.0"])]});
    assert_eq!(sift(&index, &["9"]), (index.clone(), 0, 5));
    let expected = json!({"count": 2, "items": [
        {"@id": "1.0.0", "count": 1, "items": [leaf("1.1.0")], "lower": "1.1.0", "upper": "1.1.0"},
        {"@id": "2.0.0-a", "count": 1, "items": [leaf("2.0.0")], "lower": "2.0.0", "upper": "2.0.0"}]});
    assert_eq!(
        sift(&index, &["1.0.0", "1.2.0", "2.0.0-A"]),
        (expected, 3, 2)
    );
    let expected =
        json!({"count": 1, "items": [page("1.0.0", "1.2.0", &["1.0.0", "1.1.0", "1.2.0"])]});
    assert_eq!(sift(&index, &["2.0.0-A", "2.0.0"]), (expected, 2, 3));
    let all = ["1.0.0", "1.1.0", "1.2.0", "2.0.0-A", "2.0.0"];
    assert_eq!(sift(&index, &all), (json!({"count": 0, "items": []}), 5, 0));
    // A page by itself; a count that is a text stays one.
    let mut own = page("1.0.0", "1.1.0", &["1.0.0", "1.1.0"]);
    own["count"] = "2".into();
    let mut expected = page("1.0.0", "1.0.0", &["1.0.0"]);
    expected["count"] = "1".into();
    assert_eq!(sift(&own, &["1.1.0"]), (expected, 1, 1));
    // A leaf by itself says so in the numbers alone.
    assert_eq!(sift(&leaf("1.0"), &["1.0"]), (leaf("1.0"), 1, 0));
}

#[test]
fn pages_elsewhere_are_as_full_as_the_caller_says() {
    let outer = |lower: &str, upper: &str, count: usize| json!({"@id": lower, "count": count, "lower": lower, "upper": upper});
    let index = json!({"count": 4, "items": [
        outer("1.0", "1.9", 2), outer("2.0", "2.9", 2), outer("3.0", "3.9", 2), outer("4.0", "4.9", 2)]});
    let text = index.to_string();
    let keep = |version: Option<&str>| {
        version.is_none_or(|version| !version.starts_with("1.") && version != "2.9")
    };
    let outside = |at: usize, _: &crate::nuget::registration::Page| match at {
        0 => Outside::Holds(vec!["1.0".into(), "1.9".into()]),
        1 => Outside::Holds(vec!["2.0".into(), "2.9".into()]),
        2 => Outside::Gone,
        _ => Outside::Unknown,
    };
    let sifted = registration(&text, keep, outside).expect("an index");
    let left: Value = serde_json::from_str(sifted.text.as_deref().expect("another")).expect("JSON");
    let expected = json!({"count": 2, "items": [
        {"@id": "2.0", "count": 1, "lower": "2.0", "upper": "2.0.0"}, outer("4.0", "4.9", 2)]});
    assert_eq!((left, sifted.left), (expected, 2));
}

fn hit(id: &str, version: &str, versions: &[&str]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .map(|version| json!({"version": version, "downloads": 1}))
        .collect();
    json!({"id": id, "version": version, "versions": versions})
}

#[test]
fn results_show_the_highest_that_is_left_or_go() {
    let results = json!({"totalHits": 7, "data": [
        hit("A", "2.0.0+x", &["1.0.0", "10.0.0-rc", "2.0.0+x"]), hit("Evil", "1.0", &["1.0"]), hit("B", "1.0", &["1.0"])]});
    let check = |gone: &[(&str, &str)], expected: &Value| {
        let text = results.to_string();
        let sifted = search(&text, |id, version| !gone.contains(&(id, version))).expect("results");
        let left = sifted.text.as_deref().unwrap_or(&text);
        assert_eq!(serde_json::from_str::<Value>(left).expect(left), *expected);
    };
    check(&[("B", "2.0")], &results);
    check(
        &[("A", "2.0.0+x"), ("Evil", "1.0")],
        &json!({"totalHits": 6, "data": [
        hit("A", "10.0.0-rc", &["1.0.0", "10.0.0-rc"]), hit("B", "1.0", &["1.0"])]}),
    );
    check(
        &[("A", "1.0.0")],
        &json!({"totalHits": 7, "data": [
        hit("A", "2.0.0+x", &["10.0.0-rc", "2.0.0+x"]), hit("Evil", "1.0", &["1.0"]), hit("B", "1.0", &["1.0"])]}),
    );
    check(
        &[
            ("A", "1.0.0"),
            ("A", "2.0.0+x"),
            ("A", "10.0.0-rc"),
            ("Evil", "1.0"),
            ("B", "1.0"),
        ],
        &json!({"totalHits": 4, "data": []}),
    );
}

#[test]
fn names_of_autocomplete_go() {
    let text = r#"{"totalHits":3,"data":["Evil","B","Evil.Too"]}"#;
    let sifted = names(text, |id| !id.starts_with("Evil")).expect("results");
    assert_eq!(
        sifted.text.as_deref(),
        Some(r#"{"totalHits":1,"data":["B"]}"#)
    );
    assert_eq!(names(text, |_| true).expect("results").text, None);
    let text = r#"{"data":["1.0","2.0"]}"#;
    let sifted = names(text, |version| version != "1.0").expect("results");
    assert_eq!(sifted.text.as_deref(), Some(r#"{"data":["2.0"]}"#));
}

/// Versions of one to six pages, each version once, and which of them go.
fn versions() -> impl Strategy<Value = (Vec<Vec<String>>, BTreeSet<String>)> {
    let version = (0..30u8, 0..3u8).prop_map(|(minor, label)| match label {
        0 => format!("1.{minor}.0"),
        1 => format!("1.{minor}.0-Rc.{minor}"),
        _ => format!("1.{minor}.0+meta"),
    });
    (
        prop::collection::btree_set(version, 1..24),
        1..6usize,
        any::<u64>(),
    )
        .prop_map(|(all, size, seed)| {
            let all: Vec<String> = all.into_iter().collect();
            let gone = all
                .iter()
                .enumerate()
                .filter(|(at, _)| seed >> (at % 64) & 1 == 1);
            let gone = gone.map(|(_, version)| version.clone()).collect();
            (all.chunks(size).map(<[String]>::to_vec).collect(), gone)
        })
}

/// White space wherever JSON allows it, chosen by a seed.
fn spaced(value: &Value, seed: u64) -> String {
    let plain = match seed % 3 {
        0 => value.to_string(),
        _ => serde_json::to_string_pretty(value).expect("JSON"),
    };
    match seed % 3 {
        2 => plain.replace(",\n", "\n ,\t"),
        _ => plain,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_is_the_original_without_what_goes((pages, gone) in versions(), seed in any::<u64>()) {
        let bounds = |versions: &[String]| {
            let parsed = || versions.iter().map(|text| Version::parse(text).unwrap());
            (parsed().min().unwrap().to_string(), parsed().max().unwrap().to_string())
        };
        let build = |pages: &[Vec<String>]| {
            let pages: Vec<Value> = pages.iter().filter(|page| !page.is_empty()).map(|versions| {
                let (lower, upper) = bounds(versions);
                let mut page = page(&lower, &upper, &versions.iter().map(String::as_str).collect::<Vec<_>>());
                page["@id"] = "p".into();
                page
            }).collect();
            json!({"count": pages.len(), "items": pages, "other": {"count": 3}})
        };
        let kept: Vec<Vec<String>> = pages.iter()
            .map(|page| page.iter().filter(|version| !gone.contains(*version)).cloned().collect()).collect();
        let text = spaced(&build(&pages), seed);
        let keep = |version: Option<&str>| version.is_none_or(|version| !gone.contains(version));
        let sifted = registration(&text, keep, |_, _| Outside::Unknown).unwrap();
        prop_assert_eq!(sifted.text.is_none(), gone.is_empty());
        let left: Value = serde_json::from_str(sifted.text.as_deref().unwrap_or(&text)).unwrap();
        prop_assert_eq!(left, build(&kept));

        let list = |pages: &[Vec<String>]| json!({"versions": pages.concat()});
        let text = spaced(&list(&pages), seed);
        let sifted = version_list(&text, |version| !gone.contains(version)).unwrap();
        prop_assert_eq!(sifted.text.is_none(), gone.is_empty());
        let left: Value = serde_json::from_str(sifted.text.as_deref().unwrap_or(&text)).unwrap();
        prop_assert_eq!(left, list(&kept));

        // Every page is a result: its last version is the one that is shown.
        let results = |pages: &[Vec<String>]| {
            let hits: Vec<Value> = pages.iter().enumerate().filter(|(_, page)| !page.is_empty()).map(|(at, page)| {
                let shown = page.iter().max_by_key(|text| Version::parse(text).unwrap()).unwrap();
                hit(&at.to_string(), shown, &page.iter().map(String::as_str).collect::<Vec<_>>())
            }).collect();
            json!({"totalHits": hits.len(), "data": hits})
        };
        let text = spaced(&results(&pages), seed);
        let sifted = search(&text, |_, version| !gone.contains(version)).unwrap();
        prop_assert_eq!(sifted.text.is_none(), gone.is_empty());
        let left: Value = serde_json::from_str(sifted.text.as_deref().unwrap_or(&text)).unwrap();
        let expected = results(&kept);
        prop_assert_eq!(&left["totalHits"], &expected["totalHits"]);
        for (left, expected) in left["data"].as_array().unwrap().iter().zip(expected["data"].as_array().unwrap()) {
            prop_assert_eq!(&left["versions"], &expected["versions"]);
            let shown = |hit: &Value| Version::parse(hit["version"].as_str().unwrap()).unwrap();
            prop_assert_eq!(shown(left), shown(expected));
        }
    }
}
