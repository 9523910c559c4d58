//! A scripted upstream in the bench's own process: a stock behind HTTP/1.1, as fast or as halting as the moment has it.
//!
//! Documents answer to `If-None-Match`; packages come with a length or in chunks, whole or in pieces with pauses; what is
//! pushed is read to its end and changes the documents of the id that the API key names. Faults are `mischief`'s. It
//! refuses to keep a log.

use super::mischief::{Answer, Weather};
use super::random::Random;
use super::stock::{Stock, Thing};
use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The running upstream; it ends with the process.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) stock: Arc<Stock>,
    /// What goes wrong; nothing, unless it is turned.
    pub(crate) weather: Arc<Weather>,
    is_down: Arc<AtomicBool>,
}

/// An answer that is of no stock.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: Cow<'static, [u8]>,
}

/// What one is like, beside its ids.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    /// What it answers at other paths than those of its stock; 404 without.
    pub(crate) beside: Option<fn(&str) -> Option<Beside>>,
    /// Bytes of each package of the first id; by chance like the others without.
    pub(crate) large: Option<usize>,
    /// After so long without a request it ends a connection; never without.
    pub(crate) idle: Option<Duration>,
}

/// The head of a request.
#[derive(Debug)]
struct Head {
    method: String,
    path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Scripted {
    /// Starts with a stock of `ids` ids.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub(crate) fn start(ids: usize, seed: u64) -> Self {
        Self::of(ids, seed, Extent::default())
    }

    /// Starts with a stock of `ids` ids, like that.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub(crate) fn of(ids: usize, seed: u64, extent: Extent) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let stock = Stock::new(ids, &format!("http://{address}"));
        let stock = Arc::new(match extent.large {
            Some(length) => stock.with_large(length),
            None => stock,
        });
        let weather = Arc::new(Weather::default());
        let is_down = Arc::new(AtomicBool::new(false));
        let served = Arc::new(Served {
            stock: Arc::clone(&stock),
            weather: Arc::clone(&weather),
            is_down: Arc::clone(&is_down),
            beside: extent.beside,
        });
        std::thread::spawn(move || {
            let connections = AtomicU64::new(seed);
            for stream in listener.incoming().map_while(Result::ok) {
                let served = Arc::clone(&served);
                let _ = stream.set_read_timeout(extent.idle);
                let random = Random::new(connections.fetch_add(1, Ordering::Relaxed));
                std::thread::spawn(move || served.serve(&stream, random));
            }
        });
        Self {
            address,
            stock,
            weather,
            is_down,
        }
    }

    /// Its service index.
    pub(crate) fn source(&self) -> String {
        format!("http://{}/v3/index.json", self.address)
    }

    /// From now on, whether every connection is closed without a word.
    pub(crate) fn go(&self, availability: Availability) {
        self.is_down
            .store(availability == Availability::Down, Ordering::SeqCst);
    }
}

/// Whether the upstream answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Availability {
    Down,
    Up,
}

/// What its connections share.
struct Served {
    stock: Arc<Stock>,
    weather: Arc<Weather>,
    is_down: Arc<AtomicBool>,
    beside: Option<fn(&str) -> Option<Beside>>,
}

impl Served {
    fn serve(&self, stream: &TcpStream, mut random: Random) {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        let is_down = || self.is_down.load(Ordering::SeqCst);
        // An error is the other side's end, mostly a sudden one.
        while !is_down()
            && let Ok(Some(head)) = head(&mut reader)
        {
            if is_down() || answer(&mut reader, stream, &head, self, &mut random).is_err() {
                return;
            }
        }
    }
}

fn head(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Head>> {
    let Some(first) = line(reader)? else {
        return Ok(None);
    };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = Vec::new();
    while let Some(line) = line(reader)?.filter(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }
    Ok(Some(Head {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
    }))
}

fn line(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end().to_owned()))
}

