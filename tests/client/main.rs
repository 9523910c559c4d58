//! The real-client suite: `dotnet` of two ages, nuget.exe, Paket and NuGet's own library against the `sluice` binary.
//!
//! Chosen by `SLUICE_CLIENT_TESTS=1`; without it each test prints `skipped: …` to stderr, takes no
//! time and passes, so that `cargo test` needs nothing but Rust. The reference upstream, the
//! packages and the client's bundle are found in `SLUICE_SHARED` (default `../shared`); python3 and
//! xz are needed, and for the older clients npm, pip and mono (`.ci/run` installs them).
//! `SLUICE_BINARY` names another binary than the one cargo has just built.
//!
//! Tests that compare times run alone, others side by side, each with processes, ports and folders
//! of its own (below cargo's folder for tests, kept for whoever looks at a failure). They know
//! Sluice by its command line, its printed lines, its access log and its answers. After every run
//! the upstream's log is read: a request without Sluice's `Via` is a leaked link and a failure.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "real processes are timed by the real clock, and a failure should say so at once"
)]

#[path = "../../benches/harness/mod.rs"]
mod harness;

mod access;
mod authority;
mod commands;
mod crowds;
mod direct;
mod dotnet_3_1;
mod fetched;
mod https;
mod machine;
mod nuget_exe;
mod outage;
mod paket;
mod passthrough;
mod probe;
mod publish;
mod restore;
mod rules;
mod run;
#[path = "../servers/mod.rs"]
mod servers;
mod shapes;
mod signatures;
mod site;
mod sources;
mod stage;
mod suite;
mod tls;
mod transcript;
mod unions;
