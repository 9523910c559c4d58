//! Clients over TLS: the server's own connections at the far end of a pipe, hyper's client at the near one.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sluice::server;
use sluice::server::tls::{self, Certificates};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::{Answered, TestProxy};

/// The name that the certificate is for.
pub(crate) const NAME: &str = "us.test";

/// A certificate of our own, and who trusts it.
pub(crate) struct Secure {
    certificates: Certificates,
    root: CertificateDer<'static>,
    _folder: TempDir,
}

/// Writes a certificate for these names that signed itself, and its key: `chain.pem` and `key.pem`.
pub(crate) fn write_pair(folder: &Path, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(folder.join("chain.pem"), made.cert.pem()).expect("it can be written");
    let key = made.signing_key.serialize_pem();
    std::fs::write(folder.join("key.pem"), key).expect("it can be written");
    made.cert.der().clone()
}

/// A client that trusts `root` and offers these protocols.
pub(crate) fn connector(root: CertificateDer<'static>, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

impl Secure {
    pub(crate) fn new(proxy: &TestProxy) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = write_pair(folder.path(), &[NAME]);
        let settings = tls::Settings {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            certificate: Some(folder.path().join("chain.pem")),
            key: Some(folder.path().join("key.pem")),
            ..tls::Settings::default()
        };
        let opened = Certificates::open(&settings, &proxy.clock).expect("a pair");
        Self {
            certificates: opened.expect("addresses"),
            root,
            _folder: folder,
        }
    }

    /// A connection that speaks this version.
    pub(crate) async fn open(&self, proxy: &TestProxy, version: Version) -> Link {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (ours, certificates) = (proxy.proxy.clone(), self.certificates.clone());
        let (telemetry, tasks) = (proxy.telemetry.clone(), proxy.tasks.clone());
        proxy.tasks.spawn("connection", async move {
            let settings = server::Settings::default();
            let addr = (Ipv4Addr::new(192, 0, 2, 1), 50_000).into();
            server::serve_secure(
                &settings,
                &certificates,
                ours,
                far,
                addr,
                &telemetry,
                &tasks,
            )
            .await;
        });
        let is_h2 = version == Version::HTTP_2;
        let protocols: &[&[u8]] = if is_h2 { &[b"h2"] } else { &[b"http/1.1"] };
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = connector(self.root.clone(), protocols);
        let stream = TokioIo::new(connector.connect(name, near).await.expect("a handshake"));
        if is_h2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new());
            let (sender, connection) = builder.handshake(stream).await.expect("HTTP/2");
            proxy.tasks.spawn("client", connection);
            Link::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
            proxy.tasks.spawn("client", connection);
            Link::H1(sender)
        }
    }
}

/// A client's connection.
pub(crate) enum Link {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Link {
    pub(crate) async fn get(&mut self, path: &str) -> Answered {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends a request for a path on `NAME`, port 6853, and takes the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answered {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let host = format!("{NAME}:6853");
        let answer = match self {
            Self::H1(sender) => {
                let request = request.uri(path).header("host", host);
                sender.ready().await.expect("open");
                let request = request.body(Full::new(body)).expect("a request");
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                let request = request.uri(format!("https://{host}{path}"));
                sender.ready().await.expect("open");
                let request = request.body(Full::new(body)).expect("a request");
                sender.send_request(request).await
            }
        };
        take(answer.expect("an answer")).await
    }
}

async fn take(answer: Response<Incoming>) -> Answered {
    let (parts, body) = answer.into_parts();
    let reason = parts.extensions.get::<ReasonPhrase>();
    let reason = reason.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
    let headers: HeaderMap = parts.headers;
    let (body, broken) = match body.collect().await {
        Ok(body) => (body.to_bytes(), None),
        Err(error) => (Bytes::new(), Some(error.to_string())),
    };
    Answered {
        status: parts.status.as_u16(),
        reason,
        headers,
        body,
        broken,
    }
}
