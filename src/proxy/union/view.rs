//! The view of a union: which documents of which members an answer is made of.

use std::sync::Arc;

use super::ask::of_member;
use super::member::arrived;
use super::merged::{Merge, Shelf};
use super::standing::Standing;
use super::{Union, UnionQuery};
use crate::cache::decision::Demand;
use crate::cache::epoch::Epoch;
use crate::nuget::catalog;
use crate::nuget::id::PackageId;
use crate::nuget::merge::audit_overflow;
use crate::nuget::service_index::{SEMVER1_HIVE, SEMVER2_HIVE};
use crate::proxy::Proxy;
use crate::proxy::document::Missing;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::route::{RegistrationPart, Resource};
use crate::proxy::told::{class_of, id_of};
use crate::proxy::view::{How, Seen, Shown};

/// What gates a union's answers: taken before its documents are asked for, so that an answer is never newer than it says.
pub(super) fn stamp_of(proxy: &Proxy, union: &Union, resource: &Resource) -> Epoch {
    proxy.gate_of(&union.members, id_of(resource), class_of(resource))
}

impl Proxy {
    /// Looks the members' documents up and says how to show them as one. `member` is whose base the request named.
    pub(super) async fn view_of_union(
        &self,
        query: &UnionQuery<'_>,
        member: Option<&Arc<Feed>>,
        resource: &Resource,
    ) -> Result<Seen, Failure> {
        let stamp = stamp_of(self, query.union, resource);
        match (member, resource) {
            (_, Resource::Autocomplete | Resource::Search) => {
                self.search_of_union(query, resource).await
            }
            (None, Resource::Registration { hive, id, part }) => {
                if hive != SEMVER1_HIVE && hive != SEMVER2_HIVE {
                    return Ok(Seen::Absent(Missing::default()));
                }
                self.registration_of_union(query, hive, id, part, stamp)
                    .await
            }
            (Some(_), Resource::Registration { id, part, .. })
                if matches!(part, RegistrationPart::Index) =>
            {
                self.registration_of_union(query, SEMVER2_HIVE, id, part, stamp)
                    .await
            }
            (Some(member), Resource::Registration { id, part, .. }) => {
                self.registration_of_member(query, member, resource, id, part, stamp)
                    .await
            }
            (_, Resource::ServiceIndex) => self.index_of_union(query, stamp).await,
            (_, Resource::VersionList(id)) => self.list_of_union(query, id, stamp).await,
            (_, Resource::VulnerabilityIndex) => self.audit_of_union(query, stamp).await,
            (None, Resource::VulnerabilityPage(token)) => {
                self.audit_rest(query, token, stamp).await
            }
            (Some(member), Resource::Catalog(_) | Resource::VulnerabilityPage(_)) => {
                self.document_of_member(query, member, resource, stamp)
                    .await
            }
            // Links and catalog leaves are handed out below their member's name alone, signatures and client binaries
            // not at all: what one member claims of its packages is not true of all (protocol fact 2.6.9).
            (None, Resource::Catalog(_) | Resource::Link { .. })
            | (_, Resource::RepositorySignatures(_) | Resource::ToolsList) => {
                Ok(Seen::Absent(Missing::default()))
            }
            (
                _,
                Resource::Certificate(_)
                | Resource::Content { .. }
                | Resource::Link { .. }
                | Resource::Publish(_)
                | Resource::SymbolPublish(_)
                | Resource::Symbols(_)
                | Resource::Tool(_),
            ) => Err(Failure::Internal("a resource that is no document")),
        }
    }

    /// The versions that can be delivered. What one member alone has passes byte for byte.
    async fn list_of_union(
        &self,
        query: &UnionQuery<'_>,
        id: &PackageId,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let members = query.union.candidates(id);
        let standing = self.standing_of(query, id, &members).await?;
        let merge = match standing.lists.shown.as_slice() {
            [(place, _)] if standing.is_all_of(*place) => Merge::One,
            _ => Merge::VersionList(standing.versions()),
        };
        let Standing { lists, .. } = standing;
        self.joined(&members, lists, merge, stamp)
    }

    /// The types that any member serves. A member whose index cannot be had is left out, and it is told: it would be no
    /// help to take the others' packages away with it.
    async fn index_of_union(&self, query: &UnionQuery<'_>, stamp: Epoch) -> Result<Seen, Failure> {
        let members = &query.union.members;
        let mut roll = self.roll();
        let asked: Vec<_> = members
            .iter()
            .map(|member| self.begin_asking(query, member, Resource::ServiceIndex))
            .collect();
        for (place, (member, coming)) in members.iter().zip(asked).enumerate() {
            match arrived(coming).await {
                Err(failure) => {
                    self.tell_left_out(query, member, failure.reason());
                    roll.leave_out(of_member(member, failure));
                }
                seen => roll.add(place, member, seen)?,
            }
        }
        let push_to = query.union.push_to.as_ref();
        let push = push_to.and_then(|push_to| {
            let mut members = members.iter();
            members.position(|member| member.name == push_to.name)
        });
        self.joined(members, roll, Merge::ServiceIndex { push }, stamp)
    }

