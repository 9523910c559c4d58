//! The power fails under load: only what had reached the block device is there afterwards.
//!
//! Each round has a fresh ext4 in a sparse file, mounted over a loop device, with the data folder on it. Clients load
//! Sluice; at a random moment it is stopped, what had reached the device is copied, and Sluice is killed. The copy is
//! mounted, read file by file, and Sluice is started on it while the upstream is down: what it serves must be right, byte
//! for byte; what stands under its name must be whole; and what was stored for longer than the file system takes to write
//! its journal must be there. (A body's bytes are synced before it gets its name, and its name before its row; the name
//! itself is not synced, so that a body of the last seconds may be lost, and is a miss then.)
//!
//! Then the same without the barriers: a library compiled here turns every sync of the process into nothing. That must
//! do damage, or the rounds before prove nothing.
//!
//! Needs the right to mount, mkfs.ext4, losetup, and cc for the second part; where something of that is missing it says
//! so and fails, or, in the short form with `SLUICE_BENCH_MOUNT=where-allowed`, ends well. `SLUICE_BENCH_ROUNDS` and
//! `SLUICE_BENCH_SEED` as in `crash`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::folder::Folder;
use harness::fresh_folder;
use harness::http::{Connection, Request};
use harness::image::{self, Mounted};
use harness::ledger::Ledger;
use harness::load::{self, Site};
use harness::measure::{is_smoke, rounds};
use harness::process::Signal;
use harness::random::Random;
use harness::scripted::{Availability, Scripted};
use harness::sluice::{self, Sluice};
use harness::stock::Thing;
use harness::upstream::free_port;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Ids of the stock: some sixty megabytes of packages, so that there are new ones to store all the time.
const IDS: usize = 200;

/// Size of the file system, in MiB.
const DISK: u64 = 384;

/// What the file system's journal may take beyond its interval, on a busy machine.
const JOURNAL_SLACK: Duration = Duration::from_millis(1500);

/// How long an index may take to open, a rebuild included, on a machine that is busy with other things.
const INDEX_LIMIT: Duration = Duration::from_secs(120);

/// Whether syncs reach the disk.
#[derive(Clone, Debug)]
enum Barrier {
    /// Not with this library loaded.
    Off(PathBuf),
    On,
}

/// What a round found.
#[derive(Debug, Default)]
struct Findings {
    /// Answers that were not what the upstream made.
    wrong: Vec<String>,
    /// Files under a body's name that are no whole body.
    damaged: Vec<String>,
    /// What was stored for long, and is lost.
    lost: Vec<String>,
    /// What was there and was not served, and an index that does not open.
    withheld: Vec<String>,
    /// What was stored a moment ago, and is lost.
    lost_young: usize,
    /// What was known to be stored, and what of it for long.
    acknowledged: usize,
    old: usize,
    served: usize,
    index_deaths: u64,
    adopted: u64,
}

impl Findings {
    fn all(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let kinds = [
            ("wrong", &self.wrong),
            ("damaged", &self.damaged),
            ("lost", &self.lost),
            ("withheld", &self.withheld),
        ];
        kinds
            .into_iter()
            .flat_map(|(kind, found)| found.iter().map(move |one| (kind, one)))
    }

    fn print(&self, title: &str) {
        println!(
            "{title}: stored {} ({} for long), served {}; lost {} and of the last moments {}, damaged {}, wrong {}, \
             withheld {}; bodies without a row {}, indexes given up {}",
            self.acknowledged,
            self.old,
            self.served,
            self.lost.len(),
            self.lost_young,
            self.damaged.len(),
            self.wrong.len(),
            self.withheld.len(),
            self.adopted,
            self.index_deaths,
        );
    }

    fn add(&mut self, more: Self) {
        self.wrong.extend(more.wrong);
        self.damaged.extend(more.damaged);
        self.lost.extend(more.lost);
        self.withheld.extend(more.withheld);
        self.lost_young += more.lost_young;
        self.acknowledged += more.acknowledged;
        self.old += more.old;
        self.served += more.served;
        self.index_deaths += more.index_deaths;
        self.adopted += more.adopted;
    }
}

/// What every round stands on.
struct Bench {
    folder: PathBuf,
    /// An empty file system.
    template: PathBuf,
    upstream: Scripted,
    settings: sluice::Settings,
    random: Random,
}

