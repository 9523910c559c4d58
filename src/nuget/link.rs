//! Links: the URLs in documents that Sluice points at itself.
//!
//! A link says where its URL is written and what it means. Where it should point instead is not decided here. Empty
//! strings and values that are no strings are no links; other texts are, URLs or not.

use std::ops::Range;

use super::ReadError;
use super::json::Scanner;

/// A URL written in a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Where the JSON string stands, quotes included, in bytes.
    pub span: Range<usize>,
    /// What is written there, without escapes.
    pub url: String,
    /// What the URL leads to.
    pub kind: LinkKind,
    /// The leaf it is a part of, as an index into the registration's leaves.
    pub leaf: Option<usize>,
    /// The page it is a part of, as an index into the registration's pages.
    pub page: Option<usize>,
    /// The package id it speaks of as written, where the object around it names one: a dependency's, a search result's.
    pub id: Option<String>,
    /// The version it speaks of as written, in search results only.
    pub version: Option<String>,
}

/// What a URL leads to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LinkKind {
    /// `@context.@base` of search results: a registration base.
    Base,
    /// A catalog leaf: `catalogEntry`, its `@id`, or the `@id` of a catalog leaf itself.
    CatalogEntry,
    /// The catalog's index: its own `@id`, or the `parent` of a page.
    CatalogIndex,
    /// The `@id` of a page of the catalog.
    CatalogPage,
    /// The `@id` of any other object inside a catalog entry, such as a deprecation: a catalog leaf with a fragment.
    CatalogPart,
    /// The `@id` of a dependency: a catalog leaf with a fragment.
    Dependency,
    /// The `@id` of a dependency group: a catalog leaf with a fragment.
    DependencyGroup,
    /// The registration index of a dependency.
    DependencyRegistration,
    /// The `@id` of a search result: a registration index, on some servers a registration leaf.
    Hit,
    /// `iconUrl`, which may or may not lie in the flat container.
    Icon,
    /// A registration index: `@id` of the index, `parent`, `registration`.
    Index,
    /// A registration leaf: its own `@id`, or that of a version in search results.
    LeafSelf,
    /// `packageContent`: the package.
    PackageContent,
    /// The `@id` of a registration page.
    PageSelf,
    /// The `@id` of a vulnerability: a catalog leaf with a fragment.
    Vulnerability,
}

/// Reads the next value and adds it to `links` if it is one. Gives what was read.
pub(super) fn read_link(
    scanner: &mut Scanner<'_>,
    kind: LinkKind,
    links: &mut Vec<Link>,
) -> Result<Option<String>, ReadError> {
    let Some(text) = scanner.text()?.filter(|text| !text.content.is_empty()) else {
        return Ok(None);
    };
    let url = text.content.into_owned();
    links.push(Link {
        span: text.span,
        url: url.clone(),
        kind,
        leaf: None,
        page: None,
        id: None,
        version: None,
    });
    Ok(Some(url))
}

/// Reads the next value and gives its text, if it is a string.
pub(super) fn read_text(scanner: &mut Scanner<'_>) -> Result<Option<String>, ReadError> {
    Ok(scanner.text()?.map(|text| text.content.into_owned()))
}
