//! The catalog: its index and newest page are asked for again, all else stays for ever (protocol fact 2.5.3).
//!
//! Which page is the newest, and whether a stored one is what the upstream has, the index tells: a page whose commit the
//! index names is current, whatever its age. So nobody who follows the catalog by its index is given a page that is older
//! than the index was, which would make it skip what was committed in between.

use std::collections::HashMap;
use std::sync::Arc;

use super::{How, Query, Seen, Shown};
use crate::cache::decision::Demand;
use crate::cache::freshness::Deadline;
use crate::nuget::catalog_list::{self, CatalogList, Commit, ListKind};
use crate::proxy::Proxy;
use crate::proxy::document::{Ask, Document, Obtained, Place};
use crate::proxy::failure::Failure;
use crate::proxy::model::{Base, Model};
use crate::proxy::outcome::Outcome;
use crate::proxy::route::{Class, Resource};

/// The catalog's pages as its index names them.
#[derive(Debug)]
pub(in crate::proxy) struct CatalogPages {
    /// What the index was read from.
    sha512: [u8; 64],
    /// By their path below the catalog's base.
    pages: HashMap<String, PageState>,
}

/// What the index says of a page.
#[derive(Clone, Debug)]
struct PageState {
    commit: Commit,
    /// A newer page exists, so that nothing is added to this one any more.
    is_superseded: bool,
}

impl CatalogPages {
    fn new(sha512: [u8; 64], list: &CatalogList, model: &Model) -> Self {
        let states = list.items.iter().zip(list.superseded());
        let pages = states.filter_map(|(item, is_superseded)| {
            let (base, rest) = model.split(&item.url)?;
            let state = PageState {
                commit: item.commit.clone(),
                is_superseded,
            };
            (*base == Base::Catalog).then(|| (rest.to_owned(), state))
        });
        Self {
            sha512,
            pages: pages.collect(),
        }
    }
}

/// A document of the catalog below its base.
struct Spot<'a> {
    query: &'a Query<'a>,
    model: Arc<Model>,
    /// The path.
    rest: &'a str,
}

impl Proxy {
    /// Whatever lies at this path below the catalog's base.
    pub(super) async fn catalog(&self, query: &Query<'_>, rest: &str) -> Result<Seen, Failure> {
        let model = self.model(query.feed, query.errand, query.since).await?;
        let spot = Spot { query, model, rest };
        if spot.model.is_catalog_index(rest) {
            let ask = self.catalog_index_ask(&spot)?;
            let obtained = self.document(&ask).await?;
            if let Obtained::Document { document, .. } = &obtained {
                self.learn_pages(&spot, document).await?;
            }
            let how = How::CatalogList(spot.model, ListKind::Index);
            return Ok(self.shown(&ask, obtained, how));
        }
        // Leaves lie in folders of their own. Asking for the index, some megabytes, is for those who read pages.
        if rest.contains('/') && !spot.was_page() {
            return self.catalog_leaf(&spot).await;
        }
        match self.pages_now(&spot).await {
            Ok(pages) => match pages.pages.get(rest) {
                Some(state) => self.catalog_page(&spot, state).await,
                None => self.catalog_leaf(&spot).await,
            },
            Err(failure) => self.catalog_without_index(&spot, failure).await,
        }
    }

    /// Without the index, what is stored tells what a path is.
    async fn catalog_without_index(
        &self,
        spot: &Spot<'_>,
        failure: Failure,
    ) -> Result<Seen, Failure> {
        let page = self.catalog_ask(spot, Class::CatalogPage);
        if spot.was_page() || self.stored(&page.key).await.is_some() {
            let obtained = self.document(&page).await?;
            return Ok(self.shown(&page, obtained, spot.page_view()));
        }
        let leaf = self.catalog_ask(spot, Class::CatalogLeaf);
        match self.stored(&leaf.key).await {
            Some(_) => self.catalog_leaf(spot).await,
            None => Err(failure),
        }
    }

    async fn catalog_leaf(&self, spot: &Spot<'_>) -> Result<Seen, Failure> {
        let ask = self.catalog_ask(spot, Class::CatalogLeaf);
        let obtained = self.document(&ask).await?;
        let how = How::CatalogLeaf(Arc::clone(&spot.model));
        Ok(self.shown(&ask, obtained, how))
    }

