//! Unions: one feed made of several, as a view over its members' entries.
//!
//! A member's document is asked for through the ordinary machinery of its feed, so freshness, flights, holds, breakers and
//! old copies are the member's; here answers of several are made one. Who is asked for an id, the members' rules say; who
//! delivers a version, who delivered it first, else the first that lists it: bytes of two feeds are never mixed under one
//! version (protocol fact 7.3.6). A member that fails is failed, never "not found".

mod ask;
mod content;
mod member;
mod merged;
mod record;
mod registrations;
mod search;
mod settings;
mod standing;
mod symbols;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, request};
use tokio::time::Instant;

use super::answer::Wanted;
use super::body::Body;
use super::document::Missing;
use super::errand::Errand;
use super::failure::Failure;
use super::feed::{Bases, Face, Feed, Generation};
use super::proof::Client;
use super::reads::answer_absent;
use super::refusal::Refusal;
use super::respond::Facts;
use super::route::{Resource, member_base};
use super::told::Told;
use super::view::Query;
use super::{FeedError, Proxy};
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
pub use crate::nuget::pattern::IdPattern;
use crate::nuget::pattern::closest;

pub(super) use self::merged::Merged;
pub(super) use self::record::{CLASS as RECORD_CLASS, Records};
pub use self::settings::{DEFAULT_SEARCH_WAIT, MemberSettings, Presence, UnionSettings};

/// A feed made of others.
pub(super) struct Union {
    pub(super) name: Arc<str>,
    /// The members in their order.
    members: Vec<Arc<Feed>>,
    push_to: Option<Arc<Feed>>,
    search_wait: Duration,
    /// Who delivered what first: shared with the union as it was before a reload.
    records: Arc<Records>,
    /// Of the settings: answers in memory that were made under others are not its own.
    generation: Generation,
    bases: Bases,
}

impl fmt::Debug for Union {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Union")
            .field("name", &self.name)
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

/// Mounts the unions of a configuration over its feeds. What those that were `known` before a reload recorded stays.
///
/// # Errors
/// [`FeedError::Member`] if one names a member that is no feed with an upstream of its own, or that passes its clients'
/// credentials on: what one of them may see says nothing of the others.
pub(super) fn mount(
    settings: &[UnionSettings],
    feeds: &[Arc<Feed>],
    known: &[Arc<Union>],
    generation: Generation,
) -> Result<Vec<Arc<Union>>, FeedError> {
    let mount = |settings: &UnionSettings| {
        let find = |name: &String| {
            let is_it =
                |feed: &&Arc<Feed>| *feed.name == **name && !feed.settings.passes_credentials_on();
            let found = feeds.iter().find(is_it).cloned();
            found.ok_or_else(|| FeedError::Member(settings.name.clone(), name.clone()))
        };
        let members = settings
            .members
            .iter()
            .map(find)
            .collect::<Result<Vec<_>, _>>()?;
        for member in members.iter().filter(|member| asks_for_all(member)) {
            tracing::warn!(
                feed = settings.name,
                member = &*member.name,
                "a member with a credential of ours has neither \"owns\" nor \"only\": ids that are private to it are looked up \
                 in every other member, and every id is looked up in it"
            );
        }
        let known = known.iter().find(|known| *known.name == *settings.name);
        Ok(Arc::new(Union {
            name: settings.name.as_str().into(),
            members,
            push_to: settings.push_to.as_ref().map(find).transpose()?,
            search_wait: settings.search_wait,
            records: known.map_or_else(Arc::default, |known| Arc::clone(&known.records)),
            generation,
            bases: Bases::default(),
        }))
    };
    settings.iter().map(mount).collect()
}

/// Whether a member is private and yet mixed with all others.
fn asks_for_all(member: &Feed) -> bool {
    let (settings, rules) = (&member.settings, &member.settings.member);
    let is_private = settings.credential.is_some() || settings.ways.identity.is_some();
    is_private && rules.owns.is_empty() && rules.only.is_empty()
}

impl Union {
    /// What clients see of it.
    pub(super) fn face(&self) -> Face<'_> {
        Face {
            name: &self.name,
            label: &self.name,
            generation: self.generation,
            bases: &self.bases,
            feeds: &self.members,
        }
    }

    /// Names of the members, in their order.
    pub(super) fn member_names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.name)
    }

    /// Who delivered what first.
    pub(super) fn records(&self) -> Arc<Records> {
        Arc::clone(&self.records)
    }

    /// The members that are asked for an id, in their order: whoever owns it by the closest pattern, else all that are not
    /// asked for other ids only.
    fn candidates(&self, id: &PackageId) -> Vec<Arc<Feed>> {
        let ownership = |feed: &Arc<Feed>| closest(&feed.settings.member.owns, id);
        let owner = self.members.iter().filter_map(ownership).max();
        let is_candidate = |feed: &&Arc<Feed>| {
            let only = &feed.settings.member.only;
            match owner {
                Some(_) => ownership(feed) == owner,
                None => only.is_empty() || closest(only, id).is_some(),
            }
        };
        self.members.iter().filter(is_candidate).cloned().collect()
    }

    /// Whether a member is asked for an id.
    fn is_candidate(&self, member: &Feed, id: &PackageId) -> bool {
        let candidates = self.candidates(id);
        candidates.iter().any(|feed| feed.name == member.name)
    }
}

