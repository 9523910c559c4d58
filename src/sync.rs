//! The locks of the modules whose interleavings `tests/models` tries: there this module is another, with shuttle's.

pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use tokio_util::sync::CancellationToken;
