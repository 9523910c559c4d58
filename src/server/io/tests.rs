//! Disks that fail while a stored file is sent.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::mapped::Reservation;
use crate::tasks::Tasks;

const LENGTH: usize = 1 << 20;
/// Where the first sector begins that cannot be read.
const BAD: usize = 300_032;

/// Sends as the system does, until the bad sector is next: then reading fails so.
fn up_to_bad<const ERRNO: i32>(
    socket: &TcpStream,
    place: &Place,
    length: usize,
) -> io::Result<usize> {
    let left = BAD.saturating_sub(usize::try_from(place.offset()).unwrap());
    if left == 0 {
        return Err(io::Error::from_raw_os_error(ERRNO));
    }
    send_some(socket, place, length.min(left))
}

/// What a client got of two requests on one connection, and how often damage was told of.
async fn taken(send: fn(&TcpStream, &Place, usize) -> io::Result<usize>) -> (Vec<u8>, usize) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; LENGTH]).unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let teller = Arc::clone(&told);
    let on_damage = move || {
        teller.fetch_add(1, Ordering::Relaxed);
    };
    let reservation = Reservation::new(Arc::new(file), LENGTH as u64, on_damage).unwrap();
    let token: Bytes = reservation.token(0..LENGTH as u64).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.spawn("server", async move {
        let (accepted, _) = listener.accept().await.unwrap();
        let stream = Stream {
            send,
            ..Stream::new(accepted, Duration::from_secs(60))
        };
        let service = service_fn(move |_| {
            let body = Full::new(token.clone());
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let mut builder = http1::Builder::new();
        let serving = builder.writev(true).serve_connection(stream, service);
        assert!(serving.await.is_err(), "the connection ended well");
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2);
    client.write_all(&asked).await.unwrap();
    let mut taken = Vec::new();
    // It ends, by a reset or an end.
    let _ = client.read_to_end(&mut taken).await;
    tasks.drain(Duration::from_secs(60)).await;
    (taken, told.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_breaks_the_answer_off_and_is_told_of() {
    for send in [
        up_to_bad::<{ Errno::BADMSG.raw_os_error() }>,
        up_to_bad::<{ Errno::IO.raw_os_error() }>,
        up_to_bad::<{ Errno::STALE.raw_os_error() }>,
        up_to_bad::<{ Errno::UCLEAN.raw_os_error() }>,
    ] {
        let (taken, told) = taken(send).await;
        let head = taken.windows(4).position(|end| end == b"\r\n\r\n");
        let (head, body) = taken.split_at(head.unwrap() + 4);
        let head = std::str::from_utf8(head).unwrap();
        assert!(head.contains("content-length: 1048576\r\n"), "{head}");
        // What stands before it, nothing in its place and no second answer behind it.
        assert!(body.len() <= BAD, "{} bytes", body.len());
        assert!(body.iter().all(|byte| *byte == 7), "other bytes");
        assert_eq!(told, 1);
    }
}

#[tokio::test]
async fn an_error_of_the_line_is_no_damage() {
    for send in [
        up_to_bad::<{ Errno::CONNRESET.raw_os_error() }>,
        up_to_bad::<{ Errno::PIPE.raw_os_error() }>,
    ] {
        let (_, told) = taken(send).await;
        assert_eq!(told, 0);
    }
}
