//! TLS and HTTP/2 over pipes, on a paused clock: what is negotiated, and that every limit of a plain connection holds.

use std::sync::Mutex;

use http::{Method, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::clock::Clock;
use crate::proxy::{Scheme, Transport};
use crate::server::tls::tests::made::{Authority, pem};

const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";
const HOUR: Duration = Duration::from_secs(3600);

/// A server with a certificate, and a client that trusts it.
struct Scene {
    acceptor: Acceptor,
    certificates: Certificates,
    folder: TempDir,
    root: Authority,
    tasks: Tasks,
    telemetry: Telemetry,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Authority::root("Test Root");
        let settings = pem(folder.path(), &root.leaf(&["us.test"]), &[]);
        let opened = Certificates::open(&settings, &Clock::system());
        let (tasks, telemetry) = (Tasks::new(), Telemetry::new());
        Self {
            acceptor: Acceptor::new("clients", limits, &telemetry, &tasks),
            certificates: opened.unwrap().unwrap(),
            folder,
            root,
            tasks,
            telemetry,
        }
    }

    /// The near end of a connection whose far end is served.
    fn pipe<H, F, B>(&self, handle: H) -> DuplexStream
    where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (acceptor, certificates) = (self.acceptor.clone(), self.certificates.clone());
        let addr = ([192, 0, 2, 1], 50_000).into();
        self.tasks.spawn("connection", async move {
            acceptor
                .serve_secure(&certificates, far, addr, handle)
                .await;
        });
        near
    }

    async fn shake(&self, pipe: DuplexStream, protocols: &[&[u8]]) -> TlsStream<DuplexStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("us.test").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, pipe).await.unwrap()
    }

    /// An HTTP/2 client of a connection.
    async fn h2(&self, pipe: DuplexStream) -> Client {
        let stream = self.shake(pipe, &[H2, H1]).await;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(65_535)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let ended = self.tasks.spawn("client", connection);
        Client { sender, ended }
    }

    fn metric(&self, line: &str) -> bool {
        self.telemetry
            .render()
            .lines()
            .any(|rendered| rendered == line)
    }
}

struct Client {
    sender: http2::SendRequest<Empty<Bytes>>,
    ended: tokio::task::JoinHandle<hyper::Result<()>>,
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("https://us.test{path}");
    Request::builder().uri(uri).body(Empty::new()).unwrap()
}

impl Client {
    async fn get(&mut self, path: &str) -> hyper::Result<Response<Bytes>> {
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(get(path)).await?.into_parts();
        Ok(Response::from_parts(
            parts,
            body.collect().await?.to_bytes(),
        ))
    }
}

/// Says how the request came.
async fn seen(request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
    let text = format!(
        "{:?} {:?} {:?}",
        request.version(),
        peer.scheme,
        peer.transport
    );
    Response::new(Full::from(text))
}

