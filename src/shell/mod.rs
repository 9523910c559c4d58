//! Parts of the process shell that are more than its order of things.

pub(crate) mod gauges;
pub(crate) mod reload;
