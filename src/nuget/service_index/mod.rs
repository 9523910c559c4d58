//! The service index: where an upstream serves what, and the index that we hand out in its place.
//!
//! Reading is as lenient as the real client's (protocol facts 1.1.3–1.1.9); what is handed out is built anew from the
//! types of one table ([`treatment`]), so that nothing unknown leaks and nothing that is not served is advertised. Endpoints are never
//! guessed: what the upstream does not list, it does not have (7.1.6, 7.1.11).

mod hive;
mod render;
mod table;
mod union;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use super::ReadError;
use super::json::{Kind, Scanner};
use super::version::Version;

pub use hive::Hive;
pub use render::{Audit, OurLinks, is_https};
pub use table::{Service, SignaturesVersion, Treatment, treatment};
pub use union::{PushMember, SEMVER1_HIVE, SEMVER2_HIVE, render_union};

const WHAT: &str = "service index";

/// An upstream's service index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceIndex {
    /// The schema version as the upstream writes it; its major number is 3.
    pub version: String,
    /// The resources in the upstream's order.
    pub resources: Vec<Resource>,
}

/// One address of an upstream, and what it serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    /// The `@id`: mostly a URL, see [`Resource::is_url`].
    pub url: String,
    /// The `@type`s.
    pub types: Vec<String>,
    /// The least versions of clients that it is meant for; empty if it is for every client.
    pub client_versions: Vec<String>,
    /// The comment, for people.
    pub comment: Option<String>,
}

impl Resource {
    /// Whether the `@id` is an http or https URL with a host. Real indexes hold `urn:`s, the string "null" and unfilled
    /// templates too (protocol facts 1.1.10, 10.7). A URL may hold spaces and braces, which a request must escape.
    #[must_use]
    pub fn is_url(&self) -> bool {
        is_url(&self.url)
    }

    fn has_type(&self, type_name: &str) -> bool {
        self.types.iter().any(|name| name == type_name)
    }

    /// The highest client version, as the client sorts (1.1.7); none sorts below every version.
    fn highest_client_version(&self) -> Option<Version> {
        let parsed = self.client_versions.iter();
        parsed.filter_map(|text| Version::parse(text).ok()).max()
    }
}

