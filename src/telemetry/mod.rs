//! Names of fields and counters: logs, the access log, metrics.
//!
//! Everything here is counted or queued without waiting, so that no request ever waits for a log or a scrape. It refuses
//! to know what it names: feeds, classes and outcomes arrive as words.

mod access;
mod metrics;

use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::{EnvFilter, reload};

pub use access::{AccessLine, AccessWriter};
pub use metrics::{Family, Kind, Samples};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AccessLog {
    /// Standard output, but nowhere if that is a terminal, where the lines would bury what a person reads.
    #[default]
    Automatic,
    /// Appended to this file.
    File(PathBuf),
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
}

/// What is logged, where and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Filter of the log, in the syntax of `tracing`: a level or `target=level`, separated by commas.
    pub log: String,
    /// Format of the log.
    pub log_format: Format,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// Format of the access log.
    pub access_log_format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            log_format: Format::Human,
            access_log: AccessLog::Automatic,
            access_log_format: Format::Human,
        }
    }
}

/// Whether a text is a filter of the log.
///
/// # Errors
/// What was expected.
pub fn check_filter(filter: &str) -> Result<(), String> {
    match EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a log filter ({error})")),
    }
}

/// The log of this process, once it is started.
pub struct Log {
    set_filter: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

impl Log {
    /// Logs by another filter from now on.
    pub fn set_filter(&self, filter: &str) {
        (self.set_filter)(filter_of(filter));
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Sends the log of this process to standard error. Only the first call of a process has an effect.
pub fn start_log(settings: &Settings) -> Log {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter_of(&settings.log))
        .with_writer(std::io::stderr)
        // It would complain on standard error, which is what failed, and panic.
        .log_internal_errors(false);
    match settings.log_format {
        Format::Human => {
            let builder = builder
                .with_ansi(std::io::stderr().is_terminal())
                .with_filter_reloading();
            let handle = builder.reload_handle();
            started(builder.try_init(), move |filter| handle.reload(filter))
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            started(builder.try_init(), move |filter| handle.reload(filter))
        }
    }
}

fn started(
    outcome: Result<(), Box<dyn std::error::Error + Send + Sync>>,
    reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static,
) -> Log {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the log was already started");
    }
    let set_filter = Box::new(move |filter| {
        if let Err(error) = reload(filter) {
            tracing::warn!(%error, "the log keeps its filter");
        }
    });
    Log { set_filter }
}

/// The filter that a text is, which was checked before.
fn filter_of(text: &str) -> EnvFilter {
    EnvFilter::builder()
        .parse(text)
        .unwrap_or_else(|_| EnvFilter::new("info"))
}

/// One finished request, as metrics count it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The feed, empty if the request belongs to none.
    pub feed: &'a str,
    /// The cache class, in the words of `proxy::route`.
    pub class: &'static str,
    /// The outcome, in the words of `proxy::outcome`.
    pub outcome: &'static str,
    /// The status sent.
    pub status: u16,
    /// Bytes of body sent.
    pub bytes: u64,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
}

/// Counts and logs. Clones share everything.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: metrics::Metrics,
    access: access::Queue,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// Lines that found the access log's queue full.
const ACCESS_LINES_DROPPED: Family = Family {
    name: "sluice_access_log_lines_dropped_total",
    help: "Lines of the access log that were dropped because its sink was too slow.",
    kind: Kind::Counter,
};

impl Telemetry {
    /// Counters at zero, and no access log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                metrics: metrics::Metrics::default(),
                access: access::Queue::off(),
            }),
        }
    }

    /// Counters at zero, and an access log in this format whose lines the writer hands out.
    #[must_use]
    pub fn with_access_log(format: Format) -> (Self, AccessWriter) {
        let shared = Arc::new(Shared {
            metrics: metrics::Metrics::default(),
            access: access::Queue::on(format),
        });
        let telemetry = Self { shared };
        (telemetry.clone(), AccessWriter { telemetry })
    }

    /// Counts a finished request.
    pub fn count_request(&self, request: &Request<'_>) {
        self.shared.metrics.count_request(request);
    }

    /// Adds to a counter or gauge. Labels are few and bounded: words of ours or names from the configuration.
    pub fn add(&self, family: &'static Family, labels: &[(&'static str, &str)], by: u64) {
        self.shared.metrics.add(family, labels, by);
    }

    /// Sets a gauge, or a counter that is counted elsewhere.
    pub fn set(&self, family: &'static Family, labels: &[(&'static str, &str)], value: u64) {
        self.shared.metrics.set(family, labels, value);
    }

    /// Has `read` add samples of its own to every scrape, for values that live elsewhere.
    pub fn collect(&self, read: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.shared.metrics.collect(read);
    }

    /// Everything in the Prometheus text format (version 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        self.add(
            &ACCESS_LINES_DROPPED,
            &[],
            self.shared.access.take_dropped(),
        );
        self.shared.metrics.render()
    }

    /// Whether lines of the access log go anywhere, so that a caller can spare making them.
    #[must_use]
    pub fn logs_access(&self) -> bool {
        self.shared.access.is_on()
    }

    /// Queues a line of the access log; never waits. A line that finds the queue full is dropped and counted.
    pub fn log_access(&self, line: &AccessLine<'_>) {
        self.shared.access.push(line);
    }

    /// Ends the access log: its writer hands out what is queued and then ends.
    pub fn close_access_log(&self) {
        self.shared.access.close();
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}
