//! Runs cells: brings a copy into its state, begins the fault, asks as a client does, and looks at what is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::classes::{Ages, Kind, US, mount};
use super::editions::Edition;
use super::faults::{Fault, Scene};
use super::wire::{After, Heard, after, hear};
use crate::harness::{Answered, Ask, Origin, TestProxy, pass, seconds};
use sluice::proxy::FeedSettings;

/// What is stored when the fault begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    Fresh,
    /// Stored, but its file was deleted behind our back, and nothing of it is in memory.
    Gone,
    Nothing,
    Stale,
}

/// Every state, in the order of the table's columns.
pub(super) const STATES: [State; 4] = [State::Nothing, State::Fresh, State::Stale, State::Gone];

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Gone => "gone",
            Self::Nothing => "nothing",
            Self::Stale => "stale",
        }
    }

    #[track_caller]
    pub(super) fn of(word: &str) -> Self {
        let found = STATES.into_iter().find(|state| state.word() == word);
        found.unwrap_or_else(|| panic!("no state {word:?}"))
    }
}

/// What was seen of a cell, in the words of the legend.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) phrase: String,
    pub(super) body: &'static str,
    pub(super) connection: &'static str,
    pub(super) seconds: f64,
    pub(super) detail: String,
    pub(super) asked: u32,
    pub(super) store: &'static str,
    pub(super) outage: &'static str,
}

impl Seen {
    /// It as a row of the legend.
    pub(super) fn row(&self) -> String {
        let Self {
            status,
            phrase,
            body,
            connection,
            seconds,
            detail,
            asked,
            store,
            outage,
        } = self;
        format!(
            "{status} | {phrase} | {body} | {connection} | {seconds:.1} | {detail} | {asked} | {store} | {outage}"
        )
    }
}

/// A proxy for cells of one class and one state, each with a feed and an upstream of its own, so that none knows of
/// another.
pub(super) struct World {
    proxy: TestProxy,
    kind: &'static Kind,
    state: State,
}

/// A feed that no cell is about.
const SPARE: &str = "spare";
/// Longest wait of a client without a copy, and with one, in seconds.
const MAX_HOLD: f64 = 15.0;
const STALE_AFTER: f64 = 2.0;

impl World {
    /// A world of so many cells.
    pub(super) async fn open(kind: &'static Kind, state: State, cells: usize) -> Self {
        let origin = Origin::new();
        let feeds = (0..cells).map(|at| {
            let host = host(at);
            let index = if kind.class == "service-index" {
                format!("{host}/index.json")
            } else {
                // So that a fault of the class is none of the service index.
                format!("index.test/{at}/index.json")
            };
            mount(&origin, &host, &index);
            FeedSettings {
                symbols_upstream: Some(format!("https://{host}/symbols/")),
                ..FeedSettings::new(&feed(at), &format!("https://{index}"))
            }
        });
        let spare = format!("index.test/{SPARE}/index.json");
        mount(&origin, "spare.test", &spare);
        let spare = FeedSettings::new(SPARE, &format!("https://{spare}"));
        let feeds = feeds.chain([spare]).collect();
        let proxy = TestProxy::with(origin, |setup| {
            setup.proxy.feeds = feeds;
            setup.proxy.base.public_url = Some(US.into());
            if kind.is_of_tools() {
                assert_eq!(cells, 1, "a proxy has one tools upstream");
                setup.proxy.tools.upstream = Some(format!("https://{}/tools.json", host(0)));
            }
            if state == State::Gone {
                setup.store.max_open_bodies = Some(1);
            }
        })
        .await;
        if state == State::Gone {
            // Stored, so that asking for it again puts another body in memory at once.
            proxy.get(&format!("/{SPARE}/v3/index.json")).await;
            pass(seconds(1)).await;
        }
        Self { proxy, kind, state }
    }

