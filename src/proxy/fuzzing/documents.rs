//! Documents of an upstream, read and rendered.
//!
//! What is rendered must read as before but for its links; each of those must be ours and lead through our routes to
//! where it led; and with the links put back every byte must be the upstream's.

use std::ops::Range;

use percent_encoding::percent_decode_str;

use super::{BASE, resource_of, text};
use crate::nuget::catalog_list::{self, ListKind};
use crate::nuget::id::PackageId;
use crate::nuget::link::{Link, LinkKind};
use crate::nuget::registration::RegistrationKind;
use crate::nuget::splice::splice;
use crate::nuget::version::Version;
use crate::nuget::{ReadError, catalog as leaves, registration as registrations};
use crate::nuget::{search as results, service_index as indexes};
use crate::proxy::links::{Linker, is_http, subject};
use crate::proxy::model::Model;
use crate::proxy::route::{self, Resource, Route};

/// The upstream that the documents are of, shaped like nuget.org.
const INDEX: &str = r#"{"version":"3.0.0","resources":[
    {"@id":"https://api.nuget.org/v3-flatcontainer/","@type":"PackageBaseAddress/3.0.0"},
    {"@id":"https://api.nuget.org/v3/registration5-gz-semver2/","@type":"RegistrationsBaseUrl/3.6.0"},
    {"@id":"https://api.nuget.org/v3/registration3","@type":"RegistrationsBaseUrl"},
    {"@id":"https://api.nuget.org/v3/catalog0/index.json","@type":"Catalog/3.0.0"}]}"#;

fn model() -> Option<Model> {
    indexes::read(INDEX).ok().map(Model::for_test)
}

/// Whether `url` without its fragment is the same address as `other`, but for spellings that mean the same.
fn is_same(url: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let bare = text.split('#').next().unwrap_or_default();
        percent_decode_str(bare).decode_utf8_lossy().to_lowercase()
    };
    plain(url) == plain(other)
}

/// Renders links and checks what came of it. `links` are those of `text`, `read` finds those of another text, and
/// `may_stay` says which of the upstream's URLs may be handed out for want of anything to point at.
fn check_links(
    model: &Model,
    text: &str,
    links: &[Link],
    edits: Vec<(Range<usize>, String)>,
    read: impl Fn(&str) -> Result<Vec<Link>, ReadError>,
    may_stay: impl Fn(&Link) -> bool,
) {
    let mut end = 0;
    for link in links {
        assert!(
            end <= link.span.start && link.span.start < link.span.end,
            "{links:?}"
        );
        end = link.span.end;
    }
    let rendered = splice(text, edits.clone());
    let ours = read(&rendered);
    assert!(ours.is_ok(), "{ours:?}");
    let Ok(ours) = ours else { return };
    assert_eq!(ours.len(), links.len());
    for (before, after) in links.iter().zip(&ours) {
        assert_eq!(
            (before.kind, before.leaf, before.page),
            (after.kind, after.leaf, after.page)
        );
        assert_eq!((&before.id, &before.version), (&after.id, &after.version));
        if edits.iter().any(|(span, _)| *span == before.span) {
            check_target(model, before, &after.url);
        } else {
            assert_eq!(before.url, after.url);
            let stays = !is_http(&before.url) || may_stay(before);
            assert!(stays, "{before:?} is handed out as it was");
        }
    }
    let originals = links
        .iter()
        .map(|link| text.get(link.span.clone()).unwrap_or_default().to_owned());
    let undone = splice(
        &rendered,
        ours.into_iter().map(|link| link.span).zip(originals),
    );
    assert_eq!(undone, text);
}

