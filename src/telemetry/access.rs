//! The access log: one line a request, queued in memory and written elsewhere.
//!
//! It refuses to write: who runs the process hands its lines to a file or pipe, off the async threads. It refuses a
//! query string, which can carry a secret.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::{Format, Telemetry};

/// One finished request, as the access log tells it.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// When the request came.
    pub time: SystemTime,
    /// Who asked: the peer, or what a trusted reverse proxy says.
    pub client: IpAddr,
    /// Which user or token asked, if a feed asks for one.
    pub user: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path as it came; a query is cut off.
    pub path: &'a str,
    /// The status sent.
    pub status: u16,
    /// Bytes of body sent.
    pub bytes: u64,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// The feed.
    pub feed: Option<&'a str>,
    /// The package id in lower case.
    pub id: Option<&'a str>,
    /// The package version, normalised.
    pub version: Option<&'a str>,
    /// The outcome, in the words of `proxy::outcome`.
    pub outcome: &'a str,
    /// Why, in the words of `proxy::outcome`.
    pub reason: Option<&'a str>,
    /// The beginning of the body's SHA-512, in hex.
    pub hash: Option<&'a str>,
    /// The beginning of the keyed hash of the client's credential, where that is passed on.
    pub credential: Option<&'a str>,
    /// The client's X-NuGet-Session-Id.
    pub session: Option<&'a str>,
    /// The client's User-Agent.
    pub user_agent: Option<&'a str>,
}

/// Text that may wait for the sink: about ten thousand lines, seconds of the heaviest load measured.
const MAX_QUEUED_BYTES: usize = 4 << 20;

