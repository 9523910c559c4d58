//! Times as people write and read them: RFC 3339 in UTC, and "how long from now".

use std::time::{Duration, SystemTime};

use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime};

/// Units of a duration, with their seconds.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
/// Longest time from now: who wants a longer one wants none.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// A time in RFC 3339, in UTC and to the second.
#[must_use]
pub fn show(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// Reads a time in RFC 3339.
#[must_use]
pub fn read(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Into::into)
}

/// Reads when something ends: a duration from `now`, a day (which begins at midnight in UTC) or a time.
///
/// # Errors
/// What was expected.
pub fn read_end(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let of_day = |day: Date| SystemTime::from(day.midnight().assume_utc());
    duration(text)
        .and_then(|duration| now.checked_add(duration))
        .or_else(|| read(text))
        .or_else(|| Date::parse(text, &Iso8601::DATE).ok().map(of_day))
        .filter(|end| *end > now)
        .ok_or_else(|| {
            format!(
                "a duration such as \"90d\" or \"12h\", or a time to come such as \"2030-01-31\" or \
                 \"2030-01-31T12:00:00Z\", which {text:?} is not"
            )
        })
}

fn duration(text: &str) -> Option<Duration> {
    let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    let seconds = number.checked_mul(*seconds)?;
    (seconds <= MAX_SECONDS).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-10T12:00:00Z.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_794_312_000)
    }

    #[test]
    fn times_are_shown_as_they_are_read() {
        assert_eq!(
            show(now() + Duration::from_millis(900)),
            "2026-11-10T12:00:00Z"
        );
        assert_eq!(read("2026-11-10T12:00:00Z"), Some(now()));
        assert_eq!(read("2026-11-10T14:00:00+02:00"), Some(now()));
        assert_eq!(read("2026-11-10"), None);
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let found = read_end(text, now()).map(show).ok();
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn an_end_is_a_duration_a_day_or_a_time() {
        check("90d", Some("2027-02-08T12:00:00Z"));
        check("12h", Some("2026-11-11T00:00:00Z"));
        check("5 m", Some("2026-11-10T12:05:00Z"));
        check("30s", Some("2026-11-10T12:00:30Z"));
        check("2030-01-31", Some("2030-01-31T00:00:00Z"));
        check("2030-01-31T06:30:00Z", Some("2030-01-31T06:30:00Z"));
        for text in [
            "",
            "d",
            "0d",
            "-1d",
            "90",
            "2026-11-10",
            "2020-01-31",
            "2030-02-30",
            "soon",
            "99999999999999999999d",
            "999999999999999d",
        ] {
            check(text, None);
        }
    }
}