/// A link of ours leads to a resource of ours. Unless that must be looked for in other documents, the upstream has it
/// where the link led before.
fn check_target(model: &Model, before: &Link, url: &str) {
    let Some(resource) = resource_of(url) else {
        assert_eq!(before.kind, LinkKind::Base);
        return;
    };
    let at = model.split(before.url.split('#').next().unwrap_or_default());
    // Others are ours by what they mean, wherever they lie.
    let by_meaning = matches!(
        before.kind,
        LinkKind::DependencyRegistration | LinkKind::Hit | LinkKind::Index | LinkKind::LeafSelf
    );
    let is_there = |found: &String| match (&resource, at) {
        // Of the spellings of a version an upstream is asked for the canonical one.
        (Resource::Content { .. }, Some((_, rest))) => {
            let led = route::parse(&format!("/f/v3/flatcontainer/{rest}"));
            led == Ok(Route::Feed(Some("f".to_owned()), resource.clone()))
                && model.split(found).is_some()
        }
        _ => is_same(found, &before.url),
    };
    let by_path = match &resource {
        Resource::Catalog(_) | Resource::Content { .. } => true,
        Resource::Registration { .. } => at.is_some() && !by_meaning,
        _ => false,
    };
    if by_path {
        let located = model.locate(&resource, "").unwrap_or_default();
        assert!(
            located.iter().any(is_there),
            "{before:?} {url:?} {located:?}"
        );
    }
}

/// The id that a document is taken to be of.
fn id_for(named: Option<&str>) -> Option<PackageId> {
    let named = named.and_then(|id| PackageId::parse(id).ok());
    named.or_else(|| PackageId::parse("a.b").ok())
}

/// A registration: index, page or leaf.
pub(crate) fn registration(data: &[u8]) {
    let Some((text, document)) =
        text(data).and_then(|text| Some((text, registrations::read(text).ok()?)))
    else {
        return;
    };
    for leaf in &document.leaves {
        let object = text.get(leaf.span.clone()).unwrap_or_default();
        assert!(object.starts_with('{') && object.ends_with('}'), "{leaf:?}");
        assert!(
            leaf.page.is_none_or(|page| page < document.pages.len()),
            "{leaf:?}"
        );
    }
    for page in &document.pages {
        let object = text.get(page.span.clone()).unwrap_or_default();
        assert!(object.starts_with('{') && object.ends_with('}'), "{page:?}");
    }
    render_registration(text);
    // A page that is written out in an index is an answer of its own.
    let inlined = document
        .pages
        .iter()
        .filter(|page| page.inlined && document.kind == RegistrationKind::Index);
    for page in inlined.take(3) {
        render_registration(text.get(page.span.clone()).unwrap_or_default());
    }
}

fn render_registration(text: &str) {
    let (Ok(document), Some(model)) = (registrations::read(text), model()) else {
        return;
    };
    let id = id_for(document.leaves.iter().find_map(|leaf| leaf.id.as_deref()));
    let version = Version::parse("1.0.0").ok();
    let is_leaf = document.kind == RegistrationKind::Leaf;
    for hive in &model.hives {
        let linker = Linker {
            model: &model,
            base: BASE,
            hive: Some(&hive.token),
            id: id.as_ref(),
            version: version.as_ref().filter(|_| is_leaf),
        };
        check_links(
            &model,
            text,
            &document.links,
            linker.registration(&document),
            |text| registrations::read(text).map(|document| document.links),
            |link| {
                let unbound = subject(link, &document).is_none();
                link.kind == LinkKind::Icon
                    || unbound && (!is_leaf || link.kind == LinkKind::PageSelf)
            },
        );
    }
}

/// Registrations with links that lie at no base, or there with what our paths cannot carry (protocol facts 2.2.25, 10.1).
#[must_use]
pub(crate) fn odd_registrations() -> Vec<Vec<u8>> {
    let index = r#"{"@id":"https://api.nuget.org/v3/registration3/a.b/index.json","count":1,"items":[{"lower":"1.0.0","count":1,
        "@id":"https://odd.example/p?sig=1","upper":"1.0.0","items":[{"@id":"https://api.nuget.org/v3/registration3/a.b/1.0.0/",
        "catalogEntry":{"@id":"https://odd.example/c#e","id":"A.B","version":"1.0.0","iconUrl":"https://odd.example/i.png",
        "dependencyGroups":[{"@id":"https://odd.example/c#g","dependencies":[{"id":"C","registration":"https://odd.example/r/c",
        "@id":"https://api.nuget.org/v3/catalog0/data/x/c.json?a#d"}]}]},"packageContent":
        "https://api.nuget.org/v3-flatcontainer/a.b/1.0.0/a.b.1.0.0.nupkg?q=1","registration":"https://odd.example/r"}]}]}"#;
    vec![index.into()]
}

