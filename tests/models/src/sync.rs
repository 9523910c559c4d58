//! What the product's module of this name has, by shuttle.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LockResult};

use shuttle::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

pub(crate) use shuttle::sync::atomic::AtomicU64;

/// A mutex at whose unlocking, too, others may go on; shuttle's switches when one is locked.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// The right to what a [`Mutex`] guards.
pub(crate) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        // Whoever panics ends the schedule: no lock is poisoned.
        Ok(MutexGuard(self.0.lock().ok()))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("it is locked")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("it is locked")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.0.take().is_some() && !std::thread::panicking() {
            // Every use of an atomic is a place to switch.
            AtomicBool::new(false).load(Ordering::SeqCst);
        }
    }
}

/// As tokio-util's.
#[derive(Clone)]
pub(crate) struct CancellationToken(Arc<watch::Sender<bool>>);

impl CancellationToken {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }

    pub(crate) fn cancel(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn cancelled_owned(self) {
        let mut cancelled = self.0.subscribe();
        // The sender is this token's own.
        let _ = cancelled.wait_for(|is| *is).await;
    }
}
