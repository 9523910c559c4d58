//! Rewriting by joining slices: what no edit covers survives byte for byte.

use std::ops::Range;

/// `text` with each range of bytes in `edits` replaced. Ranges must ascend, not overlap and lie on character boundaries,
/// as spans of one reader do; an edit that breaks this is left out.
#[must_use]
pub fn splice(text: &str, edits: impl IntoIterator<Item = (Range<usize>, String)>) -> String {
    let mut output = String::with_capacity(text.len());
    let mut at = 0;
    for (span, replacement) in edits {
        let fits = text.get(span.clone()).is_some();
        debug_assert!(fits && at <= span.start, "edit {span:?} after byte {at}");
        let Some(kept) = text.get(at..span.start).filter(|_| fits) else {
            continue;
        };
        output.push_str(kept);
        output.push_str(&replacement);
        at = span.end;
    }
    output.push_str(text.get(at..).unwrap_or_default());
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, edits: &[(Range<usize>, &str)], expected: &str) {
        let edits = edits
            .iter()
            .map(|(span, new)| (span.clone(), (*new).to_owned()));
        assert_eq!(splice(text, edits), expected);
    }

    #[test]
    fn joins_slices_and_replacements() {
        check("", &[], "");
        check("abc", &[], "abc");
        check("abcdef", &[(1..2, "XY"), (4..6, "")], "aXYcd");
        check("abcdef", &[(0..3, "1"), (3..6, "2")], "12");
        check("abc", &[(0..0, "<"), (3..3, ">")], "<abc>");
        check("é\"ü\"é", &[(2..6, "u")], "éué");
    }
}
