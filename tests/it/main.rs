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
mod content;
mod epochs;
mod freshness;
mod harness;
mod hit;
mod hold;
#[cfg(unix)]
mod process;
mod revalidate;
mod stale;
mod tidy;
mod truth;
