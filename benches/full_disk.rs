//! A disk that is full, really: clients load Sluice while somebody else takes its small file system to the last block or
//! the last name, gives some of it back, and takes it again.
//!
//! So making the file, writing and naming it run out of room at some time. The trailer does where a body ends with a block
//! to the byte, and the index while it writes, for rows wait for room: that is met by chance, and the store's tests inject
//! it. Every answer must be right all the same, and none may break: who loses the file goes on with the upstream. Then the
//! room is back, and without a restart what is fetched must be stored again, body and row. Then Sluice starts on a full
//! disk: it must answer, from the store and past it, and a pin that cannot be written must change nothing. Given room, it
//! must store again, and end well on a full disk. Nothing on the disk may be damaged, and the next start must find accounts
//! that equal the disk and leave nothing half written.
//!
//! `SLUICE_BENCH_ROUNDS` and `SLUICE_BENCH_SEED` as in `crash`. Needs the right to mount a tmpfs; where that is refused it
//! says so and fails, or, in the short form with `SLUICE_BENCH_MOUNT=where-allowed`, ends well.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use ::sluice::store::Pins;
use harness::accounts::difference;
use harness::filler::{Filler, Scarcity};
use harness::folder::Folder;
use harness::fresh_folder;
use harness::http::{Request, ask};
use harness::image::{self, InMemory};
use harness::ledger::Ledger;
use harness::load::{self, Site};
use harness::measure::{is_smoke, rounds};
use harness::process::Signal;
use harness::random::Random;
use harness::scripted::Scripted;
use harness::sluice::{self, Sluice};
use harness::stock::Thing;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Ids of the stock: three times what the disk holds.
const IDS: usize = 300;

/// Size of the file system, in MiB and in files and folders.
const DISK: u64 = 64;
const NAMES: u64 = 1500;

/// How often a round fills the disk.
const TIMES: usize = 16;

/// How long it may take until things are stored again once there is room: a full disk is looked at every five seconds.
const AGAIN_LIMIT: Duration = Duration::from_secs(30);

/// How long clients go on once things are stored again, so that there is something on the disk at the next start.
const REFILL: Duration = Duration::from_secs(1);

/// How long clients load what was started on a full disk.
const FULL_LOAD: Duration = Duration::from_millis(700);

/// The steps that can run out of room, as the log names them: first those that a long run meets for sure.
const STEPS: [&str; 5] = ["Reserve", "Write", "Rename", "Trailer", "Row"];
/// How many of them a long run must have met, and a short one.
const MET: (usize, usize) = (3, 1);

/// What was hit over all rounds.
#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    steps: BTreeMap<&'static str, usize>,
    index_deaths: u64,
    failed_commits: u64,
    hits: usize,
    refused_pins: usize,
    bodies: u64,
    again: Vec<Duration>,
}

struct Bench {
    folder: PathBuf,
    data: PathBuf,
    upstream: Scripted,
    settings: sluice::Settings,
    random: Random,
    tally: Tally,
}

fn main() -> ExitCode {
    let seed = Random::seed();
    let rounds = rounds(1, 20);
    let folder = fresh_folder("bench-full-disk");
    let data = folder.join("data");
    if let Err(reason) = InMemory::mount(&data, DISK, NAMES).map(drop) {
        return image::unmountable("full_disk", &reason);
    }
    println!("SLUICE_BENCH_SEED={seed}, {rounds} rounds");
    let mut bench = Bench::new(folder, data, seed);
    let began = Instant::now();
    for round in 0..rounds {
        let violations = bench.round();
        for violation in &violations {
            println!("VIOLATION in round {round}: {violation}");
        }
        if !violations.is_empty() {
            return ExitCode::FAILURE;
        }
    }
    let tally = &bench.tally;
    let slowest = tally.again.iter().max().copied().unwrap_or_default();
    println!(
        "{rounds} rounds in {:.0?}: {} requests compared, 0 broken; {} hits after a start on a full disk; {} pins refused; {} \
         bodies read",
        began.elapsed(),
        tally.requests,
        tally.hits,
        tally.refused_pins,
        tally.bodies,
    );
    println!(
        "without room: {:?}; bodies not stored {}, indexes given up {}; stored again after {slowest:.1?} at most",
        tally.steps, tally.failed_commits, tally.index_deaths
    );
    let must_be_met = if is_smoke() { MET.1 } else { MET.0 };
    let missed: Vec<_> = STEPS
        .iter()
        .take(must_be_met)
        .filter(|step| !tally.steps.contains_key(*step))
        .collect();
    if !missed.is_empty() || tally.hits == 0 {
        println!(
            "VIOLATION: room was never missing at {missed:?}, or nothing was hit: these rounds prove too little"
        );
        return ExitCode::FAILURE;
    }
    std::fs::remove_dir_all(&bench.folder).expect("the folder can be removed");
    ExitCode::SUCCESS
}

