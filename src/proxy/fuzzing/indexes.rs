//! Indexes of an upstream, and what else is rendered without the links of packages.

use std::collections::BTreeSet;

use super::{BASE, resource_of, text};
use crate::nuget::service_index::{Audit, OurLinks, Treatment, treatment};
use crate::nuget::signatures::{self, Claim};
use crate::nuget::splice::splice;
use crate::nuget::{service_index as indexes, tools, vulnerabilities};
use crate::proxy::route::{self, Resource, Route};

/// A service index: what is handed out offers each type once for each client version, all of it below our base but for
/// templates that people open, every type that is served, and reads the same to another proxy in front of us.
pub(crate) fn service_index(data: &[u8]) {
    let Some(index) = text(data).and_then(|text| indexes::read(text).ok()) else {
        return;
    };
    let theirs: BTreeSet<&str> = index
        .resources
        .iter()
        .map(|resource| resource.url.as_str())
        .collect();
    for audit in [Audit::OfAnother, Audit::OfUpstream] {
        let links = OurLinks {
            base: BASE.to_owned(),
        };
        let rendered = index.render(&links, audit);
        assert!(
            serde_json::from_str::<serde_json::Value>(&rendered).is_ok(),
            "{rendered}"
        );
        let ours = indexes::read(&rendered);
        assert!(ours.is_ok(), "{ours:?}");
        let Ok(ours) = ours else { return };
        assert_eq!(ours.version, index.version);
        let mut offers = BTreeSet::new();
        for resource in &ours.resources {
            let ([name], [] | [_]) = (&*resource.types, &*resource.client_versions) else {
                unreachable!("{resource:?} has not one type and at most one client version");
            };
            assert!(
                offers.insert((name, &resource.client_versions)),
                "{resource:?} twice"
            );
            match treatment(name) {
                Treatment::Drop(_) => unreachable!("{resource:?} is not served"),
                Treatment::Keep(_) => assert!(theirs.contains(&*resource.url), "{resource:?}"),
                Treatment::Rebase(..) => assert!(resource.url.starts_with(BASE), "{resource:?}"),
                Treatment::Serve(..) => {
                    // A flat container and a registration base lead nowhere by themselves.
                    if !resource.url.ends_with('/') {
                        let led = resource_of(&resource.url);
                        assert!(led.is_some(), "{resource:?}");
                    }
                }
            }
        }
        let served = index.resources.iter().filter(|resource| resource.is_url());
        for name in served.flat_map(|resource| &resource.types) {
            if matches!(treatment(name), Treatment::Serve(..)) {
                assert!(
                    offers.iter().any(|(offered, _)| *offered == name),
                    "{name} is gone"
                );
            }
        }
        // Two bases of one type and client version are one offer.
        assert!(ours.hives().len() <= index.hives().len());
        let ours_again = ours.render(&links, audit);
        let types = |text: &str| {
            let read = indexes::read(text).map(|index| index.resources);
            read.map(|all| {
                all.into_iter()
                    .map(|one| (one.types, one.client_versions, one.comment))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(types(&ours_again), types(&rendered));
    }
}

/// Repository signatures, and the list of client binaries, which is treated alike.
pub(crate) fn signatures(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let links = OurLinks {
        base: BASE.to_owned(),
    };
    if let Ok(theirs) = signatures::read(text) {
        for claim in [Claim::AsUpstream, Claim::Never] {
            let render =
                |text: &str| signatures::render(text, claim, |one| links.certificate(&one.sha256));
            let rendered = render(text).unwrap_or_default();
            let ours = signatures::read(&rendered).map(|ours| ours.certificates);
            assert_eq!(ours.as_ref().map(Vec::len), Ok(theirs.certificates.len()));
            for (before, after) in theirs.certificates.iter().zip(ours.unwrap_or_default()) {
                assert_eq!(before.sha256, after.sha256);
                assert_eq!(
                    resource_of(&after.url),
                    Some(Resource::Certificate(after.sha256))
                );
            }
            assert_eq!(render(&rendered).as_deref(), Ok(&*rendered));
        }
    }
    if let Ok(theirs) = tools::read(text) {
        let ours = tools::render(text, |one| {
            format!("{BASE}tools/{}/{}", one.token(), one.file_name())
        });
        let ours = tools::read(&ours.unwrap_or_default()).unwrap_or_default();
        assert_eq!(ours.len(), theirs.len());
        for (before, after) in theirs.iter().zip(ours) {
            let path = after.url.strip_prefix(BASE).unwrap_or_default();
            let expected = Route::Tools(Resource::Tool(before.token()));
            assert_eq!(route::parse(&format!("/-/{path}")), Ok(expected));
        }
    }
}

/// A list of client binaries.
#[must_use]
pub(crate) fn tools_lists() -> Vec<Vec<u8>> {
    let list = r#"{"nuget.exe":[{"version":"7.0.1","url":"https://dist.nuget.org/win-x86-commandline/v7.0.1/nuget.exe",
        "stage":"ReleasedAndBlessed","uploaded":"2025-11-20T21:00:00.0000000Z"},{"url":"http://h/?a","version":"1"}]}"#;
    vec![list.into()]
}

/// The index of known vulnerabilities, and its pages.
pub(crate) fn vulnerability(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if vulnerabilities::read_page(text).is_ok() {
        assert!(
            text.trim_start_matches('\u{feff}')
                .trim()
                .starts_with(['{', '['])
        );
    }
    let Ok(theirs) = vulnerabilities::read_index(text) else {
        return;
    };
    assert!(theirs.len() <= vulnerabilities::MAX_PAGES);
    let links = OurLinks {
        base: BASE.to_owned(),
    };
    let rendered =
        vulnerabilities::render_index(text, |page| links.vulnerability_page(&page.token()))
            .unwrap_or_default();
    let ours = vulnerabilities::read_index(&rendered).unwrap_or_default();
    assert_eq!(ours.len(), theirs.len());
    for (before, after) in theirs.iter().zip(&ours) {
        assert_eq!(
            (&before.name, &before.updated, &before.comment),
            (&after.name, &after.updated, &after.comment)
        );
        assert_eq!(
            resource_of(&after.url),
            Some(Resource::VulnerabilityPage(before.token()))
        );
    }
    let mut urls = theirs.iter().map(|page| page.url_span.clone());
    let undone = splice(
        &rendered,
        ours.iter()
            .filter_map(|page| Some((page.url_span.clone(), text.get(urls.next()?)?.to_owned()))),
    );
    assert_eq!(undone, text);
}
