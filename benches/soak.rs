//! Half an hour of everything at once: clients of every kind, an upstream that fails at random, eviction, orders of an
//! operator and reloads, on one Sluice that must neither answer wrongly nor grow.
//!
//! Every body that a client gets whole is compared with what the upstream made. Memory, descriptors, threads, tasks,
//! temporary files and the store's room are looked at every few seconds: after the first quarter nothing may grow, memory
//! in the short form not grossly, and once the clients have gone everything but memory must be given back. When the faults
//! end, every thing there is must be answered as it is now. A violation ends the run with code 1 and leaves the folder.
//!
//! The short form takes two minutes. `SLUICE_BENCH_SECONDS` sets another length, `SLUICE_BENCH_SEED` what happens.

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
use harness::fresh_folder;
use harness::http::Request;
use harness::ledger::Ledger;
use harness::load::Site;
use harness::measure::is_smoke;
use harness::process::Signal;
use harness::random::Random;
use harness::scripted::{Availability, Extent, Scripted};
use harness::sluice::{self, Sluice};
use harness::stock::name;
use harness::visitors::{Deed, End, Ground, Tally, visit};
use harness::vitals::{Length, Vitals, comes_to_rest, growth};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Ids of the stock: 180 packages and 180 documents, with the large ones some forty megabytes.
const IDS: usize = 60;
/// Each package of the first id: more than the buffers between the upstream and a slow client hold.
const LARGE: usize = 6 << 20;
/// Room for half of that, so that something is evicted all the time.
const CAP: &str = "20MiB";
/// At most 128 for blocking calls, which come with the load and stay, and those of the runtime and the index.
const MAX_THREADS: u64 = 128 + 32;
/// Clients at once.
const VISITORS: u64 = 8;
/// How long what failed may be refused after the faults have ended: the memory of an expired hold, a probe, a rest.
const CLEAR_LIMIT: Duration = Duration::from_secs(30);

/// What an operator did.
#[derive(Debug, Default)]
struct Orders {
    purges: AtomicU64,
    reloads: AtomicU64,
    verifications: AtomicU64,
    /// Bodies that they read.
    verified: AtomicU64,
}

struct Run {
    folder: PathBuf,
    upstream: Scripted,
    sluice: Sluice,
    ledger: Ledger,
    tally: Tally,
    orders: Orders,
}

fn main() -> ExitCode {
    let seed = Random::seed();
    let length = length();
    println!("SLUICE_BENCH_SEED={seed}, {length:?}");
    let run = Run::start(seed);
    let base = run.at_rest();
    println!("at the start: {base}");
    let mut samples = Vec::new();
    let site = Site::of(run.sluice.address, &run.upstream.stock).expect("a service index");
    std::thread::scope(|scope| {
        let ground = run.ground(&site);
        for client in 0..VISITORS {
            let random = Random::new(seed ^ client << 56);
            scope.spawn(move || visit(ground, random));
        }
        scope.spawn(|| run.turn_the_weather(Random::new(seed ^ 0x5ea)));
        scope.spawn(|| run.order(Random::new(seed ^ 0x09)));
        samples = run.watch(length);
        run.ledger.end();
    });
    println!("at the end:   {}", samples.last().expect("there are some"));
    let mut violations = run.ledger.wrongs();
    violations.extend(run.is_clear(&site));
    // A quarter of it is longer than anything takes to warm up.
    let is_long = length >= Duration::from_secs(1200);
    let kind = if is_long { Length::Long } else { Length::Short };
    let growth = growth(&samples, kind);
    for line in &growth.lines {
        println!("{line}");
    }
    violations.extend(growth.grown);
    match comes_to_rest(&run.sluice, &run.data(), base) {
        Ok(rest) => println!("at rest:      {rest}"),
        Err(left) => violations.push(left),
    }
    violations.extend(difference(&run.sluice, &run.data()));
    violations.extend(run.nothing_done());
    run.print();
    run.end(&violations)
}

fn length() -> Duration {
    let seconds = match std::env::var("SLUICE_BENCH_SECONDS") {
        Ok(text) => text.parse().expect("SLUICE_BENCH_SECONDS is a number"),
        Err(_) if is_smoke() => 120,
        Err(_) => 1800,
    };
    Duration::from_secs(seconds)
}