fn main() -> ExitCode {
    let seed = Random::seed();
    let rounds = rounds(3, 100);
    let folder = fresh_folder("bench-power-cut");
    let template = folder.join("template.img");
    let ready = image::make(&template, DISK).and_then(|()| {
        let mounted = Mounted::mount(&template, &folder.join("data"), "ro");
        mounted.map(drop)
    });
    if let Err(reason) = ready {
        return image::unmountable("power_cut", &reason);
    }
    println!("SLUICE_BENCH_SEED={seed}, {rounds} rounds");
    let mut bench = Bench::new(folder, template, seed);
    let began = Instant::now();
    let mut sum = Findings::default();
    for round in 0..rounds {
        let found = bench.round(round, &Barrier::On);
        let violations: Vec<String> = found
            .all()
            .map(|(kind, one)| format!("{kind}: {one}"))
            .collect();
        sum.add(found);
        if !violations.is_empty() {
            for violation in violations {
                println!("VIOLATION in round {round}: {violation}");
            }
            println!("the image is kept: {}", bench.image("cut").display());
            return ExitCode::FAILURE;
        }
        if (round + 1).is_multiple_of(10) {
            println!("{} power cuts without a violation", round + 1);
        }
    }
    sum.print(&format!("{rounds} power cuts in {:.0?}", began.elapsed()));
    let code = bench.without_barrier();
    drop(bench.upstream);
    std::fs::remove_dir_all(&bench.folder).expect("the folder can be removed");
    code
}

impl Bench {
    fn new(folder: PathBuf, template: PathBuf, seed: u64) -> Self {
        let upstream = Scripted::start(IDS, seed);
        // One port for all, so that links made before a cut are those made after it.
        let settings = sluice::Settings::new(&folder, &folder)
            .upstream(&upstream.source())
            .variable("SLUICE_FEED_NUGET_REGISTRATION_FRESH", "100ms")
            .variable("SLUICE_FEED_NUGET_VERSION_LIST_FRESH", "100ms")
            .without_access_log()
            .at_port(free_port())
            .variable("SLUICE_BALLAST_BYTES", "0")
            .variable("SLUICE_MIN_FREE_BYTES", "0")
            .variable("SLUICE_MAX_STORE_BYTES", "256MiB");
        Self {
            folder,
            template,
            upstream,
            settings,
            random: Random::new(seed),
        }
    }

    fn image(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.img"))
    }

