//! Package details as the catalog writes them: catalog leaves, and the `catalogEntry` of registrations.
//!
//! Every `@id` in them leads to the catalog (protocol facts 2.2.8 and 2.5.2) and becomes a link, but for those below
//! `@context`, which are names. Pages of other sites and free text are left alone (2.2.9, 2.2.10). The catalog's index and
//! pages are read in [`catalog_list`](super::catalog_list).

use super::ReadError;
use super::digest::published_sha512;
use super::json::{Kind, Scanner};
use super::link::{Link, LinkKind, read_link, read_text};

/// What a catalog leaf says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CatalogLeaf {
    /// Every link, in the order of the text.
    pub links: Vec<Link>,
    /// What it says of the package.
    pub details: Details,
}

/// What a catalog leaf or a `catalogEntry` says of a package. Texts are as written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    /// Its own `@id`: the URL of the catalog leaf.
    pub url: Option<String>,
    /// The package id.
    pub id: Option<String>,
    /// The version.
    pub version: Option<String>,
    /// Whether searches show the version.
    pub listed: Option<bool>,
    /// When it was published; the year 1900 means unlisted (protocol fact 2.2.18).
    pub published: Option<String>,
    /// Where the package is.
    pub package_content: Option<String>,
    /// Digest of the package, in base64.
    pub package_hash: Option<String>,
    /// Algorithm of that digest, such as `SHA512`.
    pub package_hash_algorithm: Option<String>,
    /// Size of the package in bytes.
    pub package_size: Option<u64>,
}

impl Details {
    /// SHA-512 of the package, where it is published.
    #[must_use]
    pub fn sha512(&self) -> Option<[u8; 64]> {
        let algorithm = self.package_hash_algorithm.as_deref();
        published_sha512(self.package_hash.as_deref()?, algorithm)
    }
}

/// Reads a catalog leaf, be it of a package's details or of its deletion (protocol fact 2.5.6).
///
/// # Errors
/// If `text` is not JSON or no object with an id and a version.
pub fn read_leaf(text: &str) -> Result<CatalogLeaf, ReadError> {
    const WHAT: &str = "catalog leaf";
    let mut leaf = CatalogLeaf::default();
    let mut scanner = Scanner::new(WHAT, text);
    read_details(&mut scanner, &mut leaf.links, &mut leaf.details)?;
    scanner.end()?;
    if leaf.details.id.is_none() || leaf.details.version.is_none() {
        return Err(ReadError {
            what: WHAT,
            at: None,
            problem: "JSON of another kind: expected an object with id and version".to_owned(),
        });
    }
    Ok(leaf)
}

/// Reads the object that describes a package, adding to `links`.
pub(super) fn read_details(
    scanner: &mut Scanner<'_>,
    links: &mut Vec<Link>,
    details: &mut Details,
) -> Result<(), ReadError> {
    scanner.object(|scanner, name| {
        match name.as_ref() {
            "@id" => details.url = read_link(scanner, LinkKind::CatalogEntry, links)?,
            "@context" => {}
            "id" => details.id = read_text(scanner)?,
            "version" => details.version = read_text(scanner)?,
            "listed" => details.listed = scanner.boolean()?,
            "published" => details.published = read_text(scanner)?,
            "packageContent" => {
                details.package_content = read_link(scanner, LinkKind::PackageContent, links)?;
            }
            "registration" => {
                read_link(scanner, LinkKind::Index, links)?;
            }
            "iconUrl" => {
                read_link(scanner, LinkKind::Icon, links)?;
            }
            "packageHash" => details.package_hash = read_text(scanner)?,
            "packageHashAlgorithm" => details.package_hash_algorithm = read_text(scanner)?,
            "packageSize" => details.package_size = scanner.integer()?,
            "dependencyGroups" => read_part(scanner, LinkKind::DependencyGroup, links)?,
            "dependencies" => read_part(scanner, LinkKind::Dependency, links)?,
            "vulnerabilities" => read_part(scanner, LinkKind::Vulnerability, links)?,
            _ => read_part(scanner, LinkKind::CatalogPart, links)?,
        }
        Ok(())
    })?;
    Ok(())
}

