//! Files cut while the binary sends them over real sockets: by `sendfile`, over TLS, over HTTP/2.

#![expect(
    clippy::disallowed_methods,
    reason = "the upstream of a process must not wait for a test"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};

use super::{ID, PATH, body_of, cut};
use crate::harness::Reply;
use crate::harness::fixture::{package, service_index};
use crate::harness::secure::{connector, write_pair};
use crate::process::{Running, get, sluice};

/// Longer than the buffers of a loopback connection hold, several times over.
const LENGTH: usize = 32 << 20;
/// Where the file is cut.
const HALF: usize = LENGTH / 2;
/// Longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// An upstream on loopback that has the package, until it is told to refuse everybody.
pub(super) struct Upstream {
    pub(super) index: String,
    refuses: Arc<AtomicBool>,
    served: Arc<Served>,
}

/// What an upstream has, and what it was asked for.
struct Served {
    index: String,
    whole: Vec<u8>,
    digest: String,
    asked: Mutex<Vec<String>>,
}

impl Upstream {
    fn start(whole: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let digest = Reply::file(whole.clone()).md5();
        let served = Arc::new(Served {
            index: service_index(&[(
                "PackageBaseAddress/3.0.0",
                &format!("{base}/v3/flatcontainer/"),
            )]),
            digest: format!("Content-MD5: {}\r\n", digest.value("content-md5").unwrap()),
            whole,
            asked: Mutex::default(),
        });
        let refuses = Arc::new(AtomicBool::new(false));
        let (serving, refused) = (Arc::clone(&served), Arc::clone(&refuses));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (serving, refused) = (Arc::clone(&serving), Arc::clone(&refused));
                std::thread::spawn(move || serving.serve(stream, &refused));
            }
        });
        Self {
            index: format!("{base}/index.json"),
            refuses,
            served,
        }
    }

    /// How often a path was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        let asked = self.served.asked.lock().unwrap();
        asked.iter().filter(|found| *found == path).count()
    }
}

impl Served {
    /// Answers the requests of one connection until it ends, or everybody is refused.
    fn serve(&self, mut stream: TcpStream, refuses: &AtomicBool) -> std::io::Result<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            if refuses.load(Ordering::Relaxed) {
                return Ok(());
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            self.asked.lock().unwrap().push(path.to_owned());
            let (status, body, headers) = match path {
                "/index.json" => ("200 OK", self.index.as_bytes(), ""),
                PATH => ("200 OK", &*self.whole, &*self.digest),
                _ => ("404 Not Found", &b""[..], ""),
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n"
            )?;
            stream.write_all(body)?;
        }
    }
}

/// A process that has the package stored, and what it was made of.
pub(super) struct Stocked {
    pub(super) running: Running,
    pub(super) upstream: Upstream,
    whole: Vec<u8>,
    root: CertificateDer<'static>,
    pub(super) folder: tempfile::TempDir,
    data: PathBuf,
}

impl Stocked {
    pub(super) fn new(whole: Vec<u8>) -> Self {
        let upstream = Upstream::start(whole.clone());
        let folder = tempfile::tempdir().unwrap();
        let root = write_pair(folder.path(), &["127.0.0.1"]);
        let data = folder.path().join("data");
        let mut command = sluice();
        command
            .args(["--upstream", &upstream.index, "--log", "warn"])
            .args(["--tls-listen", "127.0.0.1:0", "--tls-certificate"])
            .arg(folder.path().join("chain.pem"))
            .arg("--tls-key")
            .arg(folder.path().join("key.pem"))
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        let stocked = Self {
            running: Running::launch(command, &data),
            upstream,
            whole,
            root,
            folder,
            data,
        };
        assert!(
            stocked.fetch() == stocked.whole,
            "the bytes of a miss differ"
        );
        assert!(
            stocked.fetch() == stocked.whole,
            "the bytes of a hit differ"
        );
        // It has its name once it is synced.
        let is_named =
            || body_of(&stocked.data).metadata().unwrap().len() > stocked.whole.len() as u64;
        let mut tries = (0..3000).map(|_| std::thread::sleep(Duration::from_millis(20)));
        assert!(tries.any(|()| is_named()), "it is not stored");
        stocked
    }

