//! Push, delete, relist and symbols: streamed through, nothing kept; then the epoch rises.
//!
//! What was pushed is not what will be downloaded: the upstream validates and signs it first (protocol fact 4.2.9). So
//! nothing of it is stored, and what is stored of its id must be asked again whatever the upstream answered, since an
//! answer may be lost after the upstream acted (protocol fact 3.5.8).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Response, StatusCode, Version};

use super::Proxy;
use super::admit::{self, Admitted};
use super::body::{Body, Source};
use super::challenge::passable;
use super::failure::Failure;
use super::feed::Feed;
use super::mode::Mode;
use super::outcome::Outcome;
use super::peeked::{NotAhead, Peek, Peeked};
use super::refusal::Refusal;
use super::respond::{self, Facts, Note};
use super::route::{Published, Resource};
use super::settings::PushLength;
use super::spool::SpoolFault;
use super::told::Told;
use crate::access::rules::Caller;
use crate::clock::Clock;
use crate::nuget::id::PackageId;
use crate::store::{Raise, Store};
use crate::upstream::{PublishFault, PublishReply, PublishRequest, Sent};

/// The client's headers that a publish carries: what upstreams act on (protocol facts 4.1.6, 6.2.1), and no credential of
/// the client's but its key, and the one that the feed's access passes on.
const FORWARDED: [HeaderName; 8] = [
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::USER_AGENT,
    HeaderName::from_static("x-nuget-apikey"),
    HeaderName::from_static("x-nuget-client-version"),
    HeaderName::from_static("x-nuget-protocol-version"),
    HeaderName::from_static("x-nuget-session-id"),
    header::ACCEPT,
];

/// The upstream's headers that the client gets: the warnings are for the one who publishes (protocol fact 4.2.7).
const RETURNED: [HeaderName; 5] = [
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("x-nuget-warning"),
];

impl Proxy {
    /// Passes a publish through.
    pub(super) async fn publish<B>(
        &self,
        feed: &Arc<Feed>,
        resource: &Resource,
        admitted: Admitted<'_, B>,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let Admitted { request, caller } = admitted;
        let named = match resource {
            Resource::Publish(named) | Resource::SymbolPublish(named) => named.as_ref(),
            _ => None,
        };
        if let Err(allowed) = check_method(named, facts.method) {
            return respond::refusal(facts, &Refusal::MethodNotAllowed(allowed));
        }
        if self.mode_of(feed) == Mode::Offline {
            self.read_away(request.body, facts).await;
            return self.publish_failed(facts, &Failure::Offline);
        }
        let peek = Peek::new(content_type_of(facts.headers));
        let mut body = Peeked::new(request.body, peek.clone());
        let permitted = self.may_publish(feed, caller.as_ref(), named, &mut body, told);
        if let Err(refusal) = permitted.await {
            return self.turn_away(body, facts, &refusal).await;
        }
        let place = match self.model(feed, request.errand, self.clock.instant()).await {
            Ok(model) => model.locate(resource, ""),
            Err(failure) => Err(failure),
        };
        let url = match place.map(|urls| urls.into_iter().next()) {
            Ok(Some(url)) => address(&url, named, &request.parts.uri),
            Ok(None) => return self.publish_failed(facts, &Failure::NotOffered(resource.kind())),
            Err(failure) => return self.publish_failed(facts, &failure),
        };
        let mut headers = selected(facts.headers, &FORWARDED);
        admit::put_key(&mut headers, &feed.settings.clients);
        let length = length_in(facts.headers);
        let is_sized = length.is_some() || http_body::Body::size_hint(&body).exact().is_some();
        let mut aftermath = Aftermath {
            clock: self.clock.clone(),
            store: self.store.clone(),
            feed: Arc::clone(feed),
            named: named.cloned(),
            is_delete: *facts.method == Method::DELETE,
            peek,
            was_sent: true,
        };
        let send = PublishRequest {
            access: feed.access.clone(),
            body: (),
            headers,
            length,
            method: facts.method.clone(),
            url,
            via: request.errand.via.clone(),
        };
        let reply = if is_sized || feed.settings.push_length == PushLength::AsSent {
            self.upstream.publish(send.with_body(body)).await
        } else {
            match Box::pin(self.spool(feed, body)).await {
                Ok(spooled) => {
                    let length = Some(spooled.length());
                    let send = PublishRequest { length, ..send };
                    self.upstream.publish(send.with_body(spooled)).await
                }
                Err(fault) => {
                    aftermath.was_sent = false;
                    return self.spool_failed(feed, facts, &fault);
                }
            }
        };
        match reply {
            Ok(reply) => handed_back(feed, facts, reply),
            Err(error) => {
                aftermath.was_sent = error.sent == Sent::Some;
                tracing::warn!(feed = &*feed.name, fault = error.fault.word(), %error, "a publish has no answer to hand on");
                self.publish_fault(feed, facts, &error.fault)
            }
        }
    }

