//! How the binary ends: downloads are finished, a second signal ends at once, and a restart loses nobody who asks again.
//! Loopback only, the upstream is a thread of the test.

#![expect(
    clippy::disallowed_methods,
    reason = "processes are waited for by the real clock, and their upstream must not wait for a test"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::fixture::{content_path, package, service_index};
use crate::process::{Running, sluice};

/// Longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than the buffers between the upstream and a client hold.
const PACKAGE_BYTES: usize = 8 << 20;

/// An upstream with one package, whose second half waits for a word.
struct Upstream {
    address: String,
    package: Arc<Vec<u8>>,
    go_on: Sender<()>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (go_on, word) = channel();
        let word = Arc::new(Mutex::new(word));
        let package = Arc::new(package("Big", "1.0.0", PACKAGE_BYTES));
        let (base, bytes) = (format!("http://{address}/flat/"), Arc::clone(&package));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (base, bytes, word) = (base.clone(), Arc::clone(&bytes), Arc::clone(&word));
                std::thread::spawn(move || answer(&stream.unwrap(), &base, &bytes, &word));
            }
        });
        Self {
            address,
            package,
            go_on,
        }
    }

    fn launch(&self, data: &Path, arguments: &[&str]) -> Running {
        let mut command = sluice();
        command
            .args(["--log", "off", "--access-log", "off", "--upstream"])
            .arg(format!("http://{}/v3/index.json", self.address))
            .args(arguments);
        Running::launch(command, data)
    }
}

/// Answers the requests of one connection.
fn answer(mut stream: &TcpStream, base: &str, package: &[u8], word: &Mutex<Receiver<()>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line.trim() != "" {
            line.clear();
            let _ = reader.read_line(&mut line);
        }
        let (status, body) = match path.as_str() {
            "/v3/index.json" => {
                let index = service_index(&[("PackageBaseAddress/3.0.0", base)]);
                ("200 OK", index.into_bytes())
            }
            path if path.ends_with("big.1.0.0.nupkg") => ("200 OK", package.to_vec()),
            _ => ("404 Not Found", Vec::new()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        let (first, second) = body.split_at(length / 2);
        let mut sent = stream.write_all(head.as_bytes());
        sent = sent.and_then(|()| stream.write_all(first));
        if length >= PACKAGE_BYTES {
            let _ = word.lock().unwrap().recv();
        }
        if sent.and_then(|()| stream.write_all(second)).is_err() {
            return;
        }
    }
}

/// Asks for the package and reads so much of the answer that it is under way.
fn begin_download(address: &str) -> (BufReader<TcpStream>, Vec<u8>) {
    let path = format!("/v3/flatcontainer/{}", content_path("big", "1.0.0"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let mut first = vec![0; 1 << 20];
    reader.read_exact(&mut first).unwrap();
    (reader, first)
}

/// Waits until nobody listens there any more.
fn wait_for_refusal(address: &str) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < until, "{address} still accepts");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The exit code, which must come within this time.
fn ended_within(running: &mut Running, limit: Duration) -> Option<i32> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = running.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < until, "still running after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_first_signal_lets_downloads_finish_refuses_newcomers_and_keeps_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let upstream = Upstream::start();
    let mut running = upstream.launch(&data, &[]);
    let clients = running.address("Listening on http://");
    let (mut download, mut got) = begin_download(&clients);
    running.signal();
    wait_for_refusal(&clients);
    assert!(running.child.try_wait().unwrap().is_none());
    upstream.go_on.send(()).unwrap();
    // The connection is kept for no further request.
    download.read_to_end(&mut got).unwrap();
    assert!(got == *upstream.package, "{} bytes", got.len());
    assert_eq!(ended_within(&mut running, PATIENCE), Some(0));
    // What came during the drain is kept: nobody is there any more to send its second half.
    let again = upstream.launch(&data, &[]);
    let (mut stored, mut got) = begin_download(&again.address("Listening on http://"));
    let mut rest = vec![0; upstream.package.len() - got.len()];
    stored.read_exact(&mut rest).unwrap();
    got.append(&mut rest);
    assert!(got == *upstream.package);
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let mut running = upstream.launch(&folder.path().join("data"), &[]);
    let clients = running.address("Listening on http://");
    let (mut download, mut got) = begin_download(&clients);
    running.signal();
    wait_for_refusal(&clients);
    let second = Instant::now();
    running.signal();
    assert_eq!(ended_within(&mut running, PATIENCE), Some(0));
    let took = second.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    // The client sees a broken answer, never a whole one.
    let _ = download.read_to_end(&mut got);
    assert!(got.len() < upstream.package.len());
}

#[test]
fn a_download_that_does_not_end_is_broken_off_after_shutdown_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let arguments = ["--shutdown-timeout", "1s"];
    let mut running = upstream.launch(&folder.path().join("data"), &arguments);
    let (mut download, mut got) = begin_download(&running.address("Listening on http://"));
    running.signal();
    assert_eq!(ended_within(&mut running, PATIENCE), Some(0));
    let _ = download.read_to_end(&mut got);
    assert!(got.len() < upstream.package.len());
}

#[test]
fn restarts_under_load_lose_nobody_who_asks_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let upstream = Upstream::start();
    upstream.go_on.send(()).unwrap();
    let mut running = upstream.launch(&data, &[]);
    let clients = running.address("Listening on http://");
    let (ended, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    download_with_retries(&clients, &upstream.package);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let (before, until) = (served.load(Ordering::Relaxed), Instant::now() + PATIENCE);
            while served.load(Ordering::Relaxed) < before + 8 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            running.signal();
            assert_eq!(ended_within(&mut running, PATIENCE), Some(0));
            running = upstream.launch(&data, &["--listen", &clients]);
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) >= 12);
}

/// Gets the package whole, trying again as often as the connection breaks.
fn download_with_retries(address: &str, package: &[u8]) {
    let until = Instant::now() + PATIENCE;
    let path = format!("/v3/flatcontainer/{}", content_path("big", "1.0.0"));
    loop {
        let mut answer = Vec::new();
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = write!(
                stream,
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.read_to_end(&mut answer);
        }
        if answer.len() > package.len() {
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(answer.ends_with(package), "other bytes");
            return;
        }
        assert!(Instant::now() < until, "a client was lost");
        std::thread::sleep(Duration::from_millis(20));
    }
}
