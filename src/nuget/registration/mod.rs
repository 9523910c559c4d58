//! Registrations: the documents that describe a package's versions. One reader for index, page and leaf.
//!
//! It yields every URL that must point at Sluice (protocol fact 2.2.8) and what each page and leaf says of itself. Which of
//! the three a document is shows in its structure, since names and types vary between servers (section 10): an item with
//! items or bounds is a page, one with a catalog entry or package content a leaf. Versions are not parsed and nothing is
//! sorted: order and spelling are the server's. Other pages of the web, `@context`, `@type` and free text are left alone
//! (2.2.9, 2.2.10).

mod reader;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use super::link::{Link, LinkKind};

use super::ReadError;
use super::id::PackageId;
use reader::Reader;

/// What a registration document says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// Which of the three it is.
    pub kind: RegistrationKind,
    /// Every link, in the order of the text.
    pub links: Vec<Link>,
    /// The pages: of an index all, of a page itself, of a leaf none.
    pub pages: Vec<Page>,
    /// The leaves that are written out in it.
    pub leaves: Vec<Leaf>,
    /// `commitTimeStamp` of the document itself, as written.
    pub commit_time: Option<String>,
    /// Where the document's own `count` stands, in bytes.
    pub count_span: Option<Range<usize>>,
}

impl Registration {
    /// A package that it describes, where it describes others alone than `id`. One that names no package may be any's.
    #[must_use]
    pub fn stranger_to(&self, id: &PackageId) -> Option<PackageId> {
        let ids = self.leaves.iter().filter_map(|leaf| leaf.id.as_deref());
        let mut named = ids.filter_map(|id| PackageId::parse(id).ok()).peekable();
        let stranger = named.peek().cloned();
        stranger.filter(|_| !named.any(|named| named == *id))
    }
}

/// The kinds of registration documents.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RegistrationKind {
    /// Names pages, or holds them.
    Index,
    /// Describes one version.
    Leaf,
    /// Holds leaves.
    Page,
}

/// One version. Texts are as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// Package id.
    pub id: Option<String>,
    /// Version; leaf documents of nuget.org have none but in their URL.
    pub version: Option<String>,
    /// Whether searches show it; absent means yes (protocol fact 2.2.18).
    pub listed: Option<bool>,
    /// When it was published; the year 1900 means unlisted (protocol fact 2.2.18).
    pub published: Option<String>,
    /// Where the package is.
    pub package_content: Option<String>,
    /// Its catalog leaf.
    pub catalog_entry: Option<String>,
    /// SHA-512 of the package, where the document publishes it itself.
    pub sha512: Option<[u8; 64]>,
    /// The page it is in, as an index into the pages.
    pub page: Option<usize>,
    /// The whole object, in bytes.
    pub span: Range<usize>,
}

/// A range of versions. Texts are as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Its own URL.
    pub url: Option<String>,
    /// The lowest version.
    pub lower: Option<String>,
    /// The highest version.
    pub upper: Option<String>,
    /// How many versions it says it has.
    pub count: Option<u64>,
    /// Whether its leaves are in this document.
    pub inlined: bool,
    /// The whole object, in bytes.
    pub span: Range<usize>,
    /// Where it says these.
    pub marks: PageMarks,
}

/// Where a page says how many versions it has and which, in bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PageMarks {
    /// The value of `count`.
    pub count: Option<Range<usize>>,
    /// The value of `lower`, a string.
    pub lower: Option<Range<usize>>,
    /// The value of `upper`, a string.
    pub upper: Option<Range<usize>>,
}

/// Reads a registration index, page or leaf.
///
/// # Errors
/// If `text` is not JSON, no object, or has none of the marks of a registration.
pub fn read(text: &str) -> Result<Registration, ReadError> {
    Reader::read(text)
}
