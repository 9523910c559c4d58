//! What is told of a request: to the client in notes, to the log and the metrics in one event.

use base64::Engine as _;
use std::time::Duration;

use http::{HeaderMap, Response, Uri, header};

use super::body::Body;
use super::outcome::{Completed, Outcome, Reason, Subject};
use super::respond::{Facts, Note};
use super::route::{Class, LinkSubject, Resource};
use super::{Peer, Proxy};
use crate::access::rules::Caller;
use crate::nuget::id::PackageId;
use crate::store::Answer;
use crate::telemetry::{AccessLine, Request, Telemetry};

/// What became of a request, told on the way.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) caller: Option<Caller>,
    pub(super) client: Option<std::net::IpAddr>,
    pub(super) subject: Subject,
    pub(super) outcome: Option<(Outcome, Option<Reason>)>,
    /// The name under which a list's answer is remembered for its session.
    pub(super) session_key: Option<String>,
}

impl Told {
    pub(super) fn tell(&mut self, outcome: Outcome, reason: Option<Reason>) {
        self.outcome = Some((outcome, reason));
    }
}

impl Proxy {
    /// The one event of a request: log and metrics read it.
    pub(super) fn complete(
        &self,
        uri: &Uri,
        facts: &Facts<'_>,
        peer: Peer,
        response: &Response<Body>,
        told: Told,
        took: Duration,
    ) {
        let text = |name: &str| {
            facts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let (outcome, reason) = told.outcome.unwrap_or_else(|| outcome_of(response));
        let caller = told.caller.filter(|_| self.telemetry.logs_access());
        let caller = caller.map(|caller| caller.to_string());
        let completed = Completed {
            at: self.clock.now(),
            took,
            caller: caller.as_deref(),
            client: told.client.unwrap_or(peer.addr.ip()),
            session: text("x-nuget-session-id"),
            agent: text(header::USER_AGENT.as_str()),
            method: facts.method.as_str(),
            path: uri.path(),
            status: response.status().as_u16(),
            bytes: http_body::Body::size_hint(response.body()).exact(),
            subject: told.subject,
            outcome,
            reason,
        };
        report(&self.telemetry, &completed);
    }
}

/// What a resource is about.
pub(super) fn subject_of(resource: &Resource) -> Subject {
    let version = match resource {
        Resource::Content { version, .. } => Some(version.as_str().to_owned()),
        Resource::Link {
            subject: LinkSubject::Version(version),
            ..
        } => Some(version.as_str().to_owned()),
        Resource::Publish(Some(named)) | Resource::SymbolPublish(Some(named)) => {
            Some(named.version.as_str().to_owned())
        }
        _ => None,
    };
    Subject {
        class: word_of(resource),
        id: id_of(resource).map(|id| id.as_str().to_owned()),
        version,
        ..Subject::default()
    }
}

/// The cache class of a document.
pub(super) fn class_of(resource: &Resource) -> Class {
    match resource {
        Resource::Autocomplete => Class::Autocomplete,
        Resource::Catalog(rest) if rest == "index.json" => Class::CatalogIndex,
        Resource::Catalog(_) => Class::CatalogLeaf,
        Resource::Certificate(_) => Class::Certificate,
        Resource::Content { file, .. } => file.class(),
        Resource::Link { .. } => Class::RegistrationLeaf,
        Resource::Publish(_) | Resource::SymbolPublish(_) => Class::Package,
        Resource::Registration { part, .. } => part.class(),
        Resource::RepositorySignatures(_) => Class::RepositorySignatures,
        Resource::Search => Class::Search,
        Resource::ServiceIndex => Class::ServiceIndex,
        Resource::Symbols(_) => Class::Symbols,
        Resource::Tool(_) => Class::Tool,
        Resource::ToolsList => Class::ToolsList,
        Resource::VersionList(_) => Class::VersionList,
        Resource::VulnerabilityIndex => Class::VulnerabilityIndex,
        Resource::VulnerabilityPage(_) => Class::VulnerabilityPage,
    }
}

fn word_of(resource: &Resource) -> &'static str {
    match resource {
        // Which part of it a path is, its documents tell.
        Resource::Catalog(_) => "catalog-document",
        Resource::Link { .. } => "link",
        Resource::Publish(_) => "publish",
        Resource::SymbolPublish(_) => "symbol-publish",
        _ => class_of(resource).word(),
    }
}