    /// The control: without barriers the same rounds must find damage.
    fn without_barrier(&mut self) -> ExitCode {
        let library = match image::without_barrier(&self.folder) {
            Ok(library) => library,
            Err(reason) => {
                return image::skipped("the rounds without barriers", &reason);
            }
        };
        let rounds = if is_smoke() { 2 } else { 10 };
        let (mut sum, mut hit) = (Findings::default(), 0);
        for round in 0..rounds {
            let found = self.round(round, &Barrier::Off(library.clone()));
            hit += usize::from(found.all().next().is_some() || found.index_deaths > 0);
            sum.add(found);
        }
        sum.print(&format!("without barriers, damage in {hit} of {rounds}"));
        for (kind, example) in sum.all().take(3) {
            println!("  {kind}: {example}");
        }
        if hit == 0 {
            println!(
                "VIOLATION: nothing is damaged without barriers, so these rounds prove nothing"
            );
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    /// Loads, cuts the power, and looks what is left.
    fn round(&mut self, round: usize, barrier: &Barrier) -> Findings {
        let data = self.folder.join("data");
        let (live, cut) = (self.image("live"), self.image("cut"));
        // Mostly a short interval of the journal, so that much is stored for longer than that; else the default one.
        let (options, interval, load) = match round % 4 {
            3 => ("commit=5", 5, self.random.between(2_000, 9_000)),
            _ => ("commit=1", 1, self.random.between(500, 5_000)),
        };
        let settings = match barrier {
            Barrier::Off(library) => {
                let library = library.display().to_string();
                self.settings.clone().variable("LD_PRELOAD", &library)
            }
            Barrier::On => self.settings.clone(),
        };
        image::copy(&self.template, &live).expect("there is room for an image");
        self.upstream.go(Availability::Up);
        let mounted = Mounted::mount(&live, &data, options).expect("it was mounted before");
        let ledger = Ledger::new(IDS);
        let mut findings = Findings::default();
        let mut sluice = settings.start();
        let site = Site::of(sluice.address, &self.upstream.stock).expect("the upstream is up");
        let seed = self.random.number();
        let stopped = std::thread::scope(|scope| {
            let (sluice, site, ledger) = (&sluice, &site, &ledger);
            let stock = &*self.upstream.stock;
            scope.spawn(move || load::run(sluice, site, stock, ledger, seed));
            std::thread::sleep(Duration::from_millis(load));
            let stopped = Instant::now();
            ledger.end();
            sluice.process.signal(Signal::Stop);
            let copied = mounted.cut(&cut);
            sluice.process.signal(Signal::Kill);
            copied.map(|()| stopped)
        });
        sluice.process.kill();
        drop(mounted);
        let stopped = stopped.expect("a moment of rest for the copy");
        findings.wrong.extend(ledger.wrongs());
        let breaks = ledger.breaks.load(Ordering::Relaxed);
        if breaks > 0 {
            findings
                .wrong
                .push(format!("{breaks} connections broke before the cut"));
        }

        let _mounted = Mounted::mount(&cut, &data, options).expect("a journal can be replayed");
        let folder = Folder::read(&data, &self.folder.join("copy"), &self.upstream.stock);
        findings.damaged.extend(folder.damaged.iter().cloned());
        findings.wrong.extend(folder.wrong.iter().cloned());
        findings.withheld.extend(folder.faults.iter().cloned());
        self.upstream.go(Availability::Down);
        // Nobody is there to wait for.
        let alone = self.settings.clone().variable("SLUICE_MAX_HOLD", "1s");
        let mut sluice = alone.variable("SLUICE_STALE_AFTER", "200ms").start();
        let late = stopped.checked_sub(Duration::from_secs(interval) + JOURNAL_SLACK);
        let sure = ledger.acknowledged(stopped);
        let old = late
            .map(|late| ledger.acknowledged(late))
            .unwrap_or_default();
        findings.acknowledged = sure.len();
        findings.old = old.len();
        let site = Survivors {
            sluice: &sluice,
            site: &site,
            upstream: &self.upstream,
            folder: &folder,
        };
        // While the index opens, and once it is open.
        site.ask_all(&HashMap::new(), &mut findings);
        if !index_opens(&sluice) {
            findings.withheld.push("the index does not open".to_owned());
        }
        let served = site.ask_all(&old, &mut findings);
        findings.lost_young = sure
            .keys()
            .filter(|thing| !served.contains_key(thing))
            .count();
        if let Ok(metrics) = sluice.metrics() {
            let value = |name: &str| metrics.get(name).copied().unwrap_or_default();
            findings.adopted = value("sluice_store_adopted_total");
            findings.index_deaths = value("sluice_store_index_deaths_total");
        }
        sluice.process.kill();
        findings
    }
}

fn index_opens(sluice: &Sluice) -> bool {
    let until = Instant::now() + INDEX_LIMIT;
    while Instant::now() < until {
        let metrics = sluice.metrics().expect("the admin listener answers");
        if metrics.get("sluice_store_index_ready") == Some(&1) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// What runs after a cut, with nobody to ask.
struct Survivors<'a> {
    sluice: &'a Sluice,
    site: &'a Site,
    upstream: &'a Scripted,
    folder: &'a Folder,
}

impl Survivors<'_> {
    /// Asks for all that there is; says what was served, in which generation. `old` must be.
    fn ask_all(&self, old: &HashMap<Thing, u64>, findings: &mut Findings) -> HashMap<Thing, u64> {
        let stock = &self.upstream.stock;
        // Documents are rendered by what the service index says.
        let has_index = self.folder.held.contains_key(&Thing::ServiceIndex);
        let mut served = HashMap::new();
        let mut connection = None;
        for thing in stock.things() {
            let path = self.site.path(thing);
            let open = connection
                .take()
                .map_or_else(|| Connection::open(self.sluice.address), Ok);
            let asked = open.and_then(|mut open| Ok((open.ask(&Request::get(&path, &[]))?, open)));
            let reply = match asked {
                Ok((reply, open)) => {
                    connection = Some(open);
                    reply
                }
                Err(error) => {
                    findings.wrong.push(format!("{path}: {error}"));
                    continue;
                }
            };
            let said = format!("{path}: {} {}", reply.status, reply.reason);
            let generation = self.site.recognise(stock, thing, &reply.body);
            match (reply.status, generation) {
                (200, Some(generation)) => {
                    served.insert(thing, generation);
                }
                (200 | 404, _) => findings.wrong.push(said),
                _ if has_index && self.folder.held.contains_key(&thing) => {
                    findings.withheld.push(said)
                }
                _ => {}
            }
            let known = served.get(&thing);
            if let Some(wanted) = old.get(&thing)
                && known.is_none_or(|generation| generation < wanted)
            {
                findings
                    .lost
                    .push(format!("{thing:?} was stored as {wanted} and is {known:?}"));
            }
        }
        findings.served = served.len();
        served
    }
}