/// Reads a value inside the description: `kind` is that of its `@id`, or of those of its items. Recursion ends with the
/// scanner's depth.
fn read_part(
    scanner: &mut Scanner<'_>,
    kind: LinkKind,
    links: &mut Vec<Link>,
) -> Result<(), ReadError> {
    match scanner.peek()? {
        Kind::Array => {
            scanner.array(|scanner| read_part(scanner, kind, links))?;
            return Ok(());
        }
        Kind::Object => {}
        Kind::Bool | Kind::Null | Kind::Number | Kind::String => {
            scanner.skip()?;
            return Ok(());
        }
    }
    let first = links.len();
    let mut id = None;
    scanner.object(|scanner, name| {
        match name.as_ref() {
            "@id" => {
                read_link(scanner, kind, links)?;
            }
            "@context" => {}
            "id" => id = read_text(scanner)?,
            "registration" => {
                read_link(scanner, LinkKind::DependencyRegistration, links)?;
            }
            "dependencies" => read_part(scanner, LinkKind::Dependency, links)?,
            _ => read_part(scanner, LinkKind::CatalogPart, links)?,
        }
        Ok(())
    })?;
    for link in links
        .iter_mut()
        .skip(first)
        .filter(|link| link.id.is_none())
    {
        link.id.clone_from(&id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(text: &str) -> Vec<(LinkKind, String, Option<String>)> {
        let leaf = read_leaf(text).unwrap();
        leaf.links
            .into_iter()
            .map(|link| (link.kind, link.url, link.id))
            .collect()
    }

    #[test]
    fn reads_what_the_catalog_says_of_a_package() {
        let text = r#"{"@id":"c:a.1.0.0","id":"A","version":"1.0.0+x","listed":false,"published":"1900-01-01T00:00:00Z",
            "packageHash":"q83v","packageHashAlgorithm":"SHA512","packageSize":12,"packageContent":"c:p"}"#;
        let details = read_leaf(text).unwrap().details;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            details,
            Details {
                url: some("c:a.1.0.0"),
                id: some("A"),
                version: some("1.0.0+x"),
                listed: Some(false),
                published: some("1900-01-01T00:00:00Z"),
                package_content: some("c:p"),
                package_hash: some("q83v"),
                package_hash_algorithm: some("SHA512"),
                package_size: Some(12),
            }
        );
        assert_eq!(details.sha512(), None, "too short");
        let real = include_str!("../../tests/data/samples/nuget.org/catalog-leaf-xunit.core.json");
        assert!(read_leaf(real).unwrap().details.sha512().is_some());
    }

    #[test]
    fn every_id_but_those_of_the_context_is_a_link() {
        let text = r##"{
            "@context": {"items": {"@id": "catalog:item"}},
            "dependencyGroups": [{"@id": "c#g", "dependencies": [
                {"registration": "r/b", "@id": "c#g/b", "id": "B"}, {"@id": "c#g/c", "id": "C"}]}],
            "deprecation": {"@id": "c#d", "message": "see c#d", "alternatePackage": {"@id": "c#d/a", "id": "D"}},
            "vulnerabilities": [{"@id": "c#v", "advisoryUrl": "https://advisories.example/1"}],
            "packageTypes": [{"@id": "c#t"}],
            "licenseUrl": "c/license", "projectUrl": "c", "iconUrl": "f/icon", "description": "c",
            "id": "A", "version": "1.0.0", "@id": "c"}"##;
        let expected = [
            (LinkKind::DependencyGroup, "c#g", None),
            (LinkKind::DependencyRegistration, "r/b", Some("B")),
            (LinkKind::Dependency, "c#g/b", Some("B")),
            (LinkKind::Dependency, "c#g/c", Some("C")),
            (LinkKind::CatalogPart, "c#d", None),
            (LinkKind::CatalogPart, "c#d/a", Some("D")),
            (LinkKind::Vulnerability, "c#v", None),
            (LinkKind::CatalogPart, "c#t", None),
            (LinkKind::Icon, "f/icon", None),
            (LinkKind::CatalogEntry, "c", None),
        ]
        .map(|(kind, url, id)| (kind, url.to_owned(), id.map(str::to_owned)));
        assert_eq!(links(text), expected);
    }

    #[test]
    fn refuses_json_of_another_kind() {
        let error = |text| read_leaf(text).map_err(|error| error.to_string());
        assert_eq!(
            error(r#"{"id":"A","versions":[]}"#),
            Err(
                "catalog leaf: JSON of another kind: expected an object with id and version"
                    .to_owned()
            )
        );
        assert_eq!(
            error("[]"),
            Err("catalog leaf: at byte 0: expected an object, found '['".to_owned())
        );
        assert_eq!(
            error(r#"{"id":"A","version":"1"} x"#),
            Err("catalog leaf: at byte 25: expected the end of the text, found 'x'".to_owned())
        );
    }
}
