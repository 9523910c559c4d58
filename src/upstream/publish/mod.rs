//! Publishing: a client's upload, sent once.
//!
//! A push that was sent again after the upstream took it would be answered 409 (protocol fact 3.5.8), so nothing is
//! ever tried twice, redirects are not followed, and each upload has a connection of its own, HTTP/1.1 for its reason
//! phrase (4.2.6). It refuses to look into the upload and to change the answer.

mod patient;
mod upload;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, LOCATION,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;

use self::patient::Patient;
use self::upload::{Relayed, Upload};
use super::auth::Access;
use super::body::ResponseBody;
use super::connect::{ConnectError, PrivateAddresses, Protocols};
use super::error::{Phase, UpstreamError};
use super::line::Line;
use super::retry::{self, Counts};
use super::url::Address;
use super::wire::Wire;
use super::{Shared, Upstream, redirect, tunnel};

/// The most of an early answer's body that is kept while the rest of the upload is read: error pages are small.
const MAX_EARLY_BODY_BYTES: usize = 1 << 20;

/// An upload, or a delete or relist without a body.
#[derive(Debug)]
pub struct PublishRequest<B> {
    /// The feed's credential and origins.
    pub access: Access,
    /// The client's body.
    pub body: B,
    /// The client's headers that go upstream, the caller's choice. Framing, `Host` and `Via` are ours.
    pub headers: HeaderMap,
    /// The body's length, if the client said it; else it is sent chunked.
    pub length: Option<u64>,
    /// The method.
    pub method: Method,
    /// The absolute address.
    pub url: String,
    /// The `Via` values of the client's request.
    pub via: Vec<String>,
}

impl<A> PublishRequest<A> {
    /// The same request with another body.
    #[must_use]
    pub fn with_body<B>(self, body: B) -> PublishRequest<B> {
        PublishRequest {
            access: self.access,
            body,
            headers: self.headers,
            length: self.length,
            method: self.method,
            url: self.url,
            via: self.via,
        }
    }
}

/// The upstream's answer to a publish. Its request was sent, in whole or in part.
#[derive(Debug)]
pub struct PublishReply {
    /// Its body. If the answer came early and its body was lost or too long to keep, this is empty and the headers
    /// that described it are gone.
    pub body: ResponseBody,
    /// Its headers, as they came.
    pub headers: HeaderMap,
    /// Its reason phrase, where that is not the canonical one.
    pub reason: Option<Bytes>,
    /// Its status, never a redirect.
    pub status: StatusCode,
}

/// Whether the upstream may have acted on a publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// Not a byte went out.
    None,
    /// At least one byte went out.
    Some,
}

/// A publish without an answer to hand on.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishError {
    /// Whose fault, and which.
    pub fault: PublishFault,
    /// Whether the upstream may have acted on it.
    pub sent: Sent,
}

/// Why a publish has no answer to hand on.
#[derive(Clone, Debug, PartialEq)]
pub enum PublishFault {
    /// The client broke its upload off; the words of its connection.
    ClientGone(String),
    /// The client sent nothing for the idle limit.
    ClientStalled,
    /// The upstream answered with a redirect, which an upload does not follow.
    Redirected {
        /// Its status.
        status: StatusCode,
        /// Its target without the query, if it names one.
        to: Option<String>,
    },
    /// The upload is larger than the limit.
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The upstream gave no answer.
    Upstream(UpstreamError),
}

impl PublishFault {
    /// The word for logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::ClientGone(_) => "client-gone",
            Self::ClientStalled => "client-stalled",
            Self::Redirected { .. } => "redirected",
            Self::TooLarge { .. } => "too-large",
            Self::Upstream(error) => error.word(),
        }
    }
}

impl fmt::Display for PublishFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientGone(why) => write!(f, "the client broke its upload off: {why}"),
            Self::ClientStalled => f.write_str("the client stopped sending its upload"),
            Self::Redirected {
                status,
                to: Some(to),
            } => write!(f, "the upstream redirects ({}) to {to}", status.as_u16()),
            Self::Redirected { status, to: None } => {
                write!(f, "the upstream redirects ({})", status.as_u16())
            }
            Self::TooLarge { max_bytes } => {
                write!(f, "the upload is larger than {max_bytes} bytes")
            }
            Self::Upstream(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            PublishFault::Upstream(error) => Some(error),
            PublishFault::ClientGone(_)
            | PublishFault::ClientStalled
            | PublishFault::Redirected { .. }
            | PublishFault::TooLarge { .. } => None,
        }
    }
}

