//! Parts of the process shell that are more than its order of things.

pub(crate) mod command;
pub(crate) mod gauges;
pub(crate) mod marked;
pub(crate) mod reload;
pub(crate) mod self_check;

/// What we call ourselves to others.
pub(crate) const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));
