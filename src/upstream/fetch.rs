//! Reads: one address followed to an answer.
//!
//! It refuses to send anything of a client but the `Via` of the request that it is asked for, the credential that a feed's
//! access passes on, and, to a symbol server, the checksum of the file.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE, USER_AGENT,
    VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::auth::Access;
use super::body::ResponseBody;
use super::connect::PrivateAddresses;
use super::error::{Phase, UpstreamError};
use super::keeper::Presented;
use super::line::Line;
use super::retry::{self, Again, Counts, Pauses};
use super::url::{Address, Origin};
use super::{Shared, Upstream, redirect, tunnel};

/// What a client knows of a portable PDB; nuget.org's symbol server answers 403 without it.
const SYMBOL_CHECKSUM: HeaderName = HeaderName::from_static("symbolchecksum");

/// How to ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchMethod {
    /// For the body.
    Get,
    /// For the headers alone.
    Head,
}

/// Which content coding may come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accept {
    /// None: packages and what else is kept byte for byte.
    Content,
    /// gzip.
    Document,
}

/// Under which conditions, and of which bytes. Validators are those of what is at hand, as the upstream wrote them:
/// nuget.org's entity tag has no quotes (2.8.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conditional {
    /// Sent as `If-None-Match`.
    pub etag: Option<HeaderValue>,
    /// Sent as `If-Modified-Since`.
    pub last_modified: Option<HeaderValue>,
    /// Only these bytes.
    pub rest: Option<Rest>,
}

/// The rest of a body that broke off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rest {
    /// Offset of the first byte that is missing.
    pub first: u64,
    /// Offset of the last byte of the whole. Always named: blob storage speaks its protocol of 2009 with whoever names no
    /// later one, and that knows no range without an end (Azure, "Specifying the range header for Blob service
    /// operations").
    pub last: u64,
    /// Sent as `If-Range`: a strong entity tag (RFC 9110 section 13.1.5).
    pub if_range: Option<HeaderValue>,
}

impl Rest {
    /// Its value as `Range`.
    fn range(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("bytes={}-{}", self.first, self.last)).ok()
    }
}

/// A read.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Which coding may come.
    pub accept: Accept,
    /// The feed's credential and origins.
    pub access: Access,
    /// When the wait for a usable answer ends, retries and redirects included.
    pub hold: Instant,
    /// GET or HEAD.
    pub method: FetchMethod,
    /// Until when an answer that may pass (a 503) is asked for again: the end of the hold, or earlier where such an answer
    /// is news to the caller.
    pub retry_until: Instant,
    /// `SymbolChecksum` of a request to a symbol server, as the client sent it.
    pub symbol_checksum: Option<HeaderValue>,
    /// The absolute address.
    pub url: String,
    /// To revalidate with.
    pub validators: Option<Conditional>,
    /// The `Via` values of the client's request that led to this one.
    pub via: Vec<String>,
}

/// Who is told the credential of a read; likewise who would be, if it has none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeardBy {
    /// Who answered: a 401 is about it.
    Answering,
    /// The one that was asked, which sent us on to another without it.
    Asked,
    /// Nobody: the address is none of the feed's origins.
    Nobody,
}

/// An answer whose header has come.
#[derive(Debug)]
pub struct Fetched {
    /// Its body. Empty, whatever the headers say, if the hold ran out after an answer that was worth a retry.
    pub body: ResponseBody,
    /// Its headers, as they came.
    pub headers: HeaderMap,
    /// Who was told the credential on the way.
    pub heard_by: HeardBy,
    /// How many bytes the body has; for a HEAD, would have.
    pub length: Option<u64>,
    /// Who sent it, after redirects.
    pub origin: Origin,
    /// Its reason phrase, where that is not the canonical one.
    pub reason: Option<Bytes>,
    /// Its status.
    pub status: StatusCode,
    /// Where it came from, after redirects, without the query: fit for logs.
    pub url: String,
}

/// The answer of one origin, and the permit that it holds.
struct Answer {
    permit: Option<OwnedSemaphorePermit>,
    response: Response<Option<Incoming>>,
}

impl Upstream {
    /// Asks for one address. Redirects are followed; connect failures, broken connections and the passing statuses
    /// (408, 429, 500, 502, 503, 504) are tried again while the hold lasts. What is left when it ends, any other
    /// status, and a Retry-After beyond the hold come back as they are.
    ///
    /// # Errors
    /// [`UpstreamError`] if no answer came.
    pub async fn fetch(&self, fetch: Fetch) -> Result<Fetched, UpstreamError> {
        self.shared().fetch(&fetch).await
    }
}

