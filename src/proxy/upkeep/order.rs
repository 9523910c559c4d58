//! What an operator may have done to what is stored, as JSON: the admin listener's and the command line's one language.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::nuget::id::PackageId;
use crate::nuget::pattern::IdPattern;
use crate::nuget::version::Version;
use crate::store::{KeepUsedSince, Repair};

/// Longest time that uses are looked back: who wants a longer one wants nothing trimmed.
const MAX_AGO: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Units of a duration, with their seconds.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// An order.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Remove what is chosen.
    Purge(Purge),
    /// Evict what nobody used since then.
    Trim(KeepUsedSince),
    /// Read everything; say what is damaged.
    Verify(Repair),
}

/// What is to be purged.
#[derive(Clone, Debug, PartialEq)]
pub struct Purge {
    /// Of this feed alone.
    pub feed: Option<String>,
    /// Of which packages.
    pub which: Which,
    /// Whatever its age.
    pub age: Age,
}

/// Which packages.
#[derive(Clone, Debug, PartialEq)]
pub enum Which {
    /// All, and what belongs to none.
    All,
    /// Those whose ids fit.
    Fitting(IdPattern),
    /// All versions of one.
    Id(PackageId),
    /// One version.
    Version(PackageId, Version),
}

/// How old something must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Age {
    /// As old as it likes.
    Any,
    /// Past its freshness: it would be asked for again before it answers.
    Stale,
}

impl Order {
    /// The names of the orders.
    pub const NAMES: [&str; 3] = ["purge", "trim", "verify"];

    /// Reads an order by its name and what it says.
    ///
    /// # Errors
    /// The field, its value and what was expected.
    pub fn read(name: &str, said: &Value) -> Result<Self, String> {
        let none = Map::new();
        let said = match said {
            Value::Null => &none,
            Value::Object(said) => said,
            other => return Err(format!("expected a JSON object, which {other} is not")),
        };
        let known: &[&str] = match name {
            "purge" => &["feed", "id", "pattern", "stale", "version"],
            "trim" => &["keep_used_since"],
            "verify" => &["repair"],
            _ => {
                let names = Self::NAMES.join(", ");
                return Err(format!("expected one of {names}, which {name:?} is not"));
            }
        };
        if let Some(field) = said.keys().find(|field| !known.contains(&field.as_str())) {
            let known = known.join(", ");
            return Err(format!("{field}: expected one of the fields {known}"));
        }
        match name {
            "purge" => Purge::read(said).map(Self::Purge),
            "trim" => keep_used_since(said).map(Self::Trim),
            _ => Ok(Self::Verify(match flag(said, "repair")? {
                true => Repair::Mend,
                false => Repair::ReportOnly,
            })),
        }
    }
}

impl Purge {
    fn read(said: &Map<String, Value>) -> Result<Self, String> {
        let feed = text(said, "feed")?.map(str::to_owned);
        let age = match flag(said, "stale")? {
            true => Age::Stale,
            false => Age::Any,
        };
        let id = text(said, "id")?.map(read_id).transpose()?;
        let version = text(said, "version")?.map(read_version).transpose()?;
        let pattern = text(said, "pattern")?
            .map(|text| {
                IdPattern::read(text).map_err(|expected| format!("pattern: expected {expected}"))
            })
            .transpose()?;
        let which = match (id, version, pattern) {
            (Some(_), _, Some(_)) => {
                return Err("pattern: expected an id or a pattern, not both".to_owned());
            }
            (None, Some(_), _) => return Err("version: expected an id beside it".to_owned()),
            (Some(id), Some(version), None) => Which::Version(id, version),
            (Some(id), None, None) => Which::Id(id),
            (None, None, Some(pattern)) => Which::Fitting(pattern),
            (None, None, None) if feed.is_none() && age == Age::Any => {
                return Err("expected an id, a pattern, a feed, or what is stale".to_owned());
            }
            (None, None, None) => Which::All,
        };
        Ok(Self { feed, which, age })
    }
}

/// Reads an id.
///
/// # Errors
/// The field, its value and what was expected.
pub fn read_id(text: &str) -> Result<PackageId, String> {
    PackageId::parse(text).map_err(|_| {
        format!("id: expected a package id such as \"Contoso.Log\", which {text:?} is not")
    })
}

/// Reads a version.
///
/// # Errors
/// The field, its value and what was expected.
pub fn read_version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|_| {
        format!("version: expected a version such as \"1.2.3\", which {text:?} is not")
    })
}