/// A catalog leaf that names others, outside the catalog too.
#[must_use]
pub(crate) fn odd_leaves() -> Vec<Vec<u8>> {
    let leaf = r#"{"@id":"https://odd.example/c/a.b.1.json","id":"A.B","version":"1.0.0","deprecation":{"@id":
        "https://odd.example/c#d","alternatePackage":{"@id":"https://api.nuget.org/v3/catalog0/x/#alternate","id":"C"}},
        "vulnerabilities":[{"@id":"https://odd.example/v?x"}],"packageEntries":[{"@id":"HTTPS://odd.example/e"}]}"#;
    vec![leaf.into()]
}

/// Search and autocomplete results.
pub(crate) fn search(data: &[u8]) {
    let (Some(text), Some(model)) = (text(data), model()) else {
        return;
    };
    let read = results::read_search(text);
    let names = results::read_autocomplete(text);
    assert_eq!(read.is_ok(), names.is_ok(), "{read:?} {names:?}");
    let Ok(read) = read else { return };
    let linker = Linker {
        model: &model,
        base: BASE,
        hive: None,
        id: None,
        version: None,
    };
    check_links(
        &model,
        text,
        &read.links,
        linker.others(&read.links, None),
        |text| results::read_search(text).map(|results| results.links),
        |link| {
            let is_named = link
                .id
                .as_deref()
                .is_some_and(|id| PackageId::parse(id).is_ok());
            let version = link
                .version
                .as_deref()
                .is_some_and(|version| Version::parse(version).is_ok());
            match link.kind {
                LinkKind::Icon => true,
                LinkKind::LeafSelf => !is_named || !version,
                _ => !is_named,
            }
        },
    );
}

/// The catalog: leaves, and lists of them.
pub(crate) fn catalog(data: &[u8]) {
    let (Some(text), Some(model)) = (text(data), model()) else {
        return;
    };
    let linker = Linker {
        model: &model,
        base: BASE,
        hive: None,
        id: None,
        version: None,
    };
    if let Ok(leaf) = leaves::read_leaf(text) {
        let id = leaf
            .details
            .id
            .as_deref()
            .and_then(|id| PackageId::parse(id).ok());
        let version = leaf.details.version.as_deref();
        let is_named =
            id.is_some() && version.is_some_and(|version| Version::parse(version).is_ok());
        check_links(
            &model,
            text,
            &leaf.links,
            Linker {
                id: id.as_ref(),
                ..linker
            }
            .others(&leaf.links, version),
            |text| leaves::read_leaf(text).map(|leaf| leaf.links),
            |link| link.kind == LinkKind::Icon || !is_named,
        );
    }
    for kind in [ListKind::Index, ListKind::Page] {
        let Ok(list) = catalog_list::read(kind, text) else {
            continue;
        };
        assert_eq!(list.superseded().count(), list.items.len());
        let untimed = list.items.iter().all(|item| item.commit.time.is_empty());
        assert!(list.items.is_empty() || untimed || list.superseded().any(|is_old| !is_old));
        check_links(
            &model,
            text,
            &list.links,
            linker.others(&list.links, None),
            |text| catalog_list::read(kind, text).map(|list| list.links),
            |link| {
                // Pages and leaves that lie outside the catalog belong to no document that could name them again.
                let bare = link.url.split('#').next().unwrap_or_default();
                let below = link.url.strip_prefix("https://api.nuget.org/v3/catalog0/");
                let path = below.map(|rest| format!("/v3/catalog/{rest}"));
                let is_ours = path.is_some_and(|path| {
                    route::parse(path.split('#').next().unwrap_or_default()).is_ok()
                });
                !is_ours || bare.contains('?') || bare.ends_with('/')
            },
        );
    }
}