    /// Whether the caller may do this to the package, and no rule hides what is pushed: an upload is read ahead where
    /// that matters. A delete or relist passes every rule: it brings nothing in.
    async fn may_publish<B>(
        &self,
        feed: &Arc<Feed>,
        caller: Option<&Caller>,
        named: Option<&Published>,
        body: &mut Peeked<B>,
        told: &mut Told,
    ) -> Result<(), Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let may_push = |id: Option<&PackageId>| match caller {
            Some(caller) => caller.may_push(id).map_err(Refusal::Forbidden),
            None => Ok(()),
        };
        if let Some(named) = named {
            return may_push(Some(&named.id));
        }
        // Whoever may push what is not known may push everything.
        if feed.settings.block.is_empty() && may_push(None).is_ok() {
            return Ok(());
        }
        let idle_timeout = self.upstream.settings().idle_timeout;
        match body.read_ahead(idle_timeout).await {
            Ok(()) => {}
            Err(NotAhead::BrokenOff) => {
                return Err(Refusal::BadRequest("the upload broke off".into()));
            }
            Err(NotAhead::Stalled) => return Err(Refusal::Stalled),
        }
        let package = body.package();
        may_push(package.as_ref().map(|(id, _)| id))?;
        let Some((id, version)) = package else {
            return Ok(());
        };
        let Err(failure) = feed.check_rules(&id, Some(&version)) else {
            return Ok(());
        };
        told.subject.id = Some(id.as_str().to_owned());
        told.subject.version = Some(version.as_str().to_owned());
        self.note_blocked(&feed.name, &failure, told);
        Err(Refusal::Blocked(format!(
            "the push of {id} {version} is {failure}"
        )))
    }

    fn publish_fault(
        &self,
        feed: &Feed,
        facts: &Facts<'_>,
        fault: &PublishFault,
    ) -> Response<Body> {
        match fault {
            PublishFault::ClientGone(_) => {
                respond::refusal(facts, &Refusal::BadRequest("the upload broke off".into()))
            }
            PublishFault::ClientStalled => respond::refusal(facts, &Refusal::Stalled),
            PublishFault::TooLarge { .. } => {
                respond::refusal(facts, &Refusal::TooLarge(fault.to_string()))
            }
            PublishFault::Redirected { .. } => {
                let origin = feed.access.upstream().host().to_owned();
                self.publish_failed(
                    facts,
                    &Failure::BadBody {
                        origin,
                        what: fault.to_string(),
                    },
                )
            }
            PublishFault::Upstream(error) => {
                let failure = self.upstream_failure(feed, error);
                self.publish_failed(facts, &failure)
            }
        }
    }

    fn spool_failed(&self, feed: &Feed, facts: &Facts<'_>, fault: &SpoolFault) -> Response<Body> {
        tracing::warn!(
            feed = &*feed.name,
            ?fault,
            "an upload could not be put on disk"
        );
        match fault {
            SpoolFault::ClientGone => {
                respond::refusal(facts, &Refusal::BadRequest("the upload broke off".into()))
            }
            SpoolFault::Stalled => respond::refusal(facts, &Refusal::Stalled),
            SpoolFault::Store(fault) => {
                self.publish_failed(facts, &Failure::NoRoomForUpload(*fault))
            }
            SpoolFault::TooLarge(max_bytes) => {
                let fault = PublishFault::TooLarge {
                    max_bytes: *max_bytes,
                };
                respond::refusal(facts, &Refusal::TooLarge(fault.to_string()))
            }
        }
    }

    fn publish_failed(&self, facts: &Facts<'_>, failure: &Failure) -> Response<Body> {
        let (outcome, reason) = failure.outcome();
        respond::failure(facts, failure, "publish", &Note::of(outcome, reason))
    }
}

/// Whether a method fits: one that names a package is a delete or relist, one that names none is a push. The error is
/// what is allowed.
fn check_method(named: Option<&Published>, method: &Method) -> Result<(), &'static str> {
    match (named, method) {
        (None, &Method::PUT) | (Some(_), &Method::DELETE | &Method::POST) => Ok(()),
        (None, _) => Err("PUT"),
        (Some(_), _) => Err("DELETE, POST"),
    }
}