impl Bench {
    fn new(folder: PathBuf, data: PathBuf, seed: u64) -> Self {
        let upstream = Scripted::start(IDS, seed);
        let settings = sluice::Settings::new(&folder, &folder)
            .upstream(&upstream.source())
            .variable("SLUICE_FEED_NUGET_REGISTRATION_FRESH", "100ms")
            .variable("SLUICE_FEED_NUGET_VERSION_LIST_FRESH", "100ms")
            .without_access_log()
            .variable("SLUICE_LOG", "info,sluice::store=debug")
            .variable("SLUICE_BALLAST_BYTES", "0")
            .variable("SLUICE_MIN_FREE_BYTES", "0")
            .variable("SLUICE_MAX_STORE_BYTES", "1GiB");
        Self {
            folder,
            data,
            upstream,
            settings,
            random: Random::new(seed),
            tally: Tally::default(),
        }
    }

    /// One disk; says what was wrong.
    fn round(&mut self) -> Vec<String> {
        let _disk = InMemory::mount(&self.data, DISK, NAMES).expect("it was mounted before");
        let mut filler = Filler::new(&self.data.join("somebody-elses"));
        let mut violations = Vec::new();
        self.live(&mut filler, &mut violations);
        self.start_on_full_disk(&mut filler, &mut violations);
        self.judge(&mut violations);
        violations
    }

    /// One load on a disk that is filled again and again.
    fn live(&mut self, filler: &mut Filler, violations: &mut Vec<String>) {
        let ledger = Ledger::new(IDS);
        let sluice = self.settings.start();
        let site = Site::of(sluice.address, &self.upstream.stock).expect("the upstream is up");
        let seed = self.random.number();
        let stock = std::sync::Arc::clone(&self.upstream.stock);
        std::thread::scope(|scope| {
            scope.spawn(|| load::run_steadily(&site, &stock, &ledger, seed));
            for _ in 0..TIMES {
                let pause = self.random.between(20, 200);
                std::thread::sleep(Duration::from_millis(pause));
                let scarcity = if self.random.chance(50) {
                    Scarcity::Names
                } else {
                    Scarcity::Room
                };
                filler.ebb_and_flow(scarcity, &mut self.random);
            }
            self.stores_again(&sluice, &site, violations);
            std::thread::sleep(REFILL);
            ledger.end();
            sluice.process.signal(Signal::Terminate);
        });
        self.end(sluice, &ledger, violations);
    }

