//! Pure HTTP caching: what a stored response is, how it is named, when it is fresh, what to do with a request.
//!
//! Nothing here does I/O, knows NuGet or reads a clock: `now` is an argument.

pub mod cache_control;
pub mod decision;
pub mod entry;
pub mod epoch;
pub mod freshness;
pub mod key;
pub mod made;
pub mod proof;
pub mod range;
pub mod recheck;
pub mod validator;
