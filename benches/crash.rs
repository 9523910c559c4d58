//! `kill -9` at random moments under load, round after round on the same data folder; then the first answer of a full
//! store.
//!
//! Each round starts the binary on what the round before left, compares its accounts with the disk, has several clients
//! fetch, revalidate, push, delete and leave, and kills it: under load, while it starts, or while it drains. Then a
//! copy of the folder is opened and verified as the next start would, and every body of it is compared with what was made. Some rounds have room for half of what
//! is asked for, so that they evict all the time. A violation ends the run with code 1 and leaves the folder as it is.
//!
//! `SLUICE_BENCH_ROUNDS` sets the number of rounds, `SLUICE_BENCH_SEED` the moments.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::accounts::difference;
use harness::folder::{Folder, names_in};
use harness::ledger::Ledger;
use harness::load::{self, Site};
use harness::measure::{is_smoke, rounds};
use harness::process::Signal;
use harness::random::Random;
use harness::scripted::Scripted;
use harness::sluice;
use harness::{first_answer, fresh_folder};
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Ids of the stock: 180 packages and 120 documents, some twenty megabytes.
const IDS: usize = 60;

/// So many rounds work on one folder; then there is a new one.
const ROUNDS_OF_A_FOLDER: usize = 50;

/// So many rounds have room for all of it, then as many for half.
const ROUNDS_OF_A_CAP: usize = 5;

/// When a round ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    Drain,
    Load,
    Start,
}

/// Whether there is room for everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Room {
    Enough,
    Scarce,
}

/// What was hit, so that one sees that something was.
#[derive(Debug, Default)]
struct Tally {
    drains: usize,
    loads: usize,
    starts: usize,
    temporary: usize,
    without_row: usize,
    half_snapshots: usize,
    acknowledged: usize,
    bodies: u64,
    requests: u64,
    index_deaths: u64,
}

struct Run {
    folder: PathBuf,
    upstream: Scripted,
    settings: sluice::Settings,
    random: Random,
    /// What the last round left.
    before: Folder,
    tally: Tally,
}

