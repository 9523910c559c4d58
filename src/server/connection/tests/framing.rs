//! Requests whose end two parsers could see in two places (RFC 9112 sections 2.2, 5.1, 6.1, 6.3, 7.1, 11.2).
//!
//! Each shape is followed by a last request that asks for the end of the connection. What reached the handler says where
//! the shape ended for us: a shape that is refused is not followed by anything, and no part of a body becomes a request.

use std::sync::Mutex;

use http_body_util::BodyExt as _;

use super::*;

const LAST: &str = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// What reached the handler, and the statuses that came back.
async fn seen_of(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let acceptor = acceptor(limits());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let address = {
        let seen = Arc::clone(&seen);
        serve(&acceptor, move |request: Request<Incoming>, _| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let line = format!("{} {}", head.method, head.uri);
                match body.collect().await {
                    Ok(body) => {
                        let body = body.to_bytes();
                        let body = String::from_utf8_lossy(&body);
                        let text = format!("{line} {body}");
                        seen.lock().unwrap().push(text.trim_end().to_owned());
                        Response::new(Full::new(Bytes::new()))
                    }
                    Err(_) => {
                        seen.lock().unwrap().push(format!("{line} broken"));
                        let mut response = Response::new(Full::new(Bytes::new()));
                        *response.status_mut() = http::StatusCode::BAD_REQUEST;
                        response
                    }
                }
            }
        })
        .await
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let _ = stream.write_all(LAST.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let statuses = String::from_utf8_lossy(&answer)
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "))
        .map(|line| line[..3].to_owned())
        .collect();
    let seen = seen.lock().unwrap().clone();
    (seen, statuses)
}

/// The shape is one request (or several) that everybody reads alike, and the connection goes on.
async fn is_read_as(shape: &str, expected: &[&str]) {
    let (seen, statuses) = seen_of(shape.as_bytes()).await;
    let mut all = expected.to_vec();
    all.push("GET /last");
    assert_eq!(seen, all, "{shape:?}");
    assert_eq!(statuses, vec!["200"; all.len()], "{shape:?}");
}

/// The shape is read as this, and nothing behind it is read: the connection ends.
async fn ends_after(shape: &str, expected: &[&str], statuses: &[&str]) {
    let (seen, found) = seen_of(shape.as_bytes()).await;
    assert_eq!(seen, expected, "{shape:?}");
    assert_eq!(found, statuses, "{shape:?}");
}

async fn is_refused(shape: &str) {
    ends_after(shape, &[], &["400"]).await;
}

/// A POST with these header lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n{body}")
}

#[tokio::test]
async fn of_two_framings_the_chunks_count_and_nothing_follows() {
    // A front end that believes the length would send what follows as the next client's request.
    for lines in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "content-length: 6\r\nTransfer-Encoding: CHUNKED",
    ] {
        let shape = post(lines, "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
        ends_after(&shape, &["POST /a"], &["200"]).await;
    }
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_chunked_at_its_end_is_refused() {
    for lines in [
        "transfer-encoding: xchunked",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: x",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding:",
        "transfer-encoding : chunked",
        " transfer-encoding: chunked",
        "transfer-encoding\r\n : chunked",
        "transfer-encoding: \u{b}chunked",
    ] {
        is_refused(&post(lines, "0\r\n\r\n")).await;
    }
    is_refused("POST /a HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    // Another name is another header: there is no body, and what looks like one is no request.
    let other = post("transfer_encoding: chunked", "0\r\n\r\n");
    ends_after(&other, &["POST /a"], &["200", "400"]).await;
}

#[tokio::test]
async fn a_length_is_one_number_in_digits() {
    for lines in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -1",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length: five",
        "content-length:",
        "content-length: 99999999999999999999",
    ] {
        is_refused(&post(lines, "hello")).await;
    }
    let same = "content-length: 5\r\ncontent-length: 5";
    is_read_as(&post(same, "hello"), &["POST /a hello"]).await;
    is_read_as(&post("content-length: \t5 ", "hello"), &["POST /a hello"]).await;
}

#[tokio::test]
async fn chunks_are_what_the_grammar_says() {
    let chunked = |body: &str| post("transfer-encoding: chunked", body);
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "5;name=value\r\nhello\r\n0\r\n\r\n",
        "0005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\ncontent-length: 3\r\n\r\n",
    ] {
        is_read_as(&chunked(body), &["POST /a hello"]).await;
    }
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5;name=\nvalue\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
    ] {
        let (seen, _) = seen_of(chunked(body).as_bytes()).await;
        assert_eq!(seen, ["POST /a broken"], "{body:?}");
    }
}

#[tokio::test]
async fn lines_that_parsers_cut_apart_differently_are_refused() {
    for shape in [
        "GET /a HTTP/1.1\r\nhost: a\r\nx: y\r\n folded: z\r\n\r\n",
        "GET /a HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: y\rz: w\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: y\0z\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n",
        "GET  /a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a\r\n\r\n",
        "GET /a HTTP/2.0\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.11\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.1 \r\nhost: a\r\n\r\n",
        "G\0T /a HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        is_refused(shape).await;
    }
    // The preface of HTTP/2, which is not spoken without TLS.
    ends_after("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[], &[]).await;
    // A recipient may take a lone line feed as the end of a line (section 2.2): so does everybody.
    is_read_as("GET /a HTTP/1.1\nhost: a\n\n", &["GET /a"]).await;
    is_read_as("\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n", &["GET /a"]).await;
}

#[tokio::test]
async fn heads_without_measure_are_refused() {
    let lines: String = (0..101).map(|n| format!("x{n}: y\r\n")).collect();
    let shape = format!("GET /a HTTP/1.1\r\n{lines}\r\n");
    ends_after(&shape, &[], &["431"]).await;
    let shape = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000));
    let (seen, statuses) = seen_of(shape.as_bytes()).await;
    assert!(seen.is_empty());
    assert!(
        matches!(
            statuses.first().map(String::as_str),
            Some("414" | "431") | None
        ),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let shape: String = (0..200)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    let expected: Vec<String> = (0..200).map(|n| format!("GET /{n}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    is_read_as(&shape, &expected).await;
}
