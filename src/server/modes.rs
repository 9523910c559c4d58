//! `PUT /api/feeds/{name}/mode` on the admin listener: an operator takes a running feed offline or back.
//!
//! Who may use the admin listener's interface may do this, but for pages of other sites.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::Value;

use super::admin;
use crate::proxy::ModeOrder;

/// Longest body that is read: the longest word has ten letters.
const MAX_BODY_BYTES: usize = 64;
/// Longest wait for it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made from.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) gate: admin::Gate,
    pub(super) order_mode: OrderMode,
}

/// Sets a feed's mode.
#[derive(Clone)]
pub(super) struct OrderMode(Arc<dyn Orders>);

/// What takes orders: the proxy, or what a test puts in its place.
trait Orders: Send + Sync {
    /// Sets a feed's mode; gives its new state, or `None` if there is no such feed.
    fn order(&self, feed: &str, order: ModeOrder) -> Option<Value>;
}

impl<F: Fn(&str, ModeOrder) -> Option<Value> + Send + Sync> Orders for F {
    fn order(&self, feed: &str, order: ModeOrder) -> Option<Value> {
        self(feed, order)
    }
}

impl OrderMode {
    pub(super) fn new(
        order: impl Fn(&str, ModeOrder) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(order))
    }
}

impl fmt::Debug for OrderMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderMode")
    }
}

/// The feed whose mode a path names.
pub(super) fn feed_in(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/api/feeds/")?.strip_suffix("/mode")?;
    (!name.contains('/')).then_some(name)
}

/// Answers a request for the mode of the feed that [`feed_in`] found.
pub(super) async fn answer<B>(
    request: Request<B>,
    client: IpAddr,
    state: &State,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let text = |status, text: &str| admin::respond(status, admin::TEXT, format!("{text}\n"));
    let (parts, body) = request.into_parts();
    if let Some(refused) = state.gate.refusal(&parts, client).await {
        return refused;
    }
    if parts.method != Method::PUT {
        return admin::not_allowed("PUT");
    }
    if let Some(refused) = admin::refuse_other_sites(&parts.headers) {
        return refused;
    }
    let Some(feed) = feed_in(parts.uri.path()) else {
        return text(StatusCode::NOT_FOUND, "not here");
    };
    let read = Limited::new(body, MAX_BODY_BYTES).collect();
    let word = match tokio::time::timeout(BODY_TIMEOUT, Box::pin(read)).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    let Some(wanted) = ModeOrder::parse(&word) else {
        let expected = "body: expected offline, online or configured";
        return text(StatusCode::BAD_REQUEST, expected);
    };
    match state.order_mode.0.order(feed, wanted) {
        Some(state) => admin::respond(StatusCode::OK, "application/json", format!("{state}\n")),
        None => text(StatusCode::NOT_FOUND, "no feed of this name"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::tests::gate;
    use super::*;
    use crate::access::SeenFrom;
    use crate::proxy::Mode;

    #[tokio::test]
    async fn an_operator_sets_the_mode_of_a_feed_by_a_word() {
        let orders = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&orders);
        let order_mode = OrderMode::new(move |feed, order| {
            seen.lock().unwrap().push((feed.to_owned(), order));
            (feed == "nuget").then(|| serde_json::json!({"name": feed}))
        });
        let nowhere = std::path::Path::new("/nowhere");
        let state = State {
            gate: gate(nowhere, SeenFrom::Loopback).await,
            order_mode,
        };
        let client = [127, 0, 0, 1].into();
        let put = async |method: Method, path: &str, body: &'static str| {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Full::new(Bytes::from(body))).unwrap();
            let response = answer(request, client, &state).await;
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let path = "/api/feeds/nuget/mode";
        let good = (StatusCode::OK, "{\"name\":\"nuget\"}\n".to_owned());
        for word in ["offline", "online\n", "configured"] {
            assert_eq!(put(Method::PUT, path, word).await, good);
        }
        let expected = [
            ModeOrder::Fixed(Mode::Offline),
            ModeOrder::Fixed(Mode::Online),
            ModeOrder::Configured,
        ];
        let expected = expected.map(|order| ("nuget".to_owned(), order));
        assert_eq!(*orders.lock().unwrap(), expected);
        let long = "offline                                                              ";
        for word in ["", "off", "OFFLINE", long] {
            let (status, text) = put(Method::PUT, path, word).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(text, "body: expected offline, online or configured\n");
        }
        let foreign = Request::builder().method(Method::PUT).uri(path);
        let foreign = foreign.header("origin", "https://evil.test");
        let foreign = foreign.body(Full::new(Bytes::from("offline"))).unwrap();
        let response = answer(foreign, client, &state).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        // Who may not use the interface learns nothing of it.
        let gate = gate(nowhere, SeenFrom::Elsewhere).await;
        let order_mode = state.order_mode.clone();
        let closed = State { gate, order_mode };
        let stranger = Request::put(path)
            .body(Full::new(Bytes::from("offline")))
            .unwrap();
        let response = answer(stranger, client, &closed).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let (status, _) = put(Method::POST, path, "offline").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(orders.lock().unwrap().len(), 3);
        let (status, text) = put(Method::PUT, "/api/feeds/other/mode", "offline").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(text, "no feed of this name\n");
        for path in ["/api/feeds/a/b/mode", "/api/feeds/mode", "/api/feeds/a"] {
            assert_eq!(feed_in(path), None, "{path}");
        }
    }
}