/// Reads a service index.
///
/// Entries that the client would skip are skipped: those that are no objects, without exactly one `@id`, without a
/// `@type`, or with a `clientVersion` that is neither a string nor an array of some.
///
/// # Errors
/// If `text` is no JSON object, has no `version` whose major number is 3 (protocol fact 1.1.3), or no array `resources`.
pub fn read(text: &str) -> Result<ServiceIndex, ReadError> {
    let mut scanner = Scanner::new(WHAT, text);
    let (mut version, mut resources) = (None, None);
    scanner.object(|scanner, name| {
        match &*name {
            "resources" if scanner.peek()? == Kind::Array => {
                resources = Some(read_resources(scanner)?)
            }
            "version" => version = scanner.text()?.map(|text| text.content.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    let fault = |problem: String| ReadError {
        what: WHAT,
        at: None,
        problem,
    };
    let version =
        version.ok_or_else(|| fault("expected a property \"version\" that is a string".into()))?;
    if major(&version) != Some(3) {
        return Err(fault(format!(
            "expected a \"version\" of major number 3, found {version:?}"
        )));
    }
    let resources = resources
        .ok_or_else(|| fault("expected a property \"resources\" that is an array".into()))?;
    Ok(ServiceIndex { version, resources })
}

fn read_resources(scanner: &mut Scanner<'_>) -> Result<Vec<Resource>, ReadError> {
    let mut resources = Vec::new();
    scanner.array(|scanner| {
        if scanner.peek()? == Kind::Object {
            resources.extend(read_resource(scanner)?);
        }
        Ok(())
    })?;
    Ok(resources)
}

fn read_resource(scanner: &mut Scanner<'_>) -> Result<Option<Resource>, ReadError> {
    let (mut urls, mut types, mut client_versions) = (Vec::new(), Vec::new(), None);
    let mut comment = None;
    scanner.object(|scanner, name| {
        match &*name {
            "@id" => urls = strings(scanner)?,
            "@type" => types = strings(scanner)?,
            "clientVersion" if scanner.peek()? == Kind::Null => client_versions = None,
            "clientVersion" => client_versions = Some(strings(scanner)?),
            "comment" => comment = scanner.text()?.map(|text| text.content.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let is_for_nobody = client_versions.as_ref().is_some_and(Vec::is_empty);
    let (Some(url), true) = (urls.pop(), urls.is_empty()) else {
        return Ok(None);
    };
    let resource = Resource {
        url: url.trim().to_owned(),
        types,
        client_versions: client_versions.unwrap_or_default(),
        comment,
    };
    Ok((!is_for_nobody && !resource.types.is_empty()).then_some(resource))
}

/// The strings of a string or of an array, as the client takes several properties (protocol fact 1.1.5).
fn strings(scanner: &mut Scanner<'_>) -> Result<Vec<String>, ReadError> {
    let mut strings = Vec::new();
    let mut add = |scanner: &mut Scanner<'_>| {
        let text = scanner.text()?;
        strings.extend(text.map(|text| text.content.into_owned()));
        Ok(())
    };
    if scanner.peek()? == Kind::Array {
        scanner.array(add)?;
    } else {
        add(scanner)?;
    }
    Ok(strings)
}

fn major(version: &str) -> Option<u32> {
    Version::parse(version.trim()).ok()?;
    version.trim().split(['.', '-', '+']).next()?.parse().ok()
}

/// Whether `text` is an http or https URL with a host.
pub(super) fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    is_web && !host.is_empty() && !text.contains(char::is_control)
}

/// `url` as a base: with a final slash, which upstreams write or not (protocol fact 1.1.22).
fn as_base(url: &str) -> String {
    if url.ends_with('/') {
        url.to_owned()
    } else {
        format!("{url}/")
    }
}

/// `url` without the final slash, to compare bases.
fn without_slash(url: &str) -> &str {
    url.strip_suffix('/').unwrap_or(url)
}

impl ServiceIndex {
    /// Where the upstream serves this, in the order in which to ask: the first is the endpoint, the others its
    /// fallbacks. Each once, only http and https URLs, written as the upstream writes them.
    ///
    /// Types go by the order of the table, within one type the highest client version first, then the upstream's order
    /// (protocol facts 1.1.7–1.1.9, 1.1.14).
    #[must_use]
    pub fn endpoints(&self, service: Service) -> Vec<&str> {
        let mut endpoints: Vec<&str> = Vec::new();
        for type_name in table::types(service) {
            let mut of_type: Vec<&Resource> = self.of_type(type_name).collect();
            of_type.sort_by_cached_key(|resource| Reverse(resource.highest_client_version()));
            for resource in of_type {
                let url = without_slash(&resource.url);
                if endpoints.iter().all(|known| without_slash(known) != url) {
                    endpoints.push(&resource.url);
                }
            }
        }
        endpoints
    }

    /// The distinct registration bases, the one to prefer first, as [`ServiceIndex::endpoints`] orders them.
    #[must_use]
    pub fn hives(&self) -> Vec<Hive> {
        hive::name(self.endpoints(Service::Registrations))
    }

    /// The catalog's index.
    #[must_use]
    pub fn catalog_index(&self) -> Option<&str> {
        let catalog = self.of_type(table::CATALOG).next()?;
        Some(&catalog.url)
    }

    /// The directory of the catalog's index, with a final slash: the base of its pages and leaves. `None` where the upstream
    /// lists no catalog.
    #[must_use]
    pub fn catalog_base(&self) -> Option<String> {
        let url = self.catalog_index()?;
        let path = url.split(['?', '#']).next()?;
        let after_host = path.find("://")? + 3;
        Some(match path.rfind('/') {
            Some(slash) if slash >= after_host => path.get(..=slash)?.to_owned(),
            _ => format!("{path}/"),
        })
    }

    fn of_type(&self, type_name: &str) -> impl Iterator<Item = &Resource> {
        let resources = self.resources.iter();
        resources.filter(move |resource| resource.has_type(type_name) && resource.is_url())
    }
}
