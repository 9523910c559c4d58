//! HTTP/2 on pipes, with hyper's own server: few connections, and a health that pings do not deceive.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::*;
use crate::upstream::line::Spawner;

const URL: &str = "https://two.test/a";

/// A server that speaks HTTP/2, or HTTP/1.1 where it is told to.
struct Server {
    connections: AtomicUsize,
    /// Answers wait until this is true.
    open: watch::Sender<bool>,
    refuses: AtomicBool,
    requests: AtomicUsize,
    speaks_http1: AtomicBool,
    tasks: Tasks,
}

impl Connect for Arc<Server> {
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        Box::pin(async move {
            self.connections.fetch_add(1, Ordering::SeqCst);
            // A handshake takes its time, in which others come.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.refuses.load(Ordering::SeqCst) {
                return Err(ConnectError::Failed("connection refused".into()));
            }
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let is_http1 =
                self.speaks_http1.load(Ordering::SeqCst) || target.protocols == Protocols::Http1;
            let server = Self::clone(self);
            self.tasks.spawn("server", async move {
                let service = hyper::service::service_fn(move |request| {
                    answer_to(Self::clone(&server), request)
                });
                let stream = TokioIo::new(theirs);
                if is_http1 {
                    let _ = http1::Builder::new()
                        .serve_connection(stream, service)
                        .await;
                } else {
                    let _ = http2::Builder::new(Spawner(Tasks::new()))
                        .timer(TokioTimer::new())
                        .serve_connection(stream, service)
                        .await;
                }
            });
            Ok(Connection {
                stream: Box::new(ours),
                negotiated: if is_http1 {
                    Negotiated::Http1
                } else {
                    Negotiated::Http2
                },
            })
        })
    }
}

async fn answer_to(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    server.requests.fetch_add(1, Ordering::SeqCst);
    let mut open = server.open.subscribe();
    let _ = open.wait_for(|open| *open).await;
    let version = format!("{:?}", request.version());
    Ok(Response::new(Full::from(version)))
}

fn bench() -> (Bench, Arc<Server>) {
    let mut bench = Bench::new();
    let server = Arc::new(Server {
        connections: AtomicUsize::new(0),
        open: watch::Sender::new(true),
        refuses: AtomicBool::new(false),
        requests: AtomicUsize::new(0),
        speaks_http1: AtomicBool::new(false),
        tasks: bench.tasks.clone(),
    });
    let product = Product {
        user_agent: "Sluice/test".into(),
        via_token: "0badcafe".into(),
    };
    bench.upstream = Upstream::new(
        Settings::default(),
        Arc::new(Arc::clone(&server)),
        bench.clock.clone(),
        bench.tasks.clone(),
        product,
    );
    let upstream = Origin::of(URL).unwrap();
    bench.access = Access::new(upstream, None).unwrap();
    (bench, server)
}

fn count(of: &AtomicUsize) -> usize {
    of.load(Ordering::SeqCst)
}

fn state(bench: &Bench) -> OriginState {
    bench
        .upstream
        .state(&Origin::of(URL).unwrap(), &bench.access)
}

async fn all(reads: Vec<tokio::task::JoinHandle<Result<Fetched, UpstreamError>>>) -> Vec<String> {
    let mut versions = Vec::new();
    for read in reads {
        versions.push(text(read.await.unwrap().unwrap().body).await.unwrap());
    }
    versions
}

#[tokio::test(start_paused = true)]
async fn a_cold_crowd_shares_one_connection_and_the_limit_counts_requests() {
    let (bench, server) = bench();
    server.open.send_replace(false);
    let reads: Vec<_> = (0..100).map(|_| bench.start(URL)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (count(&server.connections), count(&server.requests)),
        (1, 64)
    );
    server.open.send_replace(true);
    let versions = all(reads).await;
    assert_eq!(versions, vec!["HTTP/2.0"; 100]);
    assert_eq!(
        (count(&server.connections), count(&server.requests)),
        (1, 100)
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_trusted_after_fifty_seconds() {
    let (bench, server) = bench();
    for (pause, connections) in [(0, 1), (49, 1), (51, 2)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        bench.get(URL).await;
        assert_eq!(count(&server.connections), connections, "{pause}");
    }
}

#[tokio::test(start_paused = true)]
async fn http1_is_found_out_once_and_its_first_connection_used() {
    let (bench, server) = bench();
    server.speaks_http1.store(true, Ordering::SeqCst);
    assert_eq!(bench.get(URL).await, (200, "HTTP/1.1".into()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.get(URL).await, (200, "HTTP/1.1".into()));
    assert_eq!(count(&server.connections), 1);
    // Then each request of a crowd has one.
    server.open.send_replace(false);
    let reads: Vec<_> = (0..10).map(|_| bench.start(URL)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (count(&server.connections), count(&server.requests)),
        (10, 12)
    );
    server.open.send_replace(true);
    all(reads).await;
    // After ten minutes it is asked again.
    server.speaks_http1.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.get(URL).await, (200, "HTTP/2.0".into()));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_before_a_dead_server_fails_together() {
    let (bench, server) = bench();
    server.refuses.store(true, Ordering::SeqCst);
    let before = tokio::time::Instant::now();
    let reads: Vec<_> = (0..40).map(|_| bench.start(URL)).collect();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap_err().word(), "breaker-open");
    }
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "{:?}",
        before.elapsed()
    );
    assert!(
        count(&server.connections) <= 12,
        "{}",
        count(&server.connections)
    );
}

#[tokio::test(start_paused = true)]
async fn pings_that_are_answered_do_not_make_a_hanging_origin_live() {
    let (bench, server) = bench();
    bench.get(URL).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.open.send_replace(false);
    let began = bench.clock.now();
    let read = bench.start(URL);
    for seconds in [3, 4, 4] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert_eq!(state(&bench), OriginState::Slow { since: began });
    }
    let error = read.await.unwrap().unwrap_err();
    assert_eq!(error.word(), "held-out");
    assert!(matches!(state(&bench), OriginState::Open { .. }));
    server.open.send_replace(true);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(state(&bench), OriginState::Live);
    assert_eq!(bench.get(URL).await.1, "HTTP/2.0");
}

#[tokio::test(start_paused = true)]
async fn draining_lets_go_of_the_connection() {
    let (bench, _server) = bench();
    bench.get(URL).await;
    let drained = bench.tasks.drain(Duration::from_secs(20)).await;
    assert_eq!(drained, crate::tasks::Drained::Complete);
}
