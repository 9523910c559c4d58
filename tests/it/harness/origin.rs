//! The scripted upstream: HTTP/1.1 on pipes, every request counted. It refuses names that it was not given.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf as _, Bytes, BytesMut};
use sluice::proxy::Proxy;
use sluice::tasks::Tasks;
use sluice::upstream::connect::Connect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::answer::{answer, gone};
use super::pipes::{Pipes, Reset};
use super::reply::{Act, Reply};

/// What happens to a connection to a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// Nothing comes back.
    Hang,
    /// The name cannot be looked up.
    NoName,
    Open,
    /// The name leads to a private address.
    Private,
    Refuse,
    /// The handshake fails.
    Tls,
    /// Its certificate is signed by somebody whom nobody knows.
    UnknownIssuer,
}

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) host: String,
    /// Path and query as sent.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Whether the body came whole.
    pub(crate) complete: bool,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// `GET host/path`, the name under which it is counted.
    pub(crate) fn name(&self) -> String {
        format!("{} {}{}", self.method, self.host, self.path())
    }
}

/// The scripted upstream. Clones share it.
#[derive(Clone)]
pub(crate) struct Origin {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    doors: HashMap<String, Door>,
    /// Hosts at which a proxy answers.
    proxies: HashMap<String, Proxy>,
    scripts: HashMap<String, VecDeque<Act>>,
    /// Overrides the scripts of every path of a host.
    spells: HashMap<String, Act>,
    seen: Vec<Seen>,
    connections: HashMap<String, usize>,
    /// Those of them that met a door that was shut.
    turned_away: HashMap<String, usize>,
    violations: Vec<String>,
}

impl Origin {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nobody panics with it")
    }

    /// Has `place` answered so from now on. A place is `host/path`, with a query to tell queries apart, with a method
    /// before it (`HEAD host/path`) to tell methods apart; without a method it means GET and HEAD.
    pub(crate) fn on(&self, place: &str, act: impl Into<Act>) {
        self.script(place, [act.into()]);
    }

    /// Has `place` answered by these, one after another; the last is repeated.
    pub(crate) fn script(&self, place: &str, acts: impl IntoIterator<Item = Act>) {
        let place = if place.contains(' ') {
            place.to_owned()
        } else {
            format!("GET {place}")
        };
        let host = place.split([' ', '/']).nth(1).expect("a host").to_owned();
        let mut state = self.state();
        state.doors.entry(host).or_insert(Door::Open);
        state.scripts.insert(place, acts.into_iter().collect());
    }

    /// Has this proxy answer at `host`.
    pub(crate) fn lead(&self, host: &str, proxy: &Proxy) {
        let mut state = self.state();
        state.doors.insert(host.to_owned(), Door::Open);
        state.proxies.insert(host.to_owned(), proxy.clone());
    }

    /// Lets `place` answer 404 again.
    pub(crate) fn forget(&self, place: &str) {
        self.state().scripts.remove(&format!("GET {place}"));
    }

    /// Has every request to `host` end so, until [`Origin::mend`].
    pub(crate) fn spell(&self, host: &str, act: impl Into<Act>) {
        self.state().spells.insert(host.to_owned(), act.into());
    }

    /// Has connections to `host` end so. Connections that are open already go on.
    pub(crate) fn door(&self, host: &str, door: Door) {
        self.state().doors.insert(host.to_owned(), door);
    }

    /// Takes a host down: connections are refused, and open ones close at their next request.
    pub(crate) fn down(&self, host: &str) {
        self.door(host, Door::Refuse);
        self.spell(host, Act::Close);
    }

    /// Takes every host down.
    pub(crate) fn all_down(&self) {
        let hosts: Vec<String> = self.state().doors.keys().cloned().collect();
        hosts.iter().for_each(|host| self.down(host));
    }

    /// Undoes [`Origin::spell`], [`Origin::door`] and [`Origin::down`].
    pub(crate) fn mend(&self, host: &str) {
        let mut state = self.state();
        state.spells.remove(host);
        state.doors.insert(host.to_owned(), Door::Open);
    }

    /// Undoes all of them.
    pub(crate) fn mend_all(&self) {
        let hosts: Vec<String> = self.state().doors.keys().cloned().collect();
        hosts.iter().for_each(|host| self.mend(host));
    }

    /// How often `GET host/path` was asked, its query aside.
    pub(crate) fn count(&self, name: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|seen| seen.name() == name).count()
    }

    /// How often anything was asked.
    pub(crate) fn total(&self) -> usize {
        self.state().seen.len()
    }

    /// The requests of one name, in order.
    pub(crate) fn seen(&self, name: &str) -> Vec<Seen> {
        let state = self.state();
        let found = state.seen.iter().filter(|seen| seen.name() == name);
        found.cloned().collect()
    }

    /// The latest request of one name.
    #[track_caller]
    pub(crate) fn last(&self, name: &str) -> Seen {
        self.seen(name).pop().expect("it was asked")
    }

    /// Every request, in order.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many connections to `host` were tried.
    pub(crate) fn connections(&self, host: &str) -> usize {
        self.state().connections.get(host).copied().unwrap_or(0)
    }

    /// How many of them met a door that was shut.
    pub(crate) fn turned_away(&self, host: &str) -> usize {
        self.state().turned_away.get(host).copied().unwrap_or(0)
    }

    /// Rules of every request that were broken.
    pub(super) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The connector that leads here.
    pub(super) fn connector(&self, tasks: &Tasks) -> Arc<dyn Connect> {
        Arc::new(Pipes {
            origin: self.clone(),
            tasks: tasks.clone(),
        })
    }

    /// Counts a connection to `host` and says what happens to it; `None` if nobody gave that name.
    pub(super) fn knock(&self, host: &str) -> Option<Door> {
        let mut state = self.state();
        *state.connections.entry(host.to_owned()).or_default() += 1;
        let door = state.doors.get(host).copied();
        if door != Some(Door::Open) {
            *state.turned_away.entry(host.to_owned()).or_default() += 1;
        }
        door
    }

    /// The proxy that answers at `host`, if one does.
    pub(super) fn proxy_at(&self, host: &str) -> Option<Proxy> {
        self.state().proxies.get(host).cloned()
    }

    fn note(&self, seen: &Seen) {
        let via = seen.header("via").unwrap_or_default();
        let mut state = self.state();
        if !via.contains("1.1 sluice-") {
            let problem = format!("{}: Via is {via:?}", seen.name());
            state.violations.push(problem);
        }
        if seen.header("host") != Some(&seen.host) {
            let problem = format!("{}: Host is {:?}", seen.name(), seen.header("host"));
            state.violations.push(problem);
        }
        state.seen.push(seen.clone());
    }

    fn act(&self, seen: &Seen) -> Act {
        let mut state = self.state();
        if let Some(act) = state.spells.get(&seen.host) {
            return act.clone();
        }
        let method = &seen.method;
        let as_get = if method == "HEAD" { "GET" } else { method };
        let exact = format!("{method} {}{}", seen.host, seen.target);
        let exact_get = format!("{as_get} {}{}", seen.host, seen.target);
        let names = [
            exact,
            exact_get,
            seen.name(),
            format!("{as_get} {}{}", seen.host, seen.path()),
        ];
        for name in names {
            if let Some(acts) = state.scripts.get_mut(&name) {
                let act = if acts.len() > 1 {
                    acts.pop_front()
                } else {
                    acts.front().cloned()
                };
                return act.expect("a script has an act");
            }
        }
        Reply::new(404, "nothing here").into()
    }

    pub(super) async fn serve(self, host: String, mut pipe: DuplexStream, reset: Reset) {
        let mut buffer = BytesMut::new();
        loop {
            let Some(mut seen) = read_head(&mut pipe, &mut buffer, &host).await else {
                return;
            };
            let mut act = self.act(&seen);
            let early = matches!(&act, Act::Answer(reply) if reply.early);
            if !early {
                seen.complete = read_body(&mut pipe, &mut buffer, &mut seen).await;
            }
            self.note(&seen);
            if let Act::Make(make) = &act {
                act = make(&seen);
            }
            let goes_on = match act {
                Act::Answer(reply) => answer(&mut pipe, reply.to(&seen), &seen, &reset).await,
                Act::Close => None,
                Act::Reset => {
                    reset.set();
                    None
                }
                Act::Hang | Act::Make(_) => {
                    gone(&mut pipe).await;
                    None
                }
            };
            if goes_on.is_none() || early {
                let _ = pipe.shutdown().await;
                return;
            }
        }
    }
}

