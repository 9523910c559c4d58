//! Hits, side by side: Sluice, nginx `proxy_cache` and nginx with static files, in one run.
//!
//! Each round measures all three, in turning order; ratios are taken within a round, then their
//! median over the rounds, so that a busy machine spoils a round and not a result. Servers have
//! CPU 0, the load has CPU 1. Small answers (a version list; a registration index, gzip, which
//! Sluice has rewritten and nginx has not) are asked for by wrk; the package of 50 MiB by a client
//! of its own, which lets the kernel drop the bytes, so that it is not the limit.
//!
//! Needs python3, taskset, nginx and wrk; the last two are installed by apt-get where they are missing.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures by the real clock, prints, and ends at the first failure"
)]

mod harness;

use harness::http::{Connection, Request, ask};
use harness::measure::{is_smoke, median, spread};
use harness::nginx::{Nginx, Role};
use harness::sluice::{self, Sluice};
use harness::upstream::free_port;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Seven rounds or more: the median of fewer moves with the neighbours.
const ROUNDS: usize = 9;

/// Connections that ask at once: of wrk, and of the client for the large body.
const SMALL_CONNECTIONS: usize = 32;
const LARGE_CONNECTIONS: usize = 4;

/// One document as each server names it.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    nginx: String,
    sluice: String,
    unit: &'static str,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, address, path, seconds] = &arguments[..]
        && flag == "--load"
    {
        let address = address.parse().expect("an address");
        println!("{}", load(address, path, seconds.parse().expect("seconds")));
        return;
    }
    if !has_tools() {
        println!("skipped: serve needs python3, taskset, nginx and wrk");
        return;
    }
    let (rounds, seconds) = if is_smoke() { (1, 1) } else { (ROUNDS, 4) };

    let folder = harness::fresh_folder("bench-serve");
    for name in ["cache", "data", "origin", "static", "tree"] {
        std::fs::create_dir(folder.join(name)).expect("a folder can be made");
    }
    let (port, tree) = (free_port(), folder.join("tree"));
    write_tree(&tree, port);
    let origin = Nginx::start(Role::Static(&tree), 0, port, &folder.join("origin"));
    let cache = Role::Cache(origin.address);
    let cache = Nginx::start(cache, 0, free_port(), &folder.join("cache"));
    let files = Nginx::start(Role::Static(&tree), 0, free_port(), &folder.join("static"));
    let sluice = sluice::Settings::new(&folder, &folder)
        .upstream(&format!("http://{}/v3/index.json", origin.address))
        .windows("1h")
        .without_access_log()
        .on_cpu(0)
        .start();
    let subjects = subjects(&sluice);
    for subject in &subjects {
        same(&[cache.address, files.address], sluice.address, subject);
    }

    println!("{rounds} rounds of {seconds} s; medians, and medians of ratios with their range");
    for subject in &subjects {
        let mut seen = [const { Vec::new() }; 3];
        for round in 0..rounds {
            let servers = [
                (sluice.address, &subject.sluice),
                (cache.address, &subject.nginx),
                (files.address, &subject.nginx),
            ];
            for turn in 0..3 {
                let place = (round + turn) % 3;
                let (address, path) = servers[place];
                seen[place].push(measure(subject, address, path, seconds));
            }
        }
        let [ours, cache, files] = &seen;
        println!(
            "{:<24} {:>9}  Sluice {:>10.2}  proxy_cache {:>10.2}  static {:>10.2}  \
             Sluice/proxy_cache {}  Sluice/static {}",
            subject.name,
            subject.unit,
            median(ours),
            median(cache),
            median(files),
            spread(&ratios(ours, cache)),
            spread(&ratios(ours, files)),
        );
    }
}

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect()
}

/// Whether everything is there, once it was tried to install what is not.
fn has_tools() -> bool {
    let has = |tool: &str| {
        let found = Command::new("which").arg(tool).output();
        found.is_ok_and(|found| found.status.success())
    };
    if !has("nginx") || !has("wrk") {
        println!("nginx or wrk is missing: apt-get install");
        // Whether it worked is seen below.
        let _ = Command::new("apt-get")
            .args(["install", "-y", "-qq", "nginx", "wrk"])
            .output();
    }
    ["python3", "taskset", "nginx", "wrk"].into_iter().all(has)
}

