//! Reads: of whatever resource, of content and links; and what a session of a client may demand.

use std::sync::Arc;

use http::{HeaderMap, Response, request};

use super::Proxy;
use super::answer::Wanted;
use super::body::Body;
use super::content::{Delivery, Want};
use super::document::Missing;
use super::failure::Failure;
use super::live::StoredRescue;
use super::outcome::{Outcome, Reason};
use super::refusal::Refusal;
use super::render::{Coding, Order};
use super::respond::{self, Facts, Note};
use super::route::{Class, Content, LinkSubject, Resource};
use super::told::{Told, hash_of, id_of, note_of, what};
use super::view::{Query, Seen};
use crate::cache::decision::Demand;
use crate::cache::entry::age;
use crate::nuget::id::PackageId;
use crate::nuget::link::LinkKind;
use crate::nuget::service_index::is_https;
use crate::store::Raise;

impl Proxy {
    /// Answers a read that failed.
    pub(super) fn answer_failure(
        &self,
        feed: &Arc<str>,
        resource: &Resource,
        failure: Failure,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Response<Body> {
        let failure = match failure {
            Failure::Offline if id_of(resource).is_some() => Failure::OfflineAbsent,
            other => other,
        };
        self.note_blocked(feed, &failure, told);
        let (outcome, reason) = failure.outcome();
        told.tell(outcome, reason);
        let note = Note::of(outcome, reason);
        respond::failure(facts, &failure, &what(&told.subject), &note)
    }

    /// Answers a read of a feed's resource.
    pub(super) async fn read_resource(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Response<Body> {
        let result = self.read_or_demand(query, resource, parts, facts, told);
        let result = result.await;
        result.unwrap_or_else(|failure| {
            self.answer_failure(&query.feed.name, resource, failure, facts, told)
        })
    }

    /// The answer to a read, or why there is none.
    pub(super) async fn answer_read(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        match resource {
            Resource::Content { id, version, file } => {
                let want = self.want(query, id, version, *file, None);
                self.answer_content(&want, facts, told).await
            }
            Resource::Certificate(_) | Resource::Symbols(_) | Resource::Tool(_) => {
                self.answer_file(query, resource, facts, told).await
            }
            Resource::RepositorySignatures(_) if !is_https(query.base) => {
                let problem = "repository signatures are served over https alone, for clients take them from nowhere else";
                let refusal = Refusal::NoSuchPath(problem.into());
                Ok(respond::refusal(facts, &refusal))
            }
            Resource::Link {
                hive,
                id,
                subject,
                digest,
            } => {
                self.answer_link(query, hive, id, subject, digest, facts, told)
                    .await
            }
            _ => {
                self.answer_document(query, resource, parts, facts, told)
                    .await
            }
        }
    }

    /// A file of the flat container.
    pub(super) async fn answer_content(
        &self,
        want: &Want,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let delivery = self.content(want, facts).await?;
        Ok(self.deliver(delivery, want, facts, told))
    }

    /// The response that a delivery amounts to.
    pub(super) fn deliver(
        &self,
        delivery: Delivery,
        want: &Want,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Response<Body> {
        match delivery {
            Delivery::Absent(missing) => answer_absent(missing, facts, told),
            Delivery::Head { headers, length } => {
                told.tell(Outcome::Bypass, None);
                respond::head_of_content(facts, &headers, length, &Note::of(Outcome::Bypass, None))
            }
            Delivery::Live {
                headers,
                origin,
                live,
                outcome,
                reason,
            } => {
                told.tell(outcome, reason);
                told.subject.origin = Some(origin);
                let note = Note {
                    validated_at: self.clock.now().checked_sub(age(&headers)),
                    ..Note::of(outcome, reason)
                };
                respond::live(facts, &headers, live, &note)
            }
            Delivery::Stored {
                stored,
                outcome,
                reason,
            } => {
                told.tell(outcome, reason);
                told.subject.origin = Some(stored.entry.origin.clone());
                told.subject.sha512 = Some(hash_of(&stored.entry.sha512));
                self.store.note_use(&want.ask.key);
                let validated_at = Some(stored.entry.confirmed_at());
                let note = Note {
                    validated_at,
                    ..Note::of(outcome, reason)
                };
                let rescue = StoredRescue {
                    proxy: self.clone(),
                    want: want.clone(),
                    stored,
                };
                respond::content(facts, rescue, &note)
            }
            Delivery::Unsatisfiable(length) => {
                told.tell(Outcome::Refused, Some(Reason::BadRequest));
                let note = Note::of(Outcome::Refused, Some(Reason::BadRequest));
                respond::unsatisfiable(facts, HeaderMap::new(), &note, length)
            }
        }
    }

    /// A link route: its target is found again in the id's documents.
    #[expect(clippy::too_many_arguments, reason = "the parts of one route")]
    pub(super) async fn answer_link(
        &self,
        query: &Query<'_>,
        hive: &str,
        id: &PackageId,
        subject: &LinkSubject,
        digest: &str,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let found = self.find_link(query, hive, id, subject, digest).await?;
        if let (Some(found), LinkSubject::Version(version)) = (&found, subject)
            && let Some(file) = file_of(found.kind)
        {
            told.subject.class = file.class().word();
            let url = Some(found.url.clone());
            let want = self.want(query, id, version, file, url);
            return self.answer_content(&want, facts, told).await;
        }
        let linked = self.linked(query, hive, id, subject, found.as_ref());
        let (class, seen) = linked.await?;
        let link = Resource::Link {
            hive: hive.to_owned(),
            id: id.clone(),
            subject: subject.clone(),
            digest: digest.to_owned(),
        };
        let seen = self.sifted(query, &link, seen).await?;
        told.subject.class = class.word();
        match seen {
            Seen::Absent(missing) => Ok(answer_absent(missing, facts, told)),
            Seen::Shown(shown) => {
                let coding = Coding::of(facts.headers);
                let order = Order {
                    base: query.base.to_owned(),
                    generation: query.feed.generation,
                    coding,
                    key: None,
                };
                let answer = self.render(&shown, &order).await?;
                told.tell(shown.outcome, shown.reason);
                let note = note_of(&answer, shown.outcome, shown.reason, facts);
                Ok(respond::document(facts, &answer, &note))
            }
        }
    }

    /// A list that a session asks for again, after an answer that was not fetched for it, lacks what the client looks
    /// for: the upstream is asked (protocol fact 7.3.1). Without a session id, never.
    pub(super) fn demand_of_session(
        &self,
        wanted: &Wanted<'_>,
        id: &PackageId,
        facts: &Facts<'_>,
        told: &mut Told,
        demand: Demand,
    ) -> Demand {
        let session = facts
            .headers
            .get("x-nuget-session-id")
            .and_then(|value| value.to_str().ok());
        let (Some(session), Some(client)) = (session, told.client) else {
            return demand;
        };
        let key = format!("{client} {session} {} {}", wanted.face.name, id.as_str());
        let again = self.sessions.of(&key, self.clock.instant()).is_some();
        told.session_key = Some(key);
        for feed in wanted.face.feeds {
            let list = feed.key(Class::VersionList, Some(id), "");
            if again && demand == Demand::None && self.forced.first(list, (), self.clock.instant())
            {
                self.store
                    .raise(&feed.name, Some(id.as_str()), Raise::Refresh);
            }
        }
        demand
    }

    /// Remembers of a list in a session that its answer was not fetched for it, or forgets that.
    pub(super) fn note_session(&self, told: &mut Told, outcome: Outcome) {
        let Some(key) = told.session_key.take() else {
            return;
        };
        if matches!(outcome, Outcome::Hit | Outcome::Stale) {
            self.sessions.note(key, (), self.clock.instant());
        } else {
            self.sessions.forget(&key);
        }
    }
}

/// Which file of a package such a link leads to; `None` if it leads to a document.
pub(super) fn file_of(kind: LinkKind) -> Option<Content> {
    match kind {
        LinkKind::Icon => Some(Content::Icon),
        LinkKind::PackageContent => Some(Content::Package),
        _ => None,
    }
}

/// The upstream has no such thing.
pub(super) fn answer_absent(
    missing: Missing,
    facts: &Facts<'_>,
    told: &mut Told,
) -> Response<Body> {
    told.tell(Outcome::Absent, missing.reason);
    let note = Note {
        validated_at: missing.said_at,
        ..Note::of(Outcome::Absent, missing.reason)
    };
    respond::absent(facts, &what(&told.subject), &note)
}
