//! Tests of the whole: the binary as a user starts it, and the rules that the source keeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test, in its own functions as well"
)]

#[cfg(unix)]
mod process;
mod tidy;
