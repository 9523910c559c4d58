//! Where the links of a document point once it is ours.
//!
//! A link below a known base keeps its path under our route for that base. One that lies elsewhere is told by what it
//! means: a registration index is our registration index of that id; whatever belongs to one version or page becomes a
//! link route, which is found again in the id's documents. Nothing is minted: another instance with an empty store can
//! answer every URL made here.

use std::ops::Range;

use super::model::{Base, Model};
use super::route::{self, LinkSubject, Resource, Route};
use crate::nuget::digest::sha256_hex;
use crate::nuget::id::PackageId;
use crate::nuget::link::{Link, LinkKind};
use crate::nuget::registration::Registration;
use crate::nuget::version::Version;

/// Points the links of one document at us.
#[derive(Debug)]
pub(super) struct Linker<'a> {
    pub(super) model: &'a Model,
    /// Directory of our service index with its final slash: what every URL begins with.
    pub(super) base: &'a str,
    /// The hive that the document came from, where it has one.
    pub(super) hive: Option<&'a str>,
    /// The id that the document speaks of, where it speaks of one.
    pub(super) id: Option<&'a PackageId>,
    /// The version that the document is of where it does not say so itself, as leaves of nuget.org do not.
    pub(super) version: Option<&'a Version>,
}

impl Linker<'_> {
    /// The replacements for a registration document.
    pub(super) fn registration(&self, document: &Registration) -> Vec<(Range<usize>, String)> {
        let of_the_whole = |link: &Link| {
            let version = self.version.filter(|_| link.kind != LinkKind::PageSelf)?;
            Some(LinkSubject::Version(version.clone()))
        };
        self.edits(&document.links, |link| {
            subject(link, document).or_else(|| of_the_whole(link))
        })
    }

    /// The replacements for search results and catalog leaves, which have no pages.
    pub(super) fn others(
        &self,
        links: &[Link],
        leaf_version: Option<&str>,
    ) -> Vec<(Range<usize>, String)> {
        self.edits(links, |link| {
            let version = link.version.as_deref().or(leaf_version)?;
            Version::parse(version).ok().map(LinkSubject::Version)
        })
    }

    fn edits(
        &self,
        links: &[Link],
        subject: impl Fn(&Link) -> Option<LinkSubject>,
    ) -> Vec<(Range<usize>, String)> {
        links
            .iter()
            .filter_map(|link| {
                let ours = self.ours(link, || subject(link))?;
                Some((link.span.clone(), crate::nuget::json::encode_string(&ours)))
            })
            .collect()
    }

    /// Our URL for a link; `None` leaves it as it is.
    fn ours(&self, link: &Link, subject: impl FnOnce() -> Option<LinkSubject>) -> Option<String> {
        if !is_http(&link.url) {
            return None;
        }
        let (url, fragment) = match link.url.split_once('#') {
            Some((url, fragment)) => (url, Some(fragment)),
            None => (link.url.as_str(), None),
        };
        let path = match self.below_a_base(url, link) {
            Some(path) => path,
            None => self.elsewhere(link, url, subject)?,
        };
        let base = self.base;
        Some(match fragment {
            Some(fragment) => format!("{base}{path}#{fragment}"),
            None => format!("{base}{path}"),
        })
    }

    /// Our path for a URL below a known base, if our routes can answer it.
    fn below_a_base(&self, url: &str, link: &Link) -> Option<String> {
        let kind = link.kind;
        let (base, rest) = match self.model.split(url) {
            Some(found) => found,
            // A base that is written without its final slash.
            None if kind == LinkKind::Base => {
                let slashed = format!("{url}/");
                let (base, _) = self.model.split(&slashed)?;
                return prefix(base).filter(|_| matches!(base, Base::Hive(_)));
            }
            None => return None,
        };
        let prefix = prefix(base)?;
        if kind == LinkKind::Base && rest.is_empty() {
            return Some(prefix);
        }
        let path = format!("{prefix}{rest}");
        // A final slash means nothing in our paths, so one of the upstream's would be lost on the way back.
        let is_lossless = !rest.contains('?') && !rest.ends_with('/');
        if !is_lossless {
            return None;
        }
        match route::parse(&format!("/v3/{path}")) {
            Ok(Route::Feed(_, resource)) if self.is_meant(link, &resource) => Some(path),
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether a resource is what a link speaks of. A path alone does not tell: Artifactory has packages below its hives,
    /// and addresses there that hold a segment twice, which would read as an id (protocol fact 10.1).
    fn is_meant(&self, link: &Link, resource: &Resource) -> bool {
        let is_file = matches!(link.kind, LinkKind::Icon | LinkKind::PackageContent);
        match resource {
            Resource::Registration { id, .. } => {
                !is_file && self.id_of(link).is_none_or(|meant| meant == *id)
            }
            other => is_file == matches!(other, Resource::Content { .. }),
        }
    }

    /// The id that the target of a link is about, where the document says so.
    fn id_of(&self, link: &Link) -> Option<PackageId> {
        let named = match link.kind {
            LinkKind::DependencyRegistration
            | LinkKind::Hit
            | LinkKind::Icon
            | LinkKind::Index
            | LinkKind::LeafSelf => link.id.as_deref(),
            // A link of a dependency belongs to the document's own id.
            LinkKind::Base
            | LinkKind::CatalogEntry
            | LinkKind::CatalogIndex
            | LinkKind::CatalogPage
            | LinkKind::CatalogPart
            | LinkKind::Dependency
            | LinkKind::DependencyGroup
            | LinkKind::PackageContent
            | LinkKind::PageSelf
            | LinkKind::Vulnerability => None,
        };
        let named = named.and_then(|id| PackageId::parse(id).ok());
        named.or_else(|| self.id.cloned())
    }

    /// Our path for a URL outside every known base, by what it means.
    fn elsewhere(
        &self,
        link: &Link,
        url: &str,
        subject: impl FnOnce() -> Option<LinkSubject>,
    ) -> Option<String> {
        let hive = self
            .hive
            .or_else(|| self.model.fullest_hive().map(|hive| hive.token.as_str()))?;
        let id = self.id_of(link);
        let in_search = self.hive.is_none();
        match link.kind {
            LinkKind::Base => Some(format!("registration/{hive}/")),
            // It may well lie at the gallery or a project's own site: only content of the feed is ours to serve. Azure
            // Artifacts has it as a query on the package.
            LinkKind::Icon => {
                matches!(self.model.split(url), Some((Base::FlatContainer, _))).then_some(())?;
                let (id, subject) = (id?, subject()?);
                let digest = digest_of(link.kind, &subject, url);
                Some(format!("link/{hive}/{}/{subject}/{digest}", id.to_path()))
            }
            // No document that is found by an id names the pages of the catalog.
            LinkKind::CatalogIndex | LinkKind::CatalogPage => None,
            LinkKind::DependencyRegistration | LinkKind::Hit | LinkKind::Index => {
                Some(format!("registration/{hive}/{}/index.json", id?.to_path()))
            }
            LinkKind::LeafSelf if in_search => {
                let version = link
                    .version
                    .as_deref()
                    .and_then(|text| Version::parse(text).ok())?;
                Some(format!(
                    "registration/{hive}/{}/{}.json",
                    id?.to_path(),
                    version.as_str()
                ))
            }
            LinkKind::CatalogEntry
            | LinkKind::CatalogPart
            | LinkKind::Dependency
            | LinkKind::DependencyGroup
            | LinkKind::LeafSelf
            | LinkKind::PackageContent
            | LinkKind::PageSelf
            | LinkKind::Vulnerability => {
                // A link of a dependency belongs to the document's own id; a page of the catalog has none.
                let named = || PackageId::parse(link.id.as_deref()?).ok();
                let (id, subject) = (self.id.cloned().or_else(named)?, subject()?);
                let digest = digest_of(link.kind, &subject, url);
                Some(format!("link/{hive}/{}/{subject}/{digest}", id.to_path()))
            }
        }
    }
}

/// What a link of a registration document speaks of.
pub(super) fn subject(link: &Link, document: &Registration) -> Option<LinkSubject> {
    if link.kind == LinkKind::PageSelf {
        let page = document.pages.get(link.page?)?;
        let bound = |text: &Option<String>| Version::parse(text.as_deref()?).ok();
        return Some(LinkSubject::Page(bound(&page.lower)?, bound(&page.upper)?));
    }
    let leaf = document.leaves.get(link.leaf?)?;
    Version::parse(leaf.version.as_deref()?)
        .ok()
        .map(LinkSubject::Version)
}

/// The digest by which a link route is found again: 16 hex digits of a SHA-256 over kind, subject and the upstream's
/// URL without its query, which may hold a signature that changes.
pub(super) fn digest_of(kind: LinkKind, subject: &LinkSubject, url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let mut digest = sha256_hex(format!("{}\n{subject}\n{bare}", family(kind)));
    digest.truncate(16);
    digest
}

/// The word for what a link's target is. Part of the URLs that we hand out: never change one.
fn family(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::CatalogEntry
        | LinkKind::CatalogPart
        | LinkKind::Dependency
        | LinkKind::DependencyGroup
        | LinkKind::Vulnerability => "catalog",
        LinkKind::Icon => "icon",
        LinkKind::LeafSelf => "leaf",
        LinkKind::PackageContent => "content",
        LinkKind::PageSelf => "page",
        LinkKind::Base
        | LinkKind::CatalogIndex
        | LinkKind::CatalogPage
        | LinkKind::DependencyRegistration
        | LinkKind::Hit
        | LinkKind::Index => "index",
    }
}

