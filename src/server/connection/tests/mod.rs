//! Tests over loopback sockets: seats, limits, draining, files by `sendfile`.
//!
//! A test of a limit runs on a paused clock, which jumps to the limit as soon as nothing but time can go on.

mod framing;
mod secure;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::task::{Context, Poll};

use http_body::Frame;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::mapped::Reservation;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn limits() -> Limits {
    Limits {
        max_connections: 16,
        handshake_timeout: Duration::from_secs(10),
        header_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(120),
        max_header_bytes: 64 << 10,
        max_headers: 100,
        max_streams: 100,
        max_reset_streams: 128,
    }
}

fn acceptor(limits: Limits) -> Acceptor {
    Acceptor::new("clients", limits, &Telemetry::new(), &Tasks::new())
}

async fn serve<H, F, B>(acceptor: &Acceptor, handle: H) -> SocketAddr
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    acceptor.serve(listener, Door::Plain, handle);
    address
}

async fn hello(_: Request<Incoming>, _: Peer) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(b"hello")))
}

/// Reads one answer whose body is `hello`.
async fn read_hello(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with("hello") {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn several_requests_use_one_connection() {
    let acceptor = acceptor(limits());
    let address = serve(&acceptor, hello).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(read_hello(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(acceptor.open(), 1);
}

/// Serves at most `max_connections`; a request for `/slow` says that it came and then waits for the gate.
async fn serve_slowly(
    max_connections: usize,
    gate: &Arc<Notify>,
    began: &Arc<Notify>,
) -> (Acceptor, SocketAddr) {
    let acceptor = acceptor(Limits {
        max_connections,
        ..limits()
    });
    let (began, gate) = (Arc::clone(began), Arc::clone(gate));
    let address = serve(&acceptor, move |request: Request<Incoming>, peer| {
        let (began, gate) = (Arc::clone(&began), Arc::clone(&gate));
        async move {
            if request.uri().path() == "/slow" {
                began.notify_one();
                gate.notified().await;
            }
            hello(request, peer).await
        }
    })
    .await;
    (acceptor, address)
}

const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_while_all_others_are_served() {
    let (gate, began) = (Arc::default(), Arc::default());
    let (acceptor, address) = serve_slowly(1, &gate, &began).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(SLOW).await.unwrap();
    began.notified().await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    let waiting = tokio::time::timeout(LOOK_AGAIN * 4, second.read(&mut [0; 16])).await;
    assert!(waiting.is_err(), "the second was served beside the first");
    assert_eq!(acceptor.open(), 1);
    gate.notify_one();
    // The answer that was under way arrives whole, and then its connection makes room.
    let answer = read_hello(&mut first).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    read_hello(&mut second).await;
    assert_eq!(first.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test]
async fn who_only_holds_connections_open_keeps_nobody_out() {
    let (gate, began) = (Arc::default(), Arc::default());
    let (acceptor, address) = serve_slowly(4, &gate, &began).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(SLOW).await.unwrap();
    began.notified().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(GET).await.unwrap();
    read_hello(&mut kept).await;
    let mut newcomers = Vec::new();
    for _ in 0..3 {
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        newcomer.write_all(SLOW).await.unwrap();
        began.notified().await;
        newcomers.push(newcomer);
    }
    // One after the other, those that waited have ended, and no answer was broken off.
    for waiting in [&mut silent, &mut half, &mut kept] {
        let ended = waiting.read(&mut [0; 16]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    assert_eq!(acceptor.open(), 4);
    gate.notify_waiters();
    for served in newcomers.iter_mut().chain([&mut busy]) {
        read_hello(served).await;
    }
}

/// Connects from an address of loopback's own.
#[cfg(target_os = "linux")]
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn who_opens_many_connections_is_in_nobody_elses_way() {
    const MANY: &str = "127.0.0.2:0";
    let (gate, began) = (Arc::default(), Arc::default());
    let (acceptor, address) = serve_slowly(16, &gate, &began).await;
    let mut many = Vec::new();
    for _ in 0..20 {
        let mut one = connect_from(MANY, address).await;
        one.write_all(SLOW).await.unwrap();
        many.push(one);
    }
    // All but the two seats that are kept for others are taken by requests under way; six more are in line.
    while acceptor.open() < 14 {
        began.notified().await;
    }
    let others = async {
        for _ in 0..3 {
            let mut other = connect_from("127.0.0.3:0", address).await;
            other.write_all(GET).await.unwrap();
            read_hello(&mut other).await;
        }
    };
    tokio::time::timeout(LOOK_AGAIN / 2, others).await.unwrap();
    for _ in 0..20 {
        gate.notify_one();
        tokio::task::yield_now().await;
    }
    for one in &mut many {
        gate.notify_one();
        read_hello(one).await;
    }
}

#[tokio::test]
async fn draining_finishes_requests_closes_idle_connections_and_accepts_no_more() {
    let (gate, began) = (Arc::default(), Arc::default());
    let (acceptor, address) = serve_slowly(16, &gate, &began).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(GET).await.unwrap();
    read_hello(&mut idle).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(SLOW).await.unwrap();
    began.notified().await;

    let draining = acceptor.drain(Duration::from_secs(600));
    let client = async {
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
        gate.notify_one();
        let answer = read_hello(&mut busy).await;
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(busy.read(&mut [0; 16]).await.unwrap(), 0);
    };
    let (ended, ()) = tokio::join!(draining, client);
    assert_eq!(ended, Ended::Drained);
    assert_eq!(acceptor.open(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

/// Connects and asks from a blocking call, which holds a paused clock, until the handler says that it was called.
async fn ask_blocking(address: SocketAddr, called: mpsc::Receiver<()>) -> std::net::TcpStream {
    Tasks::new()
        .blocking("client", move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(GET).unwrap();
            called.recv().unwrap();
            stream
        })
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn draining_gives_up_at_its_limit_and_then_connections_break() {
    let acceptor = acceptor(limits());
    let (call, called) = mpsc::channel();
    let address = serve(&acceptor, move |_: Request<Incoming>, _| {
        call.send(()).unwrap();
        std::future::pending::<Response<Full<Bytes>>>()
    })
    .await;
    let mut stream = ask_blocking(address, called).await;
    let ended = acceptor.drain(Duration::from_secs(30)).await;
    assert_eq!(ended, Ended::Expired);
    acceptor.abort();
    let read = Tasks::new()
        .blocking("client", move || stream.read(&mut [0; 16]).unwrap_or(0))
        .await;
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_broken_off() {
    let acceptor = acceptor(limits());
    let (call, called) = mpsc::channel();
    let address = serve(&acceptor, move |_: Request<Incoming>, _| {
        call.send(()).unwrap();
        std::future::ready(Response::new(Full::new(Bytes::from(vec![0; 64 << 20]))))
    })
    .await;
    let stream = ask_blocking(address, called).await;
    // Longer than `write_timeout`: had that not ended the connection, this would expire.
    let ended = acceptor.drain(Duration::from_secs(600)).await;
    assert_eq!(ended, Ended::Drained);
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_ends_the_connection() {
    let acceptor = acceptor(limits());
    let address = serve(&acceptor, hello).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The clock may have jumped already, and the connection have ended.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost:").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    let ended = acceptor.drain(Duration::from_secs(600)).await;
    assert_eq!(ended, Ended::Drained);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let acceptor = acceptor(Limits {
        max_header_bytes: 8 << 10,
        ..limits()
    });
    let address = serve(&acceptor, hello).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(16 << 10)
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn only_errors_of_the_listener_make_accepting_wait() {
    for (kind, expected) in [
        (io::ErrorKind::ConnectionAborted, true),
        (io::ErrorKind::ConnectionReset, true),
        (io::ErrorKind::Interrupted, true),
        (io::ErrorKind::OutOfMemory, false),
        (io::ErrorKind::Other, false),
    ] {
        assert_eq!(concerns_one_connection(&kind.into()), expected, "{kind}");
    }
    /// EMFILE, out of file descriptors.
    const TOO_MANY_FILES: i32 = 24;
    assert!(!concerns_one_connection(&io::Error::from_raw_os_error(
        TOO_MANY_FILES
    )));
}

/// A file of `length` bytes, none of which repeats at a small distance.
fn file(length: usize) -> (Arc<File>, Vec<u8>) {
    let mut state = 1_u32;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    (Arc::new(file), content)
}

/// A body of these pieces.
#[derive(Clone)]
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Serves the pieces as one body, asks for it and reads to the end of the connection.
async fn transfer(pieces: Vec<Bytes>) -> Vec<u8> {
    let acceptor = acceptor(limits());
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let pieces = Pieces(pieces.into());
    let address = serve(&acceptor, move |_, _| {
        let mut response = Response::new(pieces.clone());
        let length = http::HeaderValue::from(length);
        response.headers_mut().insert("content-length", length);
        std::future::ready(response)
    })
    .await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
    answer.split_off(head.unwrap() + 4)
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn tokens_and_ordinary_slices_arrive_in_order_and_whole() {
    const LENGTH: usize = 9 << 20;
    let (file, content) = file(LENGTH);
    let reservation = Reservation::new(file, LENGTH as u64, || {}).unwrap();
    let token = |range: std::ops::Range<usize>| {
        reservation
            .token(range.start as u64..range.end as u64)
            .unwrap()
    };
    let copy = |range: std::ops::Range<usize>| Bytes::copy_from_slice(&content[range]);
    let pieces = vec![
        token(0..4_000_001),
        copy(4_000_001..4_000_002),
        copy(4_000_002..5_000_000),
        token(5_000_000..5_000_001),
        token(5_000_001..LENGTH - 7),
        copy(LENGTH - 7..LENGTH),
    ];
    assert!(transfer(pieces).await == content, "the bytes differ");
    // A range that begins and ends within pages.
    let range = 1_234_567..7_654_321;
    let received = transfer(vec![token(range.clone())]).await;
    assert!(received == content[range], "the bytes of a range differ");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_file_that_was_cut_short_breaks_the_connection_and_whoever_keeps_it_is_told() {
    const LENGTH: usize = 1 << 20;
    let (file, content) = file(LENGTH);
    let told = Arc::new(AtomicUsize::new(0));
    let teller = Arc::clone(&told);
    let on_damage = move || {
        teller.fetch_add(1, Relaxed);
    };
    let reservation = Reservation::new(Arc::clone(&file), LENGTH as u64, on_damage).unwrap();
    let whole = || vec![reservation.token(0..LENGTH as u64).unwrap()];
    assert!(transfer(whole()).await == content, "the bytes differ");
    assert_eq!(told.load(Relaxed), 0);
    file.set_len(LENGTH as u64 / 2).unwrap();
    let received = transfer(whole()).await;
    assert!(
        received == content[..LENGTH / 2],
        "{} bytes",
        received.len()
    );
    assert_eq!(told.load(Relaxed), 1);
}
