//! The service index of a union of feeds: every type that a member serves and that can be made one.

use super::hive::Hive;
use super::render::{Entry, add_numbered, client_versions, write_index};
use super::table::{PACKAGE_BASE, Service, Treatment, VULNERABILITY_INFO, treatment};
use super::{Audit, OurLinks, ServiceIndex, as_base};

/// The union's hive for clients that know SemVer 2. No hive of an upstream is called so: those end in hex digits.
pub const SEMVER2_HIVE: &str = "semver2";
/// The union's hive for clients that do not.
pub const SEMVER1_HIVE: &str = "semver1";

/// The types of hives without SemVer 2 packages, the one to prefer first (protocol fact 2.2.22).
const WITHOUT_SEMVER2: &[&str] = &[
    "RegistrationsBaseUrl/3.4.0",
    "RegistrationsBaseUrl/3.0.0-rc",
    "RegistrationsBaseUrl/3.0.0-beta",
    "RegistrationsBaseUrl",
];

/// Which of the members takes pushes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushMember {
    /// The one whose index has this place.
    Is(usize),
    /// None, or its index is not known.
    Nobody,
}

impl ServiceIndex {
    /// The hive that stands behind one of a union's: by its token. Where an upstream has no hive of that kind, the one
    /// that it has.
    #[must_use]
    pub fn hive_behind(&self, token: &str) -> Option<Hive> {
        let hives = self.hives();
        let plain = || {
            WITHOUT_SEMVER2.iter().find_map(|type_name| {
                let base = as_base(&self.of_type(type_name).next()?.url);
                hives.iter().find(|hive| hive.base == base).cloned()
            })
        };
        let plain = (token == SEMVER1_HIVE).then(plain).flatten();
        plain.or_else(|| hives.first().cloned())
    }
}

/// Whether a union can serve this.
fn is_served(service: Service, place: usize, push: PushMember) -> bool {
    match service {
        Service::PackagePublish | Service::SymbolPublish => push == PushMember::Is(place),
        _ => matches!(
            service,
            Service::Autocomplete
                | Service::PackageBase
                | Service::Registrations
                | Service::Search
                | Service::VulnerabilityInfo
        ),
    }
}