/// Where a name leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mount<'a> {
    Feed(&'a Arc<Feed>),
    /// A union, or what it has of one member.
    Union {
        union: &'a Arc<Union>,
        member: Option<&'a Arc<Feed>>,
    },
}

impl<'a> Mount<'a> {
    /// What log and metrics call it.
    pub(super) fn label(self) -> &'a Arc<str> {
        match self {
            Self::Feed(feed) => &feed.label,
            Self::Union { union, .. } => &union.name,
        }
    }

    /// Whose credential is passed on: to no union, whose members are asked with ours.
    pub(super) fn client(self) -> Option<&'a Client> {
        match self {
            Self::Feed(feed) => feed.client.as_ref(),
            Self::Union { .. } => None,
        }
    }

    /// The feeds that answers are made of.
    pub(super) fn feeds(self) -> &'a [Arc<Feed>] {
        match self {
            Self::Feed(feed) => std::slice::from_ref(feed),
            Self::Union { union, .. } => &union.members,
        }
    }

    /// The feed that takes pushes.
    ///
    /// # Errors
    /// What a client is told that there is none.
    pub(super) fn push_feed(self) -> Result<&'a Arc<Feed>, Refusal> {
        match self {
            Self::Feed(feed) => Ok(feed),
            Self::Union {
                member: Some(_), ..
            } => Err(Refusal::NoSuchPath(
                "nothing is pushed below a member's name".into(),
            )),
            Self::Union { union, .. } => union.push_to.as_ref().ok_or_else(|| {
                Refusal::Forbidden(format!(
                    "feed {} is made of others and takes no pushes: no push_to names one of its members",
                    union.name
                ))
            }),
        }
    }
}

/// What a request to a union is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnionQuery<'a> {
    pub(super) union: &'a Arc<Union>,
    /// Directory of the union's service index, as the client calls it, with its final slash.
    pub(super) base: &'a str,
    /// The raw query of the request.
    pub(super) query: &'a str,
    pub(super) demand: Demand,
    /// When the request came.
    pub(super) since: Instant,
    pub(super) errand: &'a Errand,
}

impl<'a> UnionQuery<'a> {
    /// The same question to one member, whose documents have their links below `base`.
    fn of_member<'q>(&self, member: &'q Arc<Feed>, base: &'q str) -> Query<'q>
    where
        'a: 'q,
    {
        Query {
            feed: member,
            base,
            query: self.query,
            demand: self.demand,
            since: self.since,
            errand: self.errand,
        }
    }
}

impl Proxy {
    /// What a name in a path leads to; `None` is the default feed under its short path.
    pub(super) fn mount(&self, name: Option<&str>, member: Option<&str>) -> Option<Mount<'_>> {
        let wanted = name.or(self.settings.default_feed.as_deref());
        let union = self
            .unions
            .iter()
            .find(|union| Some(&*union.name) == wanted);
        let Some(union) = union else {
            let feed = match name {
                None => self.feeds.first(),
                Some(name) => self.feeds.iter().find(|feed| *feed.name == *name),
            };
            return feed.filter(|_| member.is_none()).map(Mount::Feed);
        };
        let Some(member) = member else {
            return Some(Mount::Union {
                union,
                member: None,
            });
        };
        let found = union.members.iter().find(|feed| *feed.name == *member)?;
        Some(Mount::Union {
            union,
            member: Some(found),
        })
    }

    /// Answers a read of a union's resource, or of what it has of one member.
    pub(super) async fn read_union(
        &self,
        query: &UnionQuery<'_>,
        member: Option<&Arc<Feed>>,
        resource: &Resource,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Response<Body> {
        let result = match (member, resource) {
            (_, Resource::Content { id, version, file }) => {
                self.union_content(query, id, version, *file, facts, told)
                    .await
            }
            (_, Resource::Symbols(path)) => self.union_symbols(query, path, facts, told).await,
            // A union has neither signatures nor client binaries.
            (_, Resource::Certificate(_) | Resource::Tool(_)) => {
                Ok(answer_absent(Missing::default(), facts, told))
            }
            (Some(member), Resource::Link { .. }) => {
                self.union_link(query, member, resource, facts, told).await
            }
            _ => {
                self.union_document(query, member, resource, parts, facts, told)
                    .await
            }
        };
        result.unwrap_or_else(|failure| {
            self.answer_failure(&query.union.name, resource, failure, facts, told)
        })
    }

    async fn union_document(
        &self,
        query: &UnionQuery<'_>,
        member: Option<&Arc<Feed>>,
        resource: &Resource,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let wanted = Wanted::new(query.union.face(), resource, query.base, parts);
        let demand = self.demand_for(&wanted, query.demand, facts, told);
        if let Some(response) = self.remembered(&wanted, demand, parts, facts, told) {
            return Ok(response);
        }
        let query = UnionQuery { demand, ..*query };
        let seen = Box::pin(self.view_of_union(&query, member, resource)).await?;
        self.answer_seen(seen, &wanted, facts, told).await
    }
}

/// The base of what a union has of a member.
fn base_of(query: &UnionQuery<'_>, member: &Feed) -> String {
    member_base(query.base, &member.name)
}

#[cfg(test)]
mod tests;