fn content_type_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// The length of a request's body, if the client says it.
fn length_in(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Where a publish goes: the endpoint as the upstream names it, with what the client typed behind it and its query
/// (protocol facts 4.3.1, 4.3.3). An endpoint that is only a host means the path that the client takes for it then
/// (protocol fact 1.4.4).
fn address(endpoint: &str, named: Option<&Published>, uri: &http::Uri) -> String {
    let host = endpoint.split_once("://").map_or("", |(_, rest)| rest);
    let of_a_host = host.trim_end_matches('/').find(['/', '?']).is_none();
    let of_a_host =
        of_a_host.then(|| format!("{}/api/v2/package/", endpoint.trim_end_matches('/')));
    let endpoint = of_a_host.as_deref().unwrap_or(endpoint);
    let bare = endpoint.trim_end_matches('/');
    let mut url = match named {
        Some(named) => format!("{bare}/{}", named.as_typed),
        None if uri.path().ends_with('/') => format!("{bare}/"),
        None => endpoint.to_owned(),
    };
    if let Some(query) = uri.query() {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// The upstream's answer to a publish, handed back.
fn handed_back(feed: &Feed, facts: &Facts<'_>, reply: PublishReply) -> Response<Body> {
    if reply.status == StatusCode::LENGTH_REQUIRED {
        tracing::warn!(
            feed = &*feed.name,
            "the upstream demands the length of an upload: push_length = \"required\" gives it"
        );
    }
    let mut headers = selected(&reply.headers, &RETURNED);
    if feed.client.is_some() {
        let (passable, _) = passable(&reply.headers);
        headers.remove(header::WWW_AUTHENTICATE);
        for value in passable {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
    let length = http_body::Body::size_hint(&reply.body).exact();
    let phrase = reply.reason.as_deref().filter(|_| length == Some(0));
    let body = match phrase {
        _ if reply.status == StatusCode::NO_CONTENT => Body::empty(),
        Some(phrase) if facts.version == Version::HTTP_2 => said(phrase, &mut headers),
        _ => Body::from_source(Source::Relay(Box::new(reply.body)), length),
    };
    let (outcome, reason) = (Outcome::Relayed, reply.reason.as_deref());
    respond::relayed(facts, outcome, reply.status, reason, headers, body)
}

/// The body of an answer that has only a reason phrase, for HTTP/2, which has none (RFC 9113 section 8.3.2). Upstreams
/// that send a body say the same in it (protocol fact 4.2.6).
fn said(phrase: &[u8], headers: &mut HeaderMap) -> Body {
    headers.remove(header::CONTENT_ENCODING);
    headers.insert(header::CONTENT_TYPE, respond::PLAIN_TEXT);
    Body::full([phrase, b"\n"].concat().into())
}

fn selected(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut selected = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            selected.append(name.clone(), value.clone());
        }
    }
    selected
}

/// Raises the epoch at the end of a publish, however that comes: an upload that breaks off included.
struct Aftermath {
    clock: Clock,
    store: Store,
    feed: Arc<Feed>,
    named: Option<Published>,
    is_delete: bool,
    peek: Peek,
    was_sent: bool,
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        if !self.was_sent {
            return;
        }
        let id = self
            .named
            .as_ref()
            .map(|named| named.id.clone())
            .or_else(|| self.peek.id());
        let name = &*self.feed.name;
        let id = id.as_ref().map(|id| id.as_str());
        let epoch = self.store.raise(name, id, Raise::Publish);
        self.feed.note_publish(epoch, self.clock.now());
        if let Some(named) = self.named.as_ref().filter(|_| self.is_delete) {
            self.store
                .raise_version(name, named.id.as_str(), named.version.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, named: Option<&str>, ours: &'static str, expected: &str) {
        let named = named.map(|typed| {
            let (id, version) = typed.split_once('/').expect("id and version");
            Published {
                id: PackageId::parse(id).expect("an id"),
                version: crate::nuget::version::Version::parse(version).expect("a version"),
                as_typed: typed.to_owned(),
            }
        });
        assert_eq!(
            address(endpoint, named.as_ref(), &http::Uri::from_static(ours)),
            expected
        );
    }

    #[test]
    fn a_publish_goes_where_the_client_would_have_sent_it() {
        check(
            "https://up/api/v2/package",
            None,
            "/v3/package",
            "https://up/api/v2/package",
        );
        check(
            "https://up/api/v2/package",
            None,
            "/v3/package/",
            "https://up/api/v2/package/",
        );
        check(
            "https://up/api/v2/package/",
            None,
            "/v3/package",
            "https://up/api/v2/package/",
        );
        check(
            "https://up/api/v2/package",
            Some("Serilog/3.01"),
            "/v3/package/Serilog/3.01?type=soft",
            "https://up/api/v2/package/Serilog/3.01?type=soft",
        );
        check(
            "https://up:1",
            None,
            "/v3/package/",
            "https://up:1/api/v2/package/",
        );
        check(
            "https://up/",
            Some("a/1"),
            "/v3/package/a/1",
            "https://up/api/v2/package/a/1",
        );
    }
}