impl Run {
    fn start(seed: u64) -> Self {
        let folder = fresh_folder("bench-soak");
        let extent = Extent {
            beside: None,
            large: Some(LARGE),
            // So that what a failed moment opened is closed long before the end.
            idle: Some(Duration::from_secs(5)),
        };
        let upstream = Scripted::of(IDS, seed, extent);
        let sluice = sluice::Settings::new(&folder, &folder)
            .config(&configuration(&upstream, Moment::Even))
            .without_access_log()
            .start();
        Self {
            folder,
            upstream,
            sluice,
            ledger: Ledger::new(IDS),
            tally: Tally::default(),
            orders: Orders::default(),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn ground<'a>(&'a self, site: &'a Site) -> Ground<'a> {
        Ground {
            address: self.sluice.address,
            site,
            stock: &self.upstream.stock,
            ledger: &self.ledger,
            tally: &self.tally,
        }
    }

    /// What it holds after a first answer, once nothing is under way.
    fn at_rest(&self) -> Vitals {
        self.sluice.get("/v3/index.json");
        let mut before = Vitals::of(&self.sluice, &self.data());
        loop {
            // Longer than an idle connection to the upstream lives.
            std::thread::sleep(Duration::from_secs(6));
            let now = Vitals::of(&self.sluice, &self.data());
            if (now.descriptors, now.tasks) == (before.descriptors, before.tasks) {
                return now;
            }
            before = now;
        }
    }

    /// Calm, a storm, calm, an outage, again and again.
    fn turn_the_weather(&self, mut random: Random) {
        let weather = &self.upstream.weather;
        let mut wait = |from, to| {
            let until = Instant::now() + Duration::from_millis(random.between(from, to));
            while Instant::now() < until && !self.ledger.is_ending() {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        while !self.ledger.is_ending() {
            weather.turn(10);
            wait(2000, 4000);
            weather.turn(200);
            wait(1000, 2500);
            weather.turn(10);
            wait(2000, 4000);
            self.upstream.go(Availability::Down);
            wait(500, 2500);
            self.upstream.go(Availability::Up);
        }
        weather.turn(0);
    }

    /// Purges, verifications and reloads, one after the other.
    fn order(&self, mut random: Random) {
        while !self.ledger.is_ending() {
            let id = name(random.place(IDS));
            match random.below(10) {
                0..4 => self.purge(&format!("{{\"id\":\"{id}\"}}")),
                4..6 => self.purge(&format!("{{\"id\":\"{id}\",\"version\":\"1.0.1\"}}")),
                6 => self.purge("{\"feed\":\"nuget\"}"),
                7 => self.verify(),
                _ => self.reload(),
            }
            std::thread::sleep(Duration::from_millis(random.between(200, 1500)));
        }
    }

    fn purge(&self, order: &str) {
        match self.carry_out("purge", order) {
            Ok(done) if done["failed"] == 0 => {
                self.orders.purges.fetch_add(1, Ordering::Relaxed);
            }
            Ok(done) => self.ledger.wrong(format!("purge {order}: {done}")),
            Err(error) => self.ledger.wrong(error),
        }
    }

    fn verify(&self) {
        match self.carry_out("verify", "{}") {
            Ok(done) if done["damaged"] == 0 && done["complete"] == true => {
                let bodies = done["bodies"].as_u64().unwrap_or_default();
                self.orders.verifications.fetch_add(1, Ordering::Relaxed);
                self.orders.verified.fetch_add(bodies, Ordering::Relaxed);
            }
            Ok(done) => self.ledger.wrong(format!("verify: {done}")),
            Err(error) => self.ledger.wrong(error),
        }
    }

    /// The last line of what is told of an order.
    fn carry_out(&self, order: &str, body: &str) -> Result<Value, String> {
        let request = Request {
            body: body.as_bytes(),
            headers: &[],
            method: "POST",
            path: &format!("/api/store/{order}"),
        };
        let reply = self.sluice.ask_admin(&request);
        let reply = reply.map_err(|error| format!("{order}: {error}"))?;
        let text = String::from_utf8_lossy(&reply.body);
        let last = text.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).unwrap_or_default();
        match told.get("done") {
            Some(done) => Ok(done.clone()),
            None => Err(format!("{order}: {} {text}", reply.status)),
        }
    }

    /// Changes a setting in the file and has it read by a signal.
    fn reload(&self) {
        let reloads = self.orders.reloads.fetch_add(1, Ordering::Relaxed);
        let moment = if reloads.is_multiple_of(2) {
            Moment::Odd
        } else {
            Moment::Even
        };
        let path = self.folder.join("sluice.toml");
        std::fs::write(path, configuration(&self.upstream, moment)).expect("it can be written");
        self.sluice.process.signal(Signal::HangUp);
    }

    /// Looks at it for so long, every few seconds.
    fn watch(&self, length: Duration) -> Vec<Vitals> {
        let every = (length / 100).clamp(Duration::from_millis(500), Duration::from_secs(5));
        let (began, mut samples) = (Instant::now(), Vec::new());
        while began.elapsed() < length {
            std::thread::sleep(every);
            let now = Vitals::of(&self.sluice, &self.data());
            if now.held > now.cap {
                let said = format!("{} bytes are stored, of {} at most", now.held, now.cap);
                self.ledger.wrong(said);
            }
            if now.threads > MAX_THREADS {
                self.ledger.wrong(format!("{} threads", now.threads));
            }
            if samples.len() % 25 == 0 {
                println!("{:>6.0?} {now}", began.elapsed());
            }
            samples.push(now);
        }
        samples
    }

    /// Without faults everything is answered as it is now; says what is not, in time.
    fn is_clear(&self, site: &Site) -> Vec<String> {
        let stock = &self.upstream.stock;
        let until = Instant::now() + CLEAR_LIMIT;
        let mut left = stock.things();
        loop {
            let mut last = Vec::new();
            left.retain(|thing| {
                let reply = self.sluice.get(&site.path(*thing));
                let is_right = reply.status == 200
                    && site.recognise(stock, *thing, &reply.body) == Some(stock.generation(*thing));
                if !is_right {
                    let status = reply.header("cache-status").unwrap_or_default();
                    last.push(format!(
                        "without faults: {thing:?} is {} {} ({status})",
                        reply.status, reply.reason
                    ));
                }
                !is_right
            });
            if left.is_empty() || Instant::now() > until {
                return last;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What the run did not do, so that it proves nothing.
    fn nothing_done(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (mischief, times) in self.upstream.weather.seen() {
            if times == 0 {
                missing.push(format!("{mischief:?} never happened"));
            }
        }
        for deed in Deed::ALL {
            if self.tally.of(deed, End::Answered) == 0 {
                missing.push(format!("{deed:?} was never answered"));
            }
        }
        let answered = self.tally.all(End::Answered);
        let not = self.tally.all(End::Refused) + self.tally.all(End::Broken);
        if answered < not {
            missing.push(format!("only {answered} answers beside {not} without"));
        }
        let orders = &self.orders;
        for (name, times) in [
            ("purge", &orders.purges),
            ("reload", &orders.reloads),
            ("verification", &orders.verifications),
            ("verified body", &orders.verified),
        ] {
            if times.load(Ordering::Relaxed) == 0 {
                missing.push(format!("there was no {name}"));
            }
        }
        let metrics = self.sluice.metrics().expect("the admin listener answers");
        if metrics.get("sluice_store_evictions_total") == Some(&0) {
            missing.push("nothing was evicted".to_owned());
        }
        missing
    }

    fn print(&self) {
        for deed in Deed::ALL {
            let of = |end| self.tally.of(deed, end);
            println!(
                "{deed:?}: {} answered, {} refused, {} broken",
                of(End::Answered),
                of(End::Refused),
                of(End::Broken)
            );
        }
        let seen = self.upstream.weather.seen().into_iter();
        let faults: Vec<String> = seen.map(|(kind, n)| format!("{kind:?} {n}")).collect();
        println!("faults: {}", faults.join(", "));
        println!("orders: {:?}", self.orders);
    }

    fn end(self, violations: &[String]) -> ExitCode {
        let requests = self.ledger.requests.load(Ordering::Relaxed);
        if violations.is_empty() {
            println!("{requests} requests, 0 violations");
            return ExitCode::SUCCESS;
        }
        for violation in violations.iter().take(50) {
            println!("VIOLATION: {violation}");
        }
        println!(
            "{requests} requests, {} violations; the folder is kept: {}",
            violations.len(),
            self.folder.display()
        );
        ExitCode::FAILURE
    }
}

/// Which of two configurations is obeyed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Even,
    Odd,
}

/// Waits of seconds instead of tens of them, so that each is waited out many times in a run.
fn configuration(upstream: &Scripted, moment: Moment) -> String {
    let (fresh, attempts) = match moment {
        Moment::Even => ("300ms", 5),
        Moment::Odd => ("700ms", 10),
    };
    let source = upstream.source();
    format!(
        "ballast_bytes = 0\n\
         breaker_failures = {attempts}\n\
         connect_timeout = \"1s\"\n\
         first_byte_timeout = \"1s\"\n\
         idle_timeout = \"2s\"\n\
         max_hold = \"3s\"\n\
         memory_bytes = \"8MiB\"\n\
         max_store_bytes = \"{CAP}\"\n\
         probe_after = \"300ms\"\n\
         probe_max = \"1s\"\n\
         stale_after = \"300ms\"\n\
         [[feed]]\n\
         name = \"nuget\"\n\
         upstream = \"{source}\"\n\
         absence_fresh = \"1s\"\n\
         registration_fresh = \"{fresh}\"\n\
         search_fresh = \"{fresh}\"\n\
         version_list_fresh = \"{fresh}\"\n"
    )
}
