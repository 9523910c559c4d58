//! The service index that we hand out.

use std::fmt::Write as _;

use super::hive::Hive;
use super::table::{PACKAGE_BASE, Service, Treatment, treatment};
use super::{Resource, ServiceIndex, as_base};
use crate::nuget::json::encode_string;

/// The one readme template that the flat container's routes answer (protocol fact 1.3.8).
const README: &str = "{lower_id}/{lower_version}/readme";

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

    /// The vulnerability page of this token.
    #[must_use]
    pub fn vulnerability_page(&self, token: &str) -> String {
        format!("{}vulnerabilities/{token}", self.base)
    }

    /// The address of a service; `None` for registrations, which have one for each hive. Bases end in a slash, since
    /// clients concatenate (protocol fact 1.1.22).
    #[must_use]
    pub fn service(&self, service: Service) -> Option<String> {
        let path = match service {
            Service::Autocomplete => "autocomplete",
            Service::PackageBase => "flatcontainer/",
            Service::PackagePublish => "package",
            Service::Registrations => return None,
            Service::Search => "search",
            Service::SymbolPublish => "symbolpackage",
            Service::VulnerabilityInfo => "vulnerabilities/index.json",
        };
        Some(format!("{}{path}", self.base))
    }
}

impl ServiceIndex {
    /// The index to hand out: every type that we serve, once for each client version, pointed at us; templates for
    /// browsers as they are; nothing else (protocol facts 1.2.1, 1.2.3, 1.4.1).
    ///
    /// An upstream with registrations but no flat container gets one (7.1.15).
    #[must_use]
    pub fn render(&self, links: &OurLinks) -> String {
        let entries = self.entries(links);
        let mut out = format!(
            "{{\"version\":{},\"resources\":[",
            encode_string(&self.version)
        );
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

    fn entries(&self, links: &OurLinks) -> Vec<Entry<'_>> {
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
        let flat = links.service(Service::PackageBase);
        let lacks_flat = self.endpoints(Service::PackageBase).is_empty() && !hives.is_empty();
        entries.extend(flat.filter(|_| lacks_flat).map(|url| Entry {
            url,
            type_name: PACKAGE_BASE,
            client_version: None,
            comment: Some("Packages by id and version, built from registrations"),
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
            Treatment::Rebase(service, _) => {
                let bases = self.endpoints(service);
                let below = |base: &&str| resource.url.strip_prefix(&as_base(base)) == Some(README);
                let ours = links.service(service)?;
                bases.iter().any(below).then(|| ours + README)
            }
            Treatment::Serve(Service::Registrations, _) => {
                let base = as_base(&resource.url);
                let hive = hives.iter().find(|hive| hive.base == base)?;
                Some(links.registration(&hive.token))
            }
            Treatment::Serve(service, _) => links.service(service),
        }
    }
}

/// One entry of the index that we hand out.
struct Entry<'a> {
    url: String,
    type_name: &'a str,
    client_version: Option<&'a str>,
    comment: Option<&'a str>,
}

/// The client versions of a resource, or once `None` if it is for every client.
fn client_versions(resource: &Resource) -> impl Iterator<Item = Option<&str>> {
    let every = resource.client_versions.is_empty().then_some(None);
    let some = resource
        .client_versions
        .iter()
        .map(|version| Some(version.as_str()));
    every.into_iter().chain(some)
}
