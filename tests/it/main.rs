//! Tests of the whole: the proxy in memory, with clients and a scripted upstream on pipes, the store in a temporary
//! folder and the clock paused; the binary as a user starts it; the rules that the source keeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a failed step fails the test, in its own functions as well; a test binary has no interface"
)]

mod absence;
mod access;
mod audit;
mod away;
mod backwards;
mod bad_input;
mod bases;
mod catalog;
mod certificates;
mod chain;
mod clients;
mod clock_jumps;
mod content;
mod crawl;
mod damage;
mod discipline;
mod disputed;
mod drain;
mod epochs;
mod faults;
mod feeds;
mod freshness;
mod harness;
mod headers;
mod hit;
mod hold;
#[cfg(target_os = "linux")]
mod limits;
mod matrix;
mod offline;

#[cfg(unix)]
mod orders;
mod passthrough;
#[cfg(unix)]
mod process;
mod publish;
mod quirks;
mod readers;
mod recheck;
mod refused_pushes;
mod registrations;
mod reload;
mod rest;
mod restart;
mod revalidate;
mod rules;
mod search;
#[path = "../servers/mod.rs"]
mod servers;
mod service_index;
mod shapes;
mod signatures;
mod stale;
mod symbols;
mod targets;
mod tidy;
mod tls;
mod tools;
mod truth;
mod turns;
mod union;
mod unsigned;
mod upkeep;
mod upstreams;
mod v2;
mod vulnerabilities;
mod withdrawn;
mod without_flat;
