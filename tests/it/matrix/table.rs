//! The table and the legend as the files beside this one have them. Nothing here knows the product.

use std::collections::{BTreeMap, BTreeSet};

use super::runner::{STATES, Seen};

const TABLE: &str = include_str!("table.md");
const LEGEND: &str = include_str!("legend.md");

/// A cell: class, fault, state.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Cell {
    pub(super) class: String,
    pub(super) fault: String,
    pub(super) state: String,
}

/// What every cell holds, and what each name in them means.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) cells: BTreeMap<Cell, String>,
    /// Cells that cannot be, with the reason.
    pub(super) impossible: BTreeMap<Cell, String>,
    pub(super) legend: BTreeMap<String, Expectation>,
}

/// A word of the legend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Expectation {
    status: String,
    /// A final `*` stands for any end.
    phrase: String,
    body: String,
    connection: String,
    /// From, to.
    seconds: (String, String),
    /// One of these.
    detail: Vec<String>,
    /// From, to.
    asked: (String, String),
    store: String,
    outage: String,
}

/// The rows of a table in Markdown, without its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line| -> Vec<_> {
        let line: &str = line;
        let line = line.trim().trim_matches('|');
        line.split('|').map(str::trim).collect()
    };
    lines.map(cells).collect()
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).collect()
}

impl Table {
    /// The table as it is written.
    #[track_caller]
    pub(super) fn read() -> Self {
        let mut table = Self {
            cells: BTreeMap::new(),
            impossible: BTreeMap::new(),
            legend: legend(),
        };
        for section in TABLE.split("\n## ").skip(1) {
            let (title, text) = section.split_once('\n').expect("a section");
            for row in rows(text) {
                if title == "Impossible" {
                    table.forbid(&row);
                } else {
                    table.fill(title, &row);
                }
            }
        }
        table
    }

    fn forbid(&mut self, row: &[&str]) {
        let [classes, faults, states, reason] = row else {
            panic!("not four columns: {row:?}");
        };
        assert!(reason.contains(' '), "no reason: {row:?}");
        for class in names(classes) {
            for fault in names(faults) {
                for state in names(states) {
                    let cell = Cell {
                        class: class.clone(),
                        fault: fault.clone(),
                        state,
                    };
                    let before = self.impossible.insert(cell.clone(), (*reason).to_owned());
                    assert_eq!(before, None, "impossible twice: {cell:?}");
                }
            }
        }
    }

    fn fill(&mut self, classes: &str, row: &[&str]) {
        let (fault, words) = row.split_first().expect("a fault");
        assert_eq!(words.len(), STATES.len(), "{classes}: {row:?}");
        for class in names(classes) {
            for (state, word) in STATES.iter().zip(words) {
                let cell = Cell {
                    class: class.clone(),
                    fault: (*fault).to_owned(),
                    state: state.word().to_owned(),
                };
                if *word == "·" {
                    continue;
                }
                let before = self.cells.insert(cell.clone(), (*word).to_owned());
                assert_eq!(before, None, "written twice: {cell:?}");
            }
        }
    }

    /// Everything that a cell's word says otherwise than what was seen.
    pub(super) fn complaints(&self, cell: &Cell, seen: &Seen) -> Vec<String> {
        let unwritten = String::from("nothing");
        let word = self.cells.get(cell).unwrap_or(&unwritten);
        let wrong = match self.legend.get(word) {
            Some(expected) => expected.wrong(seen),
            None => vec!["no word of the legend"],
        };
        if wrong.is_empty() {
            return Vec::new();
        }
        let fitting = self
            .legend
            .iter()
            .find(|(_, other)| other.wrong(seen).is_empty());
        let fitting = fitting.map_or("nothing in the legend", |(word, _)| word.as_str());
        let Cell {
            class,
            fault,
            state,
        } = cell;
        vec![format!(
            "{class} | {fault} | {state}: written {word}, seen {fitting}; wrong: {}\n  seen: {}",
            wrong.join(", "),
            seen.row()
        )]
    }
}

