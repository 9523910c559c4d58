//! Calls of the disk and the index, and how they end.

use std::io;
use std::time::Duration;

use shuttle::future::spawn;
use shuttle::rand::{Rng as _, thread_rng};

use super::settings::Step;

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StoreFault {
    Io,
    Timeout,
}

impl From<&io::Error> for StoreFault {
    fn from(_: &io::Error) -> Self {
        Self::Io
    }
}

impl std::fmt::Display for StoreFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How calls may end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Io {
    /// One in four does nothing and fails.
    Fails,
    /// One in four is given up before it is done, and done later.
    Late,
    Well,
}

impl Io {
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        _: Step,
        _: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let is_odd = *self != Self::Well && thread_rng().gen_bool(0.25);
        if is_odd && *self == Self::Fails {
            return Err(StoreFault::Io);
        }
        let done = spawn(async move { work() });
        if is_odd {
            return Err(StoreFault::Timeout);
        }
        let done = done.await.expect("a call ends");
        done.map_err(|error| StoreFault::from(&error))
    }
}