impl Upstream {
    /// Sends one upload and gives the upstream's answer. Whatever the upstream does, the client's body has been read
    /// to its end, or to one of the limits, when this returns: only then does the real client read an answer. The
    /// breaker is not asked: a user who pushes is worth the seconds of one connect. Dropping the future breaks the
    /// upload off.
    ///
    /// # Errors
    /// [`PublishError`] if there is no answer to hand on.
    pub async fn publish<B>(&self, request: PublishRequest<B>) -> Result<PublishReply, PublishError>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let shared = self.shared();
        let length = request.length.or_else(|| request.body.size_hint().exact());
        let max_bytes = shared.settings.max_push_bytes;
        if length.is_some_and(|length| length > max_bytes) {
            return Err(PublishError {
                fault: PublishFault::TooLarge { max_bytes },
                sent: Sent::None,
            });
        }
        let head = Head {
            access: request.access,
            headers: request.headers,
            length,
            method: request.method,
            url: request.url,
            via: request.via,
        };
        let body = pin!(request.body);
        let mut upload = Upload::new(body, length, &shared.settings);
        let wrote = Arc::new(AtomicBool::new(false));
        let outcome = shared.relay(head, &mut upload, &wrote).await;
        upload.drain().await;
        let sent = if wrote.load(Ordering::Acquire) {
            Sent::Some
        } else {
            Sent::None
        };
        outcome.map_err(|fault| PublishError { fault, sent })
    }
}

/// A publish without its body.
struct Head {
    access: Access,
    headers: HeaderMap,
    length: Option<u64>,
    method: Method,
    url: String,
    via: Vec<String>,
}

