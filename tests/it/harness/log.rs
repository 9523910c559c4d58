//! The log of a test's own thread, where the whole proxy runs.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

/// Log lines since it was made. Those of other threads are not seen.
pub(crate) struct Log {
    lines: Lines,
    _guard: DefaultGuard,
    /// As long as there is one subscriber, whichever thread comes first to a log line decides for all whether anybody
    /// listens. With a second one everybody is asked.
    _second: Dispatch,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn listen() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
            _second: Dispatch::new(tracing_subscriber::registry()),
        }
    }

    /// The lines that hold this text.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        let bytes = self.lines.0.lock().unwrap().clone();
        let all = String::from_utf8(bytes).unwrap();
        let lines = all.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
