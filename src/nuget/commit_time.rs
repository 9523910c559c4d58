//! When a document was committed, by its own word: what tells an older form of it from a newer one (protocol facts 2.2,
//! 2.5.1).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::json::Scanner;

/// `commitTimeStamp` of a document itself, not of its items; catalog leaves may spell it `catalog:commitTimeStamp`.
/// `None` if it says none, says something else than a time, or is no object.
#[must_use]
pub fn read(text: &str) -> Option<OffsetDateTime> {
    let mut scanner = Scanner::new("document", text);
    let mut found = None;
    scanner
        .object(|scanner, name| {
            if matches!(&*name, "commitTimeStamp" | "catalog:commitTimeStamp") {
                found = scanner.text()?;
            }
            Ok(())
        })
        .ok()?;
    time_of(&found?.content)
}

/// Servers without such a time write the first day of .NET's calendar; nothing was committed before 1970. A time without
/// an offset is in UTC.
fn time_of(text: &str) -> Option<OffsetDateTime> {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let time = parse(text).or_else(|| parse(&format!("{text}Z")))?;
    (time.unix_timestamp() >= 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    /// 2026-11-04T10:00:00Z.
    fn at(millis: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1_793_786_400_000 + millis)
    }

    #[track_caller]
    fn check(text: &str, expected: Option<OffsetDateTime>) {
        assert_eq!(read(text), expected, "{text}");
    }

    #[test]
    fn the_documents_own_time_is_read_in_every_spelling() {
        for (written, millis) in [
            ("2026-11-04T10:00:00Z", 0),
            ("2026-11-04T10:00:00.0000000Z", 0),
            ("2026-11-04T10:00:00.5+00:00", 500),
            ("2026-11-04T12:00:00.1230000+02:00", 123),
            ("2026-11-04T10:00:00.25", 250),
        ] {
            check(
                &format!("{{\"commitTimeStamp\":\"{written}\"}}"),
                Some(at(millis)),
            );
        }
        let leaf = r#"{"catalog:commitTimeStamp":"2026-11-04T10:00:00Z"}"#;
        check(leaf, Some(at(0)));
        let twice = r#"{"commitTimeStamp":"soon","commitTimeStamp":"2026-11-04T10:00:00Z",}"#;
        check(twice, Some(at(0)));
    }

    #[test]
    fn items_and_what_is_no_time_say_nothing() {
        check(
            r#"{"items":[{"commitTimeStamp":"2026-11-04T10:00:00Z"}]}"#,
            None,
        );
        check(r#"{"commitTimeStamp":"0001-01-01T00:00:00Z"}"#, None);
        check(r#"{"commitTimeStamp":1793786400}"#, None);
        check(r#"{"commitTimeStamp":"yesterday"}"#, None);
        check(r#"{"commitTimeStamp":"2026-11-04T10:00:00Z""#, None);
        check("[]", None);
    }
}
