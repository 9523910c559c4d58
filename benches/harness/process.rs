//! A child process that never outlives its owner: its lines, its signals, its memory, its end.
//!
//! It refuses to be silent: whoever waits for a line that does not come fails with what the
//! process said on stderr.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What can be sent to a process, by the names that kill(1) knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Continue,
    HangUp,
    Kill,
    Stop,
    Terminate,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// What it wrote to stderr, kept beside its data for whoever looks at a failure.
    stderr: PathBuf,
}

impl Process {
    /// Starts a command whose stderr goes to a file.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn start(command: &mut Command, stderr: &Path) -> Self {
        let errors = std::fs::File::create(stderr).expect("the file for stderr can be made");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = child.stdout.take().expect("stdout is a pipe");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        // It ends with the child, which closes the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            child,
            lines,
            stderr: stderr.to_owned(),
        }
    }

    /// The lines printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a line from which `find` makes something.
    ///
    /// # Panics
    /// If the process ends first or a minute passes.
    pub(crate) fn wait_for<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = self.lines().iter().find_map(|line| find(line)) {
                return found;
            }
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < until,
                "no {what} was printed (ended: {ended:?})\nstdout: {:#?}\nstderr: {}",
                self.lines(),
                self.errors()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that was written to stderr.
    pub(crate) fn errors(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Continue => "-CONT",
            Signal::HangUp => "-HUP",
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Terminate => "-TERM",
        };
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([name, &id])
            .status()
            .expect("kill(1) can be run");
        assert!(sent.success(), "kill {name} {id}");
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as nothing else does, `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after `within`.
    pub(crate) fn end(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < until,
                "still running after {within:?}: {}",
                self.errors()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Anonymous memory in RAM, in bytes, from `/proc`: what the process holds beyond mapped files.
    ///
    /// # Panics
    /// If it is gone.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        self.status("RssAnon") << 10
    }

    /// A number of its status in `/proc`; sizes are in KiB.
    ///
    /// # Panics
    /// If it is gone, or has no such number.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let number = status.lines().find_map(|line| {
            let (own, rest) = line.split_once(':')?;
            (own == name).then_some(rest.trim().trim_end_matches(" kB"))
        });
        number
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{path} has no number {name}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too.
        self.kill();
    }
}
