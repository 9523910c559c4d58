//! What several tasks do at once, tried in many interleavings by shuttle.
//!
//! The modules of the product that are checked, [`flight`] and the store's queue, overlay and commits, are compiled here
//! as they are. Around them stand others of the same names: [`sync`] and `tokio` are shuttle's, which decides at every
//! lock and every await who goes on; in [`store`] the disk is a table and the index another, and every call of theirs may
//! fail or come too late. Each module of scenarios says what must hold whatever the order: [`flights`], [`commits`].
//! `tests/schedules.rs` runs them.

#![allow(
    dead_code,
    reason = "of the product's modules only what the scenarios need is used here"
)]
#![allow(unreachable_pub, reason = "what is public in the product is not here")]

pub use store::commits;
pub mod flights;

#[path = "../../../src/cache/mod.rs"]
mod cache;
#[path = "../../../src/flight.rs"]
mod flight;
mod platform;
mod store;
mod sync;