impl Shared {
    async fn relay<B>(
        self: &Arc<Self>,
        head: Head,
        upload: &mut Upload<'_, B>,
        wrote: &Arc<AtomicBool>,
    ) -> Result<PublishReply, PublishFault>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: fmt::Display + Send,
    {
        let address = Address::parse(head.url.as_bytes())
            .map_err(|why| PublishFault::Upstream(UpstreamError::BadUrl(why)))?;
        let line = self.line(address.origin(), &head.access);
        let credential = self
            .credential(address.origin(), address.origin(), &head.access)
            .await;
        let credential = credential.map_err(PublishFault::Upstream)?;
        let wire = self
            .open(&line, &head.access)
            .await
            .map_err(PublishFault::Upstream)?;
        let wire = Patient::new(
            wire,
            Arc::clone(wrote),
            self.settings.idle_timeout,
            self.clock.clone(),
        );
        let lost = |error: &hyper::Error, phase| {
            PublishFault::Upstream(UpstreamError::from_hyper(address.origin(), error, phase))
        };
        let (mut requests, connection) = http1::Builder::new()
            .max_buf_size(self.settings.max_header_bytes.max(8192))
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| lost(&error, Phase::Send))?;
        self.tasks.spawn("upstream publish", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a publish connection broke");
            }
        });
        let (sender, body) = Relayed::new(head.length);
        let mut request = self.publish_request(&head, &address, &line, body)?;
        if let Some(credential) = &credential {
            credential.apply(request.headers_mut());
        }
        let mut answer = pin!(requests.send_request(request));
        let early = tokio::select! {
            biased;
            answer = &mut answer => Some(answer),
            sent = upload.send(&sender, address.origin()) => {
                sent?;
                None
            }
        };
        let answer = match early {
            Some(answer) => answer.map_err(|error| lost(&error, Phase::Send))?,
            None => tokio::time::timeout(self.settings.push_answer_timeout, answer)
                .await
                .map_err(|_| {
                    PublishFault::Upstream(UpstreamError::TimedOut {
                        origin: address.origin().clone(),
                        phase: Phase::FirstByte,
                    })
                })?
                .map_err(|error| lost(&error, Phase::FirstByte))?,
        };
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(refused) = &credential
        {
            head.access.suspect(refused);
        }
        let reply = self.reply(&address, &line, answer)?;
        if upload.is_over() {
            return Ok(reply);
        }
        // The sender lives on: without it hyper would break the connection before the answer's body has come.
        let (reply, ()) = tokio::join!(self.gather(reply), upload.drain());
        drop(sender);
        Ok(reply)
    }

    /// A connection of the upload's own.
    async fn open(
        self: &Arc<Self>,
        line: &Arc<Line>,
        access: &Access,
    ) -> Result<Wire, UpstreamError> {
        let private = self.allowance(line.origin(), access).await?;
        let began = self.clock.instant();
        let mut opened = self.dial(line, private).await;
        let refused = matches!(opened, Err(ConnectError::PrivateAddress));
        if refused && self.has_private_upstream(access).await {
            opened = self.dial(line, PrivateAddresses::Allow).await;
        }
        opened.map_err(|error| {
            let error = UpstreamError::from_connect(line.origin(), &error);
            if retry::judge(&error).0 == Counts::Yes {
                line.health.failed(began, &error);
                self.keep_watch(line);
            }
            error
        })
    }

    async fn dial(&self, line: &Line, private: PrivateAddresses) -> Result<Wire, ConnectError> {
        line.dialer(self, private).dial(Protocols::Http1).await
    }

    fn publish_request(
        &self,
        head: &Head,
        address: &Address,
        line: &Line,
        body: Relayed,
    ) -> Result<Request<Relayed>, PublishFault> {
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = line.target(address).map_err(PublishFault::Upstream)?;
        let headers = request.headers_mut();
        headers.clone_from(&head.headers);
        for framing in [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING] {
            headers.remove(framing);
        }
        if let Ok(host) = HeaderValue::try_from(address.origin().authority()) {
            headers.insert(HOST, host);
        }
        self.introduce(&head.via, headers);
        line.introduce_to_proxy(headers);
        Ok(request)
    }

    fn reply(
        &self,
        address: &Address,
        line: &Line,
        answer: Response<Incoming>,
    ) -> Result<PublishReply, PublishFault> {
        let (parts, incoming) = answer.into_parts();
        if parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(PublishFault::Upstream(UpstreamError::ProxyAuthRequired {
                origin: address.origin().clone(),
                proxy: line.forwarded().map(|proxy| proxy.origin().clone()),
                schemes: tunnel::schemes(&parts.headers),
            }));
        }
        if redirect::is_redirect(parts.status) {
            let to = parts
                .headers
                .get(LOCATION)
                .and_then(|location| address.join(location.as_bytes()).ok())
                .map(|to| to.without_query());
            return Err(PublishFault::Redirected {
                status: parts.status,
                to,
            });
        }
        // Passed on, an empty one would leave the user with nothing to read (protocol fact 7.5.7).
        let reason = parts.extensions.get::<ReasonPhrase>();
        let reason = reason.filter(|reason| !reason.as_bytes().trim_ascii().is_empty());
        Ok(PublishReply {
            body: ResponseBody::new(
                incoming,
                None,
                address.origin().clone(),
                &self.settings,
                self.clock.clone(),
            ),
            headers: parts.headers,
            reason: reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes())),
            status: parts.status,
        })
    }

    /// Takes the body of an early answer off its connection, which will not last.
    async fn gather(&self, mut reply: PublishReply) -> PublishReply {
        let origin = reply.body.origin().clone();
        let mut whole = BytesMut::new();
        let kept = loop {
            match reply.body.frame().await {
                None => break Some(whole.freeze()),
                Some(Ok(frame)) => whole.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the body of an early answer was lost");
                    break None;
                }
            }
            if whole.len() > MAX_EARLY_BODY_BYTES {
                break None;
            }
        };
        if kept.is_none() {
            for described in [
                CONTENT_ENCODING,
                CONTENT_LENGTH,
                CONTENT_TYPE,
                TRANSFER_ENCODING,
            ] {
                reply.headers.remove(described);
            }
        }
        reply.body = ResponseBody::whole(kept, origin, &self.settings, self.clock.clone());
        reply
    }
}