fn keep_used_since(said: &Map<String, Value>) -> Result<KeepUsedSince, String> {
    let text = text(said, "keep_used_since")?.unwrap_or_default();
    if text == "start" {
        return Ok(KeepUsedSince::Start);
    }
    let ago = UNITS.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?))
    });
    ago.filter(|ago| *ago <= MAX_AGO)
        .map(KeepUsedSince::Ago)
        .ok_or_else(|| {
            format!(
                "keep_used_since: expected \"start\" or a duration such as \"30d\" or \"12h\", which {text:?} is not"
            )
        })
}

fn text<'a>(said: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, String> {
    match said.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{field}: expected a text, which {other} is not")),
    }
}

fn flag(said: &Map<String, Value>, field: &str) -> Result<bool, String> {
    match said.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!(
            "{field}: expected true or false, which {other} is not"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(name: &str, said: &Value, expected: &str) {
        let problem = Order::read(name, said).expect_err("it should be refused");
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn a_purge_says_what_it_is_of() {
        let read = |said: Value| match Order::read("purge", &said) {
            Ok(Order::Purge(purge)) => purge,
            other => panic!("{other:?}"),
        };
        let id = || PackageId::parse("contoso.log").unwrap();
        let of_id = read(json!({"id": "Contoso.Log"}));
        assert_eq!((of_id.which, of_id.age), (Which::Id(id()), Age::Any));
        let version = read(json!({"id": "Contoso.Log", "version": "1.0", "feed": "corp"}));
        let one = Version::parse("1.0.0").unwrap();
        assert_eq!(version.which, Which::Version(id(), one));
        assert_eq!(version.feed.as_deref(), Some("corp"));
        let feed = read(json!({"feed": "corp", "stale": false}));
        assert_eq!((feed.which, feed.age), (Which::All, Age::Any));
        let stale = read(json!({"stale": true, "pattern": "Contoso.*"}));
        assert_eq!(stale.age, Age::Stale);
        assert!(matches!(stale.which, Which::Fitting(_)));
    }

    #[test]
    fn what_makes_no_sense_is_told_by_field_value_and_what_was_expected() {
        for (said, expected) in [
            (
                json!({}),
                "expected an id, a pattern, a feed, or what is stale",
            ),
            (json!([]), "expected a JSON object, which [] is not"),
            (
                json!({"idd": "a"}),
                "idd: expected one of the fields feed, id",
            ),
            (
                json!({"id": "a b"}),
                "id: expected a package id such as \"Contoso.Log\", which \"a b\" is not",
            ),
            (json!({"id": 7}), "id: expected a text, which 7 is not"),
            (
                json!({"id": "a", "version": "x"}),
                "version: expected a version such as \"1.2.3\", which \"x\" is not",
            ),
            (
                json!({"version": "1.0.0"}),
                "version: expected an id beside it",
            ),
            (
                json!({"id": "a", "pattern": "a*"}),
                "pattern: expected an id or a pattern, not both",
            ),
            (
                json!({"pattern": "*.a"}),
                "pattern: expected a package id, \"Contoso.*\" or \"*\", which \"*.a\" is not",
            ),
            (
                json!({"stale": "yes"}),
                "stale: expected true or false, which \"yes\" is not",
            ),
        ] {
            refused("purge", &said, expected);
        }
        refused(
            "trim",
            &json!({}),
            "keep_used_since: expected \"start\" or a duration such as",
        );
        for text in [
            "",
            "30",
            "d",
            "-1d",
            "1w",
            "99999999999999999999d",
            "40000d",
        ] {
            refused(
                "trim",
                &json!({"keep_used_since": text}),
                &format!("which {text:?} is not"),
            );
        }
        refused(
            "purgee",
            &Value::Null,
            "expected one of purge, trim, verify, which \"purgee\" is not",
        );
        refused(
            "verify",
            &json!({"repair": 1}),
            "repair: expected true or false",
        );
    }

    #[test]
    fn times_to_look_back_are_read() {
        for (text, expected) in [
            ("start", KeepUsedSince::Start),
            ("30d", KeepUsedSince::Ago(Duration::from_secs(30 * 86_400))),
            ("0s", KeepUsedSince::Ago(Duration::ZERO)),
            ("12 h", KeepUsedSince::Ago(Duration::from_secs(12 * 3600))),
        ] {
            let read = Order::read("trim", &json!({ "keep_used_since": text }));
            assert_eq!(read, Ok(Order::Trim(expected)), "{text}");
        }
        assert_eq!(
            Order::read("verify", &Value::Null),
            Ok(Order::Verify(Repair::ReportOnly))
        );
    }
}
