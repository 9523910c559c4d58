//! Clients: one that calls the proxy directly, one that speaks HTTP over a pipe.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice::proxy::{Body, Peer, Proxy, Scheme, Transport};
use sluice::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// What clients call us unless a test says otherwise.
pub(crate) const HOST: &str = "us.test:6850";

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: HeaderMap,
    version: Version,
    body: Bytes,
    peer: SocketAddr,
}

impl Ask {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", HOST.parse().expect("a host"));
        Self {
            method,
            path: path.to_owned(),
            headers,
            version: Version::HTTP_11,
            body: Bytes::new(),
            peer: (Ipv4Addr::new(192, 0, 2, 1), 50_000).into(),
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn head(path: &str) -> Self {
        Self::new(Method::HEAD, path)
    }

    /// Adds a header; `host` is replaced.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = http::HeaderName::try_from(name).expect("a name");
        let value = http::HeaderValue::try_from(value).expect("a value");
        if name == "host" {
            self.headers.insert(name, value);
        } else {
            self.headers.append(name, value);
        }
        self
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = peer;
        self
    }

    /// Sends it; the answer's head has come when this returns.
    pub(crate) async fn open(&self, proxy: &Proxy) -> Opened {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.parse().expect("a path");
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        let peer = Peer {
            addr: self.peer,
            scheme: Scheme::Http,
            transport: Transport::Copy,
        };
        let (parts, body) = proxy.handle(request, peer).await.into_parts();
        let reason = parts
            .extensions
            .get::<ReasonPhrase>()
            .map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
        Opened {
            status: parts.status.as_u16(),
            reason,
            headers: parts.headers,
            body,
        }
    }

    /// Sends it and takes the whole answer.
    pub(crate) async fn send(&self, proxy: &Proxy) -> Reply {
        self.open(proxy).await.collect().await
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) status: u16,
    pub(crate) reason: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Opened {
    /// The next piece of the body; `Err` if it broke off.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }

    /// Takes pieces until at least so many bytes have come.
    #[track_caller]
    pub(crate) fn at_least(&mut self, bytes: usize) -> impl Future<Output = Vec<u8>> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let mut taken = Vec::new();
            while taken.len() < bytes {
                match self.chunk().await {
                    Some(Ok(chunk)) => taken.extend_from_slice(&chunk),
                    other => panic!("{caller}: {other:?} after {} bytes", taken.len()),
                }
            }
            taken
        }
    }

    /// Takes the rest.
    pub(crate) async fn collect(mut self) -> Reply {
        let mut body = Vec::new();
        let mut broken = None;
        while let Some(chunk) = self.chunk().await {
            match chunk {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        Reply {
            status: self.status,
            reason: self.reason,
            headers: self.headers,
            body: body.into(),
            broken,
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The reason phrase, if it is not the canonical one.
    pub(crate) reason: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Why the body broke off, if it did.
    pub(crate) broken: Option<String>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// `Cache-Status`, which every answer has.
    #[track_caller]
    pub(crate) fn note(&self) -> &str {
        self.header("cache-status").expect("a Cache-Status")
    }

    /// The `detail` of `Cache-Status`: outcome and reason.
    #[track_caller]
    pub(crate) fn detail(&self) -> &str {
        let note = self.note();
        note.split("; ")
            .find_map(|part| part.strip_prefix("detail="))
            .unwrap_or_else(|| panic!("no detail in {note:?}"))
    }

    /// A 200 that came about like this; gives itself.
    #[track_caller]
    pub(crate) fn expect(self, detail: &str) -> Self {
        self.expect_status(200, detail)
    }

    #[track_caller]
    pub(crate) fn expect_status(self, status: u16, detail: &str) -> Self {
        assert_eq!(
            (self.status, self.detail()),
            (status, detail),
            "{:?}: {:?}",
            self.reason,
            String::from_utf8_lossy(&self.body[..self.body.len().min(300)])
        );
        assert_eq!(self.broken, None);
        self
    }
}

/// A connection of a client: hyper serves the proxy at the other end, as in production.
pub(crate) struct Wire {
    pipe: DuplexStream,
}

impl Wire {
    pub(crate) fn open(proxy: &Proxy, tasks: &Tasks) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(proxy.clone(), far, tasks);
        Self { pipe: near }
    }

    /// Sends these bytes.
    pub(crate) async fn send(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).await.expect("open");
    }

    /// Sends a GET after which the connection ends, and takes everything that comes.
    pub(crate) async fn get(mut self, path: &str) -> String {
        let text = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        self.send(&text).await;
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }

    /// Takes what comes up to the end of a head.
    pub(crate) async fn head(&mut self) -> String {
        let mut taken = Vec::new();
        while !taken.ends_with(b"\r\n\r\n") {
            taken.push(self.pipe.read_u8().await.expect("open"));
        }
        String::from_utf8(taken).expect("text")
    }

    /// Takes so many bytes, fewer if the connection ends before.
    pub(crate) async fn take(&mut self, bytes: u64) -> Vec<u8> {
        let mut taken = Vec::new();
        let _ = (&mut self.pipe).take(bytes).read_to_end(&mut taken).await;
        taken
    }

    /// Takes everything up to the end of the connection.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        let _ = self.pipe.read_to_end(&mut taken).await;
        taken
    }
}

/// Has hyper serve a proxy on a pipe, as in production.
pub(super) fn serve(proxy: Proxy, pipe: DuplexStream, tasks: &Tasks) {
    let service = service_fn(move |request| {
        let proxy = proxy.clone();
        async move {
            let peer = Peer {
                addr: (Ipv4Addr::new(192, 0, 2, 1), 50_000).into(),
                scheme: Scheme::Http,
                transport: Transport::Copy,
            };
            Ok::<_, Infallible>(proxy.handle(request, peer).await)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .writev(true)
        .pipeline_flush(false)
        .serve_connection(TokioIo::new(pipe), service);
    tasks.spawn("connection", async move {
        let _ = serving.await;
    });
}
