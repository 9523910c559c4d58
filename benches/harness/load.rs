//! Clients that ask a running Sluice for a scripted upstream's stock, in every way there is, and compare each byte.
//!
//! Between bursts they wait until nothing is pending in the store: what was answered before is then known to be stored.
//! They refuse to stop at the first fault; the ledger keeps them all.

use super::http::{Connection, Reply, Request};
use super::ledger::{Ledger, Pace};
use super::random::Random;
use super::sluice::Sluice;
use super::stock::{Stock, Thing, content, name};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Clients at once.
const CLIENTS: u64 = 4;

/// After this long without a quiet moment, clients go on.
const QUIET_LIMIT: Duration = Duration::from_secs(3);

/// The content type of what `upload` makes.
pub(crate) const UPLOAD_TYPE: &str = "multipart/form-data; boundary=b";

/// The body of a push.
pub(crate) fn upload(package: &[u8]) -> Vec<u8> {
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"package\"; filename=\"p.nupkg\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    body.extend_from_slice(package);
    body.extend_from_slice(b"\r\n--b--\r\n");
    body
}

/// Sluice as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    /// Bases of the flat container and the registrations, here and at the upstream.
    flat: (String, String),
    registrations: (String, String),
}

impl Site {
    /// Reads the service index.
    ///
    /// # Errors
    /// If it does not answer, or with no service index.
    pub(crate) fn of(address: SocketAddr, stock: &Stock) -> io::Result<Self> {
        let reply = super::http::ask(address, &Request::get("/v3/index.json", &[]))?;
        let ours: Value = serde_json::from_slice(&reply.body)?;
        let theirs: Value = serde_json::from_slice(&stock.bytes(Thing::ServiceIndex, 0))?;
        let base = |index: &Value, kind: &str| {
            let found = index["resources"].as_array()?.iter().find(|resource| {
                let own = resource["@type"].as_str();
                own.is_some_and(|own| own.starts_with(kind))
            });
            Some(found?["@id"].as_str()?.to_owned())
        };
        let both = |kind: &str| Some((base(&ours, kind)?, base(&theirs, kind)?));
        let missing = || io::Error::other(format!("{} {}: {ours}", reply.status, reply.reason));
        Ok(Self {
            address,
            flat: both("PackageBaseAddress").ok_or_else(missing)?,
            registrations: both("RegistrationsBaseUrl").ok_or_else(missing)?,
        })
    }

    /// The path of a thing here.
    pub(crate) fn path(&self, thing: Thing) -> String {
        let below = |base: &str, rest: &str| {
            let root = format!("http://{}", self.address);
            format!("{}{rest}", base.strip_prefix(&root).unwrap_or(base))
        };
        match thing {
            Thing::List(id) => below(&self.flat.0, &format!("{}/index.json", name(id))),
            Thing::Package(id, version) => below(&self.flat.0, &content(id, version)),
            Thing::Registration(id) => {
                below(&self.registrations.0, &format!("{}/index.json", name(id)))
            }
            Thing::Search(id) => format!("/v3/search?q={}", name(id)),
            Thing::ServiceIndex => "/v3/index.json".to_owned(),
        }
    }

    /// The generation of a thing that this answer is; `None` if it is of none.
    pub(crate) fn recognise(&self, stock: &Stock, thing: Thing, body: &[u8]) -> Option<u64> {
        let (Thing::Registration(_) | Thing::Search(_)) = thing else {
            return stock.recognise(thing, body);
        };
        let text = std::str::from_utf8(body).ok()?;
        let text = text.replace(&self.registrations.0, &self.registrations.1);
        let text = text.replace(&self.flat.0, &self.flat.1);
        stock.recognise(thing, text.as_bytes())
    }
}

/// Runs clients in bursts until the ledger ends and their process with it.
pub(crate) fn run(sluice: &Sluice, site: &Site, stock: &Stock, ledger: &Ledger, seed: u64) {
    std::thread::scope(|scope| {
        scope.spawn(|| run_steadily(site, stock, ledger, seed));
        scope.spawn(|| conduct(sluice, ledger, Random::new(seed ^ 0xff << 56)));
    });
}

/// Runs clients without a pause until the ledger ends and their process with it; nothing is acknowledged.
pub(crate) fn run_steadily(site: &Site, stock: &Stock, ledger: &Ledger, seed: u64) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let random = Random::new(seed ^ client << 56);
            scope.spawn(move || {
                Client {
                    site,
                    stock,
                    ledger,
                    random,
                }
                .run();
            });
        }
    });
}