    /// Runs the cell of `fault` in the feed with this number; says what was seen, and what must never be.
    pub(super) async fn run(&self, at: usize, fault: &Fault) -> (Seen, Vec<String>) {
        let host = host(at);
        let scene = Scene {
            origin: &self.proxy.origin,
            kind: self.kind,
            host: &host,
        };
        let path = self.path(at, &host).await;
        self.prepare(&scene, &path).await;
        (fault.begin)(&scene);

        let mut wrong = Vec::new();
        let asked = asked(&scene);
        let mut wire = self.proxy.wire();
        let began = Instant::now();
        let demand = if self.kind.ages == Ages::Forced && self.state == State::Stale {
            "Cache-Control: no-cache\r\n"
        } else {
            ""
        };
        let heard = hear(&mut wire, &path, demand).await;
        let took = began.elapsed();
        let asked = self::asked(&scene) - asked;
        let body = self.body(&scene, &heard, &mut wrong);
        self.check_head(&heard, &mut wrong);
        if self.state == State::Gone && body == "stored" {
            wrong.push("what is gone was given".into());
        }
        let connection = after(&mut wire, &heard).await;
        if connection == After::Broken && self.state != State::Nothing && self.state != State::Gone
        {
            wrong.push("a client that could have had the copy got a broken answer".into());
        }
        let stored = Ask::get(&path).header("cache-control", "only-if-cached");
        let total = scene.origin.total();
        let stored = self.proxy.send(stored).await;
        if scene.origin.total() != total {
            wrong.push("a request that allows the store alone asked the upstream".into());
        }
        let store = self.copy(&scene, &stored);
        let outage = self.outage(&scene, &path, &mut wrong).await;
        pass(seconds(fault.rest)).await;
        self.heal(&scene, &path, outage, &mut wrong).await;
        let seen = Seen {
            status: heard.status,
            phrase: phrase(&scene, &heard),
            body,
            connection: connection.word(),
            seconds: took.as_secs_f64(),
            detail: heard.detail().to_owned(),
            asked,
            store,
            outage,
        };
        (seen, wrong)
    }

    /// Ends it.
    pub(super) async fn close(self) {
        self.proxy.close().await;
    }

    async fn path(&self, at: usize, host: &str) -> String {
        let hive = if self.kind.is_in_hive() {
            let index = format!("/{}/v3/index.json", feed(at));
            let index = self.proxy.get(&index).await.json();
            let resources = index["resources"].as_array().expect("resources");
            let hive = resources
                .iter()
                .find(|entry| entry["@type"] == "RegistrationsBaseUrl/3.6.0");
            let url = hive.expect("a hive")["@id"].as_str().expect("a URL");
            url.strip_prefix(US).expect("ours").to_owned()
        } else {
            String::new()
        };
        self.kind.path(&feed(at), &hive, host)
    }

    /// Brings a copy into the state.
    async fn prepare(&self, scene: &Scene<'_>, path: &str) {
        if self.state == State::Nothing {
            return;
        }
        let stored = self.kind.reply(scene.host, Edition::Stored);
        scene.origin.on(&scene.place(), stored);
        let answer = self.proxy.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
        let edition = self.kind.edition(scene.host, &answer.body, Edition::Stored);
        assert_eq!(edition, Some(Edition::Stored), "{path}");
        match (self.state, self.kind.ages) {
            (State::Stale, Ages::After(age)) => pass(seconds(age)).await,
            // Demands share an interval.
            (State::Stale, Ages::Forced) => pass(seconds(3)).await,
            (State::Stale, Ages::Never) => panic!("{path} is never asked for again"),
            (State::Fresh | State::Nothing, _) => pass(seconds(1)).await,
            (State::Gone, _) => {
                // Until its row is durable, its file is held open.
                pass(seconds(2)).await;
                self.delete_body(scene);
                // Nor in memory: the one body that is held open is now another.
                self.proxy.store.answers().clear();
                self.proxy.get(&format!("/{SPARE}/v3/index.json")).await;
            }
        }
    }

    /// Deletes the one file that holds the copy.
    fn delete_body(&self, scene: &Scene<'_>) {
        let bytes = self.kind.bytes(scene.host, Edition::Stored);
        let holds = |path: &PathBuf| std::fs::read(path).is_ok_and(|file| file.starts_with(&bytes));
        let files = files_below(&self.proxy.data_dir().join("bodies"));
        let mut found: Vec<PathBuf> = files.into_iter().filter(holds).collect();
        let found = found.pop().filter(|_| found.is_empty());
        let found = found.expect("it is stored once");
        std::fs::remove_file(found).expect("it can be deleted");
    }

