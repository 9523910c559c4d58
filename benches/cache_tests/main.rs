//! The public suite of HTTP caches (<https://github.com/http-tests/cache-tests>) against a small reverse proxy whose
//! decisions are those of `sluice::cache` and whose copies are kept by `sluice::store`.
//!
//! Sluice obeys its settings and not an upstream's `Cache-Control`, so the suite cannot judge the product; it judges what
//! both stand on: directives, ages, validators, ranges, epochs, keys, the decision, and that what is stored comes back as
//! it was. What only a general cache needs stands in `rules` here.
//!
//! Fails if a required test fails, if fewer than 70 optimal ones pass, and if the tables in `README.md` beside this file
//! are not exactly what does not pass. Takes a minute. `SLUICE_CACHE_TESTS` names a folder with the suite's repository;
//! without it the suite is fetched once by git, and what it imports by npm; else its last release by npm alone. Where
//! neither works, or there is no node, it says `SKIPPED` and why.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench runs by the real clock, prints, and ends at the first failure"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod line;
mod origin;
mod proxy;
mod rules;
mod shelf;
mod suite;
mod table;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use harness::fresh_folder;
use sluice::clock::Clock;
use sluice::store::{IndexState, Settings, Store};
use sluice::tasks::Tasks;

use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::shelf::Shelf;
use crate::suite::Suite;

fn main() -> ExitCode {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache-tests");
    let suite = match Suite::find(&kept) {
        Ok(suite) => suite,
        Err(why) => {
            println!("SKIPPED cache_tests: the suite cannot be had: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let folder = fresh_folder("bench-cache-tests");
    let (_origin, address) = suite.serve(&folder);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let proxy = runtime.block_on(start(address, &folder));
    let verdicts = suite.run(proxy, &folder);
    println!("{:?}\n{}", suite.edition, table::summary(&verdicts));
    let breaches = table::breaches(&verdicts, suite.edition);
    for breach in &breaches {
        println!("{breach}");
    }
    if breaches.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Starts the proxy before an origin and says where it listens.
async fn start(address: SocketAddr, folder: &Path) -> SocketAddr {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let settings = Settings {
        data_dir: folder.join("data"),
        max_store_bytes: Some(1 << 30),
        min_free_bytes: 0,
        ballast_bytes: 0,
        ..Settings::default()
    };
    let store = Store::open(settings, clock.clone(), tasks.clone()).await;
    let store = store.expect("the store opens in a fresh folder");
    // What is found without the index counts as old.
    while store.usage().index != IndexState::Ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let origin = Origin {
        address,
        clock,
        tasks,
    };
    let shelf = Shelf::new(store);
    let proxy = Proxy { origin, shelf };
    proxy.listen().await.expect("a port is free")
}
