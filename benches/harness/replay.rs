//! A recorded restore, played again by clients without a .NET runtime.
//!
//! The trace says what the real client asked of the upstream and in which order. Here each request
//! goes to Sluice's address for the same document, with session ids of the player's own, over as
//! many connections as the player is given; a package waits for its list, a vulnerability page for
//! its index, everything for the service index, as in the real client. Repository signatures are
//! left out, since Sluice offers none over http. It refuses to pass over a wrong answer: each body
//! of a list or package must have the recorded length.

use super::http::{Connection, Request};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most connections that the recorded client had at work: 48 requests came within 50 ms.
pub(crate) const RECORDED_CONNECTIONS: usize = 48;

/// What to ask for.
#[derive(Clone, Debug)]
enum Target {
    /// A path that Sluice has whatever the upstream says.
    Path(String),
    /// The document at this place of the vulnerability index.
    VulnerabilityPage(usize),
}

#[derive(Debug)]
struct Step {
    /// The step whose answer this one needs.
    after: Option<usize>,
    /// Bytes of the recorded body, where Sluice passes them as they are.
    bytes: Option<u64>,
    /// Which of the recording's sessions it belongs to.
    session: usize,
    target: Target,
}

/// A recorded restore.
#[derive(Debug)]
pub(crate) struct Trace {
    steps: Vec<Step>,
}

impl Trace {
    /// Reads `traces/restore-cold.jsonl` of the shared folder.
    ///
    /// # Panics
    /// If it holds a request of a kind unknown here.
    pub(crate) fn restore_cold(shared: &Path) -> Self {
        let path = shared.join("traces/restore-cold.jsonl");
        let text = std::fs::read_to_string(&path).expect("the trace is in the shared folder");
        let mut sessions: Vec<String> = Vec::new();
        let mut paths: Vec<String> = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut vulnerability_pages = 0;
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).expect("a line of a trace is JSON");
            let path = value["path"].as_str().expect("it has a path");
            let place = |wanted: &str| paths.iter().position(|path| path == wanted);
            let bytes = value["sent"].as_u64();
            let (target, after, bytes) = if path == "/v3/index.json" {
                (Target::Path(path.to_owned()), None, None)
            } else if let Some(rest) = path.strip_prefix("/v3-flatcontainer/") {
                let id = rest.split('/').next().unwrap_or_default();
                let list = place(&format!("/v3-flatcontainer/{id}/index.json")).or(Some(0));
                (
                    Target::Path(format!("/v3/flatcontainer/{rest}")),
                    list,
                    bytes,
                )
            } else if path == "/v3/vulnerabilities/index.json" {
                (Target::Path(path.to_owned()), Some(0), None)
            } else if path.starts_with("/v3-vulnerabilities/") {
                vulnerability_pages += 1;
                let index = place("/v3/vulnerabilities/index.json");
                (
                    Target::VulnerabilityPage(vulnerability_pages - 1),
                    index,
                    None,
                )
            } else {
                assert!(
                    path.starts_with("/v3-index/repository-signatures/"),
                    "unknown: {path}"
                );
                continue;
            };
            let session = session_of(&value);
            let known = sessions.iter().position(|known| *known == session);
            let session = known.unwrap_or_else(|| {
                sessions.push(session);
                sessions.len() - 1
            });
            paths.push(path.to_owned());
            steps.push(Step {
                after,
                bytes,
                session,
                target,
            });
        }
        Self { steps }
    }

    /// How many requests it makes.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Plays it once, as client number `player`, and says how long that took.
    ///
    /// # Panics
    /// If any answer is not the recorded one.
    pub(crate) fn play(&self, address: SocketAddr, player: usize, connections: usize) -> Duration {
        let began = Instant::now();
        let state = State {
            answered: vec![false; self.steps.len()],
            next: 0,
            pages: Vec::new(),
        };
        let play = Play {
            address,
            changed: Condvar::new(),
            player,
            state: Mutex::new(state),
            trace: self,
        };
        std::thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| play.work());
            }
        });
        began.elapsed()
    }
}