    /// A page that the index names.
    async fn catalog_page(&self, spot: &Spot<'_>, state: &PageState) -> Result<Seen, Failure> {
        let mut ask = self.catalog_ask(spot, Class::CatalogPage);
        let held = Ask {
            demand: Demand::StoredOnly,
            ..ask.clone()
        };
        if let Ok(Obtained::Document { document, .. }) = self.document(&held).await {
            let is_current = catalog_list::read(ListKind::Page, document.text())
                .is_ok_and(|page| page.commit.is_that_of(&state.commit));
            match (is_current, ask.demand) {
                (true, Demand::None | Demand::StoredOnly) if state.is_superseded => {
                    return Ok(Seen::Shown(Shown {
                        how: spot.page_view(),
                        sources: vec![document],
                        outcome: Outcome::Hit,
                        reason: None,
                        deadline: Deadline::Never,
                        stamp: None,
                    }));
                }
                (false, Demand::None) => ask.demand = self.forced_once(&ask.key),
                _ => {}
            }
        }
        let obtained = self.document(&ask).await?;
        let mut seen = self.shown(&ask, obtained, spot.page_view());
        if let Seen::Shown(shown) = &mut seen {
            // Each request compares it with the index anew: what is made of it is not kept.
            shown.deadline = Deadline::At(self.clock.now());
        }
        Ok(seen)
    }

    /// What the index, as fresh as its policy says, tells of the pages.
    async fn pages_now(&self, spot: &Spot<'_>) -> Result<Arc<CatalogPages>, Failure> {
        let ask = Ask {
            demand: match spot.query.demand {
                Demand::Forced | Demand::None => Demand::None,
                Demand::StoredOnly => Demand::StoredOnly,
            },
            ..self.catalog_index_ask(spot)?
        };
        match self.document(&ask).await? {
            Obtained::Document { document, .. } => self.learn_pages(spot, &document).await,
            Obtained::Absent(_) => Err(Failure::NotOffered("catalog")),
        }
    }

    async fn learn_pages(
        &self,
        spot: &Spot<'_>,
        document: &Document,
    ) -> Result<Arc<CatalogPages>, Failure> {
        let feed = spot.query.feed;
        if let Some(known) = feed.catalog_pages()
            && known.sha512 == document.entry.sha512
        {
            return Ok(known);
        }
        // nuget.org's index has some megabytes.
        let (model, document) = (Arc::clone(&spot.model), document.clone());
        let pages = self
            .tasks
            .blocking("catalog", move || {
                let list = catalog_list::read(ListKind::Index, document.text())?;
                let pages = CatalogPages::new(document.entry.sha512, &list, &model);
                Ok::<_, crate::nuget::ReadError>(Arc::new(pages))
            })
            .await
            .map_err(|_| Failure::Internal("reading the catalog's index panicked"))?
            .map_err(|_| Failure::Internal("a stored catalog index that cannot be read"))?;
        feed.keep_catalog_pages(Arc::clone(&pages));
        Ok(pages)
    }

    fn catalog_index_ask(&self, spot: &Spot<'_>) -> Result<Ask, Failure> {
        let url = spot
            .model
            .index
            .catalog_index()
            .ok_or(Failure::NotOffered("catalog"))?;
        let key = spot.query.feed.key(Class::CatalogIndex, None, "");
        Ok(Ask {
            feed: Arc::clone(spot.query.feed),
            class: Class::CatalogIndex,
            id: None,
            demand: self.demand_of(spot.query, &key),
            key,
            place: Place::Named(url.to_owned()),
            since: spot.query.since,
            errand: spot.query.errand.clone(),
        })
    }

    fn catalog_ask(&self, spot: &Spot<'_>, class: Class) -> Ask {
        let resource = Resource::Catalog(spot.rest.to_owned());
        self.ask_for_resource(spot.query, &resource, class, None)
    }
}

impl Spot<'_> {
    /// Whether the index named it as a page when it was last read.
    fn was_page(&self) -> bool {
        let known = self.query.feed.catalog_pages();
        known.is_some_and(|known| known.pages.contains_key(self.rest))
    }

    fn page_view(&self) -> How {
        How::CatalogList(Arc::clone(&self.model), ListKind::Page)
    }
}
