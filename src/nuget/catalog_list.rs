//! The catalog's index and pages: what was committed, and when (protocol facts 2.5).
//!
//! Both are lists of commits with links: of pages in the index, of leaves in a page. A page is written anew by each commit
//! to it until a newer page exists (2.5.3). Whether one is current is told by comparing it with what the index says of it,
//! by commit: the times that servers write into both differ in their last digits.

use super::ReadError;
use super::json::{Kind, Scanner};
use super::link::{Link, LinkKind, read_link, read_text};

/// Which of the two lists a text is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListKind {
    /// The index: its items are pages.
    Index,
    /// A page: its items are leaves.
    Page,
}

impl ListKind {
    fn what(self) -> &'static str {
        match self {
            Self::Index => "catalog index",
            Self::Page => "catalog page",
        }
    }

    fn own_link(self) -> LinkKind {
        match self {
            Self::Index => LinkKind::CatalogIndex,
            Self::Page => LinkKind::CatalogPage,
        }
    }

    fn item_link(self) -> LinkKind {
        match self {
            Self::Index => LinkKind::CatalogPage,
            Self::Page => LinkKind::CatalogEntry,
        }
    }
}

/// A list of commits.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CatalogList {
    /// Every link, in the order of the text; those of leaves with the id and version that they are of.
    pub links: Vec<Link>,
    /// The items in their order, which means nothing.
    pub items: Vec<Item>,
    /// The latest commit to the list itself.
    pub commit: Commit,
}

/// An item of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Item {
    /// Its `@id`.
    pub url: String,
    /// The latest commit to it.
    pub commit: Commit,
}

/// A commit, as written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Commit {
    /// `commitId`; empty if there is none.
    pub id: String,
    /// `commitTimeStamp`; empty if there is none.
    pub time: String,
}

impl Commit {
    /// Whether both are the same commit for certain.
    #[must_use]
    pub fn is_that_of(&self, other: &Self) -> bool {
        let is_same = |one: &str, other: &str| !one.is_empty() && one == other;
        is_same(&self.id, &other.id) || is_same(&self.time, &other.time)
    }

    /// The time in a form whose order is that of time: digits may or may not follow the seconds.
    fn order(&self) -> &str {
        self.time.trim_end_matches(['Z', 'z'])
    }
}

impl CatalogList {
    /// Of each item whether a newer one exists, so that nothing is committed to it any more. An item without a time may
    /// always be the newest.
    pub fn superseded(&self) -> impl Iterator<Item = bool> {
        let times = self.items.iter().map(|item| item.commit.order());
        let newest = times.clone().max().unwrap_or_default();
        times.map(move |time| !time.is_empty() && time < newest)
    }
}

