//! Where settings come from: the file, the environment, the flags.
//!
//! Each source is taken as a whole before anything is read from it: the environment is a snapshot, so that tests hand in
//! their own. It refuses to know what a setting means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Problems};
use super::value::Value;

/// The environment as it was at start. A value that is no Unicode is kept apart, to be complained of if it is ours.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Option<String>>,
}

impl Environment {
    /// A snapshot of these variables.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
            .collect();
        Self { variables }
    }

    /// The value of a variable that is set and not empty: an empty one is how compose files leave a setting alone.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)?
            .clone()
            .filter(|value| !value.is_empty())
    }

    /// Variables that begin with the prefix, by name, without those that are empty.
    pub(super) fn starting<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.variables
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .filter(|(_, value)| *value != Some(""))
    }
}

/// Reads the files that a configuration names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files;

impl Files {
    /// The text of a file.
    ///
    /// # Errors
    /// As the operating system says; `InvalidData` for one longer than `max_bytes` or no UTF-8.
    pub(super) fn read(self, path: &Path, max_bytes: usize) -> io::Result<String> {
        let mut text = String::new();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        std::fs::File::open(path)?
            .take(limit + 1)
            .read_to_string(&mut text)?;
        if text.len() > max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("longer than {max_bytes} bytes"),
            ));
        }
        Ok(text)
    }
}

/// A setting as a source gave it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A configuration file, taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct FileContent {
    pub(super) settings: Vec<Given>,
    /// The settings of each `[[feed]]` and where it begins.
    pub(super) feeds: Vec<(Place, Vec<Given>)>,
}

/// Tables whose settings have its name before their own, as flags and variables do.
const TABLES: &[&str] = &["tools"];

/// Takes a configuration file apart. What is no TOML becomes problems; the rest of the file is still read.
pub(super) fn parse_file(name: &str, text: &str, problems: &mut Problems) -> FileContent {
    let (table, errors) = DeTable::parse_recoverable(text);
    let place = |offset: usize| Place::File {
        name: name.to_owned(),
        line: line_of(text, offset),
    };
    for error in &errors {
        let start = error.span().map_or(0, |span| span.start);
        problems.push(Problem {
            place: place(start),
            setting: "syntax".to_owned(),
            found: None,
            expected: format!("TOML ({})", error.message().trim()),
        });
    }
    // Where the syntax is broken, what was recovered may be cut short, and complaints about it would mislead.
    if !errors.is_empty() {
        return FileContent::default();
    }
    let mut content = FileContent {
        settings: given(table.get_ref(), &place),
        feeds: Vec::new(),
    };
    content.settings.retain(|given| given.name != "feed");
    for name in TABLES {
        if let Some(DeValue::Table(table)) = table.get_ref().get(*name).map(|value| value.get_ref())
        {
            content.settings.retain(|given| given.name != *name);
            let prefixed = given(table, &place).into_iter().map(|given| Given {
                name: format!("{name}_{}", given.name),
                ..given
            });
            content.settings.extend(prefixed);
        }
    }
    let Some((key, feeds)) = table.get_ref().get_key_value("feed") else {
        return content;
    };
    let DeValue::Array(items) = feeds.get_ref() else {
        problems.push(not_a_feed(place(key.span().start), shown(feeds.get_ref())));
        return content;
    };
    for item in items {
        let begin = place(item.span().start);
        match item.get_ref() {
            DeValue::Table(table) => content.feeds.push((begin, given(table, &place))),
            other => problems.push(not_a_feed(begin, shown(other))),
        }
    }
    content
}

fn not_a_feed(place: Place, found: String) -> Problem {
    Problem {
        place,
        setting: "feed".to_owned(),
        found: Some(found),
        expected: "tables, each below a line [[feed]]".to_owned(),
    }
}

fn given(table: &DeTable<'_>, place: &impl Fn(usize) -> Place) -> Vec<Given> {
    let mut list: Vec<(usize, Given)> = table
        .iter()
        .map(|(key, value)| {
            let given = Given {
                name: key.get_ref().to_string(),
                value: convert(value.get_ref()),
                place: place(key.span().start),
            };
            (key.span().start, given)
        })
        .collect();
    // The table is sorted by name; where `password` and `password_file` both stand, the later line holds.
    list.sort_by_key(|(start, _)| *start);
    list.into_iter().map(|(_, given)| given).collect()
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect();
            texts.map_or_else(
                || Value::Other("a list of other kinds".to_owned()),
                Value::List,
            )
        }
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Float(_) | DeValue::Table(_) => {
            Value::Other(shown(value))
        }
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Float(value) => value.to_string(),
        DeValue::Integer(value) => value.to_string(),
        DeValue::String(value) => value.to_string(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + memchr::memchr_iter(b'\n', before).count()
}
