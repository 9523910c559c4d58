//! `POST /api/store/{order}` on the admin listener: an operator has something done to what is stored. The order is a JSON
//! object, the answer one object a line, told while it is carried out; the last has `done`.
//!
//! Who may use the admin listener's interface may do this, but for pages of other sites. It refuses to know the orders.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::Value;
use tokio::sync::mpsc;

use super::admin;
use crate::proxy::{Order, OrderError};

/// Longest order: ids, versions and patterns have at most some hundred bytes each.
const MAX_BODY_BYTES: usize = 4096;
/// Longest wait for it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made from.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) gate: admin::Gate,
    pub(super) take_order: TakeOrder,
}

/// Has an order carried out.
#[derive(Clone)]
pub(super) struct TakeOrder(Arc<dyn Takes>);

/// What takes orders: the proxy, or what a test puts in its place.
trait Takes: Send + Sync {
    /// Takes the order of this name, which says that; gives what is told of it.
    fn take(&self, name: &str, said: &Value) -> Result<mpsc::Receiver<Value>, OrderError>;
}

impl<F: Fn(&str, &Value) -> Result<mpsc::Receiver<Value>, OrderError> + Send + Sync> Takes for F {
    fn take(&self, name: &str, said: &Value) -> Result<mpsc::Receiver<Value>, OrderError> {
        self(name, said)
    }
}

impl TakeOrder {
    pub(super) fn new(
        take: impl Fn(&str, &Value) -> Result<mpsc::Receiver<Value>, OrderError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(take))
    }
}

impl fmt::Debug for TakeOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TakeOrder")
    }
}

/// The body of an answer of the admin listener.
#[derive(Debug)]
pub(super) enum AdminBody {
    /// One JSON object a line, as they come.
    Lines(mpsc::Receiver<Value>),
    Whole(Full<Bytes>),
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Lines(told) => told.poll_recv(cx).map(|object| {
                let line = format!("{}\n", object?);
                Some(Ok(Frame::data(line.into())))
            }),
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Lines(_) => false,
            Self::Whole(whole) => whole.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Lines(_) => SizeHint::default(),
            Self::Whole(whole) => whole.size_hint(),
        }
    }
}

/// The order that a path names.
pub(super) fn order_in(path: &str) -> Option<&str> {
    path.strip_prefix("/api/store/")
}

/// Answers a request for an order that [`order_in`] found.
pub(super) async fn answer<B>(
    request: Request<B>,
    client: IpAddr,
    state: &State,
) -> Response<AdminBody>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let text = |status, text: &str| {
        admin::respond(status, admin::TEXT, format!("{text}\n")).map(AdminBody::Whole)
    };
    let (parts, body) = request.into_parts();
    if let Some(refused) = state.gate.refusal(&parts, client).await {
        return refused.map(AdminBody::Whole);
    }
    let name = order_in(parts.uri.path()).unwrap_or_default();
    if !Order::NAMES.contains(&name) {
        let known = Order::NAMES.join(", ");
        return text(StatusCode::NOT_FOUND, &format!("not here; {known} are"));
    }
    if parts.method != Method::POST {
        return admin::not_allowed("POST").map(AdminBody::Whole);
    }
    if let Some(refused) = admin::refuse_other_sites(&parts.headers) {
        return refused.map(AdminBody::Whole);
    }
    let read = Limited::new(body, MAX_BODY_BYTES).collect();
    let said = match tokio::time::timeout(BODY_TIMEOUT, Box::pin(read)).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => {
            let expected = format!("body: expected at most {MAX_BODY_BYTES} bytes, soon");
            return text(StatusCode::BAD_REQUEST, &expected);
        }
    };
    let said = match said.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&said),
    };
    let Ok(said) = said else {
        return text(StatusCode::BAD_REQUEST, "body: expected a JSON object");
    };
    match state.take_order.0.take(name, &said) {
        Ok(told) => admin::respond(StatusCode::OK, "application/x-ndjson", String::new())
            .map(|_| AdminBody::Lines(told)),
        Err(error @ OrderError::Busy) => text(StatusCode::CONFLICT, &error.to_string()),
        Err(error @ OrderError::Wrong(_)) => text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::gate;
    use super::*;
    use crate::access::SeenFrom;

    fn takes() -> TakeOrder {
        TakeOrder::new(|name, said| {
            let (told, telling) = mpsc::channel(4);
            match said["id"].as_str() {
                Some("busy") => return Err(OrderError::Busy),
                Some("bad") => return Err(OrderError::Wrong("id: expected better".into())),
                _ => {}
            }
            told.try_send(json!({"progress": 1})).unwrap();
            told.try_send(json!({"done": {"name": name, "said": said}}))
                .unwrap();
            Ok(telling)
        })
    }

    #[tokio::test]
    async fn an_order_is_told_line_by_line_and_a_wrong_one_in_words() {
        let nowhere = std::path::Path::new("/nowhere");
        let state = State {
            gate: gate(nowhere, SeenFrom::Loopback).await,
            take_order: takes(),
        };
        let client = [127, 0, 0, 1].into();
        let send = async |request: Request<Full<Bytes>>, state: &State| {
            let response = answer(request, client, state).await;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let post = |path: &str, body: &str| {
            let body = Full::new(Bytes::from(body.to_owned()));
            Request::post(path).body(body).unwrap()
        };
        let (status, text) = send(post("/api/store/purge", "{\"id\":\"a\"}"), &state).await;
        let done = "{\"done\":{\"name\":\"purge\",\"said\":{\"id\":\"a\"}}}\n";
        assert_eq!((status, text), (200, format!("{{\"progress\":1}}\n{done}")));
        let (status, _) = send(post("/api/store/verify", ""), &state).await;
        assert_eq!(status, 200);
        let long = " ".repeat(5000);
        for (path, body, expected) in [
            (
                "/api/store/purge",
                "{",
                (400, "body: expected a JSON object\n"),
            ),
            (
                "/api/store/purge",
                &*long,
                (400, "body: expected at most 4096 bytes, soon\n"),
            ),
            (
                "/api/store/purge",
                "{\"id\":\"bad\"}",
                (400, "id: expected better\n"),
            ),
            (
                "/api/store/trim",
                "{\"id\":\"busy\"}",
                (
                    409,
                    "another purge, trim or verification is under way; try again later\n",
                ),
            ),
            (
                "/api/store/burn",
                "{}",
                (404, "not here; purge, trim, verify are\n"),
            ),
        ] {
            let (status, text) = send(post(path, body), &state).await;
            assert_eq!((status, &*text), expected);
        }
        let get = Request::get("/api/store/purge")
            .body(Full::default())
            .unwrap();
        assert_eq!(send(get, &state).await.0, 405);
        let mut foreign = post("/api/store/purge", "{\"id\":\"a\"}");
        let site = http::HeaderValue::from_static("https://evil.test");
        foreign.headers_mut().insert("origin", site);
        assert_eq!(send(foreign, &state).await.0, 403);
        // Who may not use the interface learns nothing of it.
        let closed = State {
            gate: gate(nowhere, SeenFrom::Elsewhere).await,
            take_order: takes(),
        };
        assert_eq!(send(post("/api/store/burn", "{}"), &closed).await.0, 401);
    }
}
