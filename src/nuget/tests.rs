//! What holds of every reader that yields links, on documents of real servers and on wild ones: each link is found, a
//! rewritten document differs from the original in the links only, and undoing it gives the same bytes.
//!
//! The documents are those below `tests/data/samples`, and those of the folder that `SLUICE_SAMPLES` names, if it is set.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{env, fs};

use proptest::prelude::*;

use super::catalog_list::ListKind;
use super::json::{Kind, Scanner, decode_string, encode_string};
use super::link::Link;
use super::splice::splice;
use super::{ReadError, catalog, catalog_list, registration, search, signatures, version_list};

#[derive(Clone, Copy, Debug)]
enum Reader {
    Catalog,
    CatalogIndex,
    CatalogPage,
    Registration,
    Search,
}

impl Reader {
    fn links(self, text: &str) -> Result<Vec<Link>, ReadError> {
        match self {
            Self::Catalog => Ok(catalog::read_leaf(text)?.links),
            Self::CatalogIndex => Ok(catalog_list::read(ListKind::Index, text)?.links),
            Self::CatalogPage => Ok(catalog_list::read(ListKind::Page, text)?.links),
            Self::Registration => Ok(registration::read(text)?.links),
            Self::Search => Ok(search::read_search(text)?.links),
        }
    }

    /// Whether a string at `path` is a link, by the lists of protocol facts 2.2.8, 2.3.7 and 2.5.2.
    fn is_link(self, path: &str) -> bool {
        const ENTRY: &[&str] = &[
            "@id",
            "dependencyGroups[].@id",
            "dependencyGroups[].dependencies[].@id",
            "dependencyGroups[].dependencies[].registration",
            "deprecation.@id",
            "deprecation.alternatePackage.@id",
            "frameworkAssemblyGroup.@id",
            "iconUrl",
            "packageContent",
            "packageEntries[].@id",
            "packageTypes[].@id",
            "vulnerabilities[].@id",
        ];
        const NODE: &[&str] = &[
            "@id",
            "catalogEntry",
            "packageContent",
            "parent",
            "registration",
        ];
        const SEARCH: &[&str] = &[
            "@context.@base",
            "data[].@id",
            "data[].iconUrl",
            "data[].registration",
            "data[].versions[].@id",
        ];
        match self {
            Self::Catalog => ENTRY.contains(&path),
            Self::CatalogIndex | Self::CatalogPage => {
                ["@id", "items[].@id", "parent"].contains(&path)
            }
            Self::Registration => {
                let path = path.strip_prefix("items[].").unwrap_or(path);
                let path = path.strip_prefix("items[].").unwrap_or(path);
                match path.split_once("atalogEntry.") {
                    Some(("c" | "sleet:c", rest)) => ENTRY.contains(&rest),
                    _ => NODE.contains(&path),
                }
            }
            Self::Search => SEARCH.contains(&path),
        }
    }
}

/// Every value that is no container: the path of names to it, and its span.
fn scalars(text: &str) -> Vec<(String, Range<usize>)> {
    fn walk(scanner: &mut Scanner<'_>, path: &str, found: &mut Vec<(String, Range<usize>)>) {
        match scanner.peek().unwrap() {
            Kind::Array => {
                let path = format!("{path}[]");
                scanner
                    .array(|scanner| {
                        walk(scanner, &path, found);
                        Ok(())
                    })
                    .unwrap();
            }
            Kind::Object => {
                scanner
                    .object(|scanner, name| {
                        let dot = if path.is_empty() { "" } else { "." };
                        walk(scanner, &format!("{path}{dot}{name}"), found);
                        Ok(())
                    })
                    .unwrap();
            }
            _ => found.push((path.to_owned(), scanner.skip().unwrap())),
        }
    }
    let mut found = Vec::new();
    walk(&mut Scanner::new("test", text), "", &mut found);
    found
}

/// Rewrites and undoes; gives the paths of the values that differ in between.
fn rewrite_and_undo(reader: Reader, text: &str) -> Result<Vec<String>, ReadError> {
    let links = reader.links(text)?;
    for (i, link) in links.iter().enumerate() {
        assert_eq!(decode_string(&text[link.span.clone()]), link.url);
        assert!(
            i == 0 || links[i - 1].span.end <= link.span.start,
            "{links:?}"
        );
    }
    let ours = |i: usize| format!("http://sluice.example/{i}");
    let edits = links.iter().enumerate();
    let edits = edits.map(|(i, link)| (link.span.clone(), encode_string(&ours(i))));
    let rewritten = splice(text, edits);

    let again = reader.links(&rewritten)?;
    assert!(
        again
            .iter()
            .map(|link| &link.url)
            .eq((0..links.len()).map(ours).collect::<Vec<_>>().iter())
    );
    let kinds = |links: &[Link]| links.iter().map(|link| link.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&again), kinds(&links));
    let originals = links.iter().map(|link| text[link.span.clone()].to_owned());
    let undone = splice(
        &rewritten,
        again.into_iter().map(|link| link.span).zip(originals),
    );
    assert_eq!(undone, text);

    let (before, after) = (scalars(text), scalars(&rewritten));
    assert_eq!(before.len(), after.len());
    let mut changed = Vec::new();
    for ((path, old), (new_path, new)) in before.into_iter().zip(after) {
        assert_eq!(path, new_path);
        if text[old] != rewritten[new] {
            changed.push(path);
        }
    }
    assert_eq!(changed.len(), links.len());
    Ok(changed)
}

#[track_caller]
fn check_links(reader: Reader, name: &str, text: &str) {
    let changed = rewrite_and_undo(reader, text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected: Vec<String> = scalars(text)
        .into_iter()
        .filter(|(path, span)| reader.is_link(path) && text[span.clone()].len() > 2)
        .filter(|(_, span)| text[span.clone()].starts_with('"'))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, expected, "{name}");
}

