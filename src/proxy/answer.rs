//! The answer to a request for a document: from memory, or made of what a view shows.

use std::sync::Arc;

use http::{Response, request};

use super::asks::gate_name;
use super::body::Body;
use super::failure::Failure;
use super::feed::{Face, Feed};
use super::outcome::Outcome;
use super::reads::answer_absent;
use super::render::{self, Coding, Order};
use super::respond::{self, Facts};
use super::route::{Class, Resource};
use super::shortcut::Meaning;
use super::told::{Told, class_of, id_of, note_of};
use super::view::{Query, Seen};
use super::{Proxy, Snapshot};
use crate::cache::decision::Demand;
use crate::cache::epoch::Epoch;
use crate::cache::freshness;
use crate::nuget::id::PackageId;
use crate::store::Answer;

/// A document that somebody wants of a feed, or of a union of feeds, and what its answers are called in memory.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) face: Face<'a>,
    pub(super) resource: &'a Resource,
    /// What of the path names its answers.
    path: String,
    pub(super) base: &'a str,
    coding: Coding,
    /// The name of its answer in memory.
    key: String,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(
        face: Face<'a>,
        resource: &'a Resource,
        base: &'a str,
        parts: &request::Parts,
    ) -> Self {
        let path = match resource {
            // Every spelling of an id is one answer.
            Resource::VersionList(id) => format!("list/{}", id.as_str()),
            _ => parts.uri.path().trim_end_matches('/').to_owned(),
        };
        let coding = Coding::of(&parts.headers);
        Self {
            face,
            resource,
            key: render::answer_key(face, &path, base, coding),
            path,
            base,
            coding,
        }
    }
}

impl Proxy {
    /// A document of a feed.
    pub(super) async fn answer_document(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let wanted = Wanted::new(query.feed.face(), resource, query.base, parts);
        let demand = self.demand_for(&wanted, query.demand, facts, told);
        if let Some(response) = self.remembered(&wanted, demand, parts, facts, told) {
            return Ok(response);
        }
        let query = Query {
            demand,
            ..query.clone()
        };
        let seen = self.view(&query, resource).await?;
        self.answer_seen(seen, &wanted, facts, told).await
    }

    /// Whether what is made of it is kept in memory. Results are about every id: their text is remembered, and what was
    /// made of it is not. Offline, what can be delivered is looked up for each answer.
    fn keeps(&self, wanted: &Wanted<'_>) -> bool {
        !matches!(wanted.resource, Resource::Autocomplete | Resource::Search)
            && self.are_online(wanted.face.feeds)
    }

    /// What a request demands, its session considered.
    pub(super) fn demand_for(
        &self,
        wanted: &Wanted<'_>,
        demand: Demand,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Demand {
        if let Resource::VersionList(id) = wanted.resource {
            self.demand_of_session(wanted, id, facts, told, demand)
        } else {
            demand
        }
    }

    /// The answer in memory, if it is fresh.
    pub(super) fn remembered(
        &self,
        wanted: &Wanted<'_>,
        demand: Demand,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Option<Response<Body>> {
        let id = id_of(wanted.resource);
        if !self.keeps(wanted) || demand == Demand::Forced {
            return None;
        }
        let class = class_of(wanted.resource);
        let answer = self.current_answer(wanted.face.feeds, id, class, &wanted.key)?;
        self.note_session(told, Outcome::Hit);
        let meaning = Meaning {
            face: wanted.face,
            id,
            class,
            depends_on_session: matches!(wanted.resource, Resource::VersionList(_)),
            scheme: facts.scheme,
            path: &wanted.path,
            base: wanted.base,
        };
        self.note_shortcut(parts, meaning);
        told.tell(Outcome::Hit, None);
        let note = note_of(&answer, Outcome::Hit, None, facts);
        Some(respond::document(facts, &answer, &note))
    }

    /// The answer that a view amounts to.
    pub(super) async fn answer_seen(
        &self,
        seen: Seen,
        wanted: &Wanted<'_>,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        match seen {
            Seen::Absent(missing) => Ok(answer_absent(missing, facts, told)),
            Seen::Shown(shown) => {
                self.note_session(told, shown.outcome);
                let bases = wanted.face.bases;
                let is_kept =
                    self.keeps(wanted) && bases.admit(wanted.base, self.settings.max_base_urls);
                let order = Order {
                    base: wanted.base.to_owned(),
                    generation: wanted.face.generation,
                    coding: wanted.coding,
                    key: is_kept.then(|| wanted.key.clone()),
                };
                let answer = self.render(&shown, &order).await?;
                told.tell(shown.outcome, shown.reason);
                told.subject.origin = Some(answer.origin.clone());
                let note = note_of(&answer, shown.outcome, shown.reason, facts);
                Ok(respond::document(facts, &answer, &note))
            }
        }
    }
}

impl Snapshot {
    /// An answer in memory that is fresh: a comparison of times and one of epochs.
    pub(super) fn current_answer(
        &self,
        feeds: &[Arc<Feed>],
        id: Option<&PackageId>,
        class: Class,
        key: &str,
    ) -> Option<Arc<Answer>> {
        let answer = self.store.answers().get(key)?;
        let gate = self.gate_of(feeds, id, class);
        let is_current =
            freshness::is_fresh(answer.validated_at, answer.deadline, self.clock.now())
                && answer.epoch >= gate;
        let may_see = || feeds.iter().all(|feed| self.may_see(feed, id, class));
        (is_current && may_see()).then_some(answer)
    }

    /// What gates answers in memory that are made of several feeds: the sum of their epochs, which rises with each. Of
    /// one feed it is the feed's.
    pub(super) fn gate_of(
        &self,
        feeds: &[Arc<Feed>],
        id: Option<&PackageId>,
        class: Class,
    ) -> Epoch {
        let name = gate_name(id, class);
        let epochs = feeds.iter().map(|feed| {
            let feed = match class {
                Class::VulnerabilityIndex | Class::VulnerabilityPage => feed.audit_source(),
                _ => feed,
            };
            self.store.gate(&feed.name, name).epoch.0
        });
        Epoch(epochs.fold(0, u64::saturating_add))
    }
}
