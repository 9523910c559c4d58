//! CONNECT: a way through a proxy to a host that TLS keeps to itself (RFC 9110 section 9.3.6).
//!
//! The proxy learns host and port, its own credential if it has one, and nothing of the feed. It refuses to read on
//! behind the proxy's answer: those bytes belong to the host.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use httparse::{EMPTY_HEADER, Response as ParsedHead, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::connect::ConnectError;
use super::url::Origin;
use super::way::ForwardProxy;

/// Longest head of a proxy's answer.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Most header lines of it.
const MAX_HEADERS: usize = 100;

/// Asks the proxy at the other end of `stream` for a way to `origin`; what comes back leads there.
///
/// # Errors
/// [`ConnectError`] if the proxy gives none.
pub async fn open<S>(
    mut stream: S,
    proxy: &ForwardProxy,
    origin: &Origin,
) -> Result<S, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken =
        |error: &io::Error| ConnectError::Failed(format!("the proxy {}: {error}", proxy.origin()));
    let mut request = Vec::from(head(origin));
    if let Some(value) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream
        .write_all(&request)
        .await
        .map_err(|error| broken(&error))?;
    stream.flush().await.map_err(|error| broken(&error))?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        let read = stream
            .read_buf(&mut answer)
            .await
            .map_err(|error| broken(&error))?;
        if read == 0 {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some((status, headers, end)) = parse(&answer, proxy)? {
            return match judge(status, &headers, proxy) {
                // A host that speaks first, before TLS, is none of ours.
                Ok(()) if end < answer.len() => Err(ConnectError::Failed(format!(
                    "the proxy {} sent more than its answer",
                    proxy.origin()
                ))),
                Ok(()) => Ok(stream),
                Err(error) => Err(error),
            };
        }
    }
}

fn head(origin: &Origin) -> String {
    let authority = origin.authority_with_port();
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n")
}

/// Status, headers and length of the head, once it is whole.
fn parse(
    bytes: &[u8],
    proxy: &ForwardProxy,
) -> Result<Option<(StatusCode, HeaderMap, usize)>, ConnectError> {
    let no_http = || ConnectError::Failed(format!("the proxy {} speaks no HTTP", proxy.origin()));
    let mut lines = [EMPTY_HEADER; MAX_HEADERS];
    let mut answer = ParsedHead::new(&mut lines);
    let end = match answer.parse(bytes).map_err(|_| no_http())? {
        Status::Complete(end) => end,
        Status::Partial if bytes.len() > MAX_HEAD_BYTES => return Err(no_http()),
        Status::Partial => return Ok(None),
    };
    let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| no_http())?;
    let mut headers = HeaderMap::new();
    for line in answer.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line.value)) {
            headers.append(name, value);
        }
    }
    Ok(Some((status, headers, end)))
}

fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    proxy: &ForwardProxy,
) -> Result<(), ConnectError> {
    let origin = proxy.origin().clone();
    if status.is_success() {
        return Ok(());
    }
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err(ConnectError::ProxyAuthRequired {
            proxy: origin,
            schemes: schemes(headers),
        });
    }
    if status.is_server_error() {
        // It could not reach the host, which may pass.
        let why = format!("the proxy {origin} answered {}", status.as_u16());
        return Err(ConnectError::Failed(why));
    }
    Err(ConnectError::ProxyRefused {
        proxy: origin,
        status,
    })
}

/// The schemes of a challenge, RFC 9110 section 11.6.1: one header or several, each with one scheme or several.
pub(super) fn schemes(headers: &HeaderMap) -> Vec<String> {
    let mut found = Vec::new();
    for value in headers.get_all(header::PROXY_AUTHENTICATE) {
        let value = value.to_str().unwrap_or_default();
        for part in value.split(',') {
            let word = part.split_whitespace().next().unwrap_or_default();
            let is_scheme =
                !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if is_scheme && !found.iter().any(|known| known == word) {
                found.push(word.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a proxy is sent, and what comes of its answer.
    async fn check(proxy: &str, answer: &str, expected: Result<(), &str>) -> String {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let proxy = ForwardProxy::parse(proxy).unwrap();
        let origin = Origin::of("https://feed.test/secret").unwrap();
        theirs.write_all(answer.as_bytes()).await.unwrap();
        let mut request = vec![0; 4096];
        let far = async {
            let length = theirs.read(&mut request).await.unwrap();
            request.truncate(length);
            if answer.is_empty() {
                drop(theirs);
                return None;
            }
            Some(theirs)
        };
        let (outcome, theirs) = tokio::join!(open(ours, &proxy, &origin), far);
        let found = outcome.map_err(|error| error.to_string()).map(drop);
        assert_eq!(found, expected.map_err(str::to_owned), "{answer}");
        drop(theirs);
        String::from_utf8(request).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_proxy_learns_the_host_and_its_own_credential_alone() {
        let good = "HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n";
        let request = check("http://p.test:3128", good, Ok(())).await;
        let expected = "CONNECT feed.test:443 HTTP/1.1\r\nHost: feed.test:443\r\n\r\n";
        assert_eq!(request, expected);
        let request = check("http://u:p@p.test:3128", good, Ok(())).await;
        assert_eq!(
            request,
            expected.replacen("\r\n\r\n", "\r\nProxy-Authorization: Basic dTpw\r\n\r\n", 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_refusal_has_its_words() {
        for (answer, expected) in [
            (
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"a b\"\r\n\
                 proxy-authenticate: NTLM, Negotiate, Digest realm=x, qop=auth\r\n\r\nwhy",
                "the proxy http://p.test demands a credential (Basic, NTLM, Negotiate, Digest)",
            ),
            (
                "HTTP/1.0 407 No\r\n\r\n",
                "the proxy http://p.test demands a credential (no scheme named)",
            ),
            (
                "HTTP/1.1 403 No\r\n\r\n",
                "the proxy http://p.test refuses the host (403)",
            ),
            (
                "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nno such h",
                "the proxy http://p.test answered 502",
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nSSH-2.0",
                "the proxy http://p.test sent more than its answer",
            ),
            ("SSH-2.0\r\n\r\n", "the proxy http://p.test speaks no HTTP"),
            ("", "the proxy http://p.test: unexpected end of file"),
        ] {
            check("http://p.test", answer, Err(expected)).await;
        }
    }
}
