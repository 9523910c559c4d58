//! The pass over a registration document.
//!
//! Index, page and leaf may hold the same names in any order, so each object is read the same way, and what it is, and
//! with it the kind of its `@id`, is settled when it ends.

use std::ops::Range;

use crate::nuget::ReadError;
use crate::nuget::catalog::{Details, read_details};
use crate::nuget::json::{Kind, Scanner};
use crate::nuget::link::{Link, LinkKind, read_link, read_text};

use super::{Leaf, Page, PageMarks, Registration, RegistrationKind};

const WHAT: &str = "registration";

/// How deep an object stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    /// The document itself.
    Root,
    /// An item of the document: a page of an index, or a leaf of a page.
    Item,
    /// An item of a page that an index holds: a leaf.
    Nested,
}

/// What one object says.
#[derive(Debug, Default)]
struct Node {
    span: Range<usize>,
    url: Option<String>,
    /// Its `@id`, as an index into the links.
    own: Option<usize>,
    /// What the object itself says of a package.
    details: Details,
    /// What its catalog entry says, or its URL where it is a string.
    entry: Details,
    has_entry: bool,
    has_content: bool,
    has_parent: bool,
    lower: Option<String>,
    upper: Option<String>,
    count: Option<u64>,
    marks: PageMarks,
    /// How many its `items` are.
    items: Option<usize>,
    /// Where the reader stood around `items`.
    around_items: Option<(Marks, Marks)>,
    commit_time: Option<String>,
}

impl Node {
    fn is_leaf(&self) -> bool {
        self.items.is_none() && (self.has_entry || self.has_content)
    }

    fn has_marks(&self) -> bool {
        let bounds = self.lower.is_some() || self.upper.is_some();
        bounds || self.items.is_some() || self.has_entry || self.has_content
    }
}

/// How much has been collected.
#[derive(Clone, Copy, Debug)]
struct Marks {
    links: usize,
    pages: usize,
    leaves: usize,
}

/// Collects what a document says.
#[derive(Debug, Default)]
pub(super) struct Reader {
    links: Vec<Link>,
    pages: Vec<Page>,
    leaves: Vec<Leaf>,
    /// Whether any item looked like a page or a leaf.
    marked: bool,
}

impl Reader {
    pub(super) fn read(text: &str) -> Result<Registration, ReadError> {
        let mut reader = Self::default();
        let mut scanner = Scanner::new(WHAT, text);
        let root = reader.node(&mut scanner, Level::Root)?;
        scanner.end()?;
        reader.finish(root)
    }