fn legend() -> BTreeMap<String, Expectation> {
    let mut legend = BTreeMap::new();
    for row in rows(LEGEND) {
        let [
            name,
            status,
            phrase,
            body,
            connection,
            seconds,
            detail,
            asked,
            store,
            outage,
            meaning,
        ] = row[..]
        else {
            panic!("not eleven columns: {row:?}");
        };
        assert!(!meaning.is_empty(), "{name} means nothing");
        let owned = str::to_owned;
        let expectation = Expectation {
            status: owned(status),
            phrase: owned(phrase),
            body: owned(body),
            connection: owned(connection),
            seconds: range(seconds),
            detail: detail.split(" or ").map(owned).collect(),
            asked: range(asked),
            store: owned(store),
            outage: owned(outage),
        };
        let before = legend.insert(owned(name), expectation);
        assert_eq!(before, None, "{name} stands there twice");
    }
    legend
}

/// `a..b`, or one value.
fn range(text: &str) -> (String, String) {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    (from.to_owned(), to.to_owned())
}

fn number(text: &str) -> f64 {
    text.parse()
        .unwrap_or_else(|_| panic!("no number: {text:?}"))
}

fn lies_in(range: &(String, String), value: f64) -> bool {
    (number(&range.0)..=number(&range.1)).contains(&value)
}

fn overlap(one: &(String, String), other: &(String, String)) -> bool {
    number(&one.0) <= number(&other.1) && number(&other.0) <= number(&one.1)
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => pattern == text,
    }
}

impl Expectation {
    /// The columns that what was seen contradicts.
    pub(super) fn wrong(&self, seen: &Seen) -> Vec<&'static str> {
        let columns = [
            ("status", self.status == seen.status.to_string()),
            ("reason phrase", fits(&self.phrase, &seen.phrase)),
            ("body", self.body == seen.body),
            ("connection", self.connection == seen.connection),
            ("seconds", lies_in(&self.seconds, seen.seconds)),
            ("Cache-Status", self.detail.contains(&seen.detail)),
            ("asked", lies_in(&self.asked, f64::from(seen.asked))),
            ("store", self.store == seen.store),
            ("outage", self.outage == seen.outage),
        ];
        let wrong = columns.into_iter().filter(|(_, fits)| !fits);
        wrong.map(|(column, _)| column).collect()
    }

    /// Whether something could be seen that both allow.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let phrases = fits(&self.phrase, other.phrase.trim_end_matches('*'))
            || fits(&other.phrase, self.phrase.trim_end_matches('*'));
        let plain = |one: &Self| {
            let own = [&one.status, &one.body, &one.connection];
            own.into_iter()
                .chain([&one.store, &one.outage])
                .cloned()
                .collect::<Vec<_>>()
        };
        phrases
            && plain(self) == plain(other)
            && self.detail.iter().any(|word| other.detail.contains(word))
            && overlap(&self.seconds, &other.seconds)
            && overlap(&self.asked, &other.asked)
    }

    /// This expectation with one column changed, for each column.
    pub(super) fn changed(&self) -> Vec<(&'static str, Self)> {
        let change = |put: &dyn Fn(&mut Self)| {
            let mut other = self.clone();
            put(&mut other);
            other
        };
        let beyond = |range: &(String, String)| {
            let above = format!("{}", number(&range.1) + 1.0);
            (above.clone(), above)
        };
        let other = |text: &str| format!("not {text}");
        vec![
            ("status", change(&|own| own.status = other(&own.status))),
            (
                "reason phrase",
                change(&|own| own.phrase = other(&own.phrase)),
            ),
            ("body", change(&|own| own.body = other(&own.body))),
            (
                "connection",
                change(&|own| own.connection = other(&own.connection)),
            ),
            ("seconds", change(&|own| own.seconds = beyond(&own.seconds))),
            ("Cache-Status", change(&|own| own.detail.clear())),
            ("asked", change(&|own| own.asked = beyond(&own.asked))),
            ("store", change(&|own| own.store = other(&own.store))),
            ("outage", change(&|own| own.outage = other(&own.outage))),
        ]
    }
}

/// Words of the legend that no cell uses.
pub(super) fn unused(table: &Table) -> BTreeSet<&str> {
    let used: BTreeSet<&str> = table.cells.values().map(String::as_str).collect();
    let all = table.legend.keys().map(String::as_str);
    all.filter(|word| !used.contains(word)).collect()
}
