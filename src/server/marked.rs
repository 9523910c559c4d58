//! `GET /api/withdrawn` on the admin listener: which versions are held here that their upstream has no more.
//!
//! Who may use the admin listener's interface may ask for this.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, request};
use http_body_util::Full;
use serde_json::Value;

use super::admin;

/// Where it is asked for.
pub(super) const PATH: &str = "/api/withdrawn";

/// What the answers are made from.
#[derive(Clone, Debug)]
pub(super) struct State {
    gate: admin::Gate,
    list: List,
}

impl State {
    pub(super) fn new(gate: &admin::Gate, list: List) -> Self {
        Self {
            gate: gate.clone(),
            list,
        }
    }
}

/// Lists the versions.
#[derive(Clone)]
pub(super) struct List(Arc<dyn Fn() -> Value + Send + Sync>);

impl List {
    pub(super) fn new(list: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        Self(Arc::new(list))
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("List")
    }
}

/// Answers a request for [`PATH`].
pub(super) async fn answer(
    request: &request::Parts,
    client: IpAddr,
    state: &State,
) -> Response<Full<Bytes>> {
    if let Some(refused) = state.gate.refusal(request, client).await {
        return refused;
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return admin::not_allowed("GET, HEAD");
    }
    let body = format!("{}\n", (state.list.0)());
    admin::respond(StatusCode::OK, "application/json", body)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::super::tests::gate;
    use super::*;
    use crate::access::SeenFrom;

    async fn asked(method: Method, seen_from: SeenFrom) -> (StatusCode, String) {
        let nowhere = std::path::Path::new("/nowhere");
        let list = List::new(|| serde_json::json!({"withdrawn": []}));
        let state = State::new(&gate(nowhere, seen_from).await, list);
        let request = Request::builder().method(method).uri(PATH);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let response = answer(&parts, [127, 0, 0, 1].into(), &state).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_may_administer_reads_the_list() {
        let listed = (StatusCode::OK, "{\"withdrawn\":[]}\n".to_owned());
        assert_eq!(asked(Method::GET, SeenFrom::Loopback).await, listed);
        let (status, _) = asked(Method::DELETE, SeenFrom::Loopback).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        let (status, _) = asked(Method::GET, SeenFrom::Elsewhere).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
}
