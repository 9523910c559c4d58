//! What is no V3 feed: pages for people, and feeds of the older protocol, told by what they send or where they lie.
//!
//! It refuses to understand them.

/// What a body is that should have been a V3 document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Foreign {
    /// A page for people.
    Html,
    /// A document of a V2 feed: OData or Atom.
    V2,
}

/// How much of a body is looked at: what tells the kinds apart stands in the first element.
const LOOKED_AT: usize = 2048;

/// The names of XML languages that V2 feeds speak: the Atom Publishing Protocol, Atom, and OData in versions 1 to 4.
const V2_MARKS: [&str; 5] = [
    "http://www.w3.org/2007/app",
    "http://www.w3.org/2005/atom",
    "schemas.microsoft.com/ado/",
    "docs.oasis-open.org/odata",
    "<edmx:",
];

/// Tells what a text is; `None` if it is neither.
#[must_use]
pub fn recognize(text: &str) -> Option<Foreign> {
    let head: String = text
        .trim_start_matches('\u{feff}')
        .chars()
        .take(LOOKED_AT)
        .collect();
    let head = head.trim_start().to_ascii_lowercase();
    if !head.starts_with('<') {
        return None;
    }
    if V2_MARKS.iter().any(|mark| head.contains(mark)) {
        return Some(Foreign::V2);
    }
    let is_html = ["<!doctype html", "<html", "<head", "<body"];
    is_html
        .iter()
        .any(|mark| head.contains(mark))
        .then_some(Foreign::Html)
}

/// The path without a final slash, if it is where V2 feeds lie.
fn v2_path(url: &str) -> Option<&str> {
    let bare = url.trim_end_matches('/');
    let lower = bare.to_ascii_lowercase();
    ["/api/v2", "/nuget/v2"]
        .iter()
        .any(|end| lower.ends_with(end))
        .then_some(bare)
}

/// Whether an address is where V2 feeds lie.
#[must_use]
pub fn is_v2_url(url: &str) -> bool {
    v2_path(url).is_some()
}

/// Where the V3 service index of the server behind an address of a V2 feed may be: nuget.org's own, else beside it where
/// the feed's name stands before `/api/v2` or `/nuget/v2` (MyGet, Azure), else at the top of the host.
#[must_use]
pub fn v3_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = host.to_ascii_lowercase();
    if name == "nuget.org" || name.ends_with(".nuget.org") {
        return "https://api.nuget.org/v3/index.json".to_owned();
    }
    match v2_path(url) {
        Some(path) if path.len() > scheme.len() + "://".len() + host.len() + "/api/v2".len() => {
            let beside = path.get(..path.len() - "2".len()).unwrap_or_default();
            format!("{beside}3/index.json")
        }
        Some(_) | None => format!("{scheme}://{host}/v3/index.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_of_the_older_protocol_and_pages_are_told_apart() {
        let v2 = [
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><service xml:base=\"https://www.nuget.org/api/v2/\" \
             xmlns=\"http://www.w3.org/2007/app\" xmlns:atom=\"http://www.w3.org/2005/Atom\">",
            "\u{feff}<feed xmlns=\"http://www.w3.org/2005/Atom\">",
            "<?xml version='1.0'?><edmx:Edmx Version=\"1.0\">",
            "<m:error xmlns:m=\"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata\">",
        ];
        for text in v2 {
            assert_eq!(recognize(text), Some(Foreign::V2), "{text}");
        }
        for text in [
            "<!DOCTYPE html>\n<title>Sign in",
            "  <HTML>",
            "<!-- a --><html lang=x>",
        ] {
            assert_eq!(recognize(text), Some(Foreign::Html), "{text}");
        }
        for text in [
            "{\"a\":\"<html>\"}",
            "",
            "<a/>",
            "<?xml version='1.0'?><Error/>",
        ] {
            assert_eq!(recognize(text), None, "{text}");
        }
    }

    #[test]
    fn each_v2_address_leads_to_a_v3_address_to_try() {
        for (url, expected) in [
            (
                "https://www.nuget.org/api/v2",
                "https://api.nuget.org/v3/index.json",
            ),
            (
                "https://nuget.org/api/v2/",
                "https://api.nuget.org/v3/index.json",
            ),
            (
                "https://corp.test/api/v2",
                "https://corp.test/v3/index.json",
            ),
            (
                "http://corp.test:81/nuget",
                "http://corp.test:81/v3/index.json",
            ),
            (
                "https://www.myget.org/F/feed/api/v2",
                "https://www.myget.org/F/feed/api/v3/index.json",
            ),
            (
                "https://pkgs.dev.azure.com/o/_packaging/f/nuget/v2/",
                "https://pkgs.dev.azure.com/o/_packaging/f/nuget/v3/index.json",
            ),
        ] {
            assert_eq!(v3_of(url), expected);
        }
        assert!(is_v2_url("https://a.test/API/V2/") && !is_v2_url("https://a.test/v3/index.json"));
    }
}