async fn read_head(pipe: &mut DuplexStream, buffer: &mut BytesMut, host: &str) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if pipe.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = buffer.split_to(end);
    buffer.advance(4);
    let head = String::from_utf8(head.to_vec()).expect("a head in ASCII");
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header line");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Some(Seen {
        method: first.next()?.to_owned(),
        host: host.to_owned(),
        target: first.next()?.to_owned(),
        headers: lines.map(header).collect(),
        body: Bytes::new(),
        complete: false,
    })
}

/// Reads a request's body; says whether it came whole.
async fn read_body(pipe: &mut DuplexStream, buffer: &mut BytesMut, seen: &mut Seen) -> bool {
    let mut body = BytesMut::new();
    let whole = if seen.header("transfer-encoding") == Some("chunked") {
        read_chunks(pipe, buffer, &mut body).await.is_some()
    } else {
        let length = seen.header("content-length").unwrap_or("0");
        let length = length.parse().expect("a length");
        take(pipe, buffer, length, &mut body).await.is_some()
    };
    seen.body = body.freeze();
    whole
}

async fn read_chunks(
    pipe: &mut DuplexStream,
    buffer: &mut BytesMut,
    body: &mut BytesMut,
) -> Option<()> {
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            if pipe.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        };
        let line = String::from_utf8(buffer.split_to(end).to_vec()).ok()?;
        buffer.advance(2);
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        take(pipe, buffer, length, body).await?;
        take(pipe, buffer, 2, &mut BytesMut::new()).await?;
        if length == 0 {
            return Some(());
        }
    }
}

async fn take(
    pipe: &mut DuplexStream,
    buffer: &mut BytesMut,
    mut length: usize,
    into: &mut BytesMut,
) -> Option<()> {
    while length > 0 {
        if buffer.is_empty() && pipe.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let part = buffer.split_to(length.min(buffer.len()));
        length -= part.len();
        into.extend_from_slice(&part);
    }
    Some(())
}
