//! The signals that end the process.
//!
//! It refuses to act on them: each becomes a message, the first of which begins draining and the second of which ends
//! it.

use std::io;

use tokio::sync::mpsc;

use crate::tasks::Tasks;

/// Signals that wait to be heeded: one to drain, one to end the draining; more mean nothing.
const MAX_PENDING: usize = 2;

/// A message for each signal to stop: SIGTERM and SIGINT on Unix; Ctrl-C, Ctrl-Break, close and shutdown on Windows.
///
/// # Errors
/// If the system refuses the handlers.
pub fn signals(tasks: &Tasks) -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(MAX_PENDING);
    let mut source = platform::Source::new()?;
    let ending = tasks.clone();
    tasks.spawn("signals", async move {
        loop {
            tokio::select! {
                () = source.next() => {}
                () = ending.draining() => return,
            }
            if sender.try_send(()).is_err() && sender.is_closed() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(unix)]
mod platform {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Source {
        terminate: Signal,
        interrupt: Signal,
    }

    impl Source {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }

        pub(super) async fn next(&mut self) {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use tokio::signal::windows;

    pub(super) struct Source {
        c: windows::CtrlC,
        pause: windows::CtrlBreak,
        close: windows::CtrlClose,
        shutdown: windows::CtrlShutdown,
    }

    impl Source {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self {
                c: windows::ctrl_c()?,
                pause: windows::ctrl_break()?,
                close: windows::ctrl_close()?,
                shutdown: windows::ctrl_shutdown()?,
            })
        }

        pub(super) async fn next(&mut self) {
            tokio::select! {
                _ = self.c.recv() => {}
                _ = self.pause.recv() => {}
                _ = self.close.recv() => {}
                _ = self.shutdown.recv() => {}
            }
        }
    }
}