    /// Once there is room: what is asked for first comes from the store when it is asked for again, and has its row.
    fn stores_again(&mut self, sluice: &Sluice, site: &Site, violations: &mut Vec<String>) {
        let began = Instant::now();
        // Rows are written in their order: once as many are as waited when it came, its own is.
        let rows = || {
            let metrics = sluice.metrics().ok()?;
            let value = |name: &str| metrics.get(name).copied();
            let ready = value("sluice_store_index_ready")? == 1;
            let written = value("sluice_store_written_rows_total")?;
            ready.then_some((written, written + value("sluice_store_pending_rows")?))
        };
        let packages = self.upstream.stock.things().into_iter();
        let mut packages = packages.filter(|thing| matches!(thing, Thing::Package(..)));
        let said = |thing| {
            let reply = ask(sluice.address, &Request::get(&site.path(thing), &[])).ok()?;
            let status = reply.header("cache-status").unwrap_or_default().to_owned();
            Some(status)
        };
        let is = |thing, word: &str| {
            said(thing).is_some_and(|status| status.contains(&format!("detail={word}")))
        };
        // Bypassed while the disk was still full, or never asked for.
        let fetched = packages.find(|thing| is(*thing, "miss"));
        let Some(fetched) = fetched else {
            return violations.push("with room, nothing is stored any more".to_owned());
        };
        let mut due = None;
        while began.elapsed() < AGAIN_LIMIT {
            let rows = rows().filter(|_| is(fetched, "hit"));
            due = due.or(rows.map(|(_, all)| all));
            if rows
                .zip(due)
                .is_some_and(|((written, _), due)| written >= due)
            {
                return self.tally.again.push(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        violations.push(format!(
            "with room for {AGAIN_LIMIT:?}, {fetched:?} is {:?}, rows written and all are {:?}, due {due:?}, and {}",
            said(fetched),
            rows(),
            sluice.admin("/readyz").unwrap_or_default()
        ));
    }

    /// Waits for an end that was asked for, and takes down what it met.
    fn end(&mut self, mut sluice: Sluice, ledger: &Ledger, violations: &mut Vec<String>) {
        let status = sluice.process.end(Duration::from_secs(35));
        let log = sluice.process.errors();
        if !status.success() {
            violations.push(format!("it ended with {status}"));
        }
        violations.extend(ledger.wrongs());
        let breaks = ledger.breaks.load(Ordering::Relaxed);
        if breaks > 0 {
            violations.push(format!("{breaks} connections broke"));
        }
        if !violations.is_empty() {
            let warnings = log
                .lines()
                .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
            violations.extend(warnings.map(|line| format!("  its log: {line}")));
        }
        let tally = &mut self.tally;
        tally.requests += ledger.requests.load(Ordering::Relaxed);
        for line in log.lines() {
            tally.index_deaths += u64::from(line.contains("the index died"));
            tally.failed_commits += u64::from(line.contains("a response could not be stored"));
            if line.contains("a call of the store failed") && line.contains("os error 28") {
                for step in STEPS {
                    if line.contains(step) {
                        *tally.steps.entry(step).or_default() += 1;
                    }
                }
            }
        }
    }

    /// Starts on a full disk: it must answer, from the store and past it; then it is given room, and must store again; and
    /// it must end well on a full disk.
    fn start_on_full_disk(&mut self, filler: &mut Filler, violations: &mut Vec<String>) {
        let stock = std::sync::Arc::clone(&self.upstream.stock);
        let before = Folder::read(&self.data, &self.folder.join("copy"), &stock);
        filler.take(Scarcity::Room);
        filler.take(Scarcity::Names);
        let sluice = self.settings.start();
        let site = Site::of(sluice.address, &stock).expect("the upstream is up");
        for thing in before.held.keys() {
            let path = site.path(*thing);
            match ask(sluice.address, &Request::get(&path, &[])) {
                Ok(reply) => {
                    let status = reply.header("cache-status").unwrap_or_default();
                    self.tally.hits += usize::from(status.contains("detail=hit"));
                    let known = site.recognise(&stock, *thing, &reply.body);
                    if reply.status != 200 || known.is_none() {
                        violations.push(format!("{path}: {} {}", reply.status, reply.reason));
                    }
                }
                Err(error) => violations.push(format!("{path}: {error}")),
            }
        }
        self.pin(filler, violations);
        let ledger = Ledger::new(IDS);
        let seed = self.random.number();
        std::thread::scope(|scope| {
            scope.spawn(|| load::run_steadily(&site, &stock, &ledger, seed));
            std::thread::sleep(FULL_LOAD);
            filler.leave();
            self.stores_again(&sluice, &site, violations);
            filler.take(Scarcity::Room);
            filler.take(Scarcity::Names);
            ledger.end();
            sluice.process.signal(Signal::Terminate);
        });
        self.end(sluice, &ledger, violations);
    }

    /// A pin on a full disk is refused, and nothing of the pins before is lost; or, where Sluice has just made room, it is
    /// there.
    fn pin(&mut self, filler: &mut Filler, violations: &mut Vec<String>) {
        let read = || std::fs::read_to_string(self.data.join("pins.json")).ok();
        let before = read();
        filler.take(Scarcity::Room);
        filler.take(Scarcity::Names);
        let pinned = self.settings.command(&["pin", "stock.p1"]);
        let (said, after) = (String::from_utf8_lossy(&pinned.stderr), read());
        let is_right = if pinned.status.success() {
            after.is_some_and(|pins| pins.contains("stock.p1") && Pins::read(&pins).is_ok())
        } else {
            self.tally.refused_pins += 1;
            after == before && said.contains("No space left")
        };
        if !is_right {
            violations.push(format!("a pin on a full disk: {} {said}", pinned.status));
        }
    }

    /// Nothing is damaged, and the next start tidies up.
    fn judge(&mut self, violations: &mut Vec<String>) {
        let folder = Folder::read(&self.data, &self.folder.join("copy"), &self.upstream.stock);
        violations.extend(folder.damaged.iter().map(|file| format!("damaged: {file}")));
        violations.extend(folder.wrong.iter().map(|file| format!("wrong: {file}")));
        violations.extend(folder.faults.iter().map(|fault| format!("store: {fault}")));
        self.tally.bodies += folder.disk.files;
        let mut sluice = self.settings.start();
        violations.extend(difference(&sluice, &self.data));
        sluice.process.kill();
    }
}
