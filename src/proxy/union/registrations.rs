//! Registrations of a union: of one member as they are, of several as one index by version.

use std::sync::Arc;

use super::UnionQuery;
use super::member::arrived;
use super::merged::{Merge, Shelf};
use super::standing::Deliverer;
use crate::cache::epoch::Epoch;
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::document::Missing;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::route::{RegistrationPart, Resource};
use crate::proxy::view::registrations::version_in;
use crate::proxy::view::{Seen, Shown};

impl Proxy {
    /// A document of one of the union's own hives.
    pub(super) async fn registration_of_union(
        &self,
        query: &UnionQuery<'_>,
        hive: &str,
        id: &PackageId,
        part: &RegistrationPart,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let members = query.union.candidates(id);
        let within = match part {
            RegistrationPart::Index => None,
            RegistrationPart::Leaf(rest) => {
                let Some(version) = version_in(rest) else {
                    return Ok(Seen::Absent(Missing::default()));
                };
                return self
                    .leaf_of_union(query, &members, hive, id, &version, stamp)
                    .await;
            }
            RegistrationPart::Page {
                bounds: Some(bounds),
                ..
            } => Some(bounds.clone()),
            // No page of ours has such a name.
            RegistrationPart::Page { bounds: None, .. } => {
                return Ok(Seen::Absent(Missing::default()));
            }
        };
        let asked = members.iter().map(|member| {
            let coming = self.begin_index(query, member, hive, id);
            (Arc::clone(member), coming)
        });
        let asked: Vec<_> = asked.collect();
        let standing = match members.len() {
            0 | 1 => None,
            _ => Some(self.standing_of(query, id, &members).await?),
        };
        let mut roll = self.call_roll(query, asked).await?;
        if let Some(standing) = &standing {
            roll.heed(&standing.lists);
        }
        let is_ones = |place: usize| {
            let standing = standing.as_ref();
            standing.is_none_or(|standing| standing.is_all_of(place))
        };
        match roll.shown.as_slice() {
            [] => return roll.nothing().map(Seen::Absent),
            [(place, _)] if within.is_none() && is_ones(*place) => {
                return self.joined(&members, roll, Merge::One, stamp);
            }
            _ => {}
        }
        // The indexes say who has something; what is shown is gathered with all pages.
        let indexes = std::mem::take(&mut roll.shown).into_iter();
        let places: Vec<usize> = indexes.map(|(place, _)| place).collect();
        let gathering: Vec<_> = places
            .iter()
            .filter_map(|place| members.get(*place))
            .map(|member| self.begin_gathering(query, member, hive, id, within.clone()))
            .collect();
        for (place, coming) in places.into_iter().zip(gathering) {
            if let Some(member) = members.get(place) {
                roll.add(place, member, arrived(coming).await)?;
            }
        }
        let merge = Merge::Registration(Shelf {
            hive: hive.to_owned(),
            id: id.clone(),
            owners: standing
                .as_ref()
                .map(|standing| Arc::clone(&standing.owners))
                .unwrap_or_default(),
            within,
        });
        self.joined(&members, roll, merge, stamp)
    }

    /// The leaf of a version, from whose it is.
    async fn leaf_of_union(
        &self,
        query: &UnionQuery<'_>,
        members: &[Arc<Feed>],
        hive: &str,
        id: &PackageId,
        version: &Version,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let (members, mut roll) = match self.deliverer(query, id, version, members).await? {
            Deliverer::Anybody(roll) => (members.to_vec(), roll),
            Deliverer::One(member) => (vec![member], self.roll()),
        };
        for (place, member) in members.iter().enumerate() {
            let coming = self.begin_leaf(query, member, hive, id, version);
            roll.add(place, member, arrived(coming).await)?;
            if !roll.shown.is_empty() {
                break;
            }
        }
        self.joined(&members, roll, Merge::One, stamp)
    }

    /// A leaf below a member's name: the member's own, unless the version is another's.
    #[expect(clippy::too_many_arguments, reason = "the parts of one route")]
    pub(super) async fn leaf_of_member(
        &self,
        query: &UnionQuery<'_>,
        members: &[Arc<Feed>],
        place: usize,
        resource: &Resource,
        id: &PackageId,
        rest: &str,
        stamp: Epoch,
    ) -> Result<Seen, Failure> {
        let Some(member) = members.get(place) else {
            return Ok(Seen::Absent(Missing::default()));
        };
        if let Some(version) = version_in(rest)
            && let Deliverer::One(owner) = self.deliverer(query, id, &version, members).await?
            && owner.name != member.name
        {
            let hive = crate::nuget::service_index::SEMVER2_HIVE;
            return self
                .leaf_of_union(query, members, hive, id, &version, stamp)
                .await;
        }
        let mut roll = self.roll();
        let coming = self.begin_asking(query, member, resource.clone());
        roll.add(place, member, arrived(coming).await)?;
        self.joined(members, roll, Merge::One, stamp)
    }
}

/// The address of a version's leaf in registration documents.
pub(super) fn leaf_url(shown: &Shown, version: &Version) -> Option<String> {
    use crate::nuget::link::LinkKind;
    use crate::nuget::registration;
    shown.sources.iter().find_map(|source| {
        let document = registration::read(source.text()).ok()?;
        let place = document.leaves.iter().position(|leaf| {
            let own = leaf.version.as_deref();
            own.and_then(|text| Version::parse(text).ok()).as_ref() == Some(version)
        })?;
        let mut links = document.links.into_iter();
        links
            .find(|link| link.kind == LinkKind::LeafSelf && link.leaf == Some(place))
            .map(|link| link.url)
    })
}
