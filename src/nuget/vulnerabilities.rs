//! The index of known vulnerabilities and its pages (protocol facts 2.7).
//!
//! Of the index only each page's `@id` is ours to change. Pages are checked and never rewritten: their URLs are
//! advisories for people (2.7.2). Versions, ranges and severities are not read.

use std::collections::HashSet;
use std::ops::Range;

use super::ReadError;
use super::digest::sha256_hex;
use super::json::{Kind, Scanner, encode_string};
use super::service_index::is_url;
use super::splice::splice;

const INDEX: &str = "vulnerability index";
const PAGE: &str = "vulnerability page";

/// Most pages of an index: the client reads no more (protocol facts 2.7.1, 2.7.6).
pub const MAX_PAGES: usize = 16;

/// Longest page name, in characters (protocol fact 2.7.1).
pub const MAX_NAME_CHARS: usize = 32;

/// Hex digits of the hash in a page's token: with 16 pages an accidental match is out of the question.
const TOKEN_DIGITS: usize = 12;

/// A page as the index names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PageRef {
    /// `@name`: 1 to [`MAX_NAME_CHARS`] letters, digits, `-` or `_`; unique in its index. The client caches by it.
    pub name: String,
    /// `@id`: an http or https URL.
    pub url: String,
    /// `@updated`, as written.
    pub updated: String,
    /// The comment, for people.
    pub comment: Option<String>,
    /// Where the `@id` stands in the text, quotes included.
    pub url_span: Range<usize>,
}

impl PageRef {
    /// The page's name in our URLs, see [`page_token`].
    #[must_use]
    pub fn token(&self) -> String {
        page_token(&self.name, &self.url, &self.updated)
    }
}

/// The name of a page in our URLs: another URL or another `@updated` is another page, so a page with its token never
/// changes (protocol fact 2.7.10).
#[must_use]
pub fn page_token(name: &str, url: &str, updated: &str) -> String {
    let hash = sha256_hex(format!("{url}\n{updated}"));
    format!("{name}-{}", hash.get(..TOKEN_DIGITS).unwrap_or(&hash))
}

/// Reads an index: its pages in order.
///
/// # Errors
/// If `text` is no array of at most [`MAX_PAGES`] objects, or one of them has no valid unique `@name`, no http or https
/// `@id`, or no `@updated` (protocol fact 2.7.7). The error counts entries from 1.
pub fn read_index(text: &str) -> Result<Vec<PageRef>, ReadError> {
    let mut scanner = Scanner::new(INDEX, text);
    let mut pages = Vec::new();
    scanner.array(|scanner| {
        if pages.len() == MAX_PAGES {
            return Err(scanner.error(format!("expected at most {MAX_PAGES} entries, found more")));
        }
        let page = read_entry(scanner, pages.len() + 1)?;
        pages.push(page);
        Ok(())
    })?;
    scanner.end()?;
    let mut names = HashSet::new();
    match pages.iter().find(|page| !names.insert(&page.name)) {
        None => Ok(pages),
        Some(page) => Err(ReadError {
            what: INDEX,
            at: None,
            problem: format!("expected different names, found {:?} twice", page.name),
        }),
    }
}

fn read_entry(scanner: &mut Scanner<'_>, number: usize) -> Result<PageRef, ReadError> {
    let (mut name, mut url, mut updated, mut comment) = (None, None, None, None);
    let span = scanner.object(|scanner, property| {
        match &*property {
            "@name" => name = scanner.text()?,
            "@id" => url = scanner.text()?,
            "@updated" => updated = scanner.text()?,
            "comment" => comment = scanner.text()?,
            _ => {}
        }
        Ok(())
    })?;
    let fault = |problem: &str| ReadError {
        what: INDEX,
        at: Some(span.start),
        problem: format!("entry {number}: expected {problem}"),
    };
    let name = name
        .filter(|name| is_name(&name.content))
        .ok_or_else(|| fault("an \"@name\" of 1 to 32 letters, digits, '-' or '_'"))?;
    let url = url
        .filter(|url| is_url(&url.content))
        .ok_or_else(|| fault("an \"@id\" that is an http or https URL"))?;
    let updated = updated
        .filter(|updated| !updated.content.trim().is_empty())
        .ok_or_else(|| fault("an \"@updated\" that is a time"))?;
    Ok(PageRef {
        name: name.content.into_owned(),
        url: url.content.into_owned(),
        updated: updated.content.into_owned(),
        comment: comment.map(|comment| comment.content.into_owned()),
        url_span: url.span,
    })
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= MAX_NAME_CHARS && name.bytes().all(is_plain)
}

/// The index with another `@id` for each of its pages, as `url_of` gives it; every other byte as it was.
///
/// # Errors
/// As [`read_index`].
pub fn render_index(
    text: &str,
    mut url_of: impl FnMut(&PageRef) -> String,
) -> Result<String, ReadError> {
    let pages = read_index(text)?;
    let edits = pages
        .iter()
        .map(|page| (page.url_span.clone(), encode_string(&url_of(page))));
    Ok(splice(text, edits))
}

