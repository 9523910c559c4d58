//! Which stored response a resource is: keys, classes and places. The one table of how things are named in the store.

use std::sync::Arc;

use super::Proxy;
use super::content::{File, Purpose, Want};
use super::document::{Ask, Place};
use super::errand::Errand;
use super::failure::Failure;
use super::feed::Feed;
use super::route::{Class, Content, RegistrationPart, Resource};
use super::view::Query;
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
use crate::nuget::registration;
use crate::nuget::version::Version;
use crate::nuget::vulnerabilities::PageRef;

/// The name whose epoch gates a document: its id, or, for a document about the whole feed, one that no id can have.
/// Search results are about every id and obey the feed's epoch.
pub(super) fn gate_name(id: Option<&PackageId>, class: Class) -> Option<&str> {
    let of_all = match class {
        Class::CatalogIndex => Some("/catalog-index"),
        Class::CatalogLeaf => Some("/catalog"),
        Class::RepositorySignatures => Some("/repository-signatures"),
        Class::ServiceIndex => Some("/service-index"),
        Class::ToolsList => Some("/tools"),
        Class::VulnerabilityIndex | Class::VulnerabilityPage => Some("/vulnerabilities"),
        // Answers made of pages that may change are never kept.
        Class::Autocomplete
        | Class::CatalogPage
        | Class::Certificate
        | Class::Icon
        | Class::License
        | Class::Manifest
        | Class::Package
        | Class::Readme
        | Class::RegistrationIndex
        | Class::RegistrationLeaf
        | Class::RegistrationPage
        | Class::Search
        | Class::Symbols
        | Class::Tool
        | Class::VersionList => None,
    };
    id.map(PackageId::as_str).or(of_all)
}

impl Proxy {
    pub(super) fn service_index_ask(
        &self,
        feed: &Arc<Feed>,
        demand: Demand,
        errand: &Errand,
    ) -> Ask {
        Ask {
            feed: Arc::clone(feed),
            class: Class::ServiceIndex,
            id: None,
            key: feed.key(Class::ServiceIndex, None, &feed.settings.upstream),
            place: Place::Indexed {
                resource: Resource::ServiceIndex,
                query: String::new(),
            },
            demand,
            since: self.clock.instant(),
            errand: errand.clone(),
        }
    }

    /// The ask for a resource that lies where the service index says.
    pub(super) fn ask_for_resource(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        class: Class,
        id: Option<&PackageId>,
    ) -> Ask {
        let rest = match resource {
            Resource::Autocomplete | Resource::Search => canonical_query(query.query),
            Resource::Catalog(rest) => rest.clone(),
            Resource::RepositorySignatures(version) => version.as_str().to_owned(),
            // Case tells nothing apart here, but upstreams may want it as they wrote it: only the key is folded.
            Resource::Registration { hive, part, .. } => {
                format!("{hive}/{}", part.path().to_lowercase())
            }
            Resource::Content { version, .. } => version.as_str().to_owned(),
            Resource::Certificate(_)
            | Resource::Link { .. }
            | Resource::Publish(_)
            | Resource::ServiceIndex
            | Resource::SymbolPublish(_)
            | Resource::Symbols(_)
            | Resource::Tool(_)
            | Resource::ToolsList
            | Resource::VersionList(_)
            | Resource::VulnerabilityIndex
            | Resource::VulnerabilityPage(_) => String::new(),
        };
        let key = query.feed.key(class, id, &rest);
        let demand = self.demand_of(query, &key);
        Ask {
            feed: Arc::clone(query.feed),
            class,
            id: id.cloned(),
            key,
            place: Place::Indexed {
                resource: resource.clone(),
                query: query.query.to_owned(),
            },
            demand,
            since: query.since,
            errand: query.errand.clone(),
        }
    }

    /// The ask for an id's version list, as far as the flat container has one.
    pub(super) fn list_ask(&self, feed: &Arc<Feed>, id: &PackageId, errand: &Errand) -> Ask {
        let query = Query {
            feed,
            base: "",
            query: "",
            demand: Demand::None,
            since: self.clock.instant(),
            errand,
        };
        self.ask_for_resource(
            &query,
            &Resource::VersionList(id.clone()),
            Class::VersionList,
            Some(id),
        )
    }

    pub(super) fn registration_ask(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        part: RegistrationPart,
    ) -> Ask {
        let class = part.class();
        let resource = Resource::Registration {
            hive: hive.to_owned(),
            id: id.clone(),
            part,
        };
        self.ask_for_resource(query, &resource, class, Some(id))
    }

    /// The ask for a document that another one named. If it lies below a known base it is the very entry that its own
    /// route leads to.
    pub(super) fn named_ask(
        &self,
        query: &Query<'_>,
        class: Class,
        id: &PackageId,
        url: &str,
    ) -> Ask {
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        let hive_and_rest = query
            .feed
            .model()
            .and_then(|model| match model.split(bare) {
                Some((super::model::Base::Hive(token), rest)) => {
                    let rest = rest.strip_prefix(&format!("{}/", id.to_path()))?;
                    Some(format!("{token}/{}", rest.to_lowercase()))
                }
                _ => None,
            });
        let rest = hive_and_rest.unwrap_or_else(|| format!("link/{bare}"));
        let key = query.feed.key(class, Some(id), &rest);
        Ask {
            feed: Arc::clone(query.feed),
            class,
            id: Some(id.clone()),
            demand: self.demand_of(query, &key),
            key,
            place: Place::Named(url.to_owned()),
            since: query.since,
            errand: query.errand.clone(),
        }
    }

