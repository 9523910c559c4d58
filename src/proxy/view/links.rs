//! Link routes: a target outside every known base is found again in its id's documents.

use super::registrations::Shelf;
use super::{How, Query, Seen};
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
use crate::nuget::link::LinkKind;
use crate::nuget::registration;
use crate::proxy::Proxy;
use crate::proxy::document::Missing;
use crate::proxy::failure::Failure;
use crate::proxy::links::{digest_of, subject};
use crate::proxy::route::{Class, LinkSubject};

/// A link found again.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Found {
    pub(in crate::proxy) url: String,
    pub(in crate::proxy) kind: LinkKind,
}

impl Proxy {
    /// Finds a link route's target in its id's documents: the index and at most the pages that cover it, asked again
    /// once if it is not there.
    pub(in crate::proxy) async fn find_link(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        wanted: &LinkSubject,
        digest: &str,
    ) -> Result<Option<Found>, Failure> {
        let version = match wanted {
            LinkSubject::Page(..) => None,
            LinkSubject::Version(version) => Some(version),
        };
        query.feed.check_rules(id, version)?;
        let bounds = match wanted {
            LinkSubject::Page(lower, upper) => (lower.clone(), upper.clone()),
            LinkSubject::Version(version) => (version.clone(), version.clone()),
        };
        let demands = match query.demand {
            Demand::StoredOnly => &[Demand::StoredOnly][..],
            Demand::Forced | Demand::None => &[Demand::None, Demand::Forced],
        };
        for demand in demands {
            let query = Query {
                demand: *demand,
                ..query.clone()
            };
            let seen = self
                .registrations_in(&query, hive, id, Some(&bounds))
                .await?;
            for source in seen.sources() {
                let Ok(document) = registration::read(source.text()) else {
                    continue;
                };
                for link in &document.links {
                    let Some(found) = subject(link, &document).filter(|found| found == wanted)
                    else {
                        continue;
                    };
                    if digest_of(link.kind, &found, &link.url) == digest {
                        let url = link.url.split('#').next().unwrap_or_default().to_owned();
                        return Ok(Some(Found {
                            url,
                            kind: link.kind,
                        }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The document behind a link route, and its class. A page that is named no more gives way to the one that covers it.
    pub(in crate::proxy) async fn linked(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        wanted: &LinkSubject,
        found: Option<&Found>,
    ) -> Result<(Class, Seen), Failure> {
        let model = self.model_with_hive(query, hive).await?;
        let shelf = Shelf {
            query,
            model,
            hive,
            id,
        };
        let Some(found) = found else {
            let seen = match wanted {
                LinkSubject::Page(lower, upper) => {
                    let bounds = (lower.clone(), upper.clone());
                    self.covering_page(&shelf, &bounds, None).await?
                }
                LinkSubject::Version(_) => None,
            };
            return Ok((
                Class::RegistrationPage,
                seen.unwrap_or(Seen::Absent(Missing::default())),
            ));
        };
        let class = match found.kind {
            LinkKind::PageSelf => Class::RegistrationPage,
            LinkKind::LeafSelf => Class::RegistrationLeaf,
            _ => Class::CatalogLeaf,
        };
        let ask = self.named_ask(query, class, id, &found.url);
        let seen = match (class, wanted) {
            (Class::RegistrationPage, LinkSubject::Page(lower, upper)) => {
                let bounds = (lower.clone(), upper.clone());
                self.page(&shelf, &ask, Some(&bounds)).await?
            }
            (Class::RegistrationLeaf, LinkSubject::Version(version)) => {
                let obtained = self.document(&ask).await?;
                self.shown(&ask, obtained, shelf.how(Some(version.clone())))
            }
            _ => {
                let obtained = self.document(&ask).await?;
                self.shown(&ask, obtained, How::CatalogLeaf(shelf.model))
            }
        };
        Ok((class, seen))
    }
}
