//! Files of a union: from the member whose the version is, and from no other.

use std::sync::Arc;

use http::{Method, Response};

use super::ask::of_member;
use super::member::of_id;
use super::standing::Deliverer;
use super::{UnionQuery, base_of};
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::body::Body;
use crate::proxy::content::{Delivery, File, Want};
use crate::proxy::document::Missing;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::reads::{answer_absent, file_of};
use crate::proxy::respond::Facts;
use crate::proxy::route::{Content, LinkSubject, Resource};
use crate::proxy::told::Told;
use crate::proxy::view::Seen;

impl Proxy {
    /// A file of the flat container.
    pub(super) async fn union_content(
        &self,
        query: &UnionQuery<'_>,
        id: &PackageId,
        version: &Version,
        file: Content,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let members = query.union.candidates(id);
        let deliverer = Box::pin(self.deliverer(query, id, version, &members)).await?;
        let (members, mut roll) = match deliverer {
            Deliverer::Anybody(roll) => (members, roll),
            Deliverer::One(member) => (vec![member], self.roll()),
        };
        for (place, member) in members.iter().enumerate() {
            let base = base_of(query, member);
            let want = self.want(&query.of_member(member, &base), id, version, file, None);
            let failure = match Box::pin(self.content(&want, facts)).await {
                Ok(Delivery::Absent(missing)) => {
                    roll.add(place, member, Ok(Seen::Absent(missing)))?;
                    continue;
                }
                Ok(delivery) => {
                    return self
                        .deliver_of_member(query, member, delivery, &want, facts, told)
                        .await;
                }
                Err(failure) => of_id(failure),
            };
            self.add_to(&mut roll, query, place, member, Err(failure))?;
        }
        Ok(answer_absent(roll.nothing()?, facts, told))
    }

    /// Hands out what a member delivers, and records that it does. If another was quicker, that one delivers.
    async fn deliver_of_member(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        delivery: Delivery,
        want: &Want,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let (Some(id), File::OfPackage(version, file), &Method::GET) =
            (&want.ask.id, &want.file, facts.method)
        else {
            return Ok(self.deliver(delivery, want, facts, told));
        };
        let first = self.record(query.union, id, version, &member.name).await;
        let other = query.union.candidates(id);
        let other = other
            .iter()
            .find(|feed| *feed.name == *first && feed.name != member.name);
        let Some(other) = other else {
            return Ok(self.deliver(delivery, want, facts, told));
        };
        let base = base_of(query, other);
        let want = self.want(&query.of_member(other, &base), id, version, *file, None);
        let answer = self.answer_content(&want, facts, told).await;
        answer.map_err(|failure| of_member(other, of_id(failure)))
    }

    /// A link route of a member: its target is found again in the member's documents.
    pub(super) async fn union_link(
        &self,
        query: &UnionQuery<'_>,
        member: &Arc<Feed>,
        link: &Resource,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let Resource::Link {
            hive,
            id,
            subject,
            digest,
        } = link
        else {
            return Err(Failure::Internal("a resource that is no link"));
        };
        if !query.union.is_candidate(member, id) {
            return Ok(answer_absent(Missing::default(), facts, told));
        }
        let base = base_of(query, member);
        let of_member_query = query.of_member(member, &base);
        let named = |failure| of_member(member, of_id(failure));
        if let LinkSubject::Version(version) = subject {
            let found = self
                .find_link(&of_member_query, hive, id, subject, digest)
                .await
                .map_err(named)?;
            let file = found.as_ref().and_then(|found| file_of(found.kind));
            if let (Some(found), Some(file)) = (found, file) {
                told.subject.class = file.class().word();
                let recorded = self.recorded(query.union, id).await;
                let is_own = recorded
                    .of(version)
                    .is_none_or(|first| *first == *member.name);
                if !is_own {
                    return self
                        .union_content(query, id, version, file, facts, told)
                        .await;
                }
                let url = Some(found.url);
                let want = self.want(&of_member_query, id, version, file, url);
                let delivery = self.content(&want, facts).await.map_err(named)?;
                if let Delivery::Absent(missing) = delivery {
                    return Ok(answer_absent(missing, facts, told));
                }
                return self
                    .deliver_of_member(query, member, delivery, &want, facts, told)
                    .await;
            }
        }
        self.answer_link(&of_member_query, hive, id, subject, digest, facts, told)
            .await
            .map_err(named)
    }
}
