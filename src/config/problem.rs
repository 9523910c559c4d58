//! What is wrong with a configuration, and where.
//!
//! A mistake is never the end of reading: it becomes a [`Problem`] and reading goes on, so that one report names them
//! all. It refuses to repeat the value of a secret.

use std::fmt;

/// Where a setting was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// An environment variable, by name.
    Environment(String),
    /// A line of the configuration file, counted from 1.
    File {
        /// The file, as the user named it.
        name: String,
        /// The line.
        line: usize,
    },
    /// A command-line flag, with its dashes.
    Flag(String),
    /// Nowhere: the setting is missing.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment variable {}", OneLine(name)),
            Self::File { name, line } => write!(f, "{}:{line}", OneLine(name)),
            Self::Flag(flag) => write!(f, "flag {}", OneLine(flag)),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// A text as a report shows it. A name in quotes, and so any name in a file, may hold line breaks and worse.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() {
                write!(f, "{}", c.escape_default())
            } else {
                write!(f, "{c}")
            }
        })
    }
}

/// One mistake: where it is, what stands there and what was expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The setting, or the unknown name.
    pub setting: String,
    /// What stands there; `None` where there is nothing or it is secret.
    pub found: Option<String>,
    /// What was expected instead.
    pub expected: String,
}

/// How much of a wrong value a report repeats, in characters: a whole certificate in the wrong place helps nobody.
const MAX_SHOWN: usize = 80;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, OneLine(&self.setting))?;
        if let Some(found) = &self.found {
            let shown: String = found.chars().take(MAX_SHOWN).collect();
            let more = if shown.len() < found.len() { "…" } else { "" };
            write!(f, " is {shown:?}{more}")?;
        }
        write!(f, ": expected {}", OneLine(&self.expected))
    }
}

/// Every problem of a configuration. Its `Display` has one line for each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// The problems, in the order of their places: file, environment, flags, then what concerns several settings.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What to say about a name that is no setting: the nearest of `known`, where one is near. Two names that differ in more
/// than two fifths are no misspellings of each other.
pub(super) fn known_setting<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, known)| distance * 5 <= name.len().max(known.len()) * 2);
    match nearest {
        Some((_, known)) => format!("a known setting; the nearest is {known:?}"),
        None => "a known setting".to_owned(),
    }
}

/// The number of insertions, deletions and replacements between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in [
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("max_holds", "max_hold", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_misspelling_names_what_was_meant_and_nonsense_names_nothing() {
        let known = || ["listen", "max_hold", "data_dir"].into_iter();
        assert_eq!(
            known_setting("max_holt", known()),
            "a known setting; the nearest is \"max_hold\""
        );
        assert_eq!(known_setting("profile", known()), "a known setting");
    }

    #[test]
    fn a_problem_is_one_line_whatever_is_in_a_name() {
        let problem = Problem {
            place: Place::Environment("SLUICE_A\rB".to_owned()),
            setting: "é\n\u{1b}[2J".to_owned(),
            found: None,
            expected: "a\nb".to_owned(),
        };
        assert_eq!(
            problem.to_string(),
            "environment variable SLUICE_A\\rB: é\\n\\u{1b}[2J: expected a\\nb"
        );
    }

    #[test]
    fn a_problem_is_one_sentence_and_long_values_are_cut() {
        let problem = Problem {
            place: Place::File {
                name: "a.toml".to_owned(),
                line: 3,
            },
            setting: "max_hold".to_owned(),
            found: Some("x".repeat(100)),
            expected: "a duration".to_owned(),
        };
        assert_eq!(
            problem.to_string(),
            format!(
                "a.toml:3: max_hold is \"{}\"…: expected a duration",
                "x".repeat(80)
            )
        );
    }
}