/// The index of a union of feeds with these indexes, some of whose vulnerability data may come from another upstream.
/// Templates for browsers are left out: a page of one member's site says nothing of another member's packages. So are
/// repository signatures: what one member claims of its packages would be taken for all (protocol fact 2.6.9).
#[must_use]
pub fn render_union(
    indexes: &[ServiceIndex],
    push: PushMember,
    audit: Audit,
    links: &OurLinks,
) -> String {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (place, index) in indexes.iter().enumerate() {
        for resource in index.resources.iter().filter(|resource| resource.is_url()) {
            for type_name in &resource.types {
                let url = match treatment(type_name) {
                    Treatment::Serve(Service::Registrations, _) => {
                        let is_plain = WITHOUT_SEMVER2.contains(&type_name.as_str());
                        let hive = if is_plain { SEMVER1_HIVE } else { SEMVER2_HIVE };
                        Some(links.registration(hive))
                    }
                    Treatment::Serve(service, _) if is_served(service, place, push) => {
                        links.service(service)
                    }
                    Treatment::Rebase(Service::PackageBase, _) => {
                        index.rebased(resource, Service::PackageBase, links)
                    }
                    _ => None,
                };
                for client_version in client_versions(resource) {
                    let is_new = entries.iter().all(|entry| {
                        entry.type_name != type_name || entry.client_version != client_version
                    });
                    entries.extend(url.clone().filter(|_| is_new).map(|url| Entry {
                        url,
                        type_name,
                        client_version,
                        comment: None,
                    }));
                }
            }
        }
    }
    add_numbered(&mut entries);
    let is_of_another = audit == Audit::OfAnother;
    for (service, type_name, is_there) in [
        (Service::PackageBase, PACKAGE_BASE, true),
        (
            Service::VulnerabilityInfo,
            VULNERABILITY_INFO,
            is_of_another,
        ),
    ] {
        let is_lacking = entries.iter().all(|entry| entry.type_name != type_name);
        let url = links.service(service);
        entries.extend(url.filter(|_| is_there && is_lacking).map(|url| Entry {
            url,
            type_name,
            client_version: None,
            comment: None,
        }));
    }
    write_index("3.0.0", &entries)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const NUGET: &str = r#"{"version":"3.0.0","resources":[
        {"@id":"https://n/flat/","@type":"PackageBaseAddress/3.0.0"},
        {"@id":"https://n/reg-old/","@type":"RegistrationsBaseUrl"},
        {"@id":"https://n/reg-gz/","@type":"RegistrationsBaseUrl/3.4.0"},
        {"@id":"https://n/reg-2/","@type":["RegistrationsBaseUrl/3.6.0","RegistrationsBaseUrl/Versioned"],"clientVersion":"4.3.0-alpha"},
        {"@id":"https://n/query","@type":"SearchQueryService"},
        {"@id":"https://n/sign","@type":"RepositorySignatures/5.0.0"},
        {"@id":"https://n/push","@type":"PackagePublish/2.0.0"},
        {"@id":"https://n/{id}","@type":"PackageDetailsUriTemplate/5.1.0"},
        {"@id":"https://n/flat/{lower_id}/{lower_version}/readme","@type":"ReadmeUriTemplate/6.13.0"}]}"#;
    const BARE: &str = r#"{"version":"3.0.0","resources":[
        {"@id":"https://c/reg/","@type":"RegistrationsBaseUrl/3.6.0"},
        {"@id":"https://c/complete","@type":"SearchAutocompleteService/3.5.0"},
        {"@id":"https://c/push","@type":"PackagePublish/2.0.0"},
        {"@id":"https://c/symbols","@type":"SymbolPackagePublish/4.9.0"}]}"#;

    fn entries(texts: &[&str], push: PushMember) -> Vec<(String, String)> {
        entries_at("http://us/all/v3/", texts, push, Audit::OfUpstream)
    }

    fn entries_at(
        base: &str,
        texts: &[&str],
        push: PushMember,
        audit: Audit,
    ) -> Vec<(String, String)> {
        let indexes: Vec<_> = texts
            .iter()
            .map(|text| read(text).expect("an index"))
            .collect();
        let links = OurLinks {
            base: base.to_owned(),
        };
        let index = read(&render_union(&indexes, push, audit, &links)).expect("an index");
        let found = index.resources.into_iter().flat_map(|resource| {
            let url = resource.url;
            resource
                .types
                .into_iter()
                .map(move |kind| (kind, url.clone()))
        });
        found.collect()
    }

    #[test]
    fn every_type_that_one_has_is_ours() {
        let found = entries(&[NUGET, BARE], PushMember::Nobody);
        let expected = [
            ("PackageBaseAddress/3.0.0", "flatcontainer/"),
            ("RegistrationsBaseUrl", "registration/semver1/"),
            ("RegistrationsBaseUrl/3.4.0", "registration/semver1/"),
            ("RegistrationsBaseUrl/3.6.0", "registration/semver2/"),
            ("RegistrationsBaseUrl/Versioned", "registration/semver2/"),
            ("SearchQueryService", "search"),
            (
                "ReadmeUriTemplate/6.13.0",
                "flatcontainer/{lower_id}/{lower_version}/readme",
            ),
            // For clients of every version, which the first has for some only.
            ("RegistrationsBaseUrl/3.6.0", "registration/semver2/"),
            ("SearchAutocompleteService/3.5.0", "autocomplete"),
        ];
        let at =
            |base: &str| expected.map(|(kind, path)| (kind.to_owned(), format!("{base}{path}")));
        assert_eq!(found, at("http://us/all/v3/"));
        // Signatures of one member would speak for all, over https too.
        let https = "https://us/all/v3/";
        let found = entries_at(https, &[NUGET, BARE], PushMember::Nobody, Audit::OfUpstream);
        assert_eq!(found, at(https));
    }

    #[test]
    fn vulnerability_data_of_another_upstream_is_offered_once() {
        const AUDITED: &str = r#"{"version":"3.0.0","resources":[
            {"@id":"https://c/v","@type":"VulnerabilityInfo/6.7.0"}]}"#;
        for texts in [&[BARE][..], &[BARE, AUDITED]] {
            let (base, push) = ("http://us/all/v3/", PushMember::Nobody);
            let found = entries_at(base, texts, push, Audit::OfAnother).into_iter();
            let found: Vec<_> = found
                .filter(|(kind, _)| kind == VULNERABILITY_INFO)
                .map(|(_, url)| url)
                .collect();
            assert_eq!(found, ["http://us/all/v3/vulnerabilities/index.json"]);
        }
    }

    #[test]
    fn pushes_are_offered_as_far_as_the_named_member_takes_them() {
        let publishes = |push| {
            let found = entries(&[NUGET, BARE], push).into_iter();
            let found = found
                .map(|(kind, _)| kind)
                .filter(|kind| kind.contains("Publish"));
            found.collect::<Vec<_>>()
        };
        assert_eq!(publishes(PushMember::Nobody), Vec::<String>::new());
        assert_eq!(publishes(PushMember::Is(0)), ["PackagePublish/2.0.0"]);
        assert_eq!(
            publishes(PushMember::Is(1)),
            ["PackagePublish/2.0.0", "SymbolPackagePublish/4.9.0"]
        );
    }

    #[test]
    fn a_service_has_its_numbered_type_too() {
        const VERSIONED: &str = r#"{"version":"3.0.0","resources":[
            {"@id":"https://c/query","@type":"SearchQueryService/Versioned","clientVersion":"4.0.0"}]}"#;
        let found = entries(&[VERSIONED], PushMember::Nobody);
        let searches = found.iter().filter(|(_, url)| url.ends_with("search"));
        let types: Vec<&str> = searches.map(|(kind, _)| &**kind).collect();
        assert_eq!(
            types,
            [
                "SearchQueryService/Versioned",
                "SearchQueryService/3.0.0-beta"
            ]
        );
    }

    #[test]
    fn packages_are_always_offered() {
        let found = entries(&[BARE], PushMember::Nobody);
        let flat = found.iter().filter(|(kind, _)| kind == PACKAGE_BASE);
        assert_eq!(flat.count(), 1);
        assert_eq!(entries(&[], PushMember::Nobody).len(), 1);
    }

    #[test]
    fn a_hive_of_ours_stands_for_the_best_one_of_its_kind() {
        let (nuget, bare) = (
            read(NUGET).expect("an index"),
            read(BARE).expect("an index"),
        );
        let behind = |index: &ServiceIndex, token| index.hive_behind(token).map(|hive| hive.base);
        assert_eq!(
            behind(&nuget, SEMVER2_HIVE).as_deref(),
            Some("https://n/reg-2/")
        );
        assert_eq!(
            behind(&nuget, SEMVER1_HIVE).as_deref(),
            Some("https://n/reg-gz/")
        );
        assert_eq!(
            behind(&bare, SEMVER1_HIVE).as_deref(),
            Some("https://c/reg/")
        );
    }
}