#[tokio::test(start_paused = true)]
async fn the_client_chooses_between_http_1_and_2_and_bodies_are_copied_to_both() {
    let scene = Scene::new(limits());
    let mut client = scene.h2(scene.pipe(seen)).await;
    let answer = client.get("/").await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    let of = |version| format!("{version:?} {:?} {:?}", Scheme::Https, Transport::Copy);
    assert_eq!(*answer.body(), of(Version::HTTP_2));
    for protocols in [&[H1][..], &[]] {
        let mut stream = scene.shake(scene.pipe(seen), protocols).await;
        let close = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(close).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(&of(Version::HTTP_11)), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_given_up() {
    let scene = Scene::new(limits());
    let mut silent = scene.pipe(seen);
    // The beginning of a TLS record, and no more.
    silent.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let began = tokio::time::Instant::now();
    let _ = silent.read_to_end(&mut Vec::new()).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(
        scene.metric(
            "sluice_tls_handshake_failures_total{listener=\"clients\",cause=\"timed-out\"} 1"
        )
    );
    // A client that takes this for plain HTTP.
    let scene = Scene::new(limits());
    let mut plain = scene.pipe(seen);
    plain.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert!(
        scene
            .metric("sluice_tls_handshake_failures_total{listener=\"clients\",cause=\"failed\"} 1")
    );
}

#[tokio::test(start_paused = true)]
async fn handshakes_and_connections_without_requests_make_room_for_others() {
    let scene = Scene::new(Limits {
        max_connections: 1,
        ..limits()
    });
    let mut silent = scene.pipe(seen);
    silent.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    for protocol in [H2, H1] {
        // No request, and for HTTP/2 no preface.
        scene.shake(scene.pipe(seen), &[protocol]).await;
    }
    let mut idle = scene.h2(scene.pipe(seen)).await;
    assert!(idle.get("/").await.is_ok());
    let mut client = scene.h2(scene.pipe(seen)).await;
    assert!(client.get("/").await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(idle.get("/").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_http_2_connection_without_requests_is_ended() {
    let scene = Scene::new(limits());
    let began = tokio::time::Instant::now();
    // Not even a preface.
    let mut silent = scene.shake(scene.pipe(seen), &[H2]).await;
    let mut taken = Vec::new();
    let _ = silent.read_to_end(&mut taken).await;
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(75) && took <= Duration::from_secs(100),
        "{took:?}"
    );
    // One that had a request, and says goodbye when told.
    let mut client = scene.h2(scene.pipe(seen)).await;
    client.get("/").await.unwrap();
    let began = tokio::time::Instant::now();
    assert!((&mut client.ended).await.unwrap().is_ok());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(75) && took <= Duration::from_secs(100),
        "{took:?}"
    );
    assert_eq!(scene.acceptor.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_an_answer_is_broken_off() {
    let large = |_: Request<Incoming>, _: Peer| {
        std::future::ready(Response::new(Full::new(Bytes::from(vec![0; 64 << 20]))))
    };
    let write_timeout = limits().write_timeout;
    // Over HTTP/2 the connection itself goes on: only the one answer's window is full.
    let scene = Scene::new(limits());
    let mut client = scene.h2(scene.pipe(large)).await;
    let answer = client.sender.send_request(get("/")).await.unwrap();
    let began = tokio::time::Instant::now();
    let _ = (&mut client.ended).await;
    let took = began.elapsed();
    assert!(
        took >= write_timeout && took <= write_timeout * 3 / 2,
        "{took:?}"
    );
    drop(answer);
    // Over HTTP/1.1 the pipe is.
    let mut stream = scene.shake(scene.pipe(large), &[H1]).await;
    stream.write_all(GET).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.acceptor.open(), 1);
    tokio::time::sleep(write_timeout).await;
    assert_eq!(scene.acceptor.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_requests_over_http_2_and_waits_for_no_handshake() {
    let scene = Scene::new(limits());
    let (began, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handle = {
        let (began, gate) = (Arc::clone(&began), Arc::clone(&gate));
        move |request: Request<Incoming>, peer| {
            let (began, gate) = (Arc::clone(&began), Arc::clone(&gate));
            async move {
                began.notify_one();
                gate.notified().await;
                seen(request, peer).await
            }
        }
    };
    let mut silent = scene.pipe(seen);
    let _wordless = scene.shake(scene.pipe(seen), &[H2]).await;
    let mut idle = scene.h2(scene.pipe(seen)).await;
    idle.get("/").await.unwrap();
    let mut busy = scene.h2(scene.pipe(handle)).await;
    let client = async {
        let asking = busy.get("/");
        let releasing = async {
            began.notified().await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            gate.notify_one();
        };
        let (answer, ()) = tokio::join!(asking, releasing);
        answer.unwrap()
    };
    let drain = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.acceptor.open(), 4);
        let draining = scene.acceptor.drain(HOUR);
        let watching = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(scene.acceptor.open(), 1);
            assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
        };
        tokio::join!(draining, watching).0
    };
    let (answer, ended) = tokio::join!(client, drain);
    assert!(answer.body().starts_with(b"HTTP/2.0"));
    assert_eq!(ended, Ended::Drained);
}

#[tokio::test(start_paused = true)]
async fn breaking_connections_off_ends_their_http_2_requests() {
    let scene = Scene::new(limits());
    let alive = Arc::new(());
    let held = Arc::downgrade(&alive);
    let handle = move |_: Request<Incoming>, _: Peer| {
        let alive = Arc::clone(&alive);
        async move {
            std::future::pending::<()>().await;
            drop(alive);
            Response::new(Empty::<Bytes>::new())
        }
    };
    let client = scene.h2(scene.pipe(handle)).await;
    let Client { mut sender, ended } = client;
    let asking = sender.send_request(get("/"));
    let breaking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            scene.acceptor.drain(Duration::from_secs(30)).await,
            Ended::Expired
        );
        scene.acceptor.abort();
    };
    let (answer, ()) = tokio::join!(asking, breaking);
    assert!(answer.is_err());
    let _ = ended.await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((scene.acceptor.open(), held.strong_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn streams_and_heads_of_http_2_are_limited() {
    let scene = Scene::new(Limits {
        max_streams: 2,
        max_header_bytes: 8 << 10,
        ..limits()
    });
    let at_once = Arc::new(Mutex::new((0_usize, 0_usize)));
    let counted = Arc::clone(&at_once);
    let handle = move |_: Request<Incoming>, _: Peer| {
        let counted = Arc::clone(&counted);
        async move {
            {
                let mut counted = counted.lock().unwrap();
                counted.0 += 1;
                counted.1 = counted.1.max(counted.0);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            counted.lock().unwrap().0 -= 1;
            Response::new(Empty::<Bytes>::new())
        }
    };
    let mut client = scene.h2(scene.pipe(handle)).await;
    client.get("/").await.unwrap();
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let mut sender = client.sender.clone();
            scene.tasks.spawn("asking", async move {
                sender.ready().await?;
                sender.send_request(get("/")).await
            })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(at_once.lock().unwrap().1, 2);

    let mut request = get("/");
    *request.method_mut() = Method::GET;
    let large = http::HeaderValue::try_from("y".repeat(16 << 10)).unwrap();
    request.headers_mut().insert("x-large", large);
    let answer = client.sender.send_request(request).await;
    assert_eq!(answer.unwrap().status(), 431);
}

/// An HTTP/2 frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Sends so many requests, each reset in the same breath, and one that is not; gives the kind of the frame that answers:
/// the head of an answer to the last, or the end of the connection.
async fn answer_to_resets(max_reset_streams: usize, count: u32) -> u8 {
    let scene = Scene::new(Limits {
        max_reset_streams,
        max_streams: 1000,
        ..limits()
    });
    let mut stream = scene.shake(scene.pipe(seen), &[H2]).await;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    // GET, https, /, and the authority "a" (RFC 7541 appendix A); the head and the request end here.
    let head = |stream| frame(HEADERS, 0x5, stream, &[0x82, 0x87, 0x84, 0x41, 1, b'a']);
    for number in 0..count {
        sent.extend(head(number * 2 + 1));
        sent.extend(frame(RST_STREAM, 0, number * 2 + 1, &8_u32.to_be_bytes()));
    }
    let last = count * 2 + 1;
    sent.extend(head(last));
    stream.write_all(&sent).await.unwrap();
    loop {
        let mut begin = [0; 9];
        stream.read_exact(&mut begin).await.unwrap();
        let [a, b, c, kind, _, id @ ..] = begin;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let is_last = u32::from_be_bytes(id) == last;
        if kind == GOAWAY || kind == HEADERS && is_last {
            return kind;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_resets_ends_the_connection() {
    assert_eq!(answer_to_resets(200, 100).await, HEADERS);
    assert_eq!(answer_to_resets(10, 100).await, GOAWAY);
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let scene = Scene::new(limits());
    scene.certificates.watch(&scene.telemetry, &scene.tasks);
    let certificate = |stream: &TlsStream<DuplexStream>| -> CertificateDer<'static> {
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut old = scene.shake(scene.pipe(hello), &[H1]).await;
    let renewed = scene.root.leaf(&["us.test"]);
    pem(scene.folder.path(), &renewed, &[]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut new = scene.shake(scene.pipe(hello), &[H1]).await;
    assert_ne!(certificate(&old), renewed.der);
    assert_eq!(certificate(&new), renewed.der);
    for stream in [&mut old, &mut new] {
        let close = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(close).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
