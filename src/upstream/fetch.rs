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
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::ext::ReasonPhrase;
use tokio::time::Instant;

use super::attempt::Answer;
use super::auth::Access;
use super::body::ResponseBody;
use super::error::UpstreamError;
use super::line::Line;
use super::stake::Stake;
use super::turns::Pieces;
use super::url::{Address, Origin};
use super::{Shared, Upstream, redirect};

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
    /// For whom, and how urgently: what the origin's turns are fair between.
    pub stake: Arc<Stake>,
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

impl Upstream {
    /// Asks for one address. Redirects are followed; connect failures, broken connections and the passing statuses
    /// (408, 429, 500, 502, 503, 504) are tried again while the hold lasts. What is left when it ends, and any other
    /// status, come back as they are. A 429 or 503 whose Retry-After lies beyond the hold has its origin left alone until
    /// then: it is the error of this request and of each that comes meanwhile.
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
                let mut body =
                    ResponseBody::new(incoming, answer.turn, origin.clone(), &self.settings, clock);
                let pieces = Pieces::new(line.bodies.clone(), Arc::clone(&fetch.stake));
                body.take_turns(pieces);
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

    pub(super) fn request(
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