    /// Reads an object whole and gives what it says; its items are settled by then, itself is not.
    fn node(&mut self, scanner: &mut Scanner<'_>, level: Level) -> Result<Node, ReadError> {
        let mut node = Node::default();
        node.span = scanner.object(|scanner, name| {
            match name.as_ref() {
                "@id" => {
                    node.own = Some(self.links.len());
                    node.url = read_link(scanner, LinkKind::Index, &mut self.links)?;
                    node.own = node.own.filter(|_| node.url.is_some());
                }
                "parent" => {
                    node.has_parent = true;
                    read_link(scanner, LinkKind::Index, &mut self.links)?;
                }
                "registration" => {
                    read_link(scanner, LinkKind::Index, &mut self.links)?;
                }
                "packageContent" => {
                    node.has_content = true;
                    node.details.package_content =
                        read_link(scanner, LinkKind::PackageContent, &mut self.links)?;
                }
                "catalogEntry" | "sleet:catalogEntry" => self.entry(scanner, &mut node)?,
                "items" if level != Level::Nested => self.items(scanner, level, &mut node)?,
                "lower" => (node.lower, node.marks.lower) = read_bound(scanner)?,
                "upper" => (node.upper, node.marks.upper) = read_bound(scanner)?,
                "count" => (node.count, node.marks.count) = read_count(scanner)?,
                "commitTimeStamp" => node.commit_time = read_text(scanner)?,
                "id" => node.details.id = read_text(scanner)?,
                "version" => node.details.version = read_text(scanner)?,
                "listed" => node.details.listed = scanner.boolean()?,
                "published" => node.details.published = read_text(scanner)?,
                "packageHash" => node.details.package_hash = read_text(scanner)?,
                "packageHashAlgorithm" => {
                    node.details.package_hash_algorithm = read_text(scanner)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(node)
    }

    /// Reads a catalog entry: an object, or the URL of one. Sleet's leaf documents have both, the object as
    /// `sleet:catalogEntry` (protocol fact 10.4).
    fn entry(&mut self, scanner: &mut Scanner<'_>, node: &mut Node) -> Result<(), ReadError> {
        node.has_entry = true;
        match scanner.peek()? {
            Kind::Object => read_details(scanner, &mut self.links, &mut node.entry),
            Kind::String => {
                node.entry.url = read_link(scanner, LinkKind::CatalogEntry, &mut self.links)?;
                Ok(())
            }
            Kind::Array | Kind::Bool | Kind::Null | Kind::Number => Ok(()),
        }
    }

    fn items(
        &mut self,
        scanner: &mut Scanner<'_>,
        level: Level,
        node: &mut Node,
    ) -> Result<(), ReadError> {
        if scanner.peek()? != Kind::Array {
            return Ok(());
        }
        if let Some((start, end)) = node.around_items.take() {
            self.forget(start, end);
        }
        let start = self.marks();
        let mut count = 0;
        scanner.array(|scanner| {
            count += 1;
            if scanner.peek()? == Kind::Object {
                self.item(scanner, level)?;
            }
            Ok(())
        })?;
        node.items = Some(count);
        node.around_items = Some((start, self.marks()));
        Ok(())
    }

    fn marks(&self) -> Marks {
        Marks {
            links: self.links.len(),
            pages: self.pages.len(),
            leaves: self.leaves.len(),
        }
    }

    /// Drops pages and leaves of an `items` that a later one of the same name replaces. Its links stay, so that no URL
    /// is handed out as it was.
    fn forget(&mut self, start: Marks, end: Marks) {
        self.pages.truncate(start.pages);
        self.leaves.truncate(start.leaves);
        let links = self.links.iter_mut().skip(start.links);
        for link in links.take(end.links - start.links) {
            (link.leaf, link.page) = (None, None);
        }
    }

    /// Reads an item of an object at `level` and settles whether it is a page or a leaf.
    fn item(&mut self, scanner: &mut Scanner<'_>, level: Level) -> Result<(), ReadError> {
        let first = self.links.len();
        if level == Level::Item {
            let node = self.node(scanner, Level::Nested)?;
            self.marked = true;
            self.add_leaf(node, first, Some(self.pages.len()));
            return Ok(());
        }
        let node = self.node(scanner, Level::Item)?;
        self.marked |= node.has_marks();
        if node.is_leaf() {
            self.add_leaf(node, first, None);
        } else {
            self.add_page(node, first);
        }
        Ok(())
    }

    /// Settles a leaf whose links begin at `first`.
    fn add_leaf(&mut self, node: Node, first: usize, page: Option<usize>) {
        let leaf = Some(self.leaves.len());
        self.set_own(&node, LinkKind::LeafSelf);
        for link in self.links.iter_mut().skip(first) {
            (link.leaf, link.page) = (leaf, page);
        }
        let Node { details, entry, .. } = node;
        let sha512 = entry.sha512().or_else(|| details.sha512());
        self.leaves.push(Leaf {
            sha512,
            id: entry.id.or(details.id),
            version: entry.version.or(details.version),
            listed: entry.listed.or(details.listed),
            published: entry.published.or(details.published),
            package_content: details.package_content.or(entry.package_content),
            catalog_entry: entry.url,
            page,
            span: node.span,
        });
    }

    /// Settles a page whose links begin at `first`.
    fn add_page(&mut self, node: Node, first: usize) {
        let page = Some(self.pages.len());
        self.set_own(&node, LinkKind::PageSelf);
        for link in self.links.iter_mut().skip(first) {
            link.page = page;
        }
        self.pages.push(Page {
            url: node.url,
            lower: node.lower,
            upper: node.upper,
            count: node.count,
            inlined: node.items.is_some(),
            span: node.span,
            marks: node.marks,
        });
    }

    fn set_own(&mut self, node: &Node, kind: LinkKind) {
        if let Some(link) = node.own.and_then(|own| self.links.get_mut(own)) {
            link.kind = kind;
        }
    }

    /// Settles which kind of document it was.
    fn finish(mut self, mut root: Node) -> Result<Registration, ReadError> {
        let bounded = root.has_parent || root.lower.is_some() || root.upper.is_some();
        let kind = match root.items {
            None if root.is_leaf() => RegistrationKind::Leaf,
            None => return Err(of_another_kind("items, catalogEntry or packageContent")),
            Some(0) if bounded => RegistrationKind::Page,
            Some(0) => RegistrationKind::Index,
            Some(_) if !self.marked => {
                return Err(of_another_kind("items that are pages or leaves"));
            }
            Some(_) if self.pages.is_empty() => RegistrationKind::Page,
            Some(_) => RegistrationKind::Index,
        };
        let commit_time = root.commit_time.take();
        let count_span = root.marks.count.clone();
        match kind {
            RegistrationKind::Index => {}
            RegistrationKind::Leaf => self.add_leaf(root, 0, None),
            RegistrationKind::Page => {
                self.add_page(root, 0);
                for leaf in &mut self.leaves {
                    leaf.page = Some(0);
                }
            }
        }
        Ok(Registration {
            kind,
            links: self.links,
            pages: self.pages,
            leaves: self.leaves,
            commit_time,
            count_span,
        })
    }
}

/// Reads a bound of a page, and where it stands.
fn read_bound(
    scanner: &mut Scanner<'_>,
) -> Result<(Option<String>, Option<Range<usize>>), ReadError> {
    let text = scanner.text()?;
    Ok(text
        .map(|text| (text.content.into_owned(), text.span))
        .unzip())
}

/// Reads a number, and where it stands if it is one.
fn read_count(scanner: &mut Scanner<'_>) -> Result<(Option<u64>, Option<Range<usize>>), ReadError> {
    let (before, count) = (scanner.at(), scanner.integer()?);
    Ok((count, count.map(|_| before..scanner.at())))
}

fn of_another_kind(expected: &str) -> ReadError {
    ReadError {
        what: WHAT,
        at: None,
        problem: format!("JSON of another kind: expected an object with {expected}"),
    }
}
