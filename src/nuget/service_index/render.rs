//! The service index that we hand out.

use std::fmt::Write as _;

use super::hive::Hive;
use super::table::{NUMBERED, PACKAGE_BASE, Service, Treatment, VULNERABILITY_INFO, treatment};
use super::{Resource, ServiceIndex, as_base};
use crate::nuget::json::encode_string;
use crate::nuget::version::Version;

/// The one readme template that the flat container's routes answer (protocol fact 1.3.8).
const README: &str = "{lower_id}/{lower_version}/readme";

/// Whose vulnerability data an index of ours leads to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Audit {
    /// Another upstream's: offered whatever this one has.
    OfAnother,
    /// This upstream's, if it has any.
    OfUpstream,
}

/// Where a client finds us: every URL of ours below the base that it called us by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OurLinks {
    /// The directory of our service index with a final slash, such as `http://host:6850/nuget/v3/`.
    pub base: String,
}

impl OurLinks {
    /// The service index itself.
    #[must_use]
    pub fn index(&self) -> String {
        format!("{}index.json", self.base)
    }

    /// The base of a registration hive, with a final slash.
    #[must_use]
    pub fn registration(&self, token: &str) -> String {
        format!("{}registration/{token}/", self.base)
    }

    /// The certificate with this SHA-256 in hex digits.
    #[must_use]
    pub fn certificate(&self, sha256: &str) -> String {
        format!(
            "{}repository-signatures/certificates/{sha256}.crt",
            self.base
        )
    }

    /// The vulnerability page of this token.
    #[must_use]
    pub fn vulnerability_page(&self, token: &str) -> String {
        format!("{}vulnerabilities/{token}", self.base)
    }

    /// The address of a service; `None` for registrations, which have one for each hive, and over http for repository
    /// signatures, since a client that finds them there ends (protocol fact 2.6.3). Bases end in a slash, since
    /// clients concatenate (protocol fact 1.1.22).
    #[must_use]
    pub fn service(&self, service: Service) -> Option<String> {
        let path = match service {
            Service::Autocomplete => "autocomplete",
            Service::Catalog => "catalog/index.json",
            Service::PackageBase => "flatcontainer/",
            Service::PackagePublish => "package",
            Service::Registrations => return None,
            Service::RepositorySignatures(version) => {
                let path = format!("repository-signatures/{}/index.json", version.as_str());
                return is_https(&self.base).then(|| format!("{}{path}", self.base));
            }
            Service::Search => "search",
            Service::SymbolPublish => "symbolpackage",
            Service::VulnerabilityInfo => "vulnerabilities/index.json",
        };
        Some(format!("{}{path}", self.base))
    }
}

/// Whether clients reach this base over https.
#[must_use]
pub fn is_https(base: &str) -> bool {
    let scheme = base.get(..8);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

impl ServiceIndex {
    /// The index to hand out: every type that we serve, once for each client version, pointed at us; templates for
    /// browsers as they are; nothing else (protocol facts 1.2.1, 1.2.3, 1.4.1).
    ///
    /// An upstream with registrations but no flat container gets one (7.1.15), one that offers a service to clients of
    /// some version alone the numbered type for all others (7.1.22), one whose vulnerability data comes from
    /// another upstream the address of that.
    #[must_use]
    pub fn render(&self, links: &OurLinks, audit: Audit) -> String {
        write_index(&self.version, &self.entries(links, audit))
    }

    fn entries(&self, links: &OurLinks, audit: Audit) -> Vec<Entry<'_>> {
        let hives = self.hives();
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for resource in self.resources.iter().filter(|resource| resource.is_url()) {
            for type_name in &resource.types {
                let Some(url) = self.our_url(resource, type_name, links, &hives) else {
                    continue;
                };
                for client_version in client_versions(resource) {
                    let is_new = entries.iter().all(|entry| {
                        entry.type_name != type_name || entry.client_version != client_version
                    });
                    if is_new {
                        entries.push(Entry {
                            url: url.clone(),
                            type_name,
                            client_version,
                            comment: resource.comment.as_deref(),
                        });
                    }
                }
            }
        }
        add_numbered(&mut entries);
        let flat = links.service(Service::PackageBase);
        let lacks_flat = self.endpoints(Service::PackageBase).is_empty() && !hives.is_empty();
        entries.extend(flat.filter(|_| lacks_flat).map(|url| Entry {
            url,
            type_name: PACKAGE_BASE,
            client_version: None,
            comment: Some("Packages by id and version, built from registrations"),
        }));
        let lacks_audit = entries
            .iter()
            .all(|entry| entry.type_name != VULNERABILITY_INFO);
        let vulnerabilities = links.service(Service::VulnerabilityInfo);
        let is_added = audit == Audit::OfAnother && lacks_audit;
        entries.extend(vulnerabilities.filter(|_| is_added).map(|url| Entry {
            url,
            type_name: VULNERABILITY_INFO,
            client_version: None,
            comment: Some("Known vulnerabilities, of another upstream"),
        }));
        entries
    }

    /// What stands in our index for this type of this resource, if anything does.
    fn our_url(
        &self,
        resource: &Resource,
        type_name: &str,
        links: &OurLinks,
        hives: &[Hive],
    ) -> Option<String> {
        match treatment(type_name) {
            Treatment::Drop(_) => None,
            Treatment::Keep(_) => Some(resource.url.clone()),
            Treatment::Rebase(service, _) => self.rebased(resource, service, links),
            Treatment::Serve(Service::Registrations, _) => {
                let base = as_base(&resource.url);
                let hive = hives.iter().find(|hive| hive.base == base)?;
                Some(links.registration(&hive.token))
            }
            Treatment::Serve(service, _) => links.service(service),
        }
    }

    /// A template below the base of a service, below ours.
    pub(super) fn rebased(
        &self,
        resource: &Resource,
        service: Service,
        links: &OurLinks,
    ) -> Option<String> {
        let bases = self.endpoints(service);
        let below = |base: &&str| resource.url.strip_prefix(&as_base(base)) == Some(README);
        let ours = links.service(service)?;
        bases.iter().any(below).then(|| ours + README)
    }
}

