//! A small blocking HTTP/1.1 client: one connection, one request at a time, bodies to a sink.
//!
//! It reads answers framed by a length, in chunks or by the end of the connection. It refuses to
//! follow redirects, to decode content codings or to repeat a request: what came is what is shown.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer of a healthy peer takes longer on loopback; a hang must end the test, not the patience.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A request; `Host` and the length of the body are added.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

impl<'a> Request<'a> {
    /// A GET with these headers.
    pub(crate) fn get(path: &'a str, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            body: b"",
            headers,
            method: "GET",
            path,
        }
    }
}

/// An answer; `body` is empty where a sink took it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) reason: String,
    pub(crate) status: u16,
}

impl Reply {
    /// The first header of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} {}: no JSON: {error}", self.status, self.reason);
        })
    }
}

/// A connection that is kept for several requests.
#[derive(Debug)]
pub(crate) struct Connection {
    host: String,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there or does not accept within a few seconds.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // Large enough that a body of megabytes is not read in crumbs.
        let reader = BufReader::with_capacity(256 << 10, stream);
        Ok(Self {
            host: address.to_string(),
            reader,
        })
    }

    /// Sends a request and collects its whole answer.
    ///
    /// # Errors
    /// If the connection fails or the answer is cut off or no HTTP.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> io::Result<Reply> {
        let mut body = Vec::new();
        let mut reply = self.ask_into(request, &mut |part| body.extend_from_slice(part))?;
        reply.body = body;
        Ok(reply)
    }

    /// Sends a request and hands the body of its answer to `sink`, part by part.
    ///
    /// # Errors
    /// As for `ask`.
    pub(crate) fn ask_into(
        &mut self,
        request: &Request<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Reply> {
        self.send(request)?;
        let reply = self.head()?;
        if request.method != "HEAD" && !matches!(reply.status, 204 | 304) {
            self.body(&reply, sink)?;
        }
        Ok(reply)
    }

    /// Asks for `path` and lets the kernel drop its body, uncopied; says how long that was.
    ///
    /// # Errors
    /// As for `ask`, and if the answer's length is unknown.
    pub(crate) fn drop_body(&mut self, path: &str) -> io::Result<u64> {
        self.send(&Request::get(path, &[]))?;
        let reply = self.head()?;
        let length = reply
            .header("content-length")
            .and_then(|text| text.parse::<u64>().ok());
        let length = length.filter(|_| reply.status == 200);
        let length = length.ok_or_else(|| bad(format!("{} {reply:?}", reply.status)))?;
        let buffered = self.reader.buffer().len();
        self.reader.consume(buffered);
        let mut left = length.saturating_sub(buffered as u64);
        // With MSG_TRUNC it is only the most that one call drops; nothing is written to it.
        let mut room = vec![0; 1 << 20];
        while left > 0 {
            let most = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let flags = rustix::net::RecvFlags::TRUNC;
            let (_, dropped) = rustix::net::recv(self.reader.get_ref(), &mut room[..most], flags)?;
            if dropped == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= dropped as u64;
        }
        Ok(length)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request {
            body,
            headers,
            method,
            path,
        } = request;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in *headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || !matches!(*method, "GET" | "HEAD") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let stream = self.reader.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    /// Reads the head of an answer.
    ///
    /// # Errors
    /// As for `ask`.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let mut words = line.splitn(3, ' ');
        let status = words.nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| bad(format!("no status line: {line:?}")))?;
        let reason = words.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Reply {
                    body: Vec::new(),
                    headers,
                    reason,
                    status,
                });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(line.clone()))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the body that follows a head.
    ///
    /// # Errors
    /// As for `ask`.
    pub(crate) fn body(&mut self, reply: &Reply, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if reply
            .header("transfer-encoding")
            .is_some_and(|coding| coding.contains("chunked"))
        {
            loop {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| bad(line.clone()))?;
                self.copy(size, sink)?;
                self.line()?;
                if size == 0 {
                    return Ok(());
                }
            }
        }
        match reply.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| bad(length.to_owned()))?;
                self.copy(length, sink)
            }
            None => loop {
                let part = self.reader.fill_buf()?;
                if part.is_empty() {
                    return Ok(());
                }
                sink(part);
                let read = part.len();
                self.reader.consume(read);
            },
        }
    }

    fn copy(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            let part = self.reader.fill_buf()?;
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let read = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&part[..read]);
            self.reader.consume(read);
            left -= read as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        // A line of an honest answer is far shorter; a flood of bytes without an end is not one.
        self.reader
            .by_ref()
            .take(64 << 10)
            .read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line.iter().map(|&byte| char::from(byte)).collect())
    }
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// One request on a connection of its own.
///
/// # Errors
/// As for `Connection::open` and `Connection::ask`.
pub(crate) fn ask(address: SocketAddr, request: &Request<'_>) -> io::Result<Reply> {
    Connection::open(address)?.ask(request)
}