/// Plays one trace as `players` clients at once, and says how long each took.
pub(crate) fn play_together(
    trace: &Arc<Trace>,
    address: SocketAddr,
    players: usize,
    connections: usize,
) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..players)
            .map(|player| scope.spawn(move || trace.play(address, player, connections)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().expect("a player does not fail"))
            .collect()
    })
}

fn session_of(request: &Value) -> String {
    let headers = request["headers"].as_array().expect("headers are a list");
    let found = headers.iter().find(|pair| pair[0] == "X-NuGet-Session-Id");
    found
        .and_then(|pair| pair[1].as_str())
        .expect("each request has a session")
        .to_owned()
}

/// One player's progress.
#[derive(Debug)]
struct State {
    answered: Vec<bool>,
    next: usize,
    /// Paths of the vulnerability pages, once their index is there.
    pages: Vec<String>,
}

#[derive(Debug)]
struct Play<'a> {
    address: SocketAddr,
    changed: Condvar,
    player: usize,
    state: Mutex<State>,
    trace: &'a Trace,
}

impl Play<'_> {
    /// One connection: takes the next step, waits for what it needs, asks, until none is left.
    fn work(&self) {
        let mut connection = None;
        while let Some((number, path)) = self.take() {
            let step = &self.trace.steps[number];
            let session = format!(
                "{:08x}-0000-4000-8000-{:012x}",
                self.player + 1,
                step.session
            );
            let headers = [
                ("X-NuGet-Session-Id", session.as_str()),
                ("User-Agent", "NuGet .NET Core MSBuild Task/7.9.0 (LINUX)"),
                ("X-NuGet-Client-Version", "7.9.0"),
                ("Accept-Encoding", "gzip, deflate"),
            ];
            let connection: &mut Connection = connection.get_or_insert_with(|| {
                Connection::open(self.address).expect("Sluice accepts connections")
            });
            let is_index = path == "/v3/vulnerabilities/index.json";
            let (mut length, mut kept) = (0, Vec::new());
            let reply = connection.ask_into(&Request::get(&path, &headers), &mut |part| {
                length += part.len() as u64;
                if is_index {
                    kept.extend_from_slice(part);
                }
            });
            let reply = reply.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(reply.status, 200, "{path}: {}", reply.reason);
            if let Some(bytes) = step.bytes {
                assert_eq!(length, bytes, "{path} has another length");
            }
            self.answered(number, is_index.then(|| pages_of(&reply.headers, &kept)));
        }
    }

    fn take(&self) -> Option<(usize, String)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        let step = self.trace.steps.get(number)?;
        state.next += 1;
        if let Some(after) = step.after {
            let pending = |state: &mut State| !state.answered[after];
            // A step that failed is never answered: who waits for it must fail too.
            let (found, waited) = self
                .changed
                .wait_timeout_while(state, Duration::from_secs(120), pending)
                .unwrap_or_else(PoisonError::into_inner);
            assert!(
                !waited.timed_out(),
                "step {number} waited in vain for step {after}"
            );
            state = found;
        }
        let path = match &step.target {
            Target::Path(path) => path.clone(),
            Target::VulnerabilityPage(place) => state.pages[*place].clone(),
        };
        Some((number, path))
    }

    fn answered(&self, number: usize, pages: Option<Vec<String>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answered[number] = true;
        state.pages.extend(pages.into_iter().flatten());
        self.changed.notify_all();
    }
}

/// The paths of the pages that a vulnerability index names.
fn pages_of(headers: &[(String, String)], body: &[u8]) -> Vec<String> {
    let gzip = headers
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("content-encoding") && value == "gzip");
    let mut text = Vec::new();
    if gzip {
        let mut decoder = flate2::read::GzDecoder::new(body);
        std::io::copy(&mut decoder, &mut text).expect("the index is whole");
    } else {
        text.extend_from_slice(body);
    }
    let index: Value = serde_json::from_slice(&text).expect("the index is JSON");
    let pages = index.as_array().expect("the index is a list");
    let path = |page: &Value| {
        let url = page["@id"].as_str().expect("a page has a URL");
        let rest = url
            .split_once("://")
            .map(|(_, rest)| rest)
            .expect("it is absolute");
        rest[rest.find('/').expect("it has a path")..].to_owned()
    };
    pages.iter().map(path).collect()
}
