//! JSON, what block rules leave of documents, and the words that documents are made of.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::nuget::commit_time;
use crate::nuget::json::{Kind, Scanner, complete_value, decode_string, encode_string};
use crate::nuget::range::VersionRange;
use crate::nuget::registration::{self, Registration, RegistrationKind};
use crate::nuget::rule::{BlockRules, Rule};
use crate::nuget::sift::{self, Outside};
use crate::nuget::version::Version;
use crate::nuget::version_list::{read_version_list, render_version_list};
use crate::nuget::{id::PackageId, search};

/// Beyond this, our scanner refuses what a parser of the strict kind may take.
const MAX_DEPTH: usize = 60;

/// The scanner: it reads whatever a strict parser reads, to the same value; a value that is skipped ends where one that
/// is read ends; strings survive being written anew.
pub(crate) fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let strict: Option<Value> = serde_json::from_str(text).ok();
    let mut scanner = Scanner::new("text", text);
    let read = value(&mut scanner, text).filter(|_| scanner.end().is_ok());
    let complete = complete_value(text);
    assert!(
        commit_time::read(text).is_none()
            || text.contains("ommitTimeStamp")
            || text.contains("\\u")
    );
    assert_eq!(read.is_some(), complete.is_ok(), "{complete:?}");
    if let Ok(kind) = complete {
        let mut skipping = Scanner::new("text", text);
        let _ = skipping.peek();
        let span = skipping.skip().unwrap_or_default();
        let again = complete_value(text.get(span).unwrap_or_default());
        assert_eq!(again, Ok(kind), "a value is not complete by itself");
    }
    if let Some(strict) = strict.filter(|value| depth(value) < MAX_DEPTH) {
        assert_eq!(read, Some(strict));
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The next value, as a strict parser would have it; numbers that it cannot hold are null.
fn value(scanner: &mut Scanner<'_>, text: &str) -> Option<Value> {
    Some(match scanner.peek().ok()? {
        Kind::Array => {
            let mut items = Vec::new();
            let read = scanner.array(|scanner| {
                items.push(value(scanner, text).ok_or_else(|| scanner.error("an item"))?);
                Ok(())
            });
            read.ok()?;
            Value::Array(items)
        }
        Kind::Object => {
            let mut members = Map::new();
            let read = scanner.object(|scanner, name| {
                let value = value(scanner, text).ok_or_else(|| scanner.error("a member"))?;
                members.insert(name.into_owned(), value);
                Ok(())
            });
            read.ok()?;
            Value::Object(members)
        }
        Kind::Bool => scanner.boolean().ok()?.map(Value::Bool)?,
        Kind::String => {
            let content = scanner.text().ok()??.content.into_owned();
            assert_eq!(decode_string(&encode_string(&content)), content);
            Value::String(content)
        }
        Kind::Null => scanner.skip().ok().map(|_| Value::Null)?,
        Kind::Number => {
            let span = scanner.skip().ok()?;
            serde_json::from_str(text.get(span)?).unwrap_or_default()
        }
    })
}

/// What block rules leave of documents: a document of the same kind with all that was to be kept, and nothing else.
pub(crate) fn sift(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Half of all versions go, so that every document has some of both.
    let keep = |version: &str| version.bytes().fold(0, |sum: u8, b| sum.wrapping_add(b)) & 1 == 0;
    version_lists(text, keep);
    registrations(text, keep);
    if let Ok(sifted) = sift::search(text, |_, version| keep(version)) {
        let left = sifted.text.as_deref().unwrap_or(text);
        assert_eq!(
            search::read_search(left).is_ok(),
            search::read_search(text).is_ok()
        );
        let again = sift::search(left, |_, version| keep(version));
        let again = again.map(|again| (again.dropped, again.left));
        assert_eq!(again, Ok((0, sifted.left)));
    }
    if let Ok(sifted) = sift::names(text, keep) {
        let left = sifted.text.as_deref().unwrap_or(text);
        let again = sift::names(left, keep).map(|again| (again.dropped, again.left));
        assert_eq!(again, Ok((0, sifted.left)));
    }
}

fn version_lists(text: &str, keep: impl Fn(&str) -> bool) {
    let Ok(list) = read_version_list(text) else {
        return;
    };
    let sifted = sift::version_list(text, &keep);
    assert!(sifted.is_ok(), "a list that is read cannot be sifted");
    let Ok(sifted) = sifted else { return };
    let left = read_version_list(sifted.text.as_deref().unwrap_or(text)).map(|left| left.versions);
    let expected: Vec<String> = list.versions.iter().filter(|v| keep(v)).cloned().collect();
    assert_eq!(sifted.left, expected.len());
    assert_eq!(left, Ok(expected));
    let versions: Vec<Version> = list
        .versions
        .iter()
        .filter_map(|version| Version::parse(version).ok())
        .collect();
    let written = read_version_list(&render_version_list(&versions)).map(|list| list.versions);
    let written = written.unwrap_or_default();
    assert!(
        written
            .iter()
            .map(|v| Version::parse(v))
            .is_sorted_by(|a, b| match (a, b) {
                (Ok(a), Ok(b)) => a < b,
                _ => false,
            })
    );
    let expected: BTreeSet<&str> = versions.iter().map(Version::as_str).collect();
    assert_eq!(
        written.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
}

fn registrations(text: &str, keep: impl Fn(&str) -> bool) {
    let Ok(document) = registration::read(text) else {
        return;
    };
    let is_kept = |version: Option<&str>| version.is_none_or(&keep);
    let sifted = sift::registration(text, is_kept, |_, _| Outside::Unknown);
    assert!(
        sifted.is_ok(),
        "a registration that is read cannot be sifted"
    );
    let Ok(sifted) = sifted else { return };
    let Some(left) = &sifted.text else {
        assert!(sifted.dropped == 0 || document.kind == RegistrationKind::Leaf);
        return;
    };
    let again = registration::read(left);
    assert!(again.is_ok(), "{again:?}\n{left}");
    let Ok(again) = again else { return };
    let mut expected = versions_of(&document);
    expected.retain(|version| is_kept(version.as_deref()));
    assert_eq!(versions_of(&again), expected);
    assert!(!is_consistent(&document) || is_consistent(&again), "{left}");
}

fn versions_of(document: &Registration) -> Vec<Option<String>> {
    let leaves = document.leaves.iter();
    leaves.map(|leaf| leaf.version.clone()).collect()
}

/// Whether the pages that are written out hold as many leaves as they say, and between the bounds that they say.
fn is_consistent(document: &Registration) -> bool {
    let mut pages = document
        .pages
        .iter()
        .enumerate()
        .filter(|(_, page)| page.inlined);
    pages.all(|(at, page)| {
        let leaves = || document.leaves.iter().filter(|leaf| leaf.page == Some(at));
        let version = |text: &Option<String>| Version::parse(text.as_deref()?).ok();
        let (lower, upper) = (version(&page.lower), version(&page.upper));
        let within = |version: &Version| {
            lower.as_ref().is_none_or(|lower| lower <= version)
                && upper.as_ref().is_none_or(|upper| version <= upper)
        };
        page.count
            .is_none_or(|count| u64::try_from(leaves().count()) == Ok(count))
            && leaves().all(|leaf| version(&leaf.version).as_ref().is_none_or(within))
    })
}

/// Ids, versions, ranges and block rules, one a line: what is canonical stays as it is, versions have one order, and a
/// range that holds a version meets it.
pub(crate) fn version(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.lines().take(8).collect();
    let ids: Vec<PackageId> = lines
        .iter()
        .filter_map(|line| PackageId::parse(line).ok())
        .collect();
    for id in &ids {
        assert_eq!(PackageId::parse(id.as_str()).as_ref(), Ok(id));
        let decoded = percent_encoding::percent_decode_str(&id.to_path())
            .decode_utf8_lossy()
            .into_owned();
        assert_eq!(decoded, id.as_str());
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
        assert!(id.to_path().bytes().all(plain), "{}", id.to_path());
    }
    let versions: Vec<Version> = lines
        .iter()
        .filter_map(|line| Version::parse(line).ok())
        .collect();
    for a in &versions {
        assert_eq!(Version::parse(a.as_str()).as_ref(), Ok(a));
        assert!(
            a.as_str()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        );
        let alone = VersionRange::parse(&format!("[{a}]"));
        assert_eq!(alone.as_ref(), Ok(&VersionRange::exactly(a.clone())));
        for b in &versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse());
            assert_eq!(a.cmp(b) == Ordering::Equal, a == b);
            for c in &versions {
                assert!(!(a <= b && b <= c) || a <= c, "{a} {b} {c}");
            }
        }
    }
    for range in lines
        .iter()
        .filter_map(|line| VersionRange::parse(line).ok())
    {
        for a in &versions {
            assert_eq!(range.holds(a), range.meets(a, a));
            for b in versions.iter().filter(|b| a <= *b) {
                assert!(range.meets(a, b) || !(range.holds(a) || range.holds(b)));
            }
        }
    }
    for rule in lines.iter().filter_map(|line| Rule::parse(line).ok()) {
        assert_eq!(Rule::parse(rule.as_str()).as_ref(), Ok(&rule));
        let rules = BlockRules::new(vec![rule]);
        for id in &ids {
            for version in &versions {
                let hides = rules.hiding_version(id, version).is_some();
                assert!(!hides || rules.concern_within(id, version, version));
                assert!(!hides || rules.concern(id));
                assert!(hides || rules.hiding(id).is_none());
            }
        }
    }
}

/// Some of what [`version`] reads.
#[must_use]
pub(crate) fn versions() -> Vec<Vec<u8>> {
    [
        "Newtonsoft.Json\n13.0.3\n13.0.3-beta1+build.7\n[12.0,13.0.3)\nNewtonsoft.*@(,13.0)",
        "Contoso\n1\n1.0\n1.0.0.0\n1.0.0.1\n1.0.0-1\n1.0.0-01\nContoso@1.0.0",
        "İx.ß\n2147483647.0\n1.0-a.1.b\n1.0-a.1\n1.0-A.-1\n*\n(,)\n*@[1.0]",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