/// Lets the clients ask in bursts, and acknowledges what was answered before a moment without anything pending.
fn conduct(sluice: &Sluice, ledger: &Ledger, mut random: Random) {
    while !ledger.is_ending() {
        let burst = Instant::now() + Duration::from_millis(random.between(20, 200));
        while Instant::now() < burst && !ledger.is_ending() {
            std::thread::sleep(Duration::from_millis(2));
        }
        ledger.pause(Pace::Wait);
        let until = Instant::now() + QUIET_LIMIT;
        while Instant::now() < until && !ledger.is_ending() {
            let mark = ledger.mark();
            // It fails once the process is gone.
            let Ok(metrics) = sluice.metrics() else {
                break;
            };
            let value = |name: &str| metrics.get(name).copied().unwrap_or(u64::MAX);
            let failed = value("sluice_store_failed_commits_total");
            if failed == 0 && value("sluice_store_pending_entries") == 0 {
                ledger.acknowledge(mark);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        ledger.pause(Pace::Ask);
    }
}

struct Client<'a> {
    site: &'a Site,
    stock: &'a Stock,
    ledger: &'a Ledger,
    random: Random,
}

impl Client<'_> {
    fn run(mut self) {
        let mut connection = None;
        loop {
            if self.ledger.is_paused() {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let asked = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(self.site.address),
            };
            let asked = asked.and_then(|mut open| self.step(&mut open).map(|()| open));
            match asked {
                Ok(open) => connection = Some(open),
                // Only now, so that the end finds every client at work.
                Err(_) if self.ledger.is_ending() => return,
                Err(_) => {
                    self.ledger.breaks.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.ledger.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn step(&mut self, connection: &mut Connection) -> io::Result<()> {
        let thing = self.stock.pick(&mut self.random);
        match self.random.below(100) {
            0..70 => self.whole(connection, thing, &[]),
            70..76 => self.whole(connection, thing, &[("Cache-Control", "no-cache")]),
            76..84 => self.part(connection, thing),
            84..90 => self.leave(thing),
            90..94 => self.absent(connection),
            94..98 => self.push(connection),
            _ => self.delete(connection),
        }
    }

    fn whole(
        &self,
        connection: &mut Connection,
        thing: Thing,
        headers: &[(&str, &str)],
    ) -> io::Result<()> {
        let floor = self.ledger.floor(thing);
        let path = self.site.path(thing);
        let reply = connection.ask(&Request::get(&path, headers))?;
        let status = reply.header("cache-status").unwrap_or_default();
        let is = |word: &str| status.contains(&format!("detail={word}"));
        match self.site.recognise(self.stock, thing, &reply.body) {
            Some(generation) if reply.status == 200 => {
                if generation < floor && !is("stale") {
                    self.complain(&path, &reply, &format!("{generation}, not {floor}"));
                }
                // Of what others fetched, or what passed the store by, it does not say whether it is stored; and a
                // document that was fetched may have been overtaken by a flight that began after a push.
                let is_package = matches!(thing, Thing::Package(..));
                if is("hit") || is("revalidated") || is("miss") && is_package {
                    self.ledger.answered(thing, generation);
                }
            }
            Some(_) | None => self.complain(&path, &reply, "not what the upstream made"),
        }
        Ok(())
    }

    fn part(&mut self, connection: &mut Connection, thing: Thing) -> io::Result<()> {
        let Thing::Package(..) = thing else {
            return self.whole(connection, thing, &[]);
        };
        let whole = self.stock.bytes(thing, 0);
        let from = self.random.place(whole.len());
        let to = self.random.size(from, whole.len());
        let path = self.site.path(thing);
        let range = format!("bytes={from}-{to}");
        let reply = connection.ask(&Request::get(&path, &[("Range", &range)]))?;
        let is_right = match reply.status {
            200 => reply.body == whole,
            206 => reply.body == whole[from..=to],
            _ => false,
        };
        if !is_right {
            self.complain(&path, &reply, &range);
        }
        Ok(())
    }

    /// Asks on a connection of its own and goes away before the end.
    fn leave(&mut self, thing: Thing) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.site.address)?;
        let path = self.site.path(thing);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.site.address
        )?;
        let mut some = vec![0; self.random.size(1, 40_000)];
        stream.read(&mut some).map(|_| ())
    }

    fn absent(&mut self, connection: &mut Connection) -> io::Result<()> {
        let list = self.site.path(Thing::List(0));
        let path = list.replace(&name(0), &format!("absent.p{}", self.random.below(50)));
        let reply = connection.ask(&Request::get(&path, &[]))?;
        if reply.status != 404 {
            self.complain(&path, &reply, "404 of the upstream");
        }
        Ok(())
    }

    fn push(&mut self, connection: &mut Connection) -> io::Result<()> {
        let id = self.random.place(self.stock.ids());
        let before = self.stock.generation(Thing::List(id));
        let body = upload(&self.stock.bytes(Thing::Package(id, 0), 0));
        let key = name(id);
        let request = Request {
            body: &body,
            headers: &[("X-NuGet-ApiKey", &key), ("Content-Type", UPLOAD_TYPE)],
            method: "PUT",
            path: "/v3/package",
        };
        let reply = connection.ask(&request)?;
        if reply.status == 201 {
            self.ledger.raise_floor(id, before + 1);
        } else {
            self.complain("push", &reply, &key);
        }
        Ok(())
    }

    fn delete(&mut self, connection: &mut Connection) -> io::Result<()> {
        let id = self.random.place(self.stock.ids());
        let before = self.stock.generation(Thing::List(id));
        let key = name(id);
        let path = format!("/v3/package/{key}/1.0.0");
        let request = Request {
            body: b"",
            headers: &[("X-NuGet-ApiKey", &key)],
            method: "DELETE",
            path: &path,
        };
        let reply = connection.ask(&request)?;
        if reply.status == 204 {
            self.ledger.raise_floor(id, before + 1);
        } else {
            self.complain(&path, &reply, &key);
        }
        Ok(())
    }

    fn complain(&self, path: &str, reply: &Reply, expected: &str) {
        if self.ledger.is_ending() && reply.status >= 400 {
            // It may speak of the end that is near; wrong bytes may not come even then.
            return;
        }
        let status = reply.header("cache-status").unwrap_or_default();
        self.ledger.wrong(format!(
            "{path}: {} {} ({status}), {} bytes; expected {expected}",
            reply.status,
            reply.reason,
            reply.body.len()
        ));
    }
}