/// Checks a page: an object whose values are arrays, or the empty array that the documentation names for an empty page
/// (protocol fact 2.7.3).
///
/// # Errors
/// If `text` is neither, or not complete.
pub fn read_page(text: &str) -> Result<(), ReadError> {
    let mut scanner = Scanner::new(PAGE, text);
    if scanner.peek()? == Kind::Array {
        scanner
            .array(|scanner| Err(scanner.error("expected an object, found an array with items")))?;
    } else {
        scanner.object(|scanner, id| match scanner.peek()? {
            Kind::Array => scanner.skip().map(|_| ()),
            Kind::Bool | Kind::Null | Kind::Number | Kind::Object | Kind::String => {
                Err(scanner.error(format!("expected an array for {id:?}")))
            }
        })?;
    }
    scanner.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../tests/data/vulnerabilities/index-docs-sample.json");
    const NESTED: &str = include_str!("../../tests/data/vulnerabilities/index-gallery-writer.json");
    const REAL_PAGE: &str = include_str!("../../tests/data/vulnerabilities/page-docs-sample.json");

    fn entry(name: &str, url: &str, updated: &str) -> String {
        format!(r#"{{"@name":{name},"@id":{url},"@updated":{updated}}}"#)
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = read_index(text).map_err(|error| error.to_string());
        assert_eq!(error, Err(format!("vulnerability index: {expected}")));
    }

    #[track_caller]
    fn check_page(text: &str, expected: Result<(), &str>) {
        let found = read_page(text).map_err(|error| error.to_string());
        let expected = expected.map_err(|problem| format!("vulnerability page: {problem}"));
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn reads_real_indexes() {
        let pages = read_index(REAL).expect("an index");
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(names, ["base", "update"]);
        let base = &pages[0];
        let url = "https://nuget.contoso.com/v3/vulnerabilities/3bb6b300-2f74-45bc-af06-746fd21c024b.json";
        assert_eq!(
            (&*base.url, &*base.updated),
            (url, "2023-06-01T06:14:58.4159909Z")
        );
        assert_eq!(REAL[base.url_span.clone()], format!("\"{url}\""));
        let comment = "The base data for vulnerability update periodically";
        assert_eq!(base.comment.as_deref(), Some(comment));
        assert_eq!(read_index(NESTED).map(|pages| pages.len()), Ok(2));
        assert_eq!(read_index("\u{feff}[]"), Ok(Vec::new()));
    }

    #[test]
    fn changes_only_the_addresses() {
        for text in [REAL, NESTED] {
            let pages = read_index(text).expect("an index");
            let ours =
                render_index(text, |page| format!("http://us/{}", page.token())).expect("an index");
            for page in &pages {
                assert!(ours.contains(&format!("\"http://us/{}\"", page.token())));
                assert!(!ours.contains(&page.url));
            }
            let mut urls = pages.iter().map(|page| page.url.clone());
            let back = render_index(&ours, |_| urls.next().unwrap_or_default());
            assert_eq!(back.as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_token_tells_pages_and_their_updates_apart() {
        let token = page_token("base", "https://h/a.json", "2023-06-01");
        assert_eq!(token, "base-c18d4ab64144");
        for other in [
            page_token("update", "https://h/a.json", "2023-06-01"),
            page_token("base", "https://h/b.json", "2023-06-01"),
            page_token("base", "https://h/a.json", "2023-06-02"),
        ] {
            assert_ne!(token, other);
        }
    }

    #[test]
    fn refuses_invalid_entries_by_number() {
        let good = entry("\"a\"", "\"https://h/\"", "\"2023\"");
        let name = "an \"@name\" of 1 to 32 letters, digits, '-' or '_'";
        for bad in [
            "\"\"",
            "\"a b\"",
            "\"ä\"",
            "4",
            &format!("{:?}", "x".repeat(33)),
        ] {
            let text = format!("[{good},{}]", entry(bad, "\"https://h/\"", "\"2023\""));
            check_refused(
                &text,
                &format!("at byte {}: entry 2: expected {name}", good.len() + 2),
            );
        }
        for bad in ["\"ftp://h/\"", "\"/page.json\"", "null", "[\"https://h/\"]"] {
            let text = format!("[{}]", entry("\"a\"", bad, "\"2023\""));
            check_refused(
                &text,
                "at byte 1: entry 1: expected an \"@id\" that is an http or https URL",
            );
        }
        for bad in ["\" \"", "2023"] {
            let text = format!("[{}]", entry("\"a\"", "\"https://h/\"", bad));
            check_refused(
                &text,
                "at byte 1: entry 1: expected an \"@updated\" that is a time",
            );
        }
        check_refused(
            &format!("[{good},{good}]"),
            "expected different names, found \"a\" twice",
        );
        check_refused("[7]", "at byte 1: expected an object, found '7'");
        check_refused("{}", "at byte 0: expected an array, found '{'");
        check_refused("[] x", "at byte 3: expected the end of the text, found 'x'");
    }

    #[test]
    fn takes_sixteen_pages_and_no_more() {
        let entries: Vec<String> = (0..17)
            .map(|n| entry(&format!("\"p{n}\""), "\"https://h/\"", "\"2023\""))
            .collect();
        let read = |count: usize| read_index(&format!("[{}]", entries[..count].join(",")));
        assert_eq!(read(16).map(|pages| pages.len()), Ok(16));
        let error = read(17).expect_err("too many");
        assert_eq!(error.problem, "expected at most 16 entries, found more");
    }

    #[test]
    fn checks_pages() {
        check_page(REAL_PAGE, Ok(()));
        check_page("[]", Ok(()));
        check_page("{}", Ok(()));
        check_page(r#"{"a":[],"b":[{"url":"x"}],}"#, Ok(()));
        check_page(
            "[{}]",
            Err("at byte 1: expected an object, found an array with items"),
        );
        check_page("\"a\"", Err("at byte 0: expected an object, found '\"'"));
        check_page(r#"{"a":{}}"#, Err("at byte 5: expected an array for \"a\""));
        check_page(
            r#"{"a":[]"#,
            Err("at byte 7: expected ',' or '}', found the end of the text"),
        );
        check_page(
            "",
            Err("at byte 0: expected a value, found the end of the text"),
        );
    }
}