/// Who was told the credential of a read that `answering` answered.
fn heard_by(fetch: &Fetch, answering: &Origin) -> HeardBy {
    match Origin::of(&fetch.url) {
        Ok(asked) if fetch.access.goes_to(answering, &asked) => HeardBy::Answering,
        Ok(asked) if fetch.access.is_trusted(&asked) => HeardBy::Asked,
        Ok(_) | Err(_) => HeardBy::Nobody,
    }
}

impl Shared {
    async fn fetch(self: &Arc<Self>, fetch: &Fetch) -> Result<Fetched, UpstreamError> {
        let mut address = Address::parse(fetch.url.as_bytes()).map_err(UpstreamError::BadUrl)?;
        for _ in 0..=self.settings.max_redirects {
            let line = self.line(address.origin(), &fetch.access);
            // Boxed: the state of an attempt is large, and the caller's future holds this one.
            let answer = Box::pin(self.ask(&line, fetch, &address)).await?;
            let status = answer.response.status();
            if !redirect::is_redirect(status) {
                return Ok(self.fetched(fetch, &address, &line, answer));
            }
            address = redirect::target(&address, status, answer.response.headers())?;
            tracing::debug!(to = address.without_query(), "redirect followed");
        }
        Err(UpstreamError::TooManyRedirects {
            origin: address.origin().clone(),
        })
    }

    fn fetched(&self, fetch: &Fetch, address: &Address, line: &Line, answer: Answer) -> Fetched {
        let (parts, incoming) = answer.response.into_parts();
        let (origin, clock) = (address.origin().clone(), self.clock.clone());
        let heard_by = heard_by(fetch, &origin);
        let phrase = parts.extensions.get::<ReasonPhrase>();
        let named = || {
            let value = parts.headers.get(CONTENT_LENGTH)?;
            value.to_str().ok()?.parse().ok()
        };
        let length = match (fetch.method, &incoming) {
            (FetchMethod::Get, Some(incoming)) => incoming.size_hint().exact(),
            (FetchMethod::Get, None) => Some(0),
            (FetchMethod::Head, _) => named(),
        };
        let body = match incoming {
            None => ResponseBody::whole(None, origin.clone(), &self.settings, clock),
            Some(incoming) => {
                let mut body = ResponseBody::new(
                    incoming,
                    answer.permit,
                    origin.clone(),
                    &self.settings,
                    clock,
                );
                if parts.version == Version::HTTP_2 {
                    body.note_progress(Arc::clone(&line.health));
                }
                body
            }
        };
        Fetched {
            body,
            reason: phrase.map(|phrase| Bytes::copy_from_slice(phrase.as_bytes())),
            headers: parts.headers,
            heard_by,
            length,
            origin,
            status: parts.status,
            url: address.without_query(),
        }
    }

    /// Asks one origin until it gives an answer to hand on.
    async fn ask(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
    ) -> Result<Answer, UpstreamError> {
        let asked = self.clock.instant();
        let mut pauses = Pauses::by_chance();
        let mut last = None;
        let outcome = tokio::select! {
            biased;
            refused = line.health.opened() => return Err(refused),
            outcome = self.try_until_usable(line, fetch, address, &mut pauses, &mut last) => outcome,
            () = tokio::time::sleep_until(fetch.hold) => None,
        };
        if let Some(outcome) = outcome {
            return outcome;
        }
        let last = match last {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => Some(Box::new(error)),
            None => None,
        };
        let held_out = UpstreamError::HeldOut {
            origin: line.origin().clone(),
            last,
        };
        line.health.hold_expired(asked, &held_out);
        self.keep_watch(line);
        Err(held_out)
    }

