//! Clients of every kind that ask a Sluice whose upstream fails at random, and compare each byte that they get.
//!
//! An answer is the right bytes, or one that the upstream's faults explain: a 502, 503 or 504 that says so in its reason
//! phrase. A body that breaks off is one, too. A 404 is none, but for what the upstream does not have.

use super::http::{Connection, Reply, Request};
use super::ledger::Ledger;
use super::load::{Site, UPLOAD_TYPE, upload};
use super::random::Random;
use super::stock::{Stock, Thing, name};
use flate2::read::GzDecoder;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two requests of a client: a crowd that leaves the machine some room to fail in other ways than by being full.
const PAUSE: Duration = Duration::from_millis(3);

/// No head of an answer takes longer: the longest hold of the settings and the noise of a busy machine.
const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// What a client does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Deed {
    /// Asks for what the upstream does not have.
    Absent,
    /// Asks with the validator of an earlier answer.
    Conditional,
    Delete,
    /// Goes away in the middle of the body.
    Drop,
    /// Demands that the upstream be asked.
    Fresh,
    /// Takes gzip.
    Gzip,
    Head,
    /// Asks for a part of a package.
    Part,
    Push,
    /// Reads a package in crumbs.
    Slow,
    Whole,
}

impl Deed {
    pub(crate) const ALL: [Self; 11] = [
        Self::Absent,
        Self::Conditional,
        Self::Delete,
        Self::Drop,
        Self::Fresh,
        Self::Gzip,
        Self::Head,
        Self::Part,
        Self::Push,
        Self::Slow,
        Self::Whole,
    ];

    fn pick(random: &mut Random) -> Self {
        match random.below(100) {
            0..3 => Self::Absent,
            3..15 => Self::Conditional,
            15..16 => Self::Delete,
            16..26 => Self::Drop,
            26..32 => Self::Fresh,
            32..40 => Self::Gzip,
            40..46 => Self::Head,
            46..58 => Self::Part,
            58..61 => Self::Push,
            61..62 => Self::Slow,
            _ => Self::Whole,
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum End {
    /// The right bytes, or the right words without any.
    Answered,
    /// The body broke off.
    Broken,
    /// A refusal that the faults explain.
    Refused,
}

/// What all clients did, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<(Deed, End), u64>>);

impl Tally {
    fn add(&self, deed: Deed, end: End) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((deed, end)).or_default() += 1;
    }

    /// How often this deed ended so.
    pub(crate) fn of(&self, deed: Deed, end: End) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&(deed, end)).copied().unwrap_or_default()
    }

    /// How often any deed ended so.
    pub(crate) fn all(&self, end: End) -> u64 {
        Deed::ALL.into_iter().map(|deed| self.of(deed, end)).sum()
    }
}

/// Where clients go, and what they share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) site: &'a Site,
    pub(crate) stock: &'a Stock,
    pub(crate) ledger: &'a Ledger,
    pub(crate) tally: &'a Tally,
}

/// One client, until the ledger ends.
pub(crate) fn visit(ground: Ground<'_>, random: Random) {
    let mut visitor = Visitor {
        ground,
        random,
        tags: HashMap::new(),
    };
    let mut kept = None;
    while !ground.ledger.is_ending() {
        let connection = match kept.take() {
            Some(open) => Ok(open),
            None => Connection::open(ground.address),
        };
        match connection {
            Ok(open) => kept = visitor.step(open),
            Err(error) => ground.ledger.wrong(format!("no connection: {error}")),
        }
        ground.ledger.requests.fetch_add(1, Relaxed);
        std::thread::sleep(PAUSE);
    }
}

struct Visitor<'a> {
    ground: Ground<'a>,
    random: Random,
    /// The validator of the last answer for a thing, and the generation that it had.
    tags: HashMap<Thing, (String, u64)>,
}

/// A request, and what is known of its answer.
struct Ask<'a> {
    deed: Deed,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    method: &'a str,
    body: &'a [u8],
}