    /// The word for the body of the cell's own answer.
    fn body(&self, scene: &Scene<'_>, heard: &Heard, wrong: &mut Vec<String>) -> &'static str {
        if heard.status != 200 {
            let is_ours = heard.body.starts_with(b"Sluice: ");
            return if is_ours { "ours" } else { "odd" };
        }
        if heard.is_whole {
            return self.word_for(scene, &heard.body);
        }
        // What is held back before the verdict (design, invariant 2).
        let told = heard.header("content-length").map(str::parse::<usize>);
        let told = told.map(|length| length.expect("a length"));
        let new = self.kind.bytes(scene.host, Edition::New);
        let most = told.unwrap_or(new.len()).saturating_sub(16 * 1024);
        if heard.body.len() > most {
            wrong.push(format!("{} bytes of {}", heard.body.len(), new.len()));
        }
        "part"
    }

    fn word_for(&self, scene: &Scene<'_>, body: &[u8]) -> &'static str {
        let first = match self.state {
            State::Fresh | State::Stale => Edition::Stored,
            State::Gone | State::Nothing => Edition::New,
        };
        let edition = self.kind.edition(scene.host, body, first);
        edition.map_or("fault", Edition::word)
    }

    /// What no answer of any cell may have.
    fn check_head(&self, heard: &Heard, wrong: &mut Vec<String>) {
        for name in ["www-authenticate", "set-cookie", "content-md5", "location"] {
            if heard.header(name).is_some() {
                wrong.push(format!("it has {name}"));
            }
        }
        if !matches!(heard.header("retry-after"), None | Some("1")) {
            wrong.push("it passes a Retry-After on".into());
        }
        let is_old = self.state == State::Stale && heard.detail().starts_with("hit");
        if is_old {
            wrong.push("a copy past its freshness is called a hit".into());
        }
    }

    /// The word for what a request got that was to be answered from a copy.
    fn copy(&self, scene: &Scene<'_>, answer: &Answered) -> &'static str {
        match answer.status {
            200 if answer.broken.is_some() => "broken",
            200 => self.word_for(scene, &answer.body),
            404 => "404",
            502..=504 => "none",
            _ => "odd",
        }
    }

    /// What a client gets eleven seconds later of an upstream that is down: past the memory of other 404s.
    async fn outage(&self, scene: &Scene<'_>, path: &str, wrong: &mut Vec<String>) -> &'static str {
        scene
            .hosts()
            .iter()
            .for_each(|host| scene.origin.down(host));
        pass(seconds(11)).await;
        let (answer, took) = self.proxy.timed(path).await;
        let word = self.copy(scene, &answer);
        let most = if word == "none" {
            MAX_HOLD
        } else {
            STALE_AFTER
        };
        if took > Duration::from_secs_f64(most + 0.1) {
            wrong.push(format!("in the outage after it, {took:?}: {word}"));
        }
        word
    }

    /// Everything is well again a minute later: whoever demands it gets what the upstream has.
    async fn heal(
        &self,
        scene: &Scene<'_>,
        path: &str,
        outage: &'static str,
        wrong: &mut Vec<String>,
    ) {
        scene
            .hosts()
            .iter()
            .for_each(|host| scene.origin.mend(host));
        let new = self.kind.reply(scene.host, Edition::New);
        scene.origin.on(&scene.place(), new);
        pass(seconds(61)).await;
        let ask = Ask::get(path).header("cache-control", "no-cache");
        let answer = self.proxy.send(ask).await;
        let word = self.copy(scene, &answer);
        // What its URL names is asked for once.
        let is_final = self.kind.ages == Ages::Never && word == outage;
        let is_new =
            self.kind.edition(scene.host, &answer.body, Edition::New) == Some(Edition::New);
        if !(is_final || is_new && answer.status == 200) {
            let why = answer.reason.unwrap_or_default();
            wrong.push(format!(
                "a minute after the fault: {} {word} {why}",
                answer.status
            ));
        }
    }
}

fn host(at: usize) -> String {
    format!("h{at}.test")
}

fn feed(at: usize) -> String {
    format!("f{at}")
}

/// How often the upstream was asked for it, connections that did not come about included.
fn asked(scene: &Scene<'_>) -> u32 {
    let requests = scene.origin.count(&format!("GET {}", scene.place()));
    let knocks = scene.origin.turned_away(scene.host);
    u32::try_from(requests + knocks).expect("few")
}

/// A reason phrase with words in place of what differs between cells; `-` for the canonical one.
fn phrase(scene: &Scene<'_>, heard: &Heard) -> String {
    let status = http::StatusCode::from_u16(heard.status).ok();
    if status.and_then(|status| status.canonical_reason()) == Some(&*heard.phrase) {
        return "-".into();
    }
    let mut text = heard
        .phrase
        .replace(scene.host, "HOST")
        .replace(scene.kind.what, "WHAT");
    for word in [" since ", " until "] {
        if let Some((before, rest)) = text.split_once(word) {
            let end = rest.find([',', '(']).unwrap_or(rest.len());
            let rest = rest[end..].trim_start();
            let gap = if rest.starts_with('(') { " " } else { "" };
            text = format!("{before}{word}TIME{gap}{rest}");
        }
    }
    text
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder).expect("a folder");
    let files = folders.flat_map(|folder| {
        let inner = folder.expect("a folder").path();
        std::fs::read_dir(inner).expect("a folder")
    });
    files.map(|file| file.expect("a file").path()).collect()
}