/// Lines on their way to the sink.
pub(super) struct Queue {
    format: Option<Format>,
    pending: Mutex<Pending>,
    /// Wakes the writer; many lines cost one wake.
    changed: Notify,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Pending {
    text: String,
    closed: bool,
}

impl Queue {
    pub(super) fn off() -> Self {
        Self {
            format: None,
            pending: Mutex::default(),
            changed: Notify::new(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn on(format: Format) -> Self {
        Self {
            format: Some(format),
            ..Self::off()
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.format.is_some()
    }

    pub(super) fn push(&self, line: &AccessLine<'_>) {
        let Some(format) = self.format else { return };
        let text = match format {
            Format::Human => human(line),
            Format::Json => json(line),
        };
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.closed || pending.text.len() + text.len() > MAX_QUEUED_BYTES {
                self.dropped.fetch_add(1, Relaxed);
                return;
            }
            pending.text.push_str(&text);
        }
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.changed.notify_one();
    }

    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Relaxed)
    }

    async fn next(&self) -> Option<String> {
        loop {
            {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                if !pending.text.is_empty() {
                    return Some(std::mem::take(&mut pending.text));
                }
                if pending.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// Hands the lines of the access log to whoever writes them.
#[derive(Debug)]
pub struct AccessWriter {
    pub(super) telemetry: Telemetry,
}

impl AccessWriter {
    /// All lines queued, each with its line break; waits for the first. `None` once the log is closed and empty.
    pub async fn next(&mut self) -> Option<String> {
        self.telemetry.shared.access.next().await
    }

    /// Counts lines that the sink refused.
    pub fn lost(&self, lines: &str) {
        let count = lines.bytes().filter(|byte| *byte == b'\n').count();
        let dropped = &self.telemetry.shared.access.dropped;
        dropped.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Relaxed);
    }
}

fn path_only(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// Milliseconds with three digits behind the point.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

/// Capacity of a line: the median of a restore's lines is 200 bytes.
const LINE_BYTES: usize = 256;

fn human(line: &AccessLine<'_>) -> String {
    let mut text = String::with_capacity(LINE_BYTES);
    write_time(&mut text, line.time);
    let _ = write!(
        text,
        " {} {} {} {} {}B {}ms {}",
        line.client,
        line.method,
        path_only(line.path),
        line.status,
        line.bytes,
        Millis(line.duration),
        line.outcome,
    );
    for (name, value) in named(line) {
        // Debug quotes, so that a value with blanks or control characters stays one field on one line.
        let _ = write!(text, " {name}={value:?}");
    }
    text.push('\n');
    text
}

fn json(line: &AccessLine<'_>) -> String {
    let mut text = String::with_capacity(LINE_BYTES);
    text.push_str("{\"time\":\"");
    write_time(&mut text, line.time);
    let _ = write!(text, "\",\"client\":\"{}\"", line.client);
    write_json(&mut text, "method", line.method);
    write_json(&mut text, "path", path_only(line.path));
    let _ = write!(
        text,
        ",\"status\":{},\"bytes\":{},\"ms\":{}",
        line.status,
        line.bytes,
        Millis(line.duration)
    );
    write_json(&mut text, "outcome", line.outcome);
    for (name, value) in named(line) {
        write_json(&mut text, name, value);
    }
    text.push_str("}\n");
    text
}

/// The fields that a line may lack.
fn named<'a>(line: &AccessLine<'a>) -> impl Iterator<Item = (&'static str, &'a str)> {
    [
        ("user", line.user),
        ("feed", line.feed),
        ("id", line.id),
        ("version", line.version),
        ("reason", line.reason),
        ("hash", line.hash),
        ("credential", line.credential),
        ("session", line.session),
        ("user_agent", line.user_agent),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// A member of a JSON object, with the comma before it; escapes as RFC 8259 section 7 says.
fn write_json(text: &mut String, name: &str, value: &str) {
    let _ = write!(text, ",\"{name}\":\"");
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

const SECONDS_A_DAY: u64 = 86_400;

/// The time in UTC with milliseconds, as RFC 3339 writes it.
fn write_time(text: &mut String, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / SECONDS_A_DAY);
    let of_day = seconds % SECONDS_A_DAY;
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_millis()
    );
}

/// Year, month and day of a day counted from 1970-01-01: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`. Years begin in March there, so that a leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_EPOCH: u64 = 719_468;
    const DAYS_IN_ERA: u64 = 146_097;
    let shifted = days + DAYS_BEFORE_EPOCH;
    let era = shifted / DAYS_IN_ERA;
    let of_era = shifted % DAYS_IN_ERA;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> AccessLine<'_> {
        AccessLine {
            time: UNIX_EPOCH + Duration::from_millis(1_709_210_096_789),
            client: IpAddr::from([127, 0, 0, 1]),
            user: None,
            method: "GET",
            path,
            status: 200,
            bytes: 1234,
            duration: Duration::from_micros(1500),
            feed: Some("nuget"),
            id: Some("serilog"),
            version: None,
            outcome: "hit",
            reason: None,
            hash: None,
            credential: None,
            session: Some("s\"1"),
            user_agent: Some("NuGet .NET\tCore"),
        }
    }

    #[test]
    fn a_json_line_is_one_object_with_the_fields_given() {
        let text = json(&line("/v3/search?q=secret"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2024-02-29T12:34:56.789Z", "client": "127.0.0.1", "method": "GET",
                "path": "/v3/search", "status": 200, "bytes": 1234, "ms": 1.5, "outcome": "hit",
                "feed": "nuget", "id": "serilog", "session": "s\"1",
                "user_agent": "NuGet .NET\tCore",
            })
        );
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn a_human_line_quotes_what_a_client_wrote() {
        assert_eq!(
            human(&line("/v3/index.json")),
            "2024-02-29T12:34:56.789Z 127.0.0.1 GET /v3/index.json 200 1234B 1.500ms hit \
             feed=\"nuget\" id=\"serilog\" session=\"s\\\"1\" user_agent=\"NuGet .NET\\tCore\"\n"
        );
    }

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (19_783, (2024, 3, 1)),
            (20_088, (2024, 12, 31)),
            (20_089, (2025, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), expected, "{days}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_writer_gets_all_lines_and_ends_when_the_log_is_closed() {
        let (telemetry, mut writer) = Telemetry::with_access_log(Format::Human);
        telemetry.log_access(&line("/a"));
        telemetry.log_access(&line("/b"));
        let lines = writer.next().await.unwrap();
        assert_eq!(lines.lines().count(), 2);
        telemetry.log_access(&line("/c"));
        telemetry.close_access_log();
        assert!(writer.next().await.unwrap().contains("/c"));
        assert_eq!(writer.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_lines_and_counts_them() {
        let (telemetry, mut writer) = Telemetry::with_access_log(Format::Human);
        let path = "/".repeat(1 << 20);
        for _ in 0..5 {
            telemetry.log_access(&line(&path));
        }
        assert_eq!(writer.next().await.unwrap().lines().count(), 3);
        writer.lost("a\nb\n");
        let metrics = telemetry.render();
        assert!(metrics.contains("sluice_access_log_lines_dropped_total 4\n"));
    }

    #[test]
    fn without_an_access_log_lines_cost_nothing_and_go_nowhere() {
        let telemetry = Telemetry::new();
        telemetry.log_access(&line("/a"));
        assert!(!telemetry.logs_access());
        assert!(
            telemetry
                .render()
                .contains("sluice_access_log_lines_dropped_total 0\n")
        );
    }
}