/// The package id that a resource names.
pub(super) fn id_of(resource: &Resource) -> Option<&PackageId> {
    match resource {
        Resource::Content { id, .. }
        | Resource::Link { id, .. }
        | Resource::Registration { id, .. }
        | Resource::VersionList(id) => Some(id),
        Resource::Publish(named) | Resource::SymbolPublish(named) => {
            named.as_ref().map(|named| &named.id)
        }
        Resource::Autocomplete
        | Resource::Catalog(_)
        | Resource::Certificate(_)
        | Resource::RepositorySignatures(_)
        | Resource::Search
        | Resource::ServiceIndex
        | Resource::Symbols(_)
        | Resource::Tool(_)
        | Resource::ToolsList
        | Resource::VulnerabilityIndex
        | Resource::VulnerabilityPage(_) => None,
    }
}

/// What a user calls it: id and version, or the resource.
pub(super) fn what(subject: &Subject) -> String {
    match (&subject.id, &subject.version) {
        (Some(id), Some(version)) => format!("{id} {version}"),
        (Some(id), None) => id.clone(),
        _ => subject.class.replace('-', " "),
    }
}

/// The note of an answer: its freshness left and its age.
pub(super) fn note_of(
    answer: &Answer,
    outcome: Outcome,
    reason: Option<Reason>,
    facts: &Facts<'_>,
) -> Note {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let ttl = match answer.deadline.duration_since(facts.clock.now()) {
        Ok(left) => seconds(left),
        Err(past) => -seconds(past.duration()),
    };
    let ttl = matches!(outcome, Outcome::Hit | Outcome::Stale).then_some(ttl);
    Note {
        outcome,
        reason,
        ttl,
        validated_at: Some(answer.validated_at),
    }
}

/// The members of a request's `Via`.
pub(super) fn via_of(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|member| member.trim().to_owned())
        .collect()
}

/// The outcome of a response that nobody told one for: pages and refusals of our own, publishes.
pub(super) fn outcome_of(response: &Response<Body>) -> (Outcome, Option<Reason>) {
    let told = response.extensions().get::<Note>();
    told.map_or((Outcome::Local, None), |note| (note.outcome, note.reason))
}

/// A body's hash as NuGet writes it.
pub(super) fn hash_of(sha512: &[u8; 64]) -> String {
    base64::engine::general_purpose::STANDARD.encode(sha512)
}

/// Hands the event of a request to its readers.
pub(super) fn report(telemetry: &Telemetry, completed: &Completed<'_>) {
    let subject = &completed.subject;
    telemetry.count_request(&Request {
        feed: subject.feed.as_deref().unwrap_or(""),
        class: subject.class,
        outcome: completed.outcome.word(),
        status: completed.status,
        bytes: completed.bytes.unwrap_or(0),
        duration: completed.took,
    });
    telemetry.log_access(&AccessLine {
        time: completed.at,
        client: completed.client,
        user: completed.caller,
        method: completed.method,
        path: completed.path,
        status: completed.status,
        bytes: completed.bytes.unwrap_or(0),
        duration: completed.took,
        feed: subject.feed.as_deref(),
        id: subject.id.as_deref(),
        version: subject.version.as_deref(),
        outcome: completed.outcome.word(),
        reason: completed.reason.map(Reason::word),
        hash: subject.sha512.as_deref(),
        credential: subject.credential.as_deref(),
        session: completed.session,
        user_agent: completed.agent,
    });
}