    pub(super) fn vulnerability_page_ask(
        &self,
        feed: &Arc<Feed>,
        page: &PageRef,
        errand: &Errand,
    ) -> Ask {
        Ask {
            feed: Arc::clone(feed),
            class: Class::VulnerabilityPage,
            id: None,
            key: feed.key(Class::VulnerabilityPage, None, &page.token()),
            place: Place::Named(page.url.clone()),
            demand: Demand::None,
            since: self.clock.instant(),
            errand: errand.clone(),
        }
    }

    /// A file of the flat container. `url` is where it lies if a link named it.
    pub(super) fn want(
        &self,
        query: &Query<'_>,
        id: &PackageId,
        version: &Version,
        file: Content,
        url: Option<String>,
    ) -> Want {
        let resource = Resource::Content {
            id: id.clone(),
            version: version.clone(),
            file,
        };
        let mut ask = self.ask_for_resource(query, &resource, file.class(), Some(id));
        if let Some(url) = url {
            ask.place = Place::Named(url);
        }
        Want {
            ask,
            file: File::OfPackage(version.clone(), file),
            purpose: Purpose::Answer,
        }
    }

    /// Where a file lies: below the flat container, or where a registration's `packageContent` says.
    pub(super) async fn content_urls(
        &self,
        want: &Want,
        demand: Demand,
    ) -> Result<Vec<String>, Failure> {
        let ask = &want.ask;
        if want.version().is_none() {
            return Ok(ask.place.url().map(str::to_owned).into_iter().collect());
        }
        let model = self
            .model(&ask.feed, &ask.errand, self.clock.instant())
            .await?;
        let by_link = match &ask.place {
            Place::Named(url) if demand == Demand::None => return Ok(vec![url.clone()]),
            Place::Named(_) => want.is_package(),
            Place::Symbols { .. } => false,
            Place::Indexed { .. } => model.is_without_flat_container() && want.is_package(),
        };
        match (&ask.place, &ask.id) {
            (_, Some(id)) if by_link => self.package_content(want, id, demand).await,
            (Place::Indexed { resource, query }, _) => {
                Ok(self.reachable_first(&ask.feed, model.locate(resource, query)?))
            }
            (place, _) => Ok(place.url().map(str::to_owned).into_iter().collect()),
        }
    }

    /// `packageContent` of one version, from its id's registrations.
    async fn package_content(
        &self,
        want: &Want,
        id: &PackageId,
        demand: Demand,
    ) -> Result<Vec<String>, Failure> {
        let query = Query {
            feed: &want.ask.feed,
            base: "",
            query: "",
            demand,
            since: self.clock.instant(),
            errand: &want.ask.errand,
        };
        let Some(wanted) = want.version() else {
            return Ok(Vec::new());
        };
        let bounds = (wanted.clone(), wanted.clone());
        let seen = Box::pin(self.registrations_of(&query, id, Some(&bounds))).await?;
        let mut urls = Vec::new();
        for source in seen.sources() {
            let Ok(document) = registration::read(source.text()) else {
                continue;
            };
            for leaf in &document.leaves {
                let version = leaf
                    .version
                    .as_deref()
                    .and_then(|text| Version::parse(text).ok());
                if version.as_ref() == Some(wanted) {
                    urls.extend(leaf.package_content.clone());
                }
            }
        }
        urls.dedup();
        Ok(urls)
    }
}

impl Want {
    /// Whether a document named its place, so that it may have moved since.
    pub(super) fn is_found_by_link(&self) -> bool {
        let without = self
            .ask
            .feed
            .model()
            .is_some_and(|model| model.is_without_flat_container());
        self.is_package() && (matches!(self.ask.place, Place::Named(_)) || without)
    }
}

/// One spelling for queries that mean the same: parameters in the order of their names, the order of equal names kept,
/// escapes undone and made anew.
pub(super) fn canonical_query(query: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
    // Bytes: two texts that are no UTF-8 are not the same for that.
    let plain = |text: &str| percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>();
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (plain(name).to_ascii_lowercase(), plain(value)))
        .collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let escape = |text: &[u8]| percent_encode(text, NON_ALPHANUMERIC).to_string();
    let written: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    written.join("&")
}

/// The value of a query's parameter, its name in any case; `None` if it is missing or empty.
pub(super) fn parameter(query: &str, wanted: &str) -> Option<String> {
    use percent_encoding::percent_decode_str;
    let plain = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| plain(name).eq_ignore_ascii_case(wanted))
        .map(|(_, value)| plain(value))
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str) {
        assert_eq!(
            canonical_query(one),
            canonical_query(other),
            "{one} and {other}"
        );
    }

    #[test]
    fn queries_that_mean_the_same_share_a_key() {
        check("q=a&take=1", "take=1&q=a");
        check("q=a%20b", "q=a+b");
        check("Q=a&&", "q=a");
        assert_ne!(canonical_query("q=a"), canonical_query("q=A"));
        assert_ne!(canonical_query("f=a&f=b"), canonical_query("f=b&f=a"));
        assert_ne!(canonical_query("q=%fe"), canonical_query("q=%ff"));
        assert_ne!(canonical_query("q=a%26b=c"), canonical_query("q=a&b=c"));
    }
}
