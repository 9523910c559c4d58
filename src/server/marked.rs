//! `GET /api/disputed`, `GET /api/unsigned` and `GET /api/withdrawn` on the admin listener: which versions are held here
//! with another hash than the one that their upstream publishes, which lack its signature, and which it has no more.
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
use crate::proxy::MarkKind;

/// The kind of versions that a path is about.
pub(super) fn kind_in(path: &str) -> Option<MarkKind> {
    let word = path.strip_prefix("/api/")?;
    let mut kinds = MarkKind::ALL.into_iter();
    kinds.find(|kind| kind.word() == word)
}

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

/// Lists the versions of a kind.
#[derive(Clone)]
pub(super) struct List(Arc<dyn Fn(MarkKind) -> Value + Send + Sync>);

impl List {
    pub(super) fn new(list: impl Fn(MarkKind) -> Value + Send + Sync + 'static) -> Self {
        Self(Arc::new(list))
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("List")
    }
}

/// Answers a request for the versions of a kind.
pub(super) async fn answer(
    request: &request::Parts,
    kind: MarkKind,
    client: IpAddr,
    state: &State,
) -> Response<Full<Bytes>> {
    if let Some(refused) = state.gate.refusal(request, client).await {
        return refused;
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return admin::not_allowed("GET, HEAD");
    }
    let body = format!("{}\n", (state.list.0)(kind));
    admin::respond(StatusCode::OK, "application/json", body)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::super::tests::gate;
    use super::*;
    use crate::access::SeenFrom;

    async fn asked(path: &str, method: Method, seen_from: SeenFrom) -> (StatusCode, String) {
        let nowhere = std::path::Path::new("/nowhere");
        let list = List::new(|kind| serde_json::json!({kind.word(): []}));
        let state = State::new(&gate(nowhere, seen_from).await, list);
        let request = Request::builder().method(method).uri(path);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let response = answer(
            &parts,
            kind_in(path).expect("a list"),
            [127, 0, 0, 1].into(),
            &state,
        )
        .await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_may_administer_reads_the_list() {
        for kind in ["disputed", "unsigned", "withdrawn"] {
            let path = format!("/api/{kind}");
            let listed = (StatusCode::OK, format!("{{\"{kind}\":[]}}\n"));
            assert_eq!(asked(&path, Method::GET, SeenFrom::Loopback).await, listed);
            let (status, _) = asked(&path, Method::DELETE, SeenFrom::Loopback).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
            let (status, _) = asked(&path, Method::GET, SeenFrom::Elsewhere).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(kind_in("/api/other"), None);
    }
}
