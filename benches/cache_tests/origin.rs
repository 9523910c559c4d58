//! Asks the suite's origin: one connection for each request, and no request twice.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use sluice::clock::Clock;
use sluice::tasks::Tasks;
use tokio::net::TcpStream;

use crate::line::Interims;
use crate::rules::end_to_end;

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) interims: Interims,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
}

/// An answer of the origin.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) asked_at: SystemTime,
    pub(crate) body: Bytes,
    /// Those that go beyond one connection.
    pub(crate) headers: HeaderMap,
    pub(crate) received_at: SystemTime,
    pub(crate) status: StatusCode,
}

/// The suite's origin.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl Origin {
    /// Asks as the client does.
    ///
    /// # Errors
    /// If no whole answer comes.
    pub(crate) async fn ask(&self, ask: &Ask) -> io::Result<Got> {
        let asked_at = self.clock.now();
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        self.tasks.spawn("origin", async {
            // What goes wrong with it, the request is told.
            let _ = connection.await;
        });
        let response = sender.send_request(self.request(ask)?).await;
        let (parts, body) = response.map_err(io::Error::other)?.into_parts();
        let received_at = self.clock.now();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Got {
            asked_at,
            body,
            headers: end_to_end(&parts.headers),
            received_at,
            status: parts.status,
        })
    }

    fn request(&self, ask: &Ask) -> io::Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.target.parse().map_err(io::Error::other)?;
        let host = HeaderValue::try_from(self.address.to_string()).map_err(io::Error::other)?;
        let headers = request.headers_mut();
        *headers = end_to_end(&ask.headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::HOST, host);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.append(header::VIA, HeaderValue::from_static("1.1 cache-tests"));
        let interims = ask.interims.clone();
        on_informational(&mut request, move |interim| {
            interims.push(interim.status(), interim.headers());
        });
        Ok(request)
    }
}
