//! What a member has: the one place where a union gets a member's document, after whatever the member's own feed makes of
//! it. Refuses to judge what a failure means.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::UnionQuery;
use super::registrations::leaf_url;
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::document::Missing;
use crate::proxy::errand::Errand;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::model::Model;
use crate::proxy::route::{Class, RegistrationPart, Resource};
use crate::proxy::told::id_of;
use crate::proxy::view::{How, Query, Seen, Shown};

/// Texts above this are made off the async threads.
const INLINE_BYTES: usize = 64 * 1024;

/// A question to a member, on its own: it goes on though nobody waits any more.
#[derive(Clone, Debug)]
struct Question {
    feed: Arc<Feed>,
    query: String,
    demand: Demand,
    since: Instant,
    errand: Errand,
}

impl Question {
    fn as_query(&self) -> Query<'_> {
        Query {
            feed: &self.feed,
            base: "",
            query: &self.query,
            demand: self.demand,
            since: self.since,
            errand: &self.errand,
        }
    }
}

/// A member's document on its way.
pub(super) type Coming = JoinHandle<Result<Seen, Failure>>;

impl Proxy {
    /// Begins to ask a member for a document.
    pub(super) fn begin_asking(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        resource: Resource,
    ) -> Coming {
        let asked = match &resource {
            Resource::VulnerabilityIndex | Resource::VulnerabilityPage(_) => member.audit_source(),
            _ => member,
        };
        let (proxy, question) = (self.clone(), question_of(query, asked));
        self.tasks.spawn("member", async move {
            let seen = Box::pin(proxy.view(&question.as_query(), &resource)).await;
            match id_of(&resource) {
                Some(_) => seen.map_err(of_id),
                None => seen,
            }
        })
    }

    /// Begins to ask a member for an id's registration index, in the hive that stands behind one of the union's.
    pub(super) fn begin_index(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        hive: &str,
        id: &PackageId,
    ) -> Coming {
        let (proxy, question) = (self.clone(), question_of(query, member));
        let (hive, id) = (hive.to_owned(), id.clone());
        self.tasks.spawn("member", async move {
            let query = question.as_query();
            let (_, hive) = proxy.hive_behind(&query, &hive).await?;
            let index = Resource::Registration {
                hive,
                id,
                part: RegistrationPart::Index,
            };
            let seen = Box::pin(proxy.view(&query, &index)).await;
            seen.map_err(of_id)
        })
    }

    /// The same with all its pages, or those that versions `within` bounds may lie in.
    pub(super) fn begin_gathering(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        hive: &str,
        id: &PackageId,
        within: Option<(Version, Version)>,
    ) -> Coming {
        let (proxy, question) = (self.clone(), question_of(query, member));
        let (hive, id) = (hive.to_owned(), id.clone());
        self.tasks.spawn("member", async move {
            let query = question.as_query();
            let seen = Box::pin(proxy.gathered(&query, &hive, id, within.as_ref())).await;
            seen.map_err(of_id)
        })
    }

    /// Begins to ask a member for the leaf of a version, where the index or page that holds it says.
    pub(super) fn begin_leaf(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        hive: &str,
        id: &PackageId,
        version: &Version,
    ) -> Coming {
        let (proxy, question) = (self.clone(), question_of(query, member));
        let (hive, id, version) = (hive.to_owned(), id.clone(), version.clone());
        self.tasks.spawn("member", async move {
            let query = question.as_query();
            let seen = Box::pin(proxy.leaf(&query, &hive, id, version)).await;
            seen.map_err(of_id)
        })
    }

    /// An id's index with all its pages, or those that versions `within` bounds may lie in, as far as the member shows
    /// them.
    async fn gathered(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: PackageId,
        within: Option<&(Version, Version)>,
    ) -> Result<Seen, Failure> {
        let (model, hive) = self.hive_behind(query, hive).await?;
        let index = Resource::Registration {
            hive: hive.clone(),
            id: id.clone(),
            part: RegistrationPart::Index,
        };
        let gathered = self.registrations_in(query, &hive, &id, within).await?;
        let seen = match gathered {
            absent @ Seen::Absent(_) => absent,
            Seen::Shown(shown) => Seen::Shown(Shown {
                how: How::Registration {
                    model,
                    hive,
                    id,
                    version: None,
                },
                ..shown
            }),
        };
        self.sifted(query, &index, seen).await
    }

    /// The leaf of a version, where the index or page that holds it says, if the member shows it.
    async fn leaf(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: PackageId,
        version: Version,
    ) -> Result<Seen, Failure> {
        query.feed.check_rules(&id, Some(&version))?;
        let (model, hive) = self.hive_behind(query, hive).await?;
        let bounds = (version.clone(), version.clone());
        let gathered = self.registrations_in(query, &hive, &id, Some(&bounds));
        let seen = gathered.await?;
        let url = match &seen {
            Seen::Absent(_) => return Ok(seen),
            Seen::Shown(shown) => leaf_url(shown, &version),
        };
        let Some(url) = url else {
            return Ok(Seen::Absent(Missing::default()));
        };
        let ask = self.named_ask(query, Class::RegistrationLeaf, &id, &url);
        let obtained = self.document(&ask).await?;
        let leaf = Resource::Registration {
            hive: hive.clone(),
            id: id.clone(),
            part: RegistrationPart::Leaf(format!("{}.json", version.as_str())),
        };
        let how = How::Registration {
            model,
            hive,
            id,
            version: Some(version),
        };
        let seen = self.shown(&ask, obtained, how);
        self.sifted(query, &leaf, seen).await
    }

    /// The model of a member and its hive behind one of the union's.
    async fn hive_behind(
        &self,
        query: &Query<'_>,
        hive: &str,
    ) -> Result<(Arc<Model>, String), Failure> {
        let model = self.model(query.feed, query.errand, query.since).await?;
        let hive = model
            .index
            .hive_behind(hive)
            .ok_or(Failure::NotOffered("registrations"))?;
        Ok((model, hive.token))
    }

    /// The text of a member's view, with links below `base`.
    pub(super) async fn text_of(&self, shown: &Shown, base: &str) -> Result<Bytes, Failure> {
        let size: usize = shown.sources.iter().map(|source| source.text.len()).sum();
        if size <= INLINE_BYTES {
            return shown
                .how
                .render(&shown.sources, base)
                .map_err(Failure::Internal);
        }
        let (how, sources, base) = (shown.how.clone(), shown.sources.clone(), base.to_owned());
        let made = self
            .tasks
            .blocking("member text", move || how.render(&sources, &base));
        match made.await {
            Ok(made) => made.map_err(Failure::Internal),
            Err(_) => Err(Failure::Internal("reading a member's document panicked")),
        }
    }
}

/// A failure to get something of one id, of a feed that is offline, says that the feed has no such thing.
pub(super) fn of_id(failure: Failure) -> Failure {
    match failure {
        Failure::Offline => Failure::OfflineAbsent,
        failure => failure,
    }
}

/// What came of asking a member.
pub(super) async fn arrived(coming: Coming) -> Result<Seen, Failure> {
    coming
        .await
        .unwrap_or(Err(Failure::Internal("asking a member panicked")))
}

fn question_of(query: &UnionQuery<'_>, member: &Arc<Feed>) -> Question {
    Question {
        feed: Arc::clone(member),
        query: query.query.to_owned(),
        demand: query.demand,
        since: query.since,
        errand: query.errand.clone(),
    }
}