impl Visitor<'_> {
    /// Does something; gives the connection back if it can be used again.
    fn step(&mut self, open: Connection) -> Option<Connection> {
        let deed = Deed::pick(&mut self.random);
        let thing = self.ground.stock.pick(&mut self.random);
        let thing = match (deed, thing) {
            // The large ones, which no buffer on the way holds.
            (Deed::Slow, _) => Thing::Package(0, self.random.place(3)),
            (Deed::Drop, _) if self.random.chance(20) => Thing::Package(0, self.random.place(3)),
            (Deed::Drop | Deed::Head | Deed::Part, Thing::List(id) | Thing::Registration(id)) => {
                Thing::Package(id, 0)
            }
            (Deed::Gzip | Deed::Whole, Thing::List(id)) if self.random.chance(30) => {
                Thing::Search(id)
            }
            (_, thing) => thing,
        };
        let path = self.ground.site.path(thing);
        let ask = Ask {
            deed,
            path: &path,
            headers: &[],
            method: "GET",
            body: b"",
        };
        match deed {
            Deed::Absent => self.absent(open),
            Deed::Conditional => self.conditional(open, ask, thing),
            Deed::Delete | Deed::Push => self.publish(open, deed),
            Deed::Drop => self.leave(open, &ask),
            Deed::Fresh => {
                let headers = &[("Cache-Control", "no-cache")];
                self.whole(open, Ask { headers, ..ask }, thing)
            }
            Deed::Gzip => {
                let headers = &[("Accept-Encoding", "gzip")];
                self.whole(open, Ask { headers, ..ask }, thing)
            }
            Deed::Head => self.head(open, ask, thing),
            Deed::Part => self.part(open, ask, thing),
            Deed::Slow | Deed::Whole => self.whole(open, ask, thing),
        }
    }

    /// The answer to a request, and the connection. None if it broke off in the body, or was refused for a cause that is
    /// known; both are told then, and so is what nothing explains.
    fn ask(&mut self, mut open: Connection, ask: &Ask<'_>) -> (Option<Reply>, Option<Connection>) {
        let Ground { ledger, tally, .. } = self.ground;
        let request = Request {
            body: ask.body,
            headers: ask.headers,
            method: ask.method,
            path: ask.path,
        };
        let began = Instant::now();
        let head = open.send(&request).and_then(|()| open.head());
        let mut reply = match head {
            Ok(reply) => reply,
            Err(error) => {
                ledger.wrong(format!("{:?} {}: no answer: {error}", ask.deed, ask.path));
                return (None, None);
            }
        };
        let took = began.elapsed();
        if took > HEAD_LIMIT {
            ledger.wrong(format!(
                "{:?} {}: {took:.1?} to the head",
                ask.deed, ask.path
            ));
        }
        if ask.method != "HEAD" && !matches!(reply.status, 204 | 304) {
            let mut body = Vec::new();
            let crumbs = (ask.deed == Deed::Slow).then_some(Duration::from_millis(20));
            let read = open.body(&reply, &mut |part| {
                body.extend_from_slice(part);
                if let Some(pause) = crumbs {
                    std::thread::sleep(pause);
                }
            });
            if read.is_err() {
                tally.add(ask.deed, End::Broken);
                return (None, None);
            }
            reply.body = body;
        }
        let stays = reply.header("connection") != Some("close") && !self.random.chance(2);
        let kept = stays.then_some(open);
        if matches!(reply.status, 502..=504) && reply.reason.starts_with("Sluice: ") {
            tally.add(ask.deed, End::Refused);
            return (None, kept);
        }
        (Some(reply), kept)
    }

    /// Counts what is right, and tells what is not.
    fn judge(&self, ask: &Ask<'_>, reply: &Reply, verdict: Result<(), String>) {
        match verdict {
            Ok(()) => self.ground.tally.add(ask.deed, End::Answered),
            Err(expected) => {
                let status = reply.header("cache-status").unwrap_or_default();
                self.ground.ledger.wrong(format!(
                    "{:?} {}: {} {} ({status}), {} bytes; expected {expected}",
                    ask.deed,
                    ask.path,
                    reply.status,
                    reply.reason,
                    reply.body.len()
                ));
            }
        }
    }

    fn whole(&mut self, open: Connection, ask: Ask<'_>, thing: Thing) -> Option<Connection> {
        let floor = self.ground.ledger.floor(thing);
        let (reply, kept) = self.ask(open, &ask);
        if let Some(reply) = reply {
            let verdict = self.right(thing, floor, &reply);
            self.judge(&ask, &reply, verdict);
        }
        kept
    }

    /// Whether a whole answer is of the thing, and not from before what the client knows to be published.
    fn right(&mut self, thing: Thing, floor: u64, reply: &Reply) -> Result<(), String> {
        let Ground { site, stock, .. } = self.ground;
        if reply.status != 200 {
            return Err("200".to_owned());
        }
        let decoded = decoded(reply).map_err(|error| format!("gzip: {error}"))?;
        let generation = site.recognise(stock, thing, &decoded);
        let generation = generation.ok_or("what the upstream made")?;
        if generation < floor && !is_stale(reply) {
            return Err(format!("generation {floor}, not {generation}"));
        }
        if let Some(tag) = reply.header("etag") {
            self.tags.insert(thing, (tag.to_owned(), generation));
        }
        Ok(())
    }

    fn conditional(&mut self, open: Connection, ask: Ask<'_>, thing: Thing) -> Option<Connection> {
        let Some((tag, known)) = self.tags.get(&thing).cloned() else {
            let deed = Deed::Whole;
            return self.whole(open, Ask { deed, ..ask }, thing);
        };
        let floor = self.ground.ledger.floor(thing);
        let headers = &[("If-None-Match", &*tag)];
        let ask = Ask { headers, ..ask };
        let (reply, kept) = self.ask(open, &ask);
        if let Some(reply) = reply {
            let verdict = match reply.status {
                304 if known >= floor || is_stale(&reply) => Ok(()),
                304 => Err(format!("no 304 for generation {known} after {floor}")),
                _ => self.right(thing, floor, &reply),
            };
            self.judge(&ask, &reply, verdict);
        }
        kept
    }

    fn head(&mut self, open: Connection, ask: Ask<'_>, thing: Thing) -> Option<Connection> {
        let method = "HEAD";
        let ask = Ask { method, ..ask };
        let (reply, kept) = self.ask(open, &ask);
        if let Some(reply) = reply {
            let length = self.ground.stock.bytes(thing, 0).len().to_string();
            let told = reply.header("content-length");
            let is_right = reply.status == 200 && told.is_none_or(|told| told == length);
            let verdict = is_right
                .then_some(())
                .ok_or_else(|| format!("{length} bytes"));
            self.judge(&ask, &reply, verdict);
        }
        kept
    }

    fn part(&mut self, open: Connection, ask: Ask<'_>, thing: Thing) -> Option<Connection> {
        let whole = self.ground.stock.bytes(thing, 0);
        let from = self.random.place(whole.len());
        let to = self.random.size(from, whole.len());
        let range = format!("bytes={from}-{to}");
        let headers = &[("Range", &*range)];
        let ask = Ask { headers, ..ask };
        let (reply, kept) = self.ask(open, &ask);
        if let Some(reply) = reply {
            let is_right = match reply.status {
                200 => reply.body == whole,
                206 => reply.body == whole[from..=to],
                _ => false,
            };
            let verdict = is_right.then_some(()).ok_or(range.clone());
            self.judge(&ask, &reply, verdict);
        }
        kept
    }

    /// Reads the head and some of the body, and goes.
    fn leave(&mut self, mut open: Connection, ask: &Ask<'_>) -> Option<Connection> {
        let patience = self.random.chance(50);
        let sent = open.send(&Request::get(ask.path, &[]));
        if sent.is_ok() && patience {
            let _ = open.head();
        }
        self.ground.tally.add(ask.deed, End::Answered);
        None
    }

    fn absent(&mut self, open: Connection) -> Option<Connection> {
        let list = self.ground.site.path(Thing::List(0));
        let path = list.replace(&name(0), &format!("absent.p{}", self.random.below(500)));
        let ask = Ask {
            deed: Deed::Absent,
            path: &path,
            headers: &[],
            method: "GET",
            body: b"",
        };
        let (reply, kept) = self.ask(open, &ask);
        if let Some(reply) = reply {
            let is_right = reply.status == 404;
            let verdict = is_right.then_some(()).ok_or("404".to_owned());
            self.judge(&ask, &reply, verdict);
        }
        kept
    }

    fn publish(&mut self, open: Connection, deed: Deed) -> Option<Connection> {
        let Ground { stock, ledger, .. } = self.ground;
        let id = self.random.place(stock.ids());
        let before = stock.generation(Thing::List(id));
        let key = name(id);
        let headers = [("X-NuGet-ApiKey", &*key), ("Content-Type", UPLOAD_TYPE)];
        let body = upload(&stock.bytes(Thing::Package(id, 1), 0));
        let path = format!("/v3/package/{key}/1.0.0");
        let (method, path, headers, body, done) = match deed {
            Deed::Push => ("PUT", "/v3/package", &headers[..], &body[..], 201),
            _ => ("DELETE", &*path, &headers[..1], &b""[..], 204),
        };
        let ask = Ask {
            deed,
            path,
            headers,
            method,
            body,
        };
        let (reply, kept) = self.ask(open, &ask);
        if let Some(reply) = reply {
            match reply.status {
                status if status == done => {
                    ledger.raise_floor(id, before + 1);
                    self.judge(&ask, &reply, Ok(()));
                }
                // The upstream's own words, which are relayed.
                429 | 500 | 503 => self.ground.tally.add(deed, End::Refused),
                _ => self.judge(&ask, &reply, Err(format!("{done}"))),
            }
        }
        kept
    }
}

fn is_stale(reply: &Reply) -> bool {
    let status = reply.header("cache-status").unwrap_or_default();
    status.contains("detail=stale")
}

fn decoded(reply: &Reply) -> io::Result<Vec<u8>> {
    if reply.header("content-encoding") != Some("gzip") {
        return Ok(reply.body.clone());
    }
    let mut decoded = Vec::new();
    GzDecoder::new(&*reply.body).read_to_end(&mut decoded)?;
    Ok(decoded)
}
