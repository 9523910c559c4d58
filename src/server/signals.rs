//! The signals that end the process, and the one that has it read its configuration again.
//!
//! It refuses to act on them: those to stop become messages, the first of which begins draining and the second of which
//! ends it; the other becomes an order to reload.

use std::io;

use tokio::sync::mpsc;

use super::reload::Reloader;
use crate::tasks::Tasks;

/// Signals that wait to be heeded: one to drain, one to end the draining; more mean nothing.
const MAX_PENDING: usize = 2;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wish {
    #[cfg_attr(
        windows,
        expect(
            dead_code,
            reason = "no signal of Windows means this; the admin listener does"
        )
    )]
    Reload,
    Stop,
}

/// A message for each signal to stop: SIGTERM and SIGINT on Unix; Ctrl-C, Ctrl-Break, close and shutdown on Windows. An
/// order to reload for each SIGHUP, but that of a terminal that went away, which is one to stop.
///
/// # Errors
/// If the system refuses the handlers.
pub fn signals(tasks: &Tasks, reloader: Reloader) -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(MAX_PENDING);
    let mut source = platform::Source::new()?;
    let ending = tasks.clone();
    tasks.spawn("signals", async move {
        loop {
            let wish = tokio::select! {
                wish = source.next() => wish,
                () = ending.draining() => return,
            };
            match wish {
                Wish::Reload => reloader.order(),
                Wish::Stop => {
                    if sender.try_send(()).is_err() && sender.is_closed() {
                        return;
                    }
                }
            }
        }
    });
    Ok(receiver)
}

#[cfg(unix)]
mod platform {
    use std::io::{self, IsTerminal as _};

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Wish;

    pub(super) struct Source {
        hangup: Signal,
        terminate: Signal,
        interrupt: Signal,
        /// Whether a person started the process at a terminal, whose end is meant to end it.
        had_terminal: bool,
    }

    impl Source {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                had_terminal: has_terminal(),
            })
        }

        pub(super) async fn next(&mut self) -> Wish {
            tokio::select! {
                _ = self.hangup.recv() => {
                    if self.had_terminal && !has_terminal() {
                        Wish::Stop
                    } else {
                        Wish::Reload
                    }
                }
                _ = self.terminate.recv() => Wish::Stop,
                _ = self.interrupt.recv() => Wish::Stop,
            }
        }
    }

    /// A terminal that went away is none any more.
    fn has_terminal() -> bool {
        io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use tokio::signal::windows;

    use super::Wish;

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

        pub(super) async fn next(&mut self) -> Wish {
            tokio::select! {
                _ = self.c.recv() => {}
                _ = self.pause.recv() => {}
                _ = self.close.recv() => {}
                _ = self.shutdown.recv() => {}
            }
            Wish::Stop
        }
    }
}