fn prefix(base: &Base) -> Option<String> {
    Some(match base {
        Base::Catalog => "catalog/".into(),
        Base::FlatContainer => "flatcontainer/".into(),
        Base::Hive(token) => format!("registration/{token}/"),
    })
}

/// Whether a link is one of the web: others lead nowhere that we could ask.
pub(super) fn is_http(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|s| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    //! Cases: protocol facts 2.2.8, 2.2.9, 2.2.25, 2.3.7, 10.1 to 10.5; round trip of every link through the routes.

    use super::super::route::{Resource, Route};
    use super::*;
    use crate::nuget::{registration, search, service_index, splice};

    const NUGET: &str = r#"{"version":"3.0.0","resources":[
        {"@id":"https://api.example/v3-flatcontainer/","@type":"PackageBaseAddress/3.0.0"},
        {"@id":"https://api.example/v3/reg-gz2","@type":"RegistrationsBaseUrl/3.6.0"},
        {"@id":"https://api.example/v3/reg1/","@type":"RegistrationsBaseUrl"},
        {"@id":"https://api.example/v3/catalog0/index.json","@type":"Catalog/3.0.0"}]}"#;

    fn model() -> Model {
        Model::for_test(service_index::read(NUGET).expect("an index"))
    }

    fn hive(model: &Model, slug: &str) -> String {
        let found = model.hives.iter().find(|hive| hive.token.starts_with(slug));
        found.expect("the hive").token.clone()
    }

    fn id() -> PackageId {
        PackageId::parse("a.b").expect("an id")
    }

    /// What a registration document of a.b becomes.
    fn rewrite(text: &str) -> String {
        let (model, id) = (model(), id());
        let token = hive(&model, "reg-gz2");
        let linker = Linker {
            model: &model,
            base: "http://us/f/v3/",
            hive: Some(&token),
            id: Some(&id),
            version: None,
        };
        let document = registration::read(text).expect("a registration");
        splice::splice(text, linker.registration(&document)).replace(&token, "HIVE")
    }

    #[test]
    fn links_below_a_base_keep_their_path() {
        let text = r#"{"@id":"https://api.example/v3/reg-gz2/a.b/index.json","count":1,"items":[{"@id":"https://api.example/v3/reg-gz2/a.b/page/1.0.0-rc/2.0.0.json","count":1,"lower":"1.0.0-RC","upper":"2.0.0","items":[{"@id":"https://api.example/v3/reg-gz2/a.b/1.0.0-rc.json","catalogEntry":{"@id":"https://api.example/v3/catalog0/data/x/a.b.1.json","iconUrl":"https://api.example/v3-flatcontainer/a.b/1.0.0/icon","projectUrl":"https://api.example/v3-flatcontainer/","version":"1.0.0-RC","dependencyGroups":[{"@id":"https://api.example/v3/catalog0/data/x/a.b.1.json#dependencygroup/net8","dependencies":[{"@id":"https://api.example/v3/catalog0/data/x/a.b.1.json#dependencygroup/net8/c","id":"C","registration":"https://api.example/v3/reg-gz2/c/index.json"}]}]},"packageContent":"https://api.example/v3-flatcontainer/a.b/1.0.0-rc/a.b.1.0.0-rc.nupkg","registration":"https://api.example/v3/reg-gz2/a.b/index.json"}]}]}"#;
        let expected = text
            .replace(
                "https://api.example/v3/reg-gz2/",
                "http://us/f/v3/registration/HIVE/",
            )
            .replace(
                "https://api.example/v3/catalog0/",
                "http://us/f/v3/catalog/",
            )
            .replace(
                "https://api.example/v3-flatcontainer/a.b/",
                "http://us/f/v3/flatcontainer/a.b/",
            );
        assert_eq!(rewrite(text), expected);
    }

    #[test]
    fn links_elsewhere_become_link_routes_that_our_routes_answer() {
        let text = r#"{"count":1,"items":[{"@id":"https://odd.example/p?sig=1","lower":"1.0","upper":"2.0","count":1,"items":[{"@id":"https://odd.example/leaf","catalogEntry":{"id":"a.b","version":"1.0","iconUrl":"https://odd.example/i.png","dependencyGroups":[{"dependencies":[{"id":"C","registration":"https://odd.example/reg/c"}]}]},"packageContent":"https://odd.example/Download/a.b/1.0?sig=x"}]}]}"#;
        let ours = rewrite(text);
        assert!(
            !ours
                .replace("https://odd.example/i.png", "")
                .contains("odd.example"),
            "{ours}"
        );
        let page = digest_of(
            LinkKind::PageSelf,
            &LinkSubject::Page(
                Version::parse("1.0").expect("v"),
                Version::parse("2.0").expect("v"),
            ),
            "https://odd.example/p?sig=2",
        );
        assert!(
            ours.contains(&format!("http://us/f/v3/link/HIVE/a.b/1.0.0..2.0.0/{page}")),
            "{ours}"
        );
        assert!(
            ours.contains("http://us/f/v3/registration/HIVE/c/index.json"),
            "{ours}"
        );
        for url in ours.split('"').filter(|part| part.contains("/v3/link/")) {
            let path = url.strip_prefix("http://us").expect("ours");
            let route = route::parse(path);
            assert!(
                matches!(route, Ok(Route::Feed(_, Resource::Link { .. }))),
                "{path}: {route:?}"
            );
        }
    }

    #[test]
    fn search_results_point_to_registrations_of_their_id() {
        let text = r#"{"@context":{"@base":"https://api.example/v3/reg1"},"totalHits":1,"data":[{"@id":"https://api.example/v3/reg1/c/index.json","id":"C","version":"1.0.0","versions":[{"version":"1.0.0+x","@id":"https://elsewhere.example/c/1"}],"registration":"https://elsewhere.example/c","iconUrl":"https://elsewhere.example/c.png"}]}"#;
        let model = model();
        let (reg1, gz2) = (hive(&model, "reg1"), hive(&model, "reg-gz2"));
        let linker = Linker {
            model: &model,
            base: "http://us/v3/",
            hive: None,
            id: None,
            version: None,
        };
        let results = search::read_search(text).expect("results");
        let ours = splice::splice(text, linker.others(&results.links, None));
        let expected = text
            .replace(
                "https://api.example/v3/reg1\"",
                &format!("http://us/v3/registration/{reg1}/\""),
            )
            .replace(
                "https://api.example/v3/reg1/",
                &format!("http://us/v3/registration/{reg1}/"),
            )
            .replace(
                "https://elsewhere.example/c/1",
                &format!("http://us/v3/registration/{gz2}/c/1.0.0.json"),
            )
            .replace(
                "https://elsewhere.example/c\"",
                &format!("http://us/v3/registration/{gz2}/c/index.json\""),
            );
        assert_eq!(ours, expected);
    }

    #[test]
    fn a_path_that_our_routes_cannot_answer_is_no_path_of_a_base() {
        let text = r#"{"count":1,"items":[{"@id":"https://api.example/v3/reg-gz2/a.b/p","lower":"1.0.0","upper":"1.0.0","count":1,"items":[{"@id":"https://api.example/v3/reg-gz2/x","catalogEntry":{"version":"1.0.0"},"packageContent":"https://api.example/v3-flatcontainer/a.b/1.0.0/a.b.1.0.0.nupkg?q=1"}]}]}"#;
        let ours = rewrite(text);
        assert_eq!(
            ours.matches("/v3/link/HIVE/a.b/1.0.0/").count(),
            2,
            "{ours}"
        );
    }

    #[test]
    fn what_lies_below_a_base_is_not_always_what_lies_there_with_us() {
        // Packages below a hive, a segment twice, an icon by a query on the package (protocol fact 10.1).
        let text = r#"{"@id":"https://api.example/v3/reg-gz2/a.b/index.json","count":1,"items":[{"lower":"1.0.0","upper":"1.0.0","count":1,"items":[{"@id":"https://api.example/v3/reg-gz2/reg-gz2/a.b/1.0.0.json","catalogEntry":{"version":"1.0.0","iconUrl":"https://api.example/v3-flatcontainer/a.b/1.0.0/a.b.1.0.0.nupkg?extract=i.png","dependencyGroups":[{"dependencies":[{"id":"C","registration":"https://api.example/v3/reg-gz2/reg-gz2/c/index.json"}]}]},"packageContent":"https://api.example/v3/reg-gz2/Download/a.b/1.0.0"}]}]}"#;
        let ours = rewrite(text);
        assert!(!ours.contains("api.example"), "{ours}");
        let links = ours.matches("http://us/f/v3/link/HIVE/a.b/1.0.0/").count();
        assert_eq!(links, 3, "{ours}");
        let dependency = "\"registration\":\"http://us/f/v3/registration/HIVE/c/index.json\"";
        assert!(ours.contains(dependency), "{ours}");
    }
}
