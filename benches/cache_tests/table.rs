//! The tables of what does not pass, and the comparison with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::suite::{Edition, Verdict};

/// Each row is a test that does not pass, or an informational one: `| id | kind | verdict | why |`.
const TABLES: &str = include_str!("README.md");

/// So many optimal tests of the repository must pass.
const MIN_OPTIMAL: usize = 70;

/// What a row says.
#[derive(Debug, Eq, PartialEq)]
struct Row<'a> {
    kind: &'a str,
    word: &'a str,
}

/// How many tests of a kind passed, and of how many.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    of: usize,
    passed: usize,
}

/// A line for each kind of test.
pub(crate) fn summary(verdicts: &[Verdict]) -> String {
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for verdict in verdicts {
        let count = counts.entry(&verdict.kind).or_default();
        count.of += 1;
        count.passed += usize::from(has_passed(verdict));
    }
    let mut lines = String::new();
    for (kind, Count { of, passed }) in counts {
        let _ = writeln!(lines, "{kind}: {passed} of {of}");
    }
    lines
}

/// What is not as it should be; empty if all is.
pub(crate) fn breaches(verdicts: &[Verdict], edition: Edition) -> Vec<String> {
    let rows = rows(TABLES, edition);
    let mut breaches: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| breach(verdict, rows.get(verdict.id.as_str())))
        .collect();
    for id in rows.keys() {
        if !verdicts.iter().any(|verdict| verdict.id == *id) {
            breaches.push(format!("{id}: in the table, and no test"));
        }
    }
    if edition == Edition::Repository {
        let of_kind = |kind| verdicts.iter().filter(move |verdict| verdict.kind == kind);
        let required = of_kind("required").map(|verdict| verdict.id.as_str());
        let excused = required.filter(|id| rows.contains_key(id));
        breaches.extend(excused.map(|id| format!("{id}: in the table, and required")));
        let passed = of_kind("optimal").filter(|verdict| has_passed(verdict));
        let passed = passed.count();
        if passed < MIN_OPTIMAL {
            breaches.push(format!("{passed} optimal tests pass, not {MIN_OPTIMAL}"));
        }
    }
    breaches
}

/// How a verdict differs from its row, or from having none.
fn breach(verdict: &Verdict, row: Option<&Row<'_>>) -> Option<String> {
    let Verdict {
        detail,
        id,
        kind,
        word,
    } = verdict;
    let is_as_expected = match row {
        Some(row) => (row.kind, row.word) == (kind, word),
        None => kind == "check" || has_passed(verdict),
    };
    let row = row.map(|row| format!("{} {}", row.kind, row.word));
    let row = row.unwrap_or_else(|| "absent".to_owned());
    (!is_as_expected).then(|| format!("{id}: {kind} {word} and in the table {row}: {detail}"))
}

fn has_passed(verdict: &Verdict) -> bool {
    ["pass", "yes"].contains(&verdict.word.as_str())
}

/// The rows for an edition, by the headings above the tables.
fn rows(tables: &str, edition: Edition) -> BTreeMap<&str, Row<'_>> {
    let wanted = match edition {
        Edition::Release => "In the release alone",
        Edition::Repository => "In the repository alone",
    };
    let mut rows = BTreeMap::new();
    for section in tables.split("\n## ").skip(1) {
        if section.starts_with(wanted) || section.starts_with("In both") {
            rows.extend(section.lines().filter_map(row));
        }
    }
    rows
}

fn row(line: &str) -> Option<(&str, Row<'_>)> {
    let inner = line.strip_prefix("| `")?.strip_suffix(" |")?;
    let (id, rest) = inner.split_once("` | ")?;
    let (kind, rest) = rest.split_once(" | ")?;
    let (word, why) = rest.split_once(" | ")?;
    assert!(!why.trim().is_empty(), "{id}: no reason");
    Some((id, Row { kind, word }))
}
