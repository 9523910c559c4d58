//! What `sluice withdrawn` prints.

use std::fmt::Write as _;

use serde_json::Value;

/// The admin listener's list in lines for people and scripts: feed, id, version and time, with tabs between them. `None` if
/// it is no such list.
pub(crate) fn lines(report: &str) -> Option<String> {
    let report: Value = serde_json::from_str(report).ok()?;
    let mut lines = String::new();
    for version in report.get("withdrawn")?.as_array()? {
        let part = |name| version.get(name).and_then(Value::as_str);
        let (feed, id) = (part("feed")?, part("id")?);
        let (number, since) = (part("version")?, part("since")?);
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{feed}\t{id}\t{number}\t{since}");
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let report = r#"{"withdrawn":[
            {"feed":"nuget","id":"a.b","version":"1.0.0","since":"2026-11-10T12:00:00Z"},
            {"feed":"x","id":"c","version":"2.0.0-rc","since":"2026-11-11T12:00:00Z"}]}"#;
        let expected =
            "nuget\ta.b\t1.0.0\t2026-11-10T12:00:00Z\nx\tc\t2.0.0-rc\t2026-11-11T12:00:00Z\n";
        assert_eq!(lines(report).as_deref(), Some(expected));
        assert_eq!(lines(r#"{"withdrawn":[]}"#).as_deref(), Some(""));
        for wrong in ["", "{}", r#"{"withdrawn":[{"feed":"x"}]}"#] {
            assert_eq!(lines(wrong), None, "{wrong}");
        }
    }
}
