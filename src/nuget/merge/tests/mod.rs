//! Merged documents are read again by the readers of single ones: nothing is lost, nothing is there twice, and every leaf
//! and result is one feed's, byte for byte. With documents of real servers and with random ones.

mod audit;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::nuget::id::PackageId;
use crate::nuget::registration::{self, RegistrationKind};
use crate::nuget::search::{read_autocomplete, read_search};
use crate::nuget::version::Version;

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn frame(within: Option<(&str, &str)>) -> Frame {
    Frame {
        folder: "http://us/all/v3/registration/semver2/a/".into(),
        within: within.map(|(lower, upper)| (version(lower), version(upper))),
    }
}

/// A leaf with a mark that tells whose it is.
fn leaf(from: usize, text: &str) -> String {
    format!(
        r#"{{ "odd": [{from}], "catalogEntry":{{"id":"A","version":"{text}"}},"packageContent":"http://us/{from}/{text}"}}"#
    )
}

fn page(from: usize, versions: &[&str]) -> String {
    let leaves: Vec<String> = versions.iter().map(|text| leaf(from, text)).collect();
    format!(
        r#"{{"@id":"http://us/{from}/page","count":{},"items":[{}],"commitTimeStamp":"2026-01-0{from}T00:00:00Z","parent":"p","lower":"0","upper":"9"}}"#,
        versions.len(),
        leaves.join(",")
    )
}

fn index(from: usize, pages: &[&[&str]]) -> String {
    let pages: Vec<String> = pages.iter().map(|versions| page(from, versions)).collect();
    format!(
        r#"{{"@id":"i","count":{},"items":[{}],"commitTimeStamp":"2026-01-0{from}T00:00:00Z"}}"#,
        pages.len(),
        pages.join(",")
    )
}

/// Merges, and gives each version with the text of its leaf.
#[track_caller]
fn leaves_of(
    pieces: &[(usize, String)],
    owner: impl Fn(&Version) -> Owner,
    frame: &Frame,
) -> Vec<(String, String)> {
    let pieces: Vec<Piece<'_>> = pieces
        .iter()
        .map(|(from, text)| Piece { from: *from, text })
        .collect();
    let merged = merge_registrations(&pieces, owner, frame).expect("registrations");
    let document = registration::read(&merged).expect("a registration");
    let shown = document.leaves.iter().map(|leaf| {
        let version = leaf.version.clone().unwrap_or_default();
        (version, merged[leaf.span.clone()].to_owned())
    });
    let shown: Vec<_> = shown.collect();
    if let Some(page) = document.pages.first().filter(|page| page.count != Some(0)) {
        let versions: Vec<Version> = shown.iter().map(|(text, _)| version(text)).collect();
        assert_eq!(page.count, u64::try_from(shown.len()).ok());
        assert_eq!(
            page.lower.as_deref().map(version),
            versions.first().cloned()
        );
        assert_eq!(page.upper.as_deref().map(version), versions.last().cloned());
        assert!(versions.is_sorted(), "{versions:?}");
    }
    shown
}

#[test]
fn of_a_version_that_two_have_the_first_is_shown_whole() {
    let pieces = [
        (0, index(1, &[&["1.0.0", "3.0.0"]])),
        (1, index(2, &[&["0.9.0"], &["1.0", "2.0.0"]])),
    ];
    let found = leaves_of(&pieces, |_| Owner::First, &frame(None));
    let expected = [(2, "0.9.0"), (1, "1.0.0"), (2, "2.0.0"), (1, "3.0.0")];
    let expected = expected.map(|(from, text)| (text.to_owned(), leaf(from, text)));
    assert_eq!(found, expected);
}

#[test]
fn a_version_is_its_owners_or_nobodys() {
    let pieces = [
        (0, index(1, &[&["1.0.0", "2.0.0", "3.0.0"]])),
        (1, index(2, &[&["1.0.0", "2.0.0"]])),
    ];
    let owner = |found: &Version| match found.as_str() {
        "1.0.0" => Owner::Is(1),
        "2.0.0" => Owner::Nobody,
        // Its owner has no leaf of it: no other's stands in for that.
        _ => Owner::Is(1),
    };
    let found = leaves_of(&pieces, owner, &frame(None));
    assert_eq!(found, [("1.0.0".to_owned(), leaf(2, "1.0.0"))]);
}

