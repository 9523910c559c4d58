//! Real sockets on loopback: TLS, names, refused and private addresses, early answers. Time is real here.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::publish::{Client, Ending, length, push};
use super::*;
use crate::upstream::connect::Network;
use crate::upstream::line::Spawner;

fn upstream(roots: Vec<CertificateDer<'static>>) -> (Upstream, Tasks) {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let network = Network::new(roots, clock.clone(), tasks.clone());
    let product = Product {
        user_agent: "Sluice/test".into(),
        via_token: "0badcafe".into(),
    };
    let upstream = Upstream::new(
        Settings::default(),
        Arc::new(network),
        clock,
        tasks.clone(),
        product,
    );
    (upstream, tasks)
}

fn read(url: &str, home: &str, hold: Duration) -> Fetch {
    Fetch {
        accept: Accept::Document,
        access: Access::new(Origin::of(home).unwrap(), None).unwrap(),
        hold: Clock::system().instant() + hold,
        method: FetchMethod::Get,
        retry_until: Clock::system().instant() + hold,
        stake: stake_of("192.0.2.1", Urgency::Client),
        symbol_checksum: None,
        url: url.into(),
        validators: None,
        via: Vec::new(),
    }
}

const PATIENT: Duration = Duration::from_secs(15);

/// Answers one request on a connection with the first line of its head.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let line = String::from_utf8(head).unwrap();
    let line = line.lines().next().unwrap();
    stream.write_all(ok(line).as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

/// Answers an HTTP/2 request with its target and the coding it accepts.
async fn echo_h2(
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let coding = request.headers()["accept-encoding"].to_str().unwrap();
    let text = format!("{:?} {} {coding}", request.version(), request.uri());
    Ok(Response::new(Full::from(text)))
}

const H1: &[u8] = b"http/1.1";

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Identity {
        certificate: made.cert.der().clone(),
        key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
    }
}

/// A TLS server with this identity that speaks this protocol; gives its port.
async fn serve_tls(identity: Identity, protocol: &'static [u8], tasks: &Tasks) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], identity.key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spawner = Spawner(tasks.clone());
    tasks.spawn("server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            if protocol == b"h2" {
                let service = hyper::service::service_fn(echo_h2);
                http2::Builder::new(spawner.clone())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .unwrap();
            } else {
                echo(stream).await;
            }
        }
    });
    port
}

#[tokio::test]
async fn tls_with_a_known_root_by_name() {
    let identity = identity("localhost");
    let (upstream, tasks) = upstream(vec![identity.certificate.clone()]);
    let port = serve_tls(identity, H1, &tasks).await;
    let url = format!("https://localhost:{port}/v3/index.json?a");
    let fetched = upstream.fetch(read(&url, &url, PATIENT)).await.unwrap();
    assert_eq!(
        text(fetched.body).await.unwrap(),
        "GET /v3/index.json?a HTTP/1.1"
    );
}

#[tokio::test]
async fn http2_where_tls_negotiates_it() {
    let identity = identity("localhost");
    let (upstream, tasks) = upstream(vec![identity.certificate.clone()]);
    let port = serve_tls(identity, b"h2", &tasks).await;
    let url = format!("https://localhost:{port}/v3/a?b=%2B");
    for _ in 0..3 {
        let fetched = upstream.fetch(read(&url, &url, PATIENT)).await.unwrap();
        assert_eq!(
            text(fetched.body).await.unwrap(),
            format!("HTTP/2.0 {url} gzip")
        );
    }
}

#[tokio::test]
async fn tls_with_a_wrong_certificate_fails_at_once() {
    let known = identity("localhost");
    let (upstream, tasks) = upstream(vec![known.certificate]);
    let port = serve_tls(identity("localhost"), H1, &tasks).await;
    let url = format!("https://localhost:{port}/");
    let error = upstream.fetch(read(&url, &url, PATIENT)).await.unwrap_err();
    assert_eq!(error.word(), "tls", "{error}");
    let Identity { certificate, key } = identity("other.test");
    let (upstream, tasks) = self::upstream(vec![certificate.clone()]);
    let port = serve_tls(Identity { certificate, key }, H1, &tasks).await;
    let url = format!("https://localhost:{port}/");
    let error = upstream.fetch(read(&url, &url, PATIENT)).await.unwrap_err();
    assert_eq!(error.word(), "tls", "{error}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_to_a_public_feed() {
    let (upstream, _tasks) = upstream(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let public = "https://8.8.8.8/";
    // The second is an odd spelling of 127.0.0.1 that only the system's resolver reads.
    for host in ["127.0.0.1", "127.1", "localhost"] {
        let url = format!("http://{host}:{port}/");
        let error = upstream
            .fetch(read(&url, public, PATIENT))
            .await
            .unwrap_err();
        assert_eq!(error.word(), "private-address", "{host}");
    }
    let accepted = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(accepted.is_err(), "a connection was opened");
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let (upstream, _tasks) = upstream(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = upstream
        .fetch(read(&url, &url, Duration::from_millis(20)))
        .await
        .unwrap_err();
    let UpstreamError::HeldOut {
        last: Some(last), ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(last.word(), "connect-failed");
    assert!(last.to_string().contains("refused"), "{last}");
}

/// Answers 413 as soon as the head has come, and closes with the upload unread: the system resets the connection.
async fn refuse_early(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let text = answer("413 Too large", "", "too large");
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_early_answer_survives_a_reset() {
    let (upstream, tasks) = upstream(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tasks.spawn("server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            refuse_early(stream).await;
        }
    });
    let access = Access::new(Origin::of(&url).unwrap(), None).unwrap();
    for _ in 0..100 {
        let client = Client::new(200, Ending::End);
        let sent = Arc::clone(&client.read);
        let reply = upstream.publish(push(&access, &url, client)).await.unwrap();
        assert_eq!(reply.status, 413);
        assert_eq!(reply.reason.as_deref(), Some(b"Too large".as_slice()));
        assert_eq!(sent.load(Ordering::SeqCst), length(200));
    }
}
