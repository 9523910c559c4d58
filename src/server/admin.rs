//! The admin listener's answers: health, readiness, metrics, reloading; and who may use its interface. Modes of feeds are set
//! in `modes`.
//!
//! Health says that the process runs; readiness that it can answer clients, which it can whenever it is bound and not
//! draining, whatever the upstreams do. It refuses everything else.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::reload::Reloader;
use crate::access::{Denial, Guard, SeenFrom};
use crate::telemetry::Telemetry;

/// The type of answers for people.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// What the answers are made from.
#[derive(Clone)]
pub(super) struct State<R> {
    gate: Gate,
    /// What readiness says besides.
    readiness: R,
    telemetry: Telemetry,
    draining: Arc<AtomicBool>,
    reloader: Reloader,
}

/// Who may use what lies below `/api/`.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) guard: Guard,
    pub(super) seen_from: SeenFrom,
}

impl Gate {
    /// The answer to somebody who may not; `None` for who may. Health, readiness and metrics are for probes and
    /// scrapers, which have no credential.
    pub(super) async fn refusal(
        &self,
        request: &request::Parts,
        client: IpAddr,
    ) -> Option<Response<Full<Bytes>>> {
        if !request.uri.path().starts_with("/api/") {
            return None;
        }
        let admitted = self
            .guard
            .admit_admin(&request.headers, client, self.seen_from);
        let denial = admitted.await.err()?;
        let status = match denial {
            Denial::Forbidden(_) => StatusCode::FORBIDDEN,
            Denial::Missing(_) | Denial::Refused(_) => StatusCode::UNAUTHORIZED,
            Denial::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        };
        let mut response = respond(status, TEXT, format!("{denial}\n"));
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Sluice admin\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Some(response)
    }
}

impl<R: Fn() -> Value> State<R> {
    pub(super) fn new(
        gate: Gate,
        readiness: R,
        telemetry: Telemetry,
        draining: Arc<AtomicBool>,
        reloader: Reloader,
    ) -> Self {
        Self {
            gate,
            readiness,
            telemetry,
            draining,
            reloader,
        }
    }
}

/// Answers a request of an operator.
pub(super) async fn answer<R: Fn() -> Value>(
    request: &request::Parts,
    client: IpAddr,
    state: &State<R>,
) -> Response<Full<Bytes>> {
    if let Some(refused) = state.gate.refusal(request, client).await {
        return refused;
    }
    if request.uri.path() == "/api/reload" {
        return reload(request, &state.reloader).await;
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    match request.uri.path() {
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/metrics" => respond(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            state.telemetry.render(),
        ),
        "/readyz" => {
            let (status, word) = if state.draining.load(Ordering::Relaxed) {
                (StatusCode::SERVICE_UNAVAILABLE, "draining")
            } else {
                (StatusCode::OK, "ready")
            };
            let mut body = json!({});
            if let Value::Object(details) = (state.readiness)() {
                body = Value::Object(details);
            }
            body["status"] = word.into();
            respond(status, "application/json", format!("{body}\n"))
        }
        _ => respond(
            StatusCode::NOT_FOUND,
            TEXT,
            "not here; /healthz, /readyz, /metrics, /api/reload, /api/disputed, /api/unsigned, \
             /api/withdrawn, /api/feeds/<name>/mode and /api/store/<order> are\n"
                .to_owned(),
        ),
    }
}

/// Has the configuration read again and says what came of it.
async fn reload(request: &request::Parts, reloader: &Reloader) -> Response<Full<Bytes>> {
    if request.method != Method::POST {
        return not_allowed("POST");
    }
    if let Some(refused) = refuse_other_sites(&request.headers) {
        return refused;
    }
    let Some(report) = reloader.reload().await else {
        let refused = "the process is stopping\n".to_owned();
        return respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, refused);
    };
    let status = if report.problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    respond(
        status,
        "application/json",
        format!("{}\n", report.to_json()),
    )
}

/// The answer to an order that a page of another site gives.
pub(super) fn refuse_other_sites(headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let refused = "a page of another site may not ask for this\n";
    is_of_another_site(headers).then(|| respond(StatusCode::FORBIDDEN, TEXT, refused.to_owned()))
}

/// Whether a browser sent this for a page that is not ours: it names the page's origin with every POST and PUT (Fetch,
/// "append a request `Origin` header"), other programs send none.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes().strip_prefix(b"http://");
        origin.is_none() || origin != host
    })
}

/// The answer to another method than those.
pub(super) fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let refused = format!("only {}\n", allowed.replace(", ", " and "));
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, refused);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

pub(super) fn respond(
    status: StatusCode,
    kind: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
