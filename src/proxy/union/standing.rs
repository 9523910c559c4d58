//! Whose each version of an id is: who delivered it first, else the first member that lists it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::UnionQuery;
use super::ask::Roll;
use super::member::{Coming, arrived};
use super::merged::Owners;
use crate::cache::decision::Demand;
use crate::nuget::id::PackageId;
use crate::nuget::merge::Owner;
use crate::nuget::version::Version;
use crate::nuget::version_list::read_version_list;
use crate::proxy::Proxy;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::route::Resource;
use crate::proxy::view::{Seen, Shown};

/// How an id stands with the members that are asked for it.
#[derive(Debug)]
pub(super) struct Standing {
    /// Their version lists.
    pub(super) lists: Roll,
    pub(super) owners: Arc<Owners>,
}

impl Standing {
    /// Whether every version that is listed is delivered by the member in this place.
    pub(super) fn is_all_of(&self, place: usize) -> bool {
        let mut owners = self.owners.0.values();
        owners.all(|owner| *owner == Owner::Is(place))
    }

    /// The versions that can be delivered.
    pub(super) fn versions(&self) -> Vec<Version> {
        let owners = self.owners.0.iter();
        owners
            .filter(|(_, owner)| **owner != Owner::Nobody)
            .map(|(version, _)| version.clone())
            .collect()
    }
}

/// Who delivers a version.
#[derive(Debug)]
pub(super) enum Deliverer {
    /// Nobody lists it: whoever has it, the first first. What the lists said of it is no document yet.
    Anybody(Roll),
    One(Arc<Feed>),
}

impl Proxy {
    /// Asks the members for their lists of an id and settles whose each version is.
    pub(super) async fn standing_of(
        &self,
        query: &UnionQuery<'_>,
        id: &PackageId,
        members: &[Arc<Feed>],
    ) -> Result<Standing, Failure> {
        let asked = self.begin_lists(query, id, members);
        let recorded = self.recorded(query.union, id).await;
        let asked = members.iter().cloned().zip(asked).collect();
        let lists = self.call_roll(query, asked).await?;
        let mut listed: BTreeMap<Version, Vec<usize>> = BTreeMap::new();
        for (place, shown) in &lists.shown {
            for version in self.versions_in(shown).await? {
                listed.entry(version).or_default().push(*place);
            }
        }
        let owner = |version: &Version, places: &[usize]| {
            let first = recorded.of(version).and_then(|name| {
                let mut members = members.iter();
                members.position(|member| *member.name == *name)
            });
            match (first, places.first()) {
                (Some(first), _) if places.contains(&first) => Owner::Is(first),
                (Some(_), _) | (None, None) => Owner::Nobody,
                (None, Some(place)) => Owner::Is(*place),
            }
        };
        let owners = listed
            .into_iter()
            .map(|(version, places)| {
                let owner = owner(&version, &places);
                (version, owner)
            })
            .collect();
        Ok(Standing {
            lists,
            owners: Arc::new(Owners(owners)),
        })
    }

    /// Who delivers a version. A member that stands before another is waited for, since it may list the version; those
    /// behind the first that does are not.
    pub(super) async fn deliverer(
        &self,
        query: &UnionQuery<'_>,
        id: &PackageId,
        version: &Version,
        members: &[Arc<Feed>],
    ) -> Result<Deliverer, Failure> {
        if let [only] = members {
            return Ok(Deliverer::One(Arc::clone(only)));
        }
        let recorded = self.recorded(query.union, id).await;
        let first = recorded.of(version);
        if let Some(member) = members.iter().find(|member| first == Some(&*member.name)) {
            return Ok(Deliverer::One(Arc::clone(member)));
        }
        let lists = UnionQuery {
            demand: match query.demand {
                Demand::StoredOnly => Demand::StoredOnly,
                // It is the file that is demanded anew.
                Demand::Forced | Demand::None => Demand::None,
            },
            ..*query
        };
        let asked = self.begin_lists(&lists, id, members);
        let mut roll = self.roll();
        for (place, (member, coming)) in members.iter().zip(asked).enumerate() {
            let seen = arrived(coming).await;
            match seen {
                Ok(Seen::Shown(list)) if self.versions_in(&list).await?.contains(version) => {
                    return Ok(Deliverer::One(Arc::clone(member)));
                }
                Ok(Seen::Shown(list)) => roll.add_lack(&list),
                seen => self.add_to(&mut roll, query, place, member, seen)?,
            }
        }
        Ok(Deliverer::Anybody(roll))
    }

    fn begin_lists(
        &self,
        query: &UnionQuery<'_>,
        id: &PackageId,
        members: &[Arc<Feed>],
    ) -> Vec<Coming> {
        let list = || Resource::VersionList(id.clone());
        members
            .iter()
            .map(|member| self.begin_asking(query, member, list()))
            .collect()
    }

    /// The versions that a member's list names.
    async fn versions_in(&self, shown: &Shown) -> Result<Vec<Version>, Failure> {
        let text = self.text_of(shown, "").await?;
        let text = std::str::from_utf8(&text).unwrap_or_default();
        let list = read_version_list(text)
            .map_err(|_| Failure::Internal("a stored version list that cannot be read"))?;
        let versions = list.versions.iter();
        Ok(versions
            .filter_map(|text| Version::parse(text).ok())
            .collect())
    }
}
