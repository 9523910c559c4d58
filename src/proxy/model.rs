//! What a feed's upstream says in its service index: where every resource of it lies.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::failure::Failure;
use super::route::{Class, Content, RegistrationPart, Resource};
use crate::nuget::id::PackageId;
use crate::nuget::service_index::{Hive, Service, ServiceIndex};
use crate::nuget::version::Version;
use crate::upstream::auth::Access;
use crate::upstream::url::Origin;

/// What the upstream's service index says, ready for use.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) index: ServiceIndex,
    /// When and what it was read from: an older one never replaces it.
    pub(super) source: (SystemTime, [u8; 64]),
    /// Registration hives, those of earlier indexes too.
    pub(super) hives: Vec<Hive>,
    /// Every base seen so far, this index's and earlier ones' (a link in a stored document may name an old one). The
    /// longest comes first, for it wins.
    bases: Vec<(String, Base)>,
}

/// What lies below a base.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Base {
    /// Catalog documents.
    Catalog,
    /// The flat container.
    FlatContainer,
    /// The registration hive with this token.
    Hive(String),
}

impl Model {
    pub(super) fn new(
        index: ServiceIndex,
        source: (SystemTime, [u8; 64]),
        before: Option<&Self>,
    ) -> Self {
        let mut hives = index.hives();
        let mut bases = BTreeMap::new();
        if let Some(before) = before {
            bases.extend(before.bases.iter().cloned());
            for hive in &before.hives {
                if !hives.iter().any(|known| known.token == hive.token) {
                    hives.push(hive.clone());
                }
            }
        }
        for hive in &hives {
            bases.insert(hive.base.clone(), Base::Hive(hive.token.clone()));
        }
        if let Some(base) = index.catalog_base() {
            bases.insert(base, Base::Catalog);
        }
        for base in index.endpoints(Service::PackageBase) {
            bases.insert(with_slash(base), Base::FlatContainer);
        }
        let mut bases: Vec<_> = bases.into_iter().collect();
        bases.sort_by_key(|(base, _)| std::cmp::Reverse(base.len()));
        Self {
            index,
            source,
            hives,
            bases,
        }
    }

    /// Lets the origins that the index names learn the credential.
    pub(super) fn lend(&self, access: &Access) {
        let resources = self.index.resources.iter();
        for resource in resources.filter(|resource| resource.is_url()) {
            if let Ok(origin) = Origin::of(&resource.url) {
                access.add_origin(&origin);
            }
        }
    }

    /// Whether this path below the catalog's base is that of its index: as we hand it out, or as documents name it.
    pub(super) fn is_catalog_index(&self, rest: &str) -> bool {
        let named = self.index.catalog_index().and_then(|url| {
            let bare = url.split(['?', '#']).next()?;
            match self.split(bare)? {
                (Base::Catalog, named) => Some(named),
                _ => None,
            }
        });
        rest == "index.json" || (named == Some(rest) && !rest.is_empty())
    }