fn answer(
    reader: &mut BufReader<&TcpStream>,
    stream: &TcpStream,
    head: &Head,
    served: &Served,
    random: &mut Random,
) -> io::Result<()> {
    let Served { stock, weather, .. } = served;
    if matches!(&*head.method, "PUT" | "DELETE") {
        read_away(reader, head)?;
        if let Some(mischief) = weather.draw_for_upload(random) {
            let nothing = Answer {
                path: &head.path,
                headers: &[],
                body: b"",
            };
            return weather.commit(mischief, stream, nothing, random);
        }
        let id = head
            .header("x-nuget-apikey")
            .and_then(|name| stock.id_of(name));
        let Some(id) = id else {
            return send(stream, "403 Forbidden", &[], b"");
        };
        stock.publish(id);
        let status = if head.method == "PUT" {
            "201 Created"
        } else {
            "204 No Content"
        };
        return send(stream, status, &[], b"");
    }
    // Where a redirect leads to.
    let path = head.path.strip_prefix("/moved").unwrap_or(&head.path);
    let Some(thing) = stock.thing_at(path) else {
        return match served.beside.and_then(|at| at(path)) {
            Some(Beside { headers, body }) => send(stream, "200 OK", headers, &body),
            None => send(stream, "404 Not Found", &[], b""),
        };
    };
    let generation = stock.generation(thing);
    let tag = format!("\"{}-{generation}\"", crc32c::crc32c(path.as_bytes()));
    let kind = match thing {
        Thing::Package(..) => "application/octet-stream",
        Thing::List(_) | Thing::Registration(_) | Thing::Search(_) | Thing::ServiceIndex => {
            "application/json"
        }
    };
    let headers = [("ETag", &*tag), ("Content-Type", kind)];
    let bytes = stock.bytes(thing, generation);
    if let Some(mischief) = weather.draw(random).filter(|_| head.method == "GET") {
        let answer = Answer {
            path,
            headers: &headers,
            body: &bytes,
        };
        return weather.commit(mischief, stream, answer, random);
    }
    if head.header("if-none-match") == Some(&tag) {
        return send(stream, "304 Not Modified", &[("ETag", &tag)], b"");
    }
    if head.method == "HEAD" {
        let framing = format!("Content-Length: {}\r\n", bytes.len());
        return { stream }.write_all(lines("200 OK", &headers, &framing).as_bytes());
    }
    if let Some(from) = head.header("range").and_then(open_range)
        && from < bytes.len()
    {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        let headers = [headers[0], headers[1], ("Content-Range", &*range)];
        return send(stream, "206 Partial Content", &headers, &bytes[from..]);
    }
    if matches!(thing, Thing::Package(..)) && bytes.len() > 16 << 10 {
        return send_in_pieces(stream, &headers, &bytes, random);
    }
    send(stream, "200 OK", &headers, &bytes)
}

/// The start of a range without an end.
fn open_range(range: &str) -> Option<usize> {
    range
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

fn read_away(reader: &mut BufReader<&TcpStream>, head: &Head) -> io::Result<()> {
    if let Some(length) = head.header("content-length") {
        let length = length.parse().unwrap_or(0);
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        return Ok(());
    }
    if head.header("transfer-encoding").is_none() {
        return Ok(());
    }
    loop {
        let size = line(reader)?.unwrap_or_default();
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
        let size = size.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        io::copy(&mut reader.by_ref().take(size), &mut io::sink())?;
        line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn lines(status: &str, headers: &[(&str, &str)], framing: &str) -> String {
    let mut head = format!("HTTP/1.1 {status}\r\n{framing}");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

fn send(
    mut stream: &TcpStream,
    status: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let framing = if matches!(&status[..3], "204" | "304") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let mut bytes = lines(status, headers, &framing).into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)
}

/// A package as it comes over a real line: of known length or not, at once or in crumbs.
fn send_in_pieces(
    mut stream: &TcpStream,
    headers: &[(&str, &str)],
    bytes: &[u8],
    random: &mut Random,
) -> io::Result<()> {
    // A package always comes in the same way, so that two answers can be told to be of the same body.
    let is_chunked = crc32c::crc32c(bytes) % 10 < 3;
    let halts = random.chance(50);
    let framing = if is_chunked {
        "Transfer-Encoding: chunked\r\n".to_owned()
    } else {
        format!("Content-Length: {}\r\n", bytes.len())
    };
    stream.write_all(lines("200 OK", headers, &framing).as_bytes())?;
    for piece in bytes.chunks(random.size(8 << 10, 128 << 10)) {
        if is_chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        stream.write_all(piece)?;
        if is_chunked {
            stream.write_all(b"\r\n")?;
        }
        if halts {
            std::thread::sleep(Duration::from_millis(random.below(4)));
        }
    }
    if is_chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}
