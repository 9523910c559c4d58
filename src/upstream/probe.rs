//! Watches an origin while requests wait for it, and probes it while it does not answer.
//!
//! A probe is a request of ours on a connection of its own, without credentials: any byte proves the origin alive, and
//! the connection notes it. It refuses to risk a client's request on an origin that may be dead.

use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connect::Protocols;
use super::error::{Phase, UpstreamError};
use super::health::Watch;
use super::line::Line;
use super::url::{Address, Origin};
use super::{Shared, Upstream};

/// Whether an origin may be probed now.
pub(super) type MayProbe = Box<dyn Fn(&Origin) -> bool + Send + Sync>;

impl Upstream {
    /// Has every origin that does not answer asked before each probe whether it may be probed. One that may not stays as it
    /// is, and is asked again when the next probe is due.
    pub fn probe_only_if(&self, may: impl Fn(&Origin) -> bool + Send + Sync + 'static) {
        let shared = self.shared();
        *shared
            .may_probe
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Box::new(may);
    }

    /// Has every origin that does not answer probed now, however far away its next probe is.
    pub fn probe_soon(&self) {
        for line in self.shared().lines().values() {
            line.health.probe_soon();
        }
    }
}

impl Shared {
    fn may_probe(&self, origin: &Origin) -> bool {
        let may = self.may_probe.read();
        may.unwrap_or_else(PoisonError::into_inner)(origin)
    }

    /// Has the origin watched until it is well and nobody waits for it.
    pub(super) fn keep_watch(&self, line: &Arc<Line>) {
        if self.tasks.is_draining() || !line.health.claim_watch() {
            return;
        }
        let (current, line) = (Weak::clone(&self.current), Arc::clone(line));
        let tasks = self.tasks.clone();
        self.tasks.spawn("upstream watch", async move {
            let watch = async {
                loop {
                    match line.health.watch() {
                        Watch::End => return,
                        Watch::Probe => {
                            // Nobody is left to ask for.
                            let Some(current) = current.upgrade() else {
                                return;
                            };
                            let shared = current.load_full();
                            drop(current);
                            shared.probe(&line).await;
                        }
                        Watch::Until(instant) => tokio::select! {
                            () = tokio::time::sleep_until(instant) => {}
                            () = line.health.changed() => {}
                        },
                    }
                }
            };
            tokio::select! {
                () = watch => {}
                () = tasks.draining() => {}
            }
        });
    }

    async fn probe(&self, line: &Line) {
        if !self.may_probe(line.origin()) {
            line.health.probe_failed();
            return;
        }
        // Whatever hangs, it is not worth keeping.
        line.renew();
        let asked = self.clock.instant();
        let limit = self.settings.first_byte_timeout;
        let outcome = tokio::time::timeout(limit, self.send_probe(line)).await;
        if line.health.sent_since(asked) {
            return;
        }
        line.health.probe_failed();
        match outcome {
            Ok(Ok(())) | Err(_) => tracing::debug!(origin = %line.origin(), "probe unanswered"),
            Ok(Err(error)) => tracing::debug!(origin = %line.origin(), %error, "probe failed"),
        }
    }

    async fn send_probe(&self, line: &Line) -> Result<(), UpstreamError> {
        let origin = line.origin();
        let (address, private) = line.probe();
        let wire = line.dialer(self, private).dial(Protocols::Http1).await;
        let wire = wire.map_err(|error| UpstreamError::from_connect(origin, &error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(wire))
            .await
            .map_err(|error| UpstreamError::from_hyper(origin, &error, Phase::FirstByte))?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = http::Uri::from_static("/");
        if let Some(address) = &address {
            *request.method_mut() = Method::GET;
            *request.uri_mut() = line.target(address)?;
        } else if line.forwarded().is_some() {
            let root = format!("{origin}/");
            let root = Address::parse(root.as_bytes()).map_err(UpstreamError::BadUrl)?;
            *request.uri_mut() = line.target(&root)?;
        }
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(origin.authority()) {
            headers.insert(HOST, host);
        }
        self.introduce(&[], headers);
        line.introduce_to_proxy(headers);
        let answer = tokio::select! {
            answer = sender.send_request(request) => answer.map(drop),
            ended = connection => ended,
        };
        answer.map_err(|error| UpstreamError::from_hyper(origin, &error, Phase::FirstByte))
    }
}
