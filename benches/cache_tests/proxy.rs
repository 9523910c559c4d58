//! A small caching reverse proxy for any method and path: `sluice::cache` decides, `sluice::store` keeps.
//!
//! It obeys what the origin says of freshness, where Sluice obeys its settings, and is no part of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice::cache::cache_control::RequestCaching;
use sluice::cache::decision::{Decision, Demand, Reach, decide};
use sluice::cache::freshness::{FreshFor, OldAbsence, Policy};
use sluice::cache::range::{self, Satisfied};
use sluice::cache::validator::{self, Condition};
use sluice::store::Stored;
use tokio::net::{TcpListener, TcpStream};

use crate::line::{Interims, Line};
use crate::origin::{Ask, Got, Origin};
use crate::rules::{Rules, is_unmodified};
use crate::shelf::{Shelf, age_of};

/// Fields of a request that the cache answers itself, or asks with on its own account: it fetches all or nothing.
const CONDITIONS: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// The proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    pub(crate) shelf: Shelf,
}

impl Proxy {
    /// Listens on a free port and says which.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn listen(self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tasks = self.origin.tasks.clone();
        tasks.clone().spawn("accept", async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn("connection", self.clone().serve(stream));
            }
        });
        Ok(address)
    }

    async fn serve(self, stream: TcpStream) {
        let interims = Interims::default();
        let line = Line::new(stream, interims.clone());
        let service = service_fn(|request| {
            let (proxy, interims) = (self.clone(), interims.clone());
            async move { proxy.handle(request, interims).await }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(line), service);
        // A client that leaves is not this bench's concern.
        let _ = connection.await;
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        interims: Interims,
    ) -> hyper::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map(ToString::to_string);
        let ask = Ask {
            body: body.collect().await?.to_bytes(),
            headers: parts.headers,
            interims,
            method: parts.method,
            target: target.unwrap_or_default(),
        };
        let answered = if [Method::GET, Method::HEAD].contains(&ask.method) {
            self.read(&ask).await
        } else {
            self.change(&ask).await
        };
        Ok(answered.unwrap_or_else(|error| {
            let mut response = Response::new(Full::from(error.to_string()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }))
    }

    /// Hands on what is no read. Where the origin did it, what is stored is old, also of the places that the answer names
    /// (RFC 9111 section 4.4).
    async fn change(&self, ask: &Ask) -> io::Result<Response<Full<Bytes>>> {
        let got = self.origin.ask(ask).await?;
        if got.status.is_success() || got.status.is_redirection() {
            self.shelf.invalidate(&ask.target);
            for name in [header::CONTENT_LOCATION, header::LOCATION] {
                let place = got.headers.get(name).and_then(|value| value.to_str().ok());
                // Only those of this host, and the suite writes them without it.
                if let Some(place) = place.filter(|place| place.starts_with('/')) {
                    self.shelf.invalidate(place);
                }
            }
        }
        Ok(relayed(got))
    }

    async fn read(&self, ask: &Ask) -> io::Result<Response<Full<Bytes>>> {
        let demand = match RequestCaching::of(&ask.headers) {
            RequestCaching::Normal => Demand::None,
            RequestCaching::OnlyIfCached => Demand::StoredOnly,
            RequestCaching::Revalidate => Demand::Forced,
        };
        let (stored, gate) = (self.shelf.find(ask).await, self.shelf.gate(ask));
        let now = self.origin.clock.now();
        let (fresh_for, reach) = match &stored {
            Some(stored) => {
                let rules = Rules::of(&stored.entry.headers, stored.entry.fetched_at);
                // Who may be asked behind the answer is treated as one that is slow to answer.
                let behind = demand == Demand::None
                    && stored.entry.epoch >= gate.epoch
                    && rules.may_be_asked_behind(age_of(&stored.entry, now));
                let reach = if behind { Reach::Slow } else { Reach::Live };
                (rules.fresh_for(), reach)
            }
            None => (Duration::ZERO, Reach::Live),
        };
        let policy = Policy {
            fresh_for: FreshFor::Time(fresh_for),
            absence_fresh_for: Duration::ZERO,
            old_absence: OldAbsence::Nothing,
        };
        let entry = stored.as_ref().map(|stored| &*stored.entry);
        match (
            decide(entry, None, &gate, &policy, demand, reach, now),
            stored,
        ) {
            (Decision::Hit, Some(stored)) => self.answer(ask, &stored).await,
            (Decision::Stale, Some(stored)) => {
                let (proxy, again, old) = (self.clone(), ask.clone(), stored.clone());
                let tasks = &self.origin.tasks;
                tasks.spawn("behind", async move { proxy.ask(&again, Some(old)).await });
                self.answer(ask, &stored).await
            }
            (Decision::Revalidate, Some(stored)) => self.ask(ask, Some(stored)).await,
            (Decision::Fetch, None) => self.ask(ask, None).await,
            (Decision::Refuse, None) => Ok(timeout()),
            (decision, stored) => unreachable!("{decision:?} of {stored:?}, without absences"),
        }
    }

    /// Asks the origin, with what is stored as the condition and as the way out.
    async fn ask(&self, ask: &Ask, stored: Option<Stored>) -> io::Result<Response<Full<Bytes>>> {
        let gate = self.shelf.gate(ask);
        let mut asked = ask.clone();
        for name in &CONDITIONS {
            asked.headers.remove(name);
        }
        let known = stored
            .as_ref()
            .map(|stored| &stored.entry.upstream_validator);
        for (name, value) in [
            (
                header::IF_NONE_MATCH,
                known.and_then(|known| known.etag.clone()),
            ),
            (
                header::IF_MODIFIED_SINCE,
                known.and_then(|known| known.last_modified.clone()),
            ),
        ] {
            asked.headers.extend(value.map(|value| (name, value)));
        }
        let got = self.origin.ask(&asked).await;
        let failed = got.as_ref().map_or(true, |got| is_failure(got.status));
        let old = stored.as_ref().map(|stored| &stored.entry);
        let way_out = old.is_some_and(|old| {
            old.status.is_success() && Rules::of(&old.headers, old.fetched_at).may_be_stale()
        });
        match (got, stored) {
            (_, Some(stored)) if failed && way_out => self.answer(ask, &stored).await,
            // RFC 9111 section 5.2.2.2 wants this status.
            (Err(_), Some(_)) => Ok(timeout()),
            (Err(error), None) => Err(error),
            (Ok(got), Some(stored)) if got.status == StatusCode::NOT_MODIFIED => {
                let stored = self.shelf.refresh(&stored, gate, &got);
                self.answer(ask, &stored).await
            }
            (Ok(got), _) => {
                let rules = Rules::of(&got.headers, got.received_at);
                let may_store = rules.may_store(&ask.headers, got.status, &got.headers);
                if ask.method == Method::HEAD || !may_store {
                    return Ok(relayed(got));
                }
                match self.shelf.keep(ask, gate, &got).await {
                    Ok(stored) => self.answer(ask, &stored).await,
                    Err(_) => Ok(relayed(got)),
                }
            }
        }
    }

    /// Answers with what is stored, or with the part of it that is wanted, or that the client has it.
    async fn answer(&self, ask: &Ask, stored: &Stored) -> io::Result<Response<Full<Bytes>>> {
        let entry = &stored.entry;
        let mut headers = entry.headers.clone();
        let age = age_of(entry, self.origin.clock.now()).as_secs();
        headers.insert(header::AGE, HeaderValue::from(age));
        headers.remove(header::CONTENT_LENGTH);
        let etag = headers.get(header::ETAG).cloned();
        if entry.status.is_success() && has_it(&ask.headers, &headers) {
            headers.remove(header::CONTENT_ENCODING);
            return Ok(respond(StatusCode::NOT_MODIFIED, headers, Bytes::new()));
        }
        let length = stored.body.len();
        let asked = ask.headers.get(header::RANGE);
        let asked = asked.and_then(|value| value.to_str().ok()).filter(|_| {
            entry.status == StatusCode::OK
                && ask.method == Method::GET
                && validator::range_applies(&ask.headers, etag.as_ref())
        });
        let wanted = asked.map_or(Satisfied::Whole, |value| range::read(value).satisfy(length));
        let (status, bytes, part) = match wanted {
            Satisfied::Whole => (entry.status, 0..length, None),
            Satisfied::Part { start, end } => {
                let part = format!("bytes {start}-{}/{length}", end - 1);
                (StatusCode::PARTIAL_CONTENT, start..end, Some(part))
            }
            Satisfied::Unsatisfiable => {
                let part = format!("bytes */{length}");
                (StatusCode::RANGE_NOT_SATISFIABLE, 0..0, Some(part))
            }
        };
        if let Some(part) = part {
            let part = HeaderValue::try_from(part).map_err(io::Error::other)?;
            headers.insert(header::CONTENT_RANGE, part);
        }
        let body = stored.body.read(bytes).await.map_err(io::Error::other)?;
        Ok(respond(status, headers, body))
    }
}

/// Whether the client has what is stored (RFC 9110 section 13.2.2).
fn has_it(request: &HeaderMap, headers: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        validator::evaluate(request, headers.get(header::ETAG)) == Condition::NotModified
    } else {
        is_unmodified(request, headers)
    }
}

/// Failures over which what is stored may be served (RFC 5861 section 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}

fn relayed(got: Got) -> Response<Full<Bytes>> {
    respond(got.status, got.headers, got.body)
}

fn timeout() -> Response<Full<Bytes>> {
    respond(StatusCode::GATEWAY_TIMEOUT, HeaderMap::new(), Bytes::new())
}

fn respond(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let via = HeaderValue::from_static("1.1 cache-tests");
    response.headers_mut().append(header::VIA, via);
    response
}