/// Reads a list.
///
/// # Errors
/// If `text` is no object with an array `items` of objects that each have an `@id`.
pub fn read(kind: ListKind, text: &str) -> Result<CatalogList, ReadError> {
    let mut list = CatalogList::default();
    let mut scanner = Scanner::new(kind.what(), text);
    let mut is_list = false;
    scanner.object(|scanner, name| {
        match &*name {
            "@id" => {
                read_link(scanner, kind.own_link(), &mut list.links)?;
            }
            "parent" => {
                read_link(scanner, LinkKind::CatalogIndex, &mut list.links)?;
            }
            "commitId" => list.commit.id = read_text(scanner)?.unwrap_or_default(),
            "commitTimeStamp" => list.commit.time = read_text(scanner)?.unwrap_or_default(),
            "items" if scanner.peek()? == Kind::Array => {
                is_list = true;
                scanner.array(|scanner| {
                    let item = read_item(scanner, kind, &mut list.links)?;
                    list.items.push(item);
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    if is_list {
        Ok(list)
    } else {
        Err(ReadError {
            what: kind.what(),
            at: None,
            problem: "JSON of another kind: expected an object with items".to_owned(),
        })
    }
}

fn read_item(
    scanner: &mut Scanner<'_>,
    kind: ListKind,
    links: &mut Vec<Link>,
) -> Result<Item, ReadError> {
    let mut item = Item::default();
    let (mut id, mut version) = (None, None);
    let first = links.len();
    let span = scanner.object(|scanner, name| {
        match &*name {
            "@id" => {
                item.url = read_link(scanner, kind.item_link(), links)?.unwrap_or_default();
            }
            "commitId" => item.commit.id = read_text(scanner)?.unwrap_or_default(),
            "commitTimeStamp" => item.commit.time = read_text(scanner)?.unwrap_or_default(),
            "nuget:id" => id = read_text(scanner)?,
            "nuget:version" => version = read_text(scanner)?,
            _ => {}
        }
        Ok(())
    })?;
    if item.url.is_empty() {
        return Err(ReadError {
            what: kind.what(),
            at: Some(span.start),
            problem: "expected an item with an \"@id\"".to_owned(),
        });
    }
    for link in links.iter_mut().skip(first) {
        (link.id, link.version) = (id.clone(), version.clone());
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    //! Protocol facts 2.5.1 to 2.5.3, and documents of `tests/data`.

    use super::*;

    const INDEX: &str = include_str!("../../tests/data/samples/sleet/catalog-index-inosik.json");
    const PAGE: &str = include_str!("../../tests/data/samples/sleet/catalog-page-inosik.json");
    const LARGE: &str =
        include_str!("../../tests/data/samples/nuget.org/catalog-page-10897-shortened.json");

    #[test]
    fn reads_the_index_and_pages_of_real_servers() {
        let index = read(ListKind::Index, INDEX).expect("an index");
        let base = "https://inosik.github.io/sample-nuget-feed/catalog";
        assert_eq!(index.items.len(), 1);
        assert_eq!(index.items[0].url, format!("{base}/page.0.json"));
        let kinds: Vec<_> = index.links.iter().map(|link| link.kind).collect();
        assert_eq!(kinds, [LinkKind::CatalogIndex, LinkKind::CatalogPage]);

        let page = read(ListKind::Page, PAGE).expect("a page");
        // Their times differ by milliseconds, their commits do not.
        assert_ne!(page.commit.time, index.items[0].commit.time);
        assert!(page.commit.is_that_of(&index.items[0].commit));
        let kinds: Vec<_> = page.links.iter().map(|link| link.kind).collect();
        assert_eq!(
            kinds,
            [
                LinkKind::CatalogPage,
                LinkKind::CatalogIndex,
                LinkKind::CatalogEntry
            ]
        );
        let leaf = page.links.last().expect("a leaf");
        assert_eq!(leaf.id.as_deref(), Some("SleetDemoPackage"));
        assert_eq!(leaf.version.as_deref(), Some("0.1.0"));

        let large = read(ListKind::Page, LARGE).expect("a page");
        assert_eq!(large.items.len() + 2, large.links.len());
    }

    #[test]
    fn spans_are_those_of_the_addresses() {
        for (kind, text) in [(ListKind::Index, INDEX), (ListKind::Page, PAGE)] {
            for link in read(kind, text).expect("a list").links {
                assert_eq!(text[link.span.clone()], format!("\"{}\"", link.url));
            }
        }
    }

    #[track_caller]
    fn check_superseded(times: &[&str], expected: &[bool]) {
        let item = |time: &&str| Item {
            url: "https://h/".into(),
            commit: Commit {
                id: String::new(),
                time: (*time).to_owned(),
            },
        };
        let list = CatalogList {
            items: times.iter().map(item).collect(),
            ..CatalogList::default()
        };
        let found: Vec<_> = list.superseded().collect();
        assert_eq!(found, expected, "{times:?}");
    }

    #[test]
    fn the_newest_is_told_by_time_and_not_by_place() {
        check_superseded(&["2020-01-02T00:00:00Z"], &[false]);
        check_superseded(
            &["2020-01-02T00:00:00Z", "2020-01-01T00:00:00Z"],
            &[false, true],
        );
        check_superseded(
            &["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z"],
            &[true, false],
        );
        check_superseded(
            &["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"],
            &[false, false],
        );
        check_superseded(&["", "2020-01-01T00:00:00Z"], &[false, false]);
    }

    #[test]
    fn a_commit_without_a_name_is_none() {
        let none = Commit::default();
        assert!(!none.is_that_of(&none));
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = read(ListKind::Index, text).map_err(|error| error.to_string());
        assert_eq!(error, Err(format!("catalog index: {expected}")), "{text}");
    }

    #[test]
    fn refuses_what_is_no_list() {
        let other = "JSON of another kind: expected an object with items";
        check_refused("{}", other);
        check_refused(r#"{"items":{}}"#, other);
        check_refused(r#"{"items":7}"#, other);
        check_refused(
            r#"{"items":[{}]}"#,
            "at byte 10: expected an item with an \"@id\"",
        );
        check_refused("[]", "at byte 0: expected an object, found '['");
        check_refused(
            r#"{"items":[]"#,
            "at byte 11: expected ',' or '}', found the end of the text",
        );
    }
}
