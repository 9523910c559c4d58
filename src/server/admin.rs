//! The admin listener's answers: health, readiness, metrics.
//!
//! Health says that the process runs; readiness that it can answer clients, which it can whenever it is bound and not
//! draining, whatever the upstreams do. It refuses everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::telemetry::Telemetry;

/// What the answers are made from.
#[derive(Clone)]
pub(super) struct State<R> {
    /// What readiness says besides.
    readiness: R,
    telemetry: Telemetry,
    draining: Arc<AtomicBool>,
}

impl<R: Fn() -> Value> State<R> {
    pub(super) fn new(readiness: R, telemetry: Telemetry, draining: Arc<AtomicBool>) -> Self {
        Self {
            readiness,
            telemetry,
            draining,
        }
    }
}

/// Answers a request of an operator.
pub(super) fn answer<B, R: Fn() -> Value>(
    request: &Request<B>,
    state: &State<R>,
) -> Response<Full<Bytes>> {
    let text = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = "only GET and HEAD\n".to_owned();
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, text, refused);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/healthz" => respond(StatusCode::OK, text, "ok\n".to_owned()),
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
            text,
            "not here; /healthz, /readyz and /metrics are\n".to_owned(),
        ),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