fn main() -> ExitCode {
    let seed = Random::seed();
    let rounds = rounds(100, 1000);
    println!("SLUICE_BENCH_SEED={seed}, {rounds} rounds");
    let mut run = Run::new(seed);
    let began = Instant::now();
    for round in 0..rounds {
        let violations = run.round(round);
        if !violations.is_empty() {
            for violation in &violations {
                println!("VIOLATION in round {round}: {violation}");
            }
            println!("the folder is kept: {}", run.folder.display());
            return ExitCode::FAILURE;
        }
        if (round + 1).is_multiple_of(100) {
            println!("{} rounds without a violation", round + 1);
        }
    }
    println!("{rounds} rounds in {:.0?}, 0 violations", began.elapsed());
    run.tally.print();
    drop(run);

    let folder = fresh_folder("bench-first-answer");
    let (entries, runs) = if is_smoke() {
        (10_000, 3)
    } else {
        (100_000, 15)
    };
    let report = first_answer::measure(&folder, entries, runs, &mut Random::new(seed));
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    for line in &report.lines {
        println!("{line}");
    }
    for slow in &report.slow {
        println!("VIOLATION: {slow}");
    }
    if report.slow.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let folder = fresh_folder("bench-crash");
        let upstream = Scripted::start(IDS, seed);
        let settings = sluice::Settings::new(&folder, &folder)
            .upstream(&upstream.source())
            .variable("SLUICE_FEED_NUGET_REGISTRATION_FRESH", "100ms")
            .variable("SLUICE_FEED_NUGET_VERSION_LIST_FRESH", "100ms")
            .without_access_log()
            .variable("SLUICE_BALLAST_BYTES", "0");
        Self {
            folder,
            upstream,
            settings,
            random: Random::new(seed),
            before: Folder::default(),
            tally: Tally::default(),
        }
    }

    /// One life and death; says what was wrong.
    fn round(&mut self, round: usize) -> Vec<String> {
        let data = self.folder.join("data");
        if round.is_multiple_of(ROUNDS_OF_A_FOLDER) && data.exists() {
            std::fs::remove_dir_all(&data).expect("the folder can be removed");
            self.before = Folder::default();
        }
        let (room, cap) = match round / ROUNDS_OF_A_CAP % 2 {
            0 => (Room::Enough, "1GiB"),
            _ => (Room::Scarce, "12MiB"),
        };
        let settings = self
            .settings
            .clone()
            .variable("SLUICE_MAX_STORE_BYTES", cap);
        let moment = match self.random.below(20) {
            0..3 => Moment::Start,
            3..5 => Moment::Drain,
            _ => Moment::Load,
        };
        let ledger = Ledger::new(IDS);
        let mut violations = if moment == Moment::Start {
            let mut process = settings.spawn();
            std::thread::sleep(Duration::from_millis(self.random.below(80)));
            process.kill();
            Vec::new()
        } else {
            self.live(&settings, moment, &ledger)
        };
        violations.extend(ledger.wrongs());
        let breaks = ledger.breaks.load(Ordering::Relaxed);
        if breaks > 0 {
            violations.push(format!("{breaks} connections broke while it lived"));
        }
        self.judge(room, &ledger, &mut violations);
        self.count(moment, &ledger);
        violations
    }

    /// Starts, compares the accounts, loads, kills.
    fn live(
        &mut self,
        settings: &sluice::Settings,
        moment: Moment,
        ledger: &Ledger,
    ) -> Vec<String> {
        let mut sluice = settings.start();
        let mut violations = Vec::new();
        let data = self.folder.join("data");
        let left: HashSet<String> = names_in(&data.join("tmp")).into_iter().collect();
        for name in &self.before.temporary {
            if left.contains(name) {
                violations.push(format!("a start left tmp/{name}"));
            }
        }
        violations.extend(difference(&sluice, &data));
        let stock = &*self.upstream.stock;
        match Site::of(sluice.address, stock) {
            Err(error) => violations.push(format!("no service index: {error}")),
            Ok(site) => {
                let (seed, load) = (self.random.number(), self.random.below(700));
                let drain = self.random.below(60);
                std::thread::scope(|scope| {
                    scope.spawn(|| load::run(&sluice, &site, stock, ledger, seed));
                    std::thread::sleep(Duration::from_millis(load));
                    ledger.end();
                    if moment == Moment::Drain {
                        sluice.process.signal(Signal::Terminate);
                        std::thread::sleep(Duration::from_millis(drain));
                    }
                    sluice.process.signal(Signal::Kill);
                });
            }
        }
        sluice.process.kill();
        violations
    }

    /// Reads what the dead process left, and compares it with what must be there.
    fn judge(&mut self, room: Room, ledger: &Ledger, violations: &mut Vec<String>) {
        let data = self.folder.join("data");
        let folder = Folder::read(&data, &self.folder.join("copy"), &self.upstream.stock);
        violations.extend(folder.damaged.iter().map(|file| format!("damaged: {file}")));
        violations.extend(folder.wrong.iter().map(|file| format!("wrong: {file}")));
        violations.extend(folder.faults.iter().map(|fault| format!("store: {fault}")));
        if room == Room::Enough {
            for (thing, held) in &self.before.held {
                match folder.held.get(thing) {
                    Some(now) if now.sequence >= held.sequence => {}
                    now => violations.push(format!(
                        "{thing:?} was {held:?} before the round and is {now:?}"
                    )),
                }
            }
            let sure = ledger.acknowledged(Instant::now());
            self.tally.acknowledged += sure.len();
            for (thing, generation) in sure {
                match folder.held.get(&thing) {
                    Some(now) if now.generation >= generation => {}
                    now => violations.push(format!(
                        "{thing:?} was stored as {generation} and is {now:?}"
                    )),
                }
            }
        }
        self.tally.without_row += usize::from(folder.without_row > 0);
        self.tally.index_deaths += folder.index_deaths;
        self.before = folder;
    }

    fn count(&mut self, moment: Moment, ledger: &Ledger) {
        let tally = &mut self.tally;
        match moment {
            Moment::Drain => tally.drains += 1,
            Moment::Load => tally.loads += 1,
            Moment::Start => tally.starts += 1,
        }
        tally.temporary += usize::from(!self.before.temporary.is_empty());
        tally.half_snapshots += usize::from(self.before.half_snapshots > 0);
        tally.bodies += self.before.disk.files;
        tally.requests += ledger.requests.load(Ordering::Relaxed);
    }
}

impl Tally {
    fn print(&self) {
        println!(
            "killed under load {}, at start {}, while draining {}; {} requests compared, {} bodies read, {} known to be \
             stored before their kill",
            self.loads, self.starts, self.drains, self.requests, self.bodies, self.acknowledged
        );
        println!(
            "kills that left files half written {}, bodies without their row {}, a snapshot of the index half written {}; \
             indexes given up {}",
            self.temporary, self.without_row, self.half_snapshots, self.index_deaths
        );
    }
}