/// The reference upstream's documents as files, for an nginx on that port.
fn write_tree(tree: &Path, port: u16) {
    let written = Command::new("python3")
        .arg(harness::shared().join("feed/upstream.py"))
        .args([
            "--big",
            "50",
            "--base",
            &format!("http://127.0.0.1:{port}"),
            "--write",
        ])
        .arg(tree)
        .output()
        .expect("python3 can be run");
    assert!(
        written.status.success(),
        "{}",
        String::from_utf8_lossy(&written.stderr)
    );
}

fn subjects(sluice: &Sluice) -> [Subject; 3] {
    let index = sluice.get("/v3/index.json").json();
    let resources = index["resources"]
        .as_array()
        .expect("an index has resources");
    let hive = resources
        .iter()
        .find(|one| one["@type"] == "RegistrationsBaseUrl/3.6.0");
    let hive = hive
        .and_then(|one| one["@id"].as_str())
        .expect("the index has that hive");
    let hive = &hive[hive.find("/v3/").expect("it lies below the feed")..];
    let package = harness::crowd::BIG;
    let list = "newtonsoft.json/index.json";
    [
        Subject {
            name: "version list",
            nginx: format!("/v3-flatcontainer/{list}"),
            sluice: format!("/v3/flatcontainer/{list}"),
            unit: "answers/s",
        },
        Subject {
            name: "registration index, gzip",
            nginx: "/v3/registration5-gz-semver2/serilog/index.json".to_owned(),
            sluice: format!("{hive}serilog/index.json"),
            unit: "answers/s",
        },
        Subject {
            name: "package of 50 MiB",
            nginx: format!("/v3-flatcontainer/{package}"),
            sluice: format!("/v3/flatcontainer/{package}"),
            unit: "GB/s",
        },
    ]
}

/// Fills the caches and makes sure that all three give the same kind of answer.
fn same(nginx: &[SocketAddr], sluice: SocketAddr, subject: &Subject) {
    let headers = [("Accept-Encoding", "gzip")];
    let get = |address, path| {
        let mut last = None;
        // The second answer is a hit.
        for _ in 0..2 {
            let reply = ask(address, &Request::get(path, &headers));
            let reply = reply.unwrap_or_else(|error| panic!("{address}{path}: {error}"));
            assert_eq!(reply.status, 200, "{address}{path}");
            last = Some(reply);
        }
        last.expect("it was asked")
    };
    let ours = get(sluice, &subject.sluice);
    for &address in nginx {
        let theirs = get(address, &subject.nginx);
        let coding =
            |reply: &harness::http::Reply| reply.header("content-encoding").map(str::to_owned);
        assert_eq!(coding(&ours), coding(&theirs), "{}", subject.name);
        if coding(&ours).is_none() {
            assert!(ours.body == theirs.body, "{}: other bytes", subject.name);
        }
    }
}

fn measure(subject: &Subject, address: SocketAddr, path: &str, seconds: u64) -> f64 {
    match subject.unit {
        "GB/s" => large(address, path, seconds),
        _ => small(address, path, seconds),
    }
}

/// Answers a second, by wrk on CPU 1.
fn small(address: SocketAddr, path: &str, seconds: u64) -> f64 {
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-H", "Accept-Encoding: gzip"])
        .arg(format!("-c{SMALL_CONNECTIONS}"))
        .arg(format!("-d{seconds}s"))
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("wrk can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|line| line.trim().parse().ok())
        .unwrap_or_else(|| panic!("wrk said {text}"))
}

/// Gigabytes a second, by this program again on CPU 1.
fn large(address: SocketAddr, path: &str, seconds: u64) -> f64 {
    let own = std::env::current_exe().expect("this program has a path");
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(own)
        .args(["--load", &address.to_string(), path, &seconds.to_string()])
        .output()
        .expect("this program can be run again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().unwrap_or_else(|_| {
        panic!(
            "the load ended with {text} {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Asks for one path over some connections for some seconds; gigabytes a second of bodies.
fn load(address: SocketAddr, path: &str, seconds: u64) -> f64 {
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let bytes: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..LARGE_CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address).expect("it listens");
                    let mut bytes = 0;
                    while Instant::now() < until {
                        bytes += connection.drop_body(path).expect("it answers");
                    }
                    bytes
                })
            })
            .collect();
        running
            .into_iter()
            .map(|one| one.join().expect("a connection lives"))
            .sum()
    });
    bytes as f64 / began.elapsed().as_secs_f64() / 1e9
}