    /// The base that `url` lies below, and the rest of it.
    pub(super) fn split<'u>(&self, url: &'u str) -> Option<(&Base, &'u str)> {
        self.bases
            .iter()
            .find_map(|(base, kind)| Some((kind, url.strip_prefix(base.as_str())?)))
    }

    /// The hive with this token.
    pub(super) fn hive(&self, token: &str) -> Option<&Hive> {
        self.hives.iter().find(|hive| hive.token == token)
    }

    /// The hive that lists most: the one with SemVer 2 packages where there is one (protocol fact 2.2.22).
    pub(super) fn fullest_hive(&self) -> Option<&Hive> {
        self.hives.first()
    }

    /// Whether version lists and content come from registrations, for want of a flat container (protocol fact 7.1.15).
    pub(super) fn is_without_flat_container(&self) -> bool {
        self.index.endpoints(Service::PackageBase).is_empty() && !self.hives.is_empty()
    }

    /// Where the upstream keeps a resource: its endpoints in order of preference.
    ///
    /// # Errors
    /// [`Failure::NotOffered`] if its index does not list it.
    pub(super) fn locate(&self, resource: &Resource, query: &str) -> Result<Vec<String>, Failure> {
        let urls: Vec<String> = match resource {
            Resource::Autocomplete => self.with_query(Service::Autocomplete, query),
            Resource::Catalog(rest) => self
                .bases_of(&Base::Catalog)
                .map(|base| format!("{base}{rest}"))
                .collect(),
            Resource::Content { id, version, file } => self.content(id, version, *file),
            Resource::Certificate(_)
            | Resource::Link { .. }
            | Resource::ServiceIndex
            | Resource::Symbols(_)
            | Resource::Tool(_)
            | Resource::ToolsList
            | Resource::VulnerabilityPage(_) => {
                return Err(Failure::Internal(
                    "a place that the service index does not tell",
                ));
            }
            Resource::Publish(_) => self.plain(Service::PackagePublish),
            Resource::Registration { hive, id, part } => self
                .hive(hive)
                .map(|hive| format!("{}{}/{}", hive.base, id.to_path(), part.path()))
                .into_iter()
                .collect(),
            Resource::RepositorySignatures(version) => {
                self.plain(Service::RepositorySignatures(*version))
            }
            Resource::Search => self.with_query(Service::Search, query),
            Resource::SymbolPublish(_) => self.plain(Service::SymbolPublish),
            Resource::VersionList(id) => self
                .plain(Service::PackageBase)
                .iter()
                .map(|base| format!("{}{}/index.json", with_slash(base), id.to_path()))
                .collect(),
            Resource::VulnerabilityIndex => self.plain(Service::VulnerabilityInfo),
        };
        if urls.is_empty() {
            Err(Failure::NotOffered(resource.kind()))
        } else {
            Ok(urls)
        }
    }

    fn content(&self, id: &PackageId, version: &Version, file: Content) -> Vec<String> {
        self.plain(Service::PackageBase)
            .iter()
            .map(|base| {
                let (base, name) = (with_slash(base), file.file_name(id, version));
                format!("{base}{}/{}/{name}", id.to_path(), version.as_str())
            })
            .collect()
    }

    fn plain(&self, service: Service) -> Vec<String> {
        self.index
            .endpoints(service)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Endpoints with their own query replaced, as the real client does it (protocol fact 2.3.3).
    fn with_query(&self, service: Service, query: &str) -> Vec<String> {
        let endpoint = |url: &str| {
            let bare = url.split(['?', '#']).next().unwrap_or_default();
            if query.is_empty() {
                bare.to_owned()
            } else {
                format!("{bare}?{query}")
            }
        };
        self.index
            .endpoints(service)
            .into_iter()
            .map(endpoint)
            .collect()
    }

    fn bases_of<'a>(&'a self, wanted: &'a Base) -> impl Iterator<Item = &'a str> {
        self.bases
            .iter()
            .filter(move |(_, kind)| kind == wanted)
            .map(|(base, _)| base.as_str())
    }
}

impl RegistrationPart {
    /// The rest of the path, behind the id.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Index => "index.json",
            Self::Leaf(rest) | Self::Page { rest, .. } => rest,
        }
    }

    /// Its cache class.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Index => Class::RegistrationIndex,
            Self::Leaf(_) => Class::RegistrationLeaf,
            Self::Page { .. } => Class::RegistrationPage,
        }
    }
}

impl Resource {
    /// What people call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Autocomplete => "autocomplete",
            Self::Catalog(_) => "catalog",
            Self::Certificate(_) => "certificate",
            Self::Content { .. } => "package content",
            Self::Link { .. } => "link",
            Self::Publish(_) => "publish",
            Self::Registration { .. } => "registrations",
            Self::RepositorySignatures(_) => "repository signatures",
            Self::Search => "search",
            Self::ServiceIndex => "service index",
            Self::SymbolPublish(_) => "symbol publish",
            Self::Symbols(_) => "symbols",
            Self::Tool(_) | Self::ToolsList => "client binaries",
            Self::VersionList(_) => "version list",
            Self::VulnerabilityIndex | Self::VulnerabilityPage(_) => "vulnerability data",
        }
    }
}

/// A base URL with its final slash, which some upstreams leave out (protocol fact 1.1.22).
pub(super) fn with_slash(base: &str) -> String {
    if base.ends_with('/') {
        base.to_owned()
    } else {
        format!("{base}/")
    }
}

#[cfg(any(test, fuzzing))]
impl Model {
    /// A model of this index alone.
    pub(super) fn for_test(index: ServiceIndex) -> Self {
        Self::new(index, (SystemTime::UNIX_EPOCH, [0; 64]), None)
    }
}