fn documents(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            documents.extend(documents_below(&path));
        }
    }
    documents
}

fn documents_below(folder: &Path) -> Vec<(PathBuf, String)> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn every_document_of_real_servers_passes_its_reader() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/samples");
    let mut documents_read = documents(&own);
    if let Some(folder) = env::var_os("SLUICE_SAMPLES") {
        documents_read.extend(documents(Path::new(&folder)));
    }
    let (mut count, mut others) = (0, 0);
    for (path, text) in documents_read {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        count += 1;
        match name.split('-').next().unwrap() {
            "autocomplete" => assert_eq!(search::read_autocomplete(&text), Ok(()), "{name}"),
            "catalog" if name.starts_with("catalog-leaf") => {
                check_links(Reader::Catalog, &name, &text);
            }
            "catalog" => {
                let reader = match name.starts_with("catalog-index") {
                    true => Reader::CatalogIndex,
                    false => Reader::CatalogPage,
                };
                check_links(reader, &name, &text);
                // Nothing else takes it for its own.
                assert!(registration::read(&text).is_err(), "{name}");
                assert!(catalog::read_leaf(&text).is_err(), "{name}");
            }
            "flat" => {
                let list = version_list::read_version_list(&text).unwrap();
                assert!(!list.versions.is_empty(), "{name}");
            }
            "registration" => check_links(Reader::Registration, &name, &text),
            "search" => check_links(Reader::Search, &name, &text),
            "repository" => {
                let read = signatures::read(&text).unwrap();
                assert!(!read.certificates.is_empty(), "{name}");
            }
            _ => {
                (count, others) = (count - 1, others + 1);
                assert!(registration::read(&text).is_err(), "{name}");
                assert!(search::read_search(&text).is_err(), "{name}");
                assert!(catalog::read_leaf(&text).is_err(), "{name}");
            }
        }
    }
    assert!(
        count >= 62 && others >= 1,
        "only {count} and {others} documents"
    );
}

/// JSON built from the names that readers know, in any place and order.
fn wild() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "@base",
        "@context",
        "@id",
        "catalogEntry",
        "count",
        "data",
        "dependencies",
        "dependencyGroups",
        "deprecation",
        "iconUrl",
        "id",
        "items",
        "listed",
        "lower",
        "other",
        "packageContent",
        "parent",
        "registration",
        "sleet:catalogEntry",
        "totalHits",
        "upper",
        "version",
        "versions",
        "vulnerabilities",
        "\\u0040id",
    ];
    let value = prop_oneof![
        8 => "\"[a-z/:.\u{e9}]{0,9}\"",
        1 => Just(r#""\u002f\ud83d\"x""#.to_owned()),
        1 => prop::sample::select(vec!["null", "true", "1.5", "\"\""]).prop_map(str::to_owned),
    ];
    let nested = value.prop_recursive(6, 120, 8, |inner| {
        let space = prop::sample::select(vec!["", " ", "\r\n  "]);
        let end = prop::sample::select(vec!["", ","]);
        let member = (prop::sample::select(NAMES), inner.clone(), space.clone());
        let member =
            member.prop_map(|(name, value, space)| format!("{space}\"{name}\":{space}{value}"));
        let array = (prop::collection::vec(inner, 1..5), end.clone());
        let object = (prop::collection::vec(member, 1..8), end);
        prop_oneof![
            1 => array.prop_map(|(items, end)| format!("[{}{end}]", items.join(","))),
            3 => object.prop_map(|(members, end)| format!("{{{}{end}}}", members.join(","))),
        ]
    });
    // Marks in front, so that most documents are taken for one of the kinds.
    let mark = prop::sample::select(vec![
        "",
        "\"packageContent\":\"p\",",
        "\"totalHits\":1,",
        "\"id\":\"a\",\"version\":\"1\",",
    ]);
    (mark, nested.clone(), nested).prop_map(|(mark, items, data)| {
        format!("{{{mark}\"items\":[{items}],\"data\":[{data}],\"catalogEntry\":{items}}}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wild_documents_are_rewritten_in_links_only(text in wild()) {
        const LAST: &[&str] = &[
            "@base", "@id", "catalogEntry", "iconUrl", "packageContent", "parent", "registration", "sleet:catalogEntry",
        ];
        for reader in [
            Reader::Catalog, Reader::CatalogIndex, Reader::CatalogPage, Reader::Registration, Reader::Search,
        ] {
            for path in rewrite_and_undo(reader, &text).unwrap_or_default() {
                let last = path.rsplit('.').next().unwrap_or_default();
                prop_assert!(LAST.contains(&last.trim_end_matches("[]")), "{}", path);
            }
        }
    }

    #[test]
    fn indices_of_a_registration_point_into_it(text in wild()) {
        let Ok(read) = registration::read(&text) else {
            return Ok(());
        };
        let (pages, leaves) = (read.pages.len(), read.leaves.len());
        for link in &read.links {
            prop_assert!(link.leaf.is_none_or(|leaf| leaf < leaves), "{:?}", link);
            prop_assert!(link.page.is_none_or(|page| page < pages), "{:?}", link);
        }
        for leaf in &read.leaves {
            prop_assert!(leaf.page.is_none_or(|page| page < pages), "{:?}", leaf);
        }
        let spans = read.leaves.iter().map(|leaf| &leaf.span).chain(read.pages.iter().map(|page| &page.span));
        for span in spans {
            let object = text[span.clone()].starts_with('{') && text[span.clone()].ends_with('}');
            prop_assert!(object, "{:?}", span);
        }
    }
}