/// One entry of the index that we hand out.
pub(super) struct Entry<'a> {
    pub(super) url: String,
    pub(super) type_name: &'a str,
    pub(super) client_version: Option<&'a str>,
    pub(super) comment: Option<&'a str>,
}

/// The text of an index with these entries.
pub(super) fn write_index(version: &str, entries: &[Entry<'_>]) -> String {
    let mut out = format!("{{\"version\":{},\"resources\":[", encode_string(version));
    for (i, entry) in entries.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let (url, type_name) = (encode_string(&entry.url), encode_string(entry.type_name));
        // Writing to a String cannot fail.
        let _ = write!(out, "{comma}{{\"@id\":{url},\"@type\":{type_name}");
        for (name, value) in [
            ("clientVersion", entry.client_version),
            ("comment", entry.comment),
        ] {
            if let Some(value) = value {
                let _ = write!(out, ",\"{name}\":{}", encode_string(value));
            }
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}

/// Adds the numbered type of each service that is offered without any. Of several addresses for clients of some version
/// the newest client's is taken: it is the fullest.
pub(super) fn add_numbered(entries: &mut Vec<Entry<'_>>) {
    for &(versioned, numbered) in NUMBERED {
        let is_numbered = |entry: &Entry<'_>| {
            let (service, number) = entry.type_name.split_once('/').unwrap_or_default();
            versioned.split('/').next() == Some(service)
                && number.starts_with(|c: char| c.is_ascii_digit())
        };
        if entries.iter().any(is_numbered) {
            continue;
        }
        let of_some = entries.iter().filter(|entry| entry.type_name == versioned);
        let newest = of_some.max_by_key(|entry| Version::parse(entry.client_version?).ok());
        let added = newest.map(|entry| Entry {
            url: entry.url.clone(),
            type_name: numbered,
            client_version: None,
            comment: entry.comment,
        });
        entries.extend(added);
    }
}

/// The client versions of a resource, or once `None` if it is for every client.
pub(super) fn client_versions(resource: &Resource) -> impl Iterator<Item = Option<&str>> {
    let every = resource.client_versions.is_empty().then_some(None);
    let some = resource
        .client_versions
        .iter()
        .map(|version| Some(version.as_str()));
    every.into_iter().chain(some)
}

#[cfg(test)]
mod tests {
    //! Protocol facts 2.6.3 and 2.6.10; data of another upstream.

    use super::*;
    use crate::nuget::service_index::{SignaturesVersion, read};

    /// Types and addresses of what is handed out of these (type, address) pairs.
    fn rendered(base: &str, resources: &[(String, String)], audit: Audit) -> Vec<(String, String)> {
        let resources: Vec<_> = resources
            .iter()
            .map(|(name, url)| format!(r#"{{"@id":"{url}","@type":"{name}"}}"#))
            .collect();
        let text = format!(
            r#"{{"version":"3.0.0","resources":[{}]}}"#,
            resources.join(",")
        );
        let links = OurLinks { base: base.into() };
        let ours = read(&text).expect("an index").render(&links, audit);
        let ours = read(&ours).expect("an index").resources.into_iter();
        ours.map(|resource| (resource.types.concat(), resource.url))
            .collect()
    }

    #[test]
    fn repository_signatures_are_offered_over_https_alone_each_version_at_its_own_address() {
        let at = |base: &str, end: &str| {
            SignaturesVersion::ALL.map(|version| {
                let version = version.as_str();
                (
                    format!("RepositorySignatures/{version}"),
                    format!("{base}{version}{end}"),
                )
            })
        };
        let theirs = at("https://h/", ".json");
        assert_eq!(rendered("http://us/v3/", &theirs, Audit::OfUpstream), []);
        let ours = at("https://us/v3/repository-signatures/", "/index.json");
        assert_eq!(rendered("https://us/v3/", &theirs, Audit::OfUpstream), ours);
    }

    #[test]
    fn vulnerability_data_of_another_upstream_is_offered_whatever_this_one_has() {
        let at = |url: &str| vec![(VULNERABILITY_INFO.to_owned(), url.to_owned())];
        let ours = at("http://us/v3/vulnerabilities/index.json");
        for theirs in [Vec::new(), at("https://h/v.json")] {
            assert_eq!(rendered("http://us/v3/", &theirs, Audit::OfAnother), ours);
        }
        assert_eq!(rendered("http://us/v3/", &[], Audit::OfUpstream), []);
    }
}
