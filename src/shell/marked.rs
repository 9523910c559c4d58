//! What `sluice disputed`, `sluice unsigned` and `sluice withdrawn` print.

use serde_json::Value;
use sluice::proxy::MarkKind;

/// The admin listener's list of a kind in lines for people and scripts: feed, id, version and time, with tabs between them,
/// of disputed versions the hash that is published and the one that is held, of unsigned ones what is wrong. `None` if it is no such list.
pub(crate) fn lines(report: &str, kind: MarkKind) -> Option<String> {
    let report: Value = serde_json::from_str(report).ok()?;
    let parts: &[&str] = match kind {
        MarkKind::Disputed => &["feed", "id", "version", "since", "published", "held"],
        MarkKind::Unsigned => &["feed", "id", "version", "since", "problem"],
        MarkKind::Withdrawn => &["feed", "id", "version", "since"],
    };
    let mut lines = String::new();
    for version in report.get(kind.word())?.as_array()? {
        let part = |name: &&str| version.get(*name)?.as_str();
        let line: Option<Vec<&str>> = parts.iter().map(part).collect();
        lines.push_str(&line?.join("\t"));
        lines.push('\n');
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
            {"feed":"x","id":"c","version":"2.0.0-rc","since":"2026-11-11T12:00:00Z"}],
            "disputed":[{"feed":"x","id":"c","version":"1.0.0","since":"2026-11-11T12:00:00Z",
            "published":"AAAA","held":"BBBB"}]}"#;
        let expected =
            "nuget\ta.b\t1.0.0\t2026-11-10T12:00:00Z\nx\tc\t2.0.0-rc\t2026-11-11T12:00:00Z\n";
        let of = |report, kind| lines(report, kind);
        assert_eq!(of(report, MarkKind::Withdrawn).as_deref(), Some(expected));
        let expected = "x\tc\t1.0.0\t2026-11-11T12:00:00Z\tAAAA\tBBBB\n";
        assert_eq!(of(report, MarkKind::Disputed).as_deref(), Some(expected));
        let none = of(r#"{"withdrawn":[]}"#, MarkKind::Withdrawn);
        assert_eq!(none.as_deref(), Some(""));
        for wrong in ["", "{}", r#"{"withdrawn":[{"feed":"x"}]}"#] {
            assert_eq!(of(wrong, MarkKind::Withdrawn), None, "{wrong}");
        }
        assert_eq!(of(r#"{"withdrawn":[]}"#, MarkKind::Disputed), None);
    }
}
