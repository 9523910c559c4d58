//! Search and autocomplete results of several feeds as one.
//!
//! Results alternate by rank, the first feed first, since ranks of different servers cannot be compared. An id that
//! several have is one result, described by whoever has its highest version, with the versions of all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::nuget::ReadError;
use crate::nuget::id::PackageId;
use crate::nuget::json::{Kind, Scanner};
use crate::nuget::splice::splice;
use crate::nuget::version::Version;

/// Which of all results are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// How many are passed over.
    pub skip: usize,
    /// How many are shown at most.
    pub take: usize,
}

/// A result as its server wrote it.
#[derive(Clone, Debug)]
struct Hit<'a> {
    /// The whole document.
    document: &'a str,
    span: Range<usize>,
    id: Option<PackageId>,
    version: Option<Version>,
    /// The array `versions`, and each item of it that names a version.
    versions: Option<Range<usize>>,
    items: Vec<(Version, Range<usize>)>,
}

/// What one feed found.
#[derive(Clone, Debug)]
struct Results<T> {
    total: u64,
    items: Vec<T>,
}

/// Reads results, each by `item`, which leaves out what is none.
fn read<'a, T>(
    what: &'static str,
    text: &'a str,
    mut item: impl FnMut(&mut Scanner<'a>) -> Result<Option<T>, ReadError>,
) -> Result<Results<T>, ReadError> {
    let mut results = Results {
        total: 0,
        items: Vec::new(),
    };
    let mut scanner = Scanner::new(what, text);
    scanner.object(|scanner, name| {
        match &*name {
            "totalHits" => results.total = scanner.integer()?.unwrap_or(0),
            "data" if scanner.peek()? == Kind::Array => {
                results.items.clear();
                scanner.array(|scanner| {
                    results.items.extend(item(scanner)?);
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(results)
}

/// How many results all feeds say that there are.
fn total_of<T>(all: &[Results<T>]) -> u64 {
    all.iter()
        .fold(0, |total, results| total.saturating_add(results.total))
}

/// The results of all feeds by rank, each with the place of its feed.
fn by_rank<T>(all: &[Results<T>]) -> impl Iterator<Item = (usize, &T)> {
    let longest = all.iter().map(|results| results.items.len()).max();
    (0..longest.unwrap_or(0)).flat_map(move |rank| {
        let all = all.iter().enumerate();
        all.filter_map(move |(from, results)| Some((from, results.items.get(rank)?)))
    })
}

/// Makes one document of the search results of several feeds, each asked for the first `skip + take` of them. `shows`
/// says whether the feed in a place may show an id.
///
/// # Errors
/// If a text is no search result.
pub fn merge_search(
    texts: &[&str],
    shows: impl Fn(usize, &PackageId) -> bool,
    window: Window,
) -> Result<String, ReadError> {
    let all = texts
        .iter()
        .map(|text| read_hits(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut total = total_of(&all);
    let mut merged: Vec<Vec<&Hit<'_>>> = Vec::new();
    let mut places: HashMap<&PackageId, usize> = HashMap::new();
    for (from, hit) in by_rank(&all) {
        let Some(id) = hit.id.as_ref().filter(|id| shows(from, id)) else {
            total = total.saturating_sub(1);
            continue;
        };
        match places.get(id) {
            Some(&place) => {
                total = total.saturating_sub(1);
                merged[place].push(hit);
            }
            None => {
                places.insert(id, merged.len());
                merged.push(vec![hit]);
            }
        }
    }
    let shown: Vec<String> = merged
        .iter()
        .skip(window.skip)
        .take(window.take)
        .map(|hits| join(hits))
        .collect();
    let total = total.max(merged.len() as u64);
    Ok(format!(
        "{{\"@context\":{{\"@vocab\":\"http://schema.nuget.org/schema#\"}},\"totalHits\":{total},\"data\":[{}]}}",
        shown.join(",")
    ))
}

/// One result of those of an id. Those of the first feed come first.
fn join(hits: &[&Hit<'_>]) -> String {
    let mut base: Option<&Hit<'_>> = None;
    for hit in hits {
        if base.is_none_or(|base| hit.version > base.version) {
            base = Some(hit);
        }
    }
    let Some(base) = base else {
        return String::new();
    };
    let text = base.document.get(base.span.clone()).unwrap_or_default();
    let (Some(versions), [_, _, ..]) = (&base.versions, hits) else {
        return text.to_owned();
    };
    let mut items: BTreeMap<&Version, &str> = BTreeMap::new();
    for hit in hits {
        for (version, span) in &hit.items {
            let item = hit.document.get(span.clone()).unwrap_or_default();
            items.entry(version).or_insert(item);
        }
    }
    let items: Vec<&str> = items.into_values().collect();
    let start = base.span.start;
    let within = versions.start.saturating_sub(start)..versions.end.saturating_sub(start);
    splice(text, [(within, format!("[{}]", items.join(",")))])
}

fn read_hits(text: &str) -> Result<Results<Hit<'_>>, ReadError> {
    read("search results", text, |scanner| {
        let is_hit = scanner.peek()? == Kind::Object;
        is_hit.then(|| read_hit(scanner, text)).transpose()
    })
}

fn read_hit<'a>(scanner: &mut Scanner<'a>, document: &'a str) -> Result<Hit<'a>, ReadError> {
    let (mut id, mut version, mut versions, mut items) = (None, None, None, Vec::new());
    let span = scanner.object(|scanner, name| {
        match &*name {
            "id" => id = scanner.text()?,
            "version" => version = scanner.text()?,
            "versions" if scanner.peek()? == Kind::Array => {
                items.clear();
                versions = Some(scanner.array(|scanner| {
                    items.extend(read_item(scanner)?);
                    Ok(())
                })?);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Hit {
        document,
        span,
        id: id.and_then(|id| PackageId::parse(&id.content).ok()),
        version: version.and_then(|version| Version::parse(&version.content).ok()),
        versions,
        items,
    })
}

fn read_item(scanner: &mut Scanner<'_>) -> Result<Option<(Version, Range<usize>)>, ReadError> {
    if scanner.peek()? != Kind::Object {
        return Ok(None);
    }
    let mut version = None;
    let span = scanner.object(|scanner, name| {
        if name == "version" {
            version = scanner.text()?;
        }
        Ok(())
    })?;
    let version = version.and_then(|version| Version::parse(&version.content).ok());
    Ok(version.map(|version| (version, span)))
}

/// Makes one document of the autocomplete results of several feeds. `shows` says whether the feed in a place may show an
/// item: an id, or a version of the id that was asked for; `None` is an item that is neither.
///
/// # Errors
/// If a text is no autocomplete result.
pub fn merge_autocomplete(
    texts: &[&str],
    shows: impl Fn(usize, &str) -> bool,
    window: Window,
) -> Result<String, ReadError> {
    let all = texts
        .iter()
        .map(|text| read_names(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut total = total_of(&all);
    let (mut seen, mut items) = (HashSet::new(), Vec::new());
    for (from, (content, written)) in by_rank(&all) {
        if shows(from, content) && seen.insert(content.to_lowercase()) {
            items.push(*written);
        } else {
            total = total.saturating_sub(1);
        }
    }
    let total = total.max(items.len() as u64);
    let shown: Vec<&str> = items
        .into_iter()
        .skip(window.skip)
        .take(window.take)
        .collect();
    Ok(format!(
        "{{\"totalHits\":{total},\"data\":[{}]}}",
        shown.join(",")
    ))
}

/// The names that autocomplete results hold, each as it reads and as it was written.
fn read_names(text: &str) -> Result<Results<(String, &str)>, ReadError> {
    read("autocomplete results", text, |scanner| {
        let item = scanner.text()?;
        Ok(item.map(|item| {
            let written = text.get(item.span).unwrap_or_default();
            (item.content.into_owned(), written)
        }))
    })
}