    fn plain(&self) -> String {
        self.running.address("Listening on http://")
    }

    /// A connection over which the package comes, and the bytes behind the head that came with it.
    fn ask(&self) -> (TcpStream, Vec<u8>) {
        let address = self.plain();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {PATH} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut taken = Vec::new();
        let behind = loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&taken));
            taken.extend_from_slice(&piece[..read]);
            if let Some(at) = taken.windows(4).position(|end| end == b"\r\n\r\n") {
                break taken.split_off(at + 4);
            }
        };
        let head = String::from_utf8(taken).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = format!("content-length: {}\r\n", self.whole.len());
        assert!(head.contains(&length), "{head}");
        (stream, behind)
    }

    pub(super) fn fetch(&self) -> Vec<u8> {
        let (mut stream, mut taken) = self.ask();
        stream.read_to_end(&mut taken).unwrap();
        taken
    }

    fn cut(&self) {
        cut(&body_of(self.data()), HALF as u64);
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn metric(&self, name: &str) -> u64 {
        let text = get(&self.running.address("admin http://"), "/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// The process serves on; the damage was counted and told of once, and the package is fetched again and kept.
    fn check_healed(&self) {
        assert!(self.fetch() == self.whole, "the bytes of a new miss differ");
        assert!(self.fetch() == self.whole, "the bytes of a new hit differ");
        assert_eq!(self.metric("sluice_store_quarantined_total"), 1);
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let told = log.lines().filter(|line| line.contains(super::SET_ASIDE));
        assert_eq!(told.count(), 1, "{log}");
    }
}

#[test]
fn by_sendfile_a_cut_file_breaks_every_answer_and_the_next_is_whole() {
    let stocked = Stocked::new(package(ID, "1.0.0", LENGTH));
    let mut clients: Vec<_> = (0..10).map(|_| stocked.ask()).collect();
    stocked.cut();
    for (stream, taken) in &mut clients {
        // It ends, by a reset or an end, short of its length.
        let _ = stream.read_to_end(taken);
        assert!(taken.len() < stocked.whole.len(), "{}", taken.len());
        assert!(stocked.whole.starts_with(taken), "other bytes");
    }
    stocked.check_healed();
}

/// Takes the package over TLS; in the middle the file is cut. What came, and whether it broke.
async fn take_secure(stocked: &Stocked, protocol: &[u8]) -> (Vec<u8>, bool) {
    let address = stocked.running.address("https://");
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = connector(stocked.root.clone(), &[protocol]);
    let stream = TokioIo::new(connector.connect(name, stream).await.unwrap());
    let request = Request::get(format!("https://{address}{PATH}"));
    let request = request.header("host", &address);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let tasks = sluice::tasks::Tasks::new();
    let answer = if protocol == b"h2" {
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let shaken = builder.handshake(stream).await.unwrap();
        let (mut sender, connection) = shaken;
        tasks.spawn("connection", connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tasks.spawn("connection", connection);
        sender.send_request(request).await
    };
    let answer = answer.unwrap();
    let headers: &HeaderMap = answer.headers();
    assert_eq!(headers["content-length"], stocked.whole.len().to_string());
    let (mut body, mut taken) = (answer.into_body(), Vec::new());
    let first = body.frame().await.unwrap().unwrap();
    taken.extend_from_slice(first.data_ref().unwrap());
    stocked.cut();
    loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
            None => return (taken, false),
            Some(Err(_)) => return (taken, true),
            Some(Ok(frame)) => taken.extend_from_slice(frame.data_ref().unwrap()),
        }
    }
}

#[tokio::test]
async fn over_tls_a_cut_file_is_completed_from_the_upstream_and_in_an_outage_breaks() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        for is_down in [false, true] {
            let stocked = Stocked::new(package(ID, "1.0.0", LENGTH));
            stocked.upstream.refuses.store(is_down, Ordering::Relaxed);
            let (taken, broke) = take_secure(&stocked, protocol).await;
            assert!(stocked.whole.starts_with(&taken), "other bytes");
            assert_eq!(broke, is_down, "{} bytes", taken.len());
            assert_eq!(taken.len() < stocked.whole.len(), is_down);
            if !is_down {
                stocked.check_healed();
            }
        }
    }
}
