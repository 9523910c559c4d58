//! Pushes that are refused here: of what a rule hides, and to a feed that is offline.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use sluice::proxy::{Peer, Scheme, Transport};

use crate::harness::client::HOST;
use crate::harness::fixture::{ONE, package};
use crate::harness::{Ask, TestProxy};
use crate::offline::{OFFLINE, ONLINE, order};
use crate::rules::{block, with};

fn push(id: &str, version: &str) -> (Ask, Vec<u8>) {
    let content = package(id, version, 300_000);
    let ask =
        Ask::new(Method::PUT, "/v3/package").header("content-type", "application/octet-stream");
    (ask.body(content.clone()), content)
}

#[tokio::test(start_paused = true)]
async fn a_push_of_what_is_blocked_is_refused_here_and_any_other_passes_whole() {
    let proxy = with(&["Sample.One@[1.0,2.0)"]).await;
    let (ask, _) = push(ONE, "1.5.0");
    let answer = proxy.send(ask).await.expect_status(403, "refused.blocked");
    let reason =
        "Sluice: the push of sample.one 1.5.0 is blocked by the rule \"Sample.One@[1.0,2.0)\"";
    assert_eq!(answer.reason.as_deref(), Some(reason));
    assert!(answer.text().starts_with(reason), "{}", answer.text());
    assert_eq!(proxy.origin.total(), 0);
    let (ask, content) = push(ONE, "2.0.0");
    proxy.send(ask).await.expect_status(201, "relayed");
    assert_eq!(
        proxy.origin.last("PUT push.test/api/v2/package").body,
        content
    );
    // What does not say what it is passes; so does taking away what nobody sees.
    let odd = Ask::new(Method::PUT, "/v3/package").body(vec![7; 2 << 20]);
    proxy.send(odd).await.expect_status(201, "relayed");
    assert_eq!(
        proxy.origin.last("PUT push.test/api/v2/package").body.len(),
        2 << 20
    );
    let delete = Ask::new(Method::DELETE, "/v3/package/Sample.One/1.0.0");
    proxy.send(delete).await.expect_status(204, "relayed");
}

/// An upload in pieces, which says how many were taken.
struct Upload {
    pieces: Vec<Bytes>,
    taken: Arc<AtomicUsize>,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop();
        self.taken
            .fetch_add(usize::from(piece.is_some()), Ordering::Relaxed);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_refused_is_read_to_its_end() {
    let mut proxy = TestProxy::new().await;
    let whole = package(ONE, "3.0.0", 300_000);
    let push = async |proxy: &TestProxy| {
        let mut pieces: Vec<_> = whole.chunks(10_000).map(Bytes::copy_from_slice).collect();
        pieces.reverse();
        let (all, taken) = (pieces.len(), Arc::<AtomicUsize>::default());
        let upload = Upload {
            pieces,
            taken: Arc::clone(&taken),
        };
        let request = Request::put("/v3/package").header("host", HOST);
        let peer = Peer {
            addr: ([192, 0, 2, 1], 50_000).into(),
            scheme: Scheme::Http,
            transport: Transport::Copy,
        };
        let answer = proxy.proxy.handle(request.body(upload).unwrap(), peer);
        let status = answer.await.status().as_u16();
        (status, all - taken.load(Ordering::Relaxed))
    };
    order(&proxy, OFFLINE);
    assert_eq!(push(&proxy).await, (503, 0));
    order(&proxy, ONLINE);
    proxy.reload(block(&[ONE]));
    assert_eq!(push(&proxy).await, (403, 0));
    assert_eq!(proxy.origin.total(), 0);
}
