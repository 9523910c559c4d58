//! Audit data of several feeds: one index that names the pages of all.
//!
//! A client reads 16 pages and caches by their names (protocol facts 2.7.1, 2.7.6), so names begin with their feed's, and
//! of more than 16 pages those from the sixteenth on become one.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::nuget::ReadError;
use crate::nuget::digest::sha256_hex;
use crate::nuget::json::{Kind, Scanner, encode_string};
use crate::nuget::splice::splice;
use crate::nuget::vulnerabilities::{MAX_NAME_CHARS, MAX_PAGES, page_token, read_index};

/// Hex digits that tell names apart that had to be cut.
const NAME_DIGITS: usize = 6;
/// The name of the page that the pages beyond the limit become.
const REST: &str = "rest";

/// The index of one feed.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    /// Name of the feed.
    pub feed: &'a str,
    /// Its text, with links that are ours.
    pub text: &'a str,
}

/// The pages that become one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overflow {
    /// The name of that page in our URLs: it changes with every page that it is made of.
    pub token: String,
    /// Each page: the place of its feed, and where it lies.
    pub pages: Vec<(usize, String)>,
    /// The latest time of an update among them, as written.
    updated: String,
}

/// The pages beyond the limit, if there are more than a client reads.
///
/// # Errors
/// If a text is no vulnerability index.
pub fn audit_overflow(indexes: &[Audit<'_>]) -> Result<Option<Overflow>, ReadError> {
    let mut all = Vec::new();
    for (place, index) in indexes.iter().enumerate() {
        let pages = read_index(index.text)?.into_iter();
        all.extend(pages.map(|page| (place, page)));
    }
    if all.len() <= MAX_PAGES {
        return Ok(None);
    }
    let rest = all.get(MAX_PAGES - 1..).unwrap_or_default();
    let urls: Vec<&str> = rest.iter().map(|(_, page)| page.url.as_str()).collect();
    let updated = rest.iter().map(|(_, page)| page.updated.clone()).max();
    let updated = updated.unwrap_or_default();
    Ok(Some(Overflow {
        token: page_token(REST, &urls.join("\n"), &updated),
        pages: rest
            .iter()
            .map(|(place, page)| (*place, page.url.clone()))
            .collect(),
        updated,
    }))
}

/// Makes one index of those of several feeds. `rest_url` is where the page with a token lies that those beyond the limit
/// became.
///
/// # Errors
/// If a text is no vulnerability index.
pub fn merge_audit_indexes(
    indexes: &[Audit<'_>],
    rest_url: impl Fn(&str) -> String,
) -> Result<String, ReadError> {
    let overflow = audit_overflow(indexes)?;
    let most = if overflow.is_some() {
        MAX_PAGES - 1
    } else {
        MAX_PAGES
    };
    let mut entries = Vec::new();
    let mut names = HashSet::new();
    for index in indexes {
        for EntrySpans { whole, name } in entry_spans(index.text)? {
            let text = index.text.get(whole.clone()).unwrap_or_default();
            let own = index
                .text
                .get(name.clone())
                .unwrap_or_default()
                .trim_matches('"');
            let renamed = prefixed(index.feed, own, &mut names);
            let within =
                name.start.saturating_sub(whole.start)..name.end.saturating_sub(whole.start);
            entries.push(splice(text, [(within, encode_string(&renamed))]));
        }
    }
    entries.truncate(most);
    entries.extend(overflow.map(|overflow| {
        format!(
            "{{\"@name\":{},\"@id\":{},\"@updated\":{},\"comment\":\"Pages beyond the number that a client reads\"}}",
            encode_string(REST),
            encode_string(&rest_url(&overflow.token)),
            encode_string(&overflow.updated),
        )
    }));
    Ok(format!("[{}]", entries.join(",")))
}

/// Where an entry stands in its text.
#[derive(Debug)]
struct EntrySpans {
    whole: Range<usize>,
    name: Range<usize>,
}

/// The spans of each entry. The index was checked before.
fn entry_spans(text: &str) -> Result<Vec<EntrySpans>, ReadError> {
    let mut scanner = Scanner::new("vulnerability index", text);
    let mut spans = Vec::new();
    scanner.array(|scanner| {
        let mut name = None;
        let whole = scanner.object(|scanner, property| {
            if property == "@name" {
                name = scanner.text()?.map(|text| text.span);
            }
            Ok(())
        })?;
        spans.extend(name.map(|name| EntrySpans { whole, name }));
        Ok(())
    })?;
    Ok(spans)
}

/// A page's name with its feed's in front, different from all in `taken`.
fn prefixed(feed: &str, name: &str, taken: &mut HashSet<String>) -> String {
    let feed: String = feed
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let whole = format!("{feed}-{name}");
    if whole.len() <= MAX_NAME_CHARS && whole != REST && taken.insert(whole.clone()) {
        return whole;
    }
    let hash = sha256_hex(&whole);
    let kept: String = whole
        .chars()
        .take(MAX_NAME_CHARS - NAME_DIGITS - 1)
        .collect();
    let digits = hash.get(..NAME_DIGITS).unwrap_or(&hash);
    let cut = format!("{kept}-{digits}");
    taken.insert(cut.clone());
    cut
}

/// Makes one page of several: each id with the items of all, in their order.
///
/// # Errors
/// If a text is no vulnerability page.
pub fn merge_audit_pages(texts: &[&str]) -> Result<String, ReadError> {
    let mut items: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for text in texts {
        let mut scanner = Scanner::new("vulnerability page", text);
        // An empty page may be written as an empty array (protocol fact 2.7.3).
        if scanner.peek()? == Kind::Array {
            continue;
        }
        scanner.object(|scanner, id| {
            let of_id = items.entry(id.into_owned()).or_default();
            scanner.array(|scanner| {
                let span = scanner.skip()?;
                of_id.extend(text.get(span));
                Ok(())
            })?;
            Ok(())
        })?;
    }
    let members: Vec<String> = items
        .into_iter()
        .map(|(id, items)| format!("{}:[{}]", encode_string(&id), items.join(",")))
        .collect();
    Ok(format!("{{{}}}", members.join(",")))
}