#[test]
fn external_pages_join_their_index() {
    let bare =
        r#"{"count":1,"items":[{"@id":"http://us/p","count":2,"lower":"1.0.0","upper":"2.0.0"}]}"#;
    let pieces = [
        (0, bare.to_owned()),
        (0, page(1, &["1.0.0", "2.0.0"])),
        (1, index(2, &[&["1.5.0"]])),
    ];
    let found = leaves_of(&pieces, |_| Owner::First, &frame(None));
    let versions: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(versions, ["1.0.0", "1.5.0", "2.0.0"]);
}

#[test]
fn the_frame_is_ours_and_the_latest_stamp_holds() {
    let (one, other) = (index(1, &[&["1.0.0"]]), index(2, &[&["2.0.0-RC.1"]]));
    let pieces = [
        Piece {
            from: 0,
            text: &other,
        },
        Piece {
            from: 1,
            text: &one,
        },
    ];
    let whole = merge_registrations(&pieces, |_| Owner::First, &frame(None)).expect("merged");
    let value: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    let folder = frame(None).folder;
    assert_eq!(value["@id"], format!("{folder}index.json"));
    assert_eq!(value["count"], 1);
    assert_eq!(value["commitTimeStamp"], "2026-01-02T00:00:00Z");
    let page = &value["items"][0];
    assert_eq!(page["@id"], format!("{folder}page/1.0.0/2.0.0-rc.1.json"));
    assert_eq!(page["parent"], format!("{folder}index.json"));
    let part = frame(Some(("1.5.0", "3.0.0")));
    let page = merge_registrations(&pieces, |_| Owner::First, &part).expect("merged");
    let document = registration::read(&page).expect("a page");
    assert_eq!(document.kind, RegistrationKind::Page);
    assert_eq!(document.leaves.len(), 1);
    assert!(page.starts_with(&format!(r#"{{"@id":"{folder}page/1.5.0/3.0.0.json""#)));
    // Nothing to show is an empty document, which every reader takes.
    for within in [None, Some(("7.0.0", "8.0.0"))] {
        let empty = merge_registrations(&pieces, |_| Owner::Nobody, &frame(within)).expect("empty");
        assert_eq!(registration::read(&empty).expect("read").leaves, []);
    }
}

#[test]
fn a_page_with_anothers_version_is_known() {
    let text = page(1, &["1.0.0", "2.0.0"]);
    let piece = Piece {
        from: 0,
        text: &text,
    };
    let own = |owner: Owner| {
        own_leaves_only(piece, |found| {
            if found.as_str() == "2.0.0" {
                owner
            } else {
                Owner::Is(0)
            }
        })
    };
    assert_eq!(own(Owner::Is(0)), Ok(true));
    assert_eq!(own(Owner::Is(1)), Ok(false));
    assert_eq!(own(Owner::Nobody), Ok(false));
}

fn samples(kind: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/samples");
    let mut found = Vec::new();
    for server in fs::read_dir(folder).unwrap() {
        let server = server.unwrap().path();
        if !server.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&server).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with(kind) {
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn registrations_of_every_two_real_servers_merge() {
    let all: Vec<_> = samples("registration")
        .into_iter()
        .filter(|(_, text)| {
            let document = registration::read(text).expect("a registration");
            document.kind != RegistrationKind::Leaf
        })
        .collect();
    assert!(all.len() >= 10, "{} documents", all.len());
    let leaves = |text: &str| -> BTreeMap<Version, String> {
        let document = registration::read(text).expect("a registration");
        let mut found = BTreeMap::new();
        for leaf in &document.leaves {
            if let Some(version) = leaf.version.as_deref().and_then(|v| Version::parse(v).ok()) {
                let text = text[leaf.span.clone()].to_owned();
                found.entry(version).or_insert(text);
            }
        }
        found
    };
    for (one_name, one) in &all {
        for (other_name, other) in &all {
            let pieces = [
                Piece { from: 0, text: one },
                Piece {
                    from: 1,
                    text: other,
                },
            ];
            let merged = merge_registrations(&pieces, |_| Owner::First, &frame(None))
                .unwrap_or_else(|error| panic!("{one_name} and {other_name}: {error}"));
            let mut expected = leaves(other);
            expected.extend(leaves(one));
            assert_eq!(leaves(&merged), expected, "{one_name} and {other_name}");
        }
    }
}

proptest! {
    #[test]
    fn every_version_of_all_is_shown_once_and_is_its_owners(
        lists in prop::collection::vec(prop::collection::btree_set(0_u8..40, 0..20), 1..5),
        owners in prop::collection::vec(0_usize..7, 40),
    ) {
        let text_of = |n: u8| format!("1.{n}.0");
        let pieces: Vec<(usize, String)> = lists.iter().enumerate().map(|(from, list)| {
            let texts: Vec<String> = list.iter().map(|n| text_of(*n)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            (from, index(from, &texts.chunks(3).collect::<Vec<_>>()))
        }).collect();
        let owner_of = |n: u8| match owners[usize::from(n)] {
            owner @ 0..=4 => Owner::Is(owner),
            5 => Owner::First,
            _ => Owner::Nobody,
        };
        let owner = |found: &Version| {
            owner_of((0..40).find(|n| version(&text_of(*n)) == *found).expect("known"))
        };
        let found = leaves_of(&pieces, owner, &frame(None));
        let mut expected = Vec::new();
        for n in 0..40 {
            let having: Vec<usize> = (0..lists.len()).filter(|i| lists[*i].contains(&n)).collect();
            let from = match owner_of(n) {
                Owner::First => having.first().copied(),
                Owner::Is(owner) => having.contains(&owner).then_some(owner),
                Owner::Nobody => None,
            };
            expected.extend(from.map(|from| (text_of(n), leaf(from, &text_of(n)))));
        }
        prop_assert_eq!(found, expected);
    }
}

fn hit(from: usize, id: &str, versions: &[&str]) -> String {
    let items: Vec<String> = versions
        .iter()
        .map(|text| format!(r#"{{"version":"{text}","@id":"http://us/{from}/{id}/{text}"}}"#))
        .collect();
    let last = versions.last().unwrap_or(&"0");
    format!(
        r#"{{"id":"{id}","version":"{last}","description":"of {from}","versions":[{}],"odd":{from}}}"#,
        items.join(",")
    )
}

fn results(total: u64, hits: &[String]) -> String {
    format!(r#"{{"totalHits":{total},"data":[{}]}}"#, hits.join(","))
}

#[track_caller]
fn check_search(
    texts: &[String],
    window: Window,
    total: u64,
    expected: &[&str],
) -> serde_json::Value {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let merged = merge_search(&texts, |_, _| true, window).expect("results");
    assert!(read_search(&merged).is_ok());
    let value: serde_json::Value = serde_json::from_str(&merged).expect("JSON");
    assert_eq!(value["totalHits"], total, "{merged}");
    let ids: Vec<&str> = value["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|hit| hit["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids, expected);
    value
}

const ALL: Window = Window { skip: 0, take: 100 };

#[test]
fn results_alternate_and_an_id_comes_once() {
    let texts = [
        results(
            50,
            &[
                hit(0, "A", &["1.0.0"]),
                hit(0, "C", &["1.0.0"]),
                hit(0, "D", &["1.0.0"]),
            ],
        ),
        results(
            7,
            &[
                hit(1, "B", &["1.0.0"]),
                hit(1, "a", &["0.5.0", "1.0.0", "2.0.0"]),
            ],
        ),
    ];
    let value = check_search(&texts, ALL, 56, &["a", "B", "C", "D"]);
    let first = &value["data"][0];
    assert_eq!(
        first["description"], "of 1",
        "who has the highest version describes"
    );
    assert_eq!(first["version"], "2.0.0");
    let items: Vec<(&str, &str)> = first["versions"]
        .as_array()
        .expect("versions")
        .iter()
        .map(|item| {
            (
                item["version"].as_str().unwrap(),
                item["@id"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        items,
        [
            ("0.5.0", "http://us/1/a/0.5.0"),
            ("1.0.0", "http://us/0/A/1.0.0"),
            ("2.0.0", "http://us/1/a/2.0.0"),
        ]
    );
}

#[test]
fn pages_of_results_fit_together() {
    let hits = |from: usize, ids: &[&str]| -> Vec<String> {
        ids.iter().map(|id| hit(from, id, &["1.0.0"])).collect()
    };
    let texts = [
        results(4, &hits(0, &["a", "b", "c", "d"])),
        results(3, &hits(1, &["b", "x", "y"])),
    ];
    let mut seen = Vec::new();
    for skip in [0, 2, 4, 6] {
        let value = {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            merge_search(&texts, |_, _| true, Window { skip, take: 2 }).expect("results")
        };
        let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
        assert_eq!(value["totalHits"], 6);
        let data = value["data"].as_array().expect("data").clone();
        seen.extend(
            data.iter()
                .map(|hit| hit["id"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(seen, ["a", "b", "x", "c", "y", "d"]);
    check_search(&texts, Window { skip: 0, take: 0 }, 6, &[]);
}

#[test]
fn what_a_feed_may_not_show_is_not_there() {
    let one = results(1, &[hit(0, "Contoso.A", &["1.0.0"])]);
    let other = results(
        2,
        &[hit(1, "contoso.a", &["99.0.0"]), hit(1, "B", &["1.0.0"])],
    );
    let shows = |from: usize, id: &PackageId| from == 0 || !id.as_str().starts_with("contoso.");
    let merged = merge_search(&[&one, &other], shows, ALL).expect("results");
    assert!(!merged.contains("99.0.0"), "{merged}");
    assert!(merged.contains(r#""totalHits":2"#), "{merged}");
    let names = [
        r#"{"totalHits":1,"data":["Contoso.A"]}"#,
        r#"{"totalHits":3,"data":["contoso.b","B","CONTOSO.A"]}"#,
    ];
    let shows = |from: usize, text: &str| from == 0 || !text.to_lowercase().starts_with("contoso.");
    let merged = merge_autocomplete(&names, shows, ALL).expect("results");
    assert_eq!(merged, r#"{"totalHits":2,"data":["Contoso.A","B"]}"#);
}

#[test]
fn search_results_of_every_two_real_servers_merge() {
    let all = samples("search");
    assert!(all.len() >= 5, "{} documents", all.len());
    let ids = |text: &str| -> BTreeSet<String> {
        let value: serde_json::Value =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).expect("JSON");
        let data = value["data"].as_array().cloned().unwrap_or_default();
        data.iter()
            .filter_map(|hit| Some(hit["id"].as_str()?.to_lowercase()))
            .collect()
    };
    for (one_name, one) in &all {
        for (other_name, other) in &all {
            let merged = merge_search(
                &[one, other],
                |_, _| true,
                Window {
                    skip: 0,
                    take: 10_000,
                },
            )
            .unwrap_or_else(|error| panic!("{one_name} and {other_name}: {error}"));
            assert!(read_search(&merged).is_ok(), "{one_name} and {other_name}");
            let expected: BTreeSet<String> = &ids(one) | &ids(other);
            assert_eq!(ids(&merged), expected, "{one_name} and {other_name}");
        }
    }
}

#[test]
fn names_alternate_and_come_once_as_they_were_written() {
    let texts = [
        r#"{"totalHits":9,"data":["B","A\u002e1"]}"#,
        r#"{"data":["b","C",7],"totalHits":2}"#,
    ];
    let merged = merge_autocomplete(&texts, |_, _| true, ALL).expect("results");
    assert_eq!(merged, r#"{"totalHits":10,"data":["B","A\u002e1","C"]}"#);
    assert_eq!(read_autocomplete(&merged), Ok(()));
    let window = Window { skip: 1, take: 1 };
    let part = merge_autocomplete(&texts, |_, _| true, window).expect("results");
    assert_eq!(part, r#"{"totalHits":10,"data":["A\u002e1"]}"#);
}
