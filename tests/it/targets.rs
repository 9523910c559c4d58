//! Requests whose target or host is not what a server of its own is asked with, as they come over a line: the binary itself,
//! on loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::process::Running;

/// The status line of the answer to a request of these lines.
fn status_of(address: &str, lines: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(lines).unwrap();
    stream.write_all(b"Connection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let line = answer.split(|byte| *byte == b'\r').next().unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

#[test]
fn targets_and_hosts_that_are_not_ours_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&folder.path().join("data"), &[]);
    let address = running.address("Listening on http://");
    for (lines, expected) in [
        (
            &b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n"[..],
            "400 Sluice: path: does not begin with a slash",
        ),
        (
            b"GET evil.test:443 HTTP/1.1\r\nHost: a\r\n",
            "400 Sluice: path: does not begin with a slash",
        ),
        (
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n",
            "400 Sluice: path: does not begin with a slash",
        ),
        (
            b"TRACE / HTTP/1.1\r\nHost: a\r\n",
            "405 Sluice: method TRACE: expected one of GET, HEAD",
        ),
        (
            b"GET //evil.test/v3/index.json HTTP/1.1\r\nHost: a\r\n",
            "400 Sluice: path segment \"\": empty or made of dots",
        ),
        (
            b"GET /v3/../../etc/passwd HTTP/1.1\r\nHost: a\r\n",
            "400 Sluice: path segment \"..\": empty or made of dots",
        ),
        (
            b"GET /v3/flatcontainer/%2e%2e/index.json HTTP/1.1\r\nHost: a\r\n",
            "400 Sluice: path segment \"%2e%2e\": empty or made of dots",
        ),
        (
            b"GET /v3/flatcontainer/%c0%ae%c0%ae/index.json HTTP/1.1\r\nHost: a\r\n",
            "400 Sluice: path segment \"%c0%ae%c0%ae\": not UTF-8 when percent-decoded",
        ),
        (b"GET /a\xff HTTP/1.1\r\nHost: a\r\n", "400 Bad Request"),
        (
            b"GET / HTTP/1.1\r\n",
            "400 Sluice: Host: \"\", expected a host name, with a port if need be",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
            "400 Sluice: Host: \"b\", expected no second Host",
        ),
        // A proxy's form of our own address is a path of ours, whatever its host (RFC 9112 section 3.2.2).
        (
            b"GET http://evil.test/-/healthz HTTP/1.1\r\nHost: a\r\n",
            "200 OK",
        ),
    ] {
        let found = status_of(&address, lines);
        let text = String::from_utf8_lossy(lines);
        assert_eq!(found, format!("HTTP/1.1 {expected}"), "{text}");
    }
}