    /// Attempt after attempt; `None` if the next would begin after the hold. `last` is the best that came so far.
    async fn try_until_usable(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
        pauses: &mut Pauses,
        last: &mut Option<Result<Answer, UpstreamError>>,
    ) -> Option<Result<Answer, UpstreamError>> {
        loop {
            let began = self.clock.instant();
            let mut pause = pauses.lengthen();
            match self.attempt(line, fetch, address).await {
                Ok(answer) if !retry::is_passing(answer.response.status()) => {
                    return Some(Ok(answer));
                }
                Ok(answer) => {
                    let headers = answer.response.headers();
                    let wished = retry::retry_after(headers, self.clock.now());
                    pause = pause.max(wished.unwrap_or_default());
                    let fits = self
                        .clock
                        .instant()
                        .checked_add(pause)
                        .is_some_and(|next| next < fetch.hold.min(fetch.retry_until));
                    if !fits {
                        return Some(Ok(answer));
                    }
                    // The permit and the connection are free while we pause.
                    *last = Some(Ok(Answer {
                        permit: None,
                        response: answer.response.map(|_| None),
                    }));
                }
                Err(error) => {
                    let (counts, again) = retry::judge(&error);
                    tracing::debug!(origin = %line.origin(), %error, "no answer");
                    if counts == Counts::Yes {
                        line.health.failed(began, &error);
                        self.keep_watch(line);
                    }
                    if again == Again::No {
                        return Some(Err(error));
                    }
                    // An answer says more than a later failure.
                    if !matches!(last, Some(Ok(_))) {
                        *last = Some(Err(error));
                    }
                    if self.clock.instant() + pause >= fetch.hold {
                        return None;
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One request to one origin, up to the header of its answer. A credential that it refuses is read again, and if
    /// there is another now, the request is sent once more.
    async fn attempt(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
    ) -> Result<Answer, UpstreamError> {
        let access = &fetch.access;
        let asked = Origin::of(&fetch.url).map_err(UpstreamError::BadUrl)?;
        let credential = self.credential(line.origin(), &asked, access).await?;
        let answer = self
            .attempt_with(line, fetch, address, credential.as_ref())
            .await?;
        let Some(refused) = credential
            .filter(|_| access.can_renew() && answer.response.status() == StatusCode::UNAUTHORIZED)
        else {
            return Ok(answer);
        };
        // Nothing is held while the secret is read.
        let answer = Answer {
            permit: None,
            response: answer.response.map(|_| None),
        };
        if !access.renew(&refused).await {
            return Ok(answer);
        }
        let credential = self.credential(line.origin(), &asked, access).await?;
        self.attempt_with(line, fetch, address, credential.as_ref())
            .await
    }

    async fn attempt_with(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
        credential: Option<&Presented>,
    ) -> Result<Answer, UpstreamError> {
        let mut private = self.allowance(line.origin(), &fetch.access).await?;
        let _waiting = line.health.begin_wait();
        self.keep_watch(line);
        let permit = line.permit().await;
        loop {
            let mut request = self.request(fetch, address, line)?;
            if let Some(credential) = credential {
                credential.apply(request.headers_mut());
            }
            let outcome = self.exchange(line, private, request).await;
            let refused = matches!(outcome, Err(UpstreamError::PrivateAddress { .. }))
                && private == PrivateAddresses::Refuse;
            if refused && self.has_private_upstream(&fetch.access).await {
                private = PrivateAddresses::Allow;
                continue;
            }
            return outcome.map(|response| Answer {
                permit,
                response: response.map(Some),
            });
        }
    }

    async fn exchange(
        &self,
        line: &Line,
        private: PrivateAddresses,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let answer = line.pool(self, private).send(request).await;
        if let Err(UpstreamError::TimedOut {
            phase: Phase::FirstByte,
            ..
        }) = &answer
        {
            line.renew();
        }
        let answer = answer?;
        if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(UpstreamError::ProxyAuthRequired {
                origin: line.origin().clone(),
                proxy: line.forwarded().map(|proxy| proxy.origin().clone()),
                schemes: tunnel::schemes(answer.headers()),
            });
        }
        Ok(answer)
    }

    fn request(
        &self,
        fetch: &Fetch,
        address: &Address,
        line: &Line,
    ) -> Result<Request<Empty<Bytes>>, UpstreamError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = address.uri().map_err(UpstreamError::BadUrl)?;
        *request.method_mut() = match fetch.method {
            FetchMethod::Get => Method::GET,
            FetchMethod::Head => Method::HEAD,
        };
        let headers = request.headers_mut();
        self.introduce(&fetch.via, headers);
        let coding = match fetch.accept {
            Accept::Content => "identity",
            Accept::Document => "gzip",
        };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding));
        if let Some(validators) = &fetch.validators {
            let rest = validators.rest.as_ref();
            for (name, value) in [
                (IF_NONE_MATCH, validators.etag.clone()),
                (IF_MODIFIED_SINCE, validators.last_modified.clone()),
                (IF_RANGE, rest.and_then(|rest| rest.if_range.clone())),
                (RANGE, rest.and_then(Rest::range)),
            ] {
                if let Some(value) = value {
                    headers.insert(name, value);
                }
            }
        }
        line.introduce_to_proxy(headers);
        if let Some(checksum) = &fetch.symbol_checksum {
            headers.insert(SYMBOL_CHECKSUM, checksum.clone());
        }
        Ok(request)
    }

    /// Says who we are, and through whom the request came. What no header can hold is left out.
    pub(super) fn introduce(&self, via: &[String], headers: &mut HeaderMap) {
        if let Ok(agent) = HeaderValue::try_from(&self.product.user_agent) {
            headers.entry(USER_AGENT).or_insert(agent);
        }
        let via =
            HeaderValue::try_from(self.via(via)).or_else(|_| HeaderValue::try_from(self.via(&[])));
        if let Ok(via) = via {
            headers.insert(VIA, via);
        }
    }
}