    /// What a member has of its own, below its own name. Of the catalog that is a leaf, of an id that the member is asked
    /// for: its index and pages name every id.
    async fn document_of_member(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        resource: &Resource,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let asked = vec![(
            Arc::clone(member),
            self.begin_asking(query, member, resource.clone()),
        )];
        let roll = self.call_roll(query, asked).await?;
        if let (Resource::Catalog(_), [(_, shown)]) = (resource, roll.shown.as_slice())
            && !leaf_is_of(query.union, member, shown)
        {
            return Ok(Seen::Absent(Missing::default()));
        }
        let members = std::slice::from_ref(member);
        self.joined(members, roll, Merge::One, stamp)
    }

    /// The audit data of all members that have some.
    async fn audit_of_union(&self, query: &UnionQuery<'_>, stamp: Epoch) -> Result<Seen, Failure> {
        let members = &query.union.members;
        let asked = members.iter().map(|member| {
            let coming = self.begin_asking(query, member, Resource::VulnerabilityIndex);
            (Arc::clone(member), coming)
        });
        let roll = self.call_roll(query, asked.collect()).await?;
        self.joined(members, roll, Merge::VulnerabilityIndex, stamp)
    }

    /// The pages beyond those that a client reads, as one.
    async fn audit_rest(
        &self,
        query: &UnionQuery<'_>,
        token: &str,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let Seen::Shown(index) = self.audit_of_union(query, stamp).await? else {
            return Ok(Seen::Absent(Missing::default()));
        };
        let How::Union(merged) = &index.how else {
            return Err(Failure::Internal("a union's index that is none"));
        };
        let texts = merged.texts(&index.sources, query.base);
        let texts = texts.map_err(Failure::Internal)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let overflow = audit_overflow(&merged.audits(&texts))
            .map_err(|_| Failure::Internal("a vulnerability index that cannot be read"))?;
        // A token of another instance's index gets the current page: there is one such page only.
        let Some(overflow) = overflow.filter(|rest| names_rest(token, &rest.token)) else {
            return Ok(Seen::Absent(Missing::default()));
        };
        let (mut members, mut asked) = (Vec::new(), Vec::new());
        let plain = UnionQuery {
            demand: match query.demand {
                Demand::Forced => Demand::None,
                demand => demand,
            },
            ..*query
        };
        for (at, url) in overflow.pages {
            let member = merged.parts.get(at).and_then(|part| {
                let mut members = query.union.members.iter();
                members.find(|feed| feed.name == part.member)
            });
            let (Some(member), Some(page)) = (member, url.rsplit('/').next()) else {
                continue;
            };
            let page = Resource::VulnerabilityPage(page.to_owned());
            asked.push((Arc::clone(member), self.begin_asking(&plain, member, page)));
            members.push(Arc::clone(member));
        }
        let roll = self.call_roll(query, asked).await?;
        let mut seen = self.joined(&members, roll, Merge::VulnerabilityRest, stamp)?;
        if let Seen::Shown(shown) = &mut seen {
            // It stands for what the indexes name, as long as they do.
            shown.deadline = shown.deadline.min(index.deadline);
        }
        Ok(seen)
    }

    /// The part of a union's registrations that a member has under its own name: a page or a leaf.
    async fn registration_of_member(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        resource: &Resource,
        id: &PackageId,
        part: &RegistrationPart,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let members = query.union.candidates(id);
        let Some(place) = members.iter().position(|feed| feed.name == member.name) else {
            return Ok(Seen::Absent(Missing::default()));
        };
        if let RegistrationPart::Leaf(rest) = part {
            return self
                .leaf_of_member(query, &members, place, resource, id, rest, stamp)
                .await;
        }
        let standing = self.standing_of(query, id, &members).await?;
        let coming = self.begin_asking(query, member, resource.clone());
        let mut roll = self.roll();
        roll.add(place, member, arrived(coming).await)?;
        roll.heed(&standing.lists);
        let within = match part {
            RegistrationPart::Page { bounds, .. } => bounds.clone(),
            RegistrationPart::Index | RegistrationPart::Leaf(_) => None,
        };
        let merge = Merge::OwnPage(Shelf {
            hive: SEMVER2_HIVE.to_owned(),
            id: id.clone(),
            owners: standing.owners,
            within,
        });
        self.joined(&members, roll, merge, stamp)
    }
}

fn leaf_is_of(union: &Union, member: &Feed, shown: &Shown) -> bool {
    if !matches!(shown.how, How::CatalogLeaf(_)) {
        return false;
    }
    let id = shown.sources.first().and_then(|source| {
        let leaf = catalog::read_leaf(source.text()).ok()?;
        PackageId::parse(&leaf.details.id?).ok()
    });
    id.is_none_or(|id| union.is_candidate(member, &id))
}

/// Whether two tokens name the same page, perhaps of different times.
fn names_rest(one: &str, other: &str) -> bool {
    let name = |token: &str| token.rsplit_once('-').map(|(name, _)| name.to_owned());
    name(one) == name(other)
}
