//! Block rules: which ids and versions a feed does not show.
//!
//! A rule is an id pattern as package source mapping writes it, `Evil.Package`, `Contoso.*` or `*`, and optionally `@` with a
//! version or a range. Patterns compare as ids do, without case. A rule says what is hidden; who hides it, and how, is not
//! decided here.

use std::fmt;
use std::sync::Arc;

use super::id::{IdError, PackageId};
use super::pattern::IdPattern;
use super::range::{RangeError, VersionRange};
use super::version::{Version, VersionError};

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    ids: IdPattern,
    /// `None` is every version.
    versions: Option<VersionRange>,
    text: Box<str>,
}

impl Rule {
    /// The rule that `text` writes: `id`, `id@1.2.3` or `id@[1.0,2.0)`.
    ///
    /// # Errors
    /// If pattern, version or range cannot be read.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (pattern, versions) = match text.split_once('@') {
            Some((pattern, versions)) => (pattern, Some(versions.trim())),
            None => (text, None),
        };
        let versions = match versions {
            None => None,
            Some(text) if text.starts_with(['[', '(']) || text.ends_with([']', ')']) => {
                Some(VersionRange::parse(text).map_err(RuleError::Range)?)
            }
            Some(text) => {
                let version = Version::parse(text).map_err(RuleError::Version)?;
                Some(VersionRange::exactly(version))
            }
        };
        Ok(Self {
            ids: IdPattern::parse(pattern.trim()).map_err(RuleError::Id)?,
            versions,
            text: text.trim().into(),
        })
    }

    /// The rule as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Every rule of a feed. Cheap to clone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BlockRules {
    all: Arc<[Rule]>,
}

impl BlockRules {
    /// These rules.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { all: rules.into() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// Whether any rule is about some version of this id.
    #[must_use]
    pub fn concern(&self, id: &PackageId) -> bool {
        self.all.iter().any(|rule| rule.ids.fits(id).is_some())
    }

    /// Whether any rule may hide a version of this id between these two, themselves included.
    #[must_use]
    pub fn concern_within(&self, id: &PackageId, lower: &Version, upper: &Version) -> bool {
        self.all.iter().any(|rule| {
            let versions = rule.versions.as_ref();
            versions.is_none_or(|range| range.meets(lower, upper)) && rule.ids.fits(id).is_some()
        })
    }

    /// The first rule that hides every version of an id.
    #[must_use]
    pub fn hiding(&self, id: &PackageId) -> Option<&Rule> {
        let mut rules = self.all.iter();
        rules.find(|rule| rule.versions.is_none() && rule.ids.fits(id).is_some())
    }

    /// The first rule that hides this version of an id.
    #[must_use]
    pub fn hiding_version(&self, id: &PackageId, version: &Version) -> Option<&Rule> {
        self.all.iter().find(|rule| {
            let versions = rule.versions.as_ref();
            versions.is_none_or(|range| range.holds(version)) && rule.ids.fits(id).is_some()
        })
    }
}

/// Why a text is no rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RuleError {
    /// What stands before the `@` is no pattern.
    Id(IdError),
    /// What stands behind it is no range.
    Range(RangeError),
    /// What stands behind it is no version.
    Version(VersionError),
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(error) => write!(f, "{error}"),
            Self::Range(error) => write!(f, "{error}"),
            Self::Version(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> BlockRules {
        BlockRules::new(
            texts
                .iter()
                .map(|text| Rule::parse(text).expect(text))
                .collect(),
        )
    }

    #[track_caller]
    fn check(rule: &str, hidden: &[(&str, &str)], shown: &[(&str, &str)]) {
        let rules = rules(&[rule]);
        let hides = |id: &str, version: &str| {
            let (id, version) = (
                PackageId::parse(id).expect(id),
                Version::parse(version).expect(version),
            );
            rules.hiding_version(&id, &version).map(Rule::as_str)
        };
        for (id, version) in hidden {
            assert_eq!(hides(id, version), Some(rule.trim()), "{id} {version}");
        }
        for (id, version) in shown {
            assert_eq!(hides(id, version), None, "{id} {version}");
        }
    }

    #[test]
    fn a_rule_hides_what_it_names() {
        check(
            "Evil.Package",
            &[("evil.PACKAGE", "1.0"), ("evil.package", "2.0-a")],
            &[("evil", "1.0"), ("evil.package.x", "1.0")],
        );
        check(
            "Foo@1.2.3",
            &[("foo", "1.2.3.0"), ("FOO", "1.2.3+b")],
            &[("foo", "1.2.3-a"), ("foo", "1.2.4"), ("foos", "1.2.3")],
        );
        check(
            " Bar @ [2.0,2.4] ",
            &[("bar", "2.0"), ("bar", "2.4")],
            &[("bar", "2.5"), ("bar", "2.0-a")],
        );
        check(
            "Baz.*",
            &[("baz.a", "1.0"), ("BAZ.a.b", "1.0")],
            &[("baz", "1.0"), ("bazaar", "1.0")],
        );
        check(
            "Baz*@(,1.0)",
            &[("baz", "0.9"), ("bazaar", "1.0-rc")],
            &[("baz", "1.0")],
        );
        check("*@1.0.0-Beta", &[("a", "1.0.0-beta")], &[("a", "1.0.0")]);
        check("*", &[("a", "1.0")], &[]);
        check("Å.*", &[("å.b", "1.0")], &[("a.b", "1.0")]);
    }

    #[test]
    fn the_first_rule_that_fits_is_named_and_whole_ids_are_told_apart() {
        let rules = rules(&["Foo@1.0", "F*", "Foo"]);
        let (foo, version) = (
            PackageId::parse("foo").expect("an id"),
            Version::parse("1.0").expect("a version"),
        );
        assert_eq!(
            rules.hiding_version(&foo, &version).map(Rule::as_str),
            Some("Foo@1.0")
        );
        assert_eq!(rules.hiding(&foo).map(Rule::as_str), Some("F*"));
        let other = PackageId::parse("goo").expect("an id");
        assert!(rules.concern(&foo) && !rules.concern(&other) && rules.hiding(&other).is_none());
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = Rule::parse(text).map_err(|error| error.to_string());
        assert_eq!(error, Err(expected.to_owned()));
    }

    #[test]
    fn what_is_no_rule_says_why() {
        check_refused("", "an empty text is no package id");
        check_refused("@1.0", "an empty text is no package id");
        check_refused(
            "a*b",
            "\"a*b\" is no package id: expected letters, digits, '.', '-' or '_', found '*'",
        );
        check_refused(
            "**",
            "\"*\" is no package id: expected letters, digits, '.', '-' or '_', found '*'",
        );
        check_refused(
            "a b",
            "\"a b\" is no package id: expected letters, digits, '.', '-' or '_', found ' '",
        );
        check_refused(
            "a@",
            "\"\" is no package version: expected numbers from 0 to 2147483647 between dots",
        );
        check_refused(
            "a@1.*",
            "\"1.*\" is no package version: expected numbers from 0 to 2147483647 between dots",
        );
        check_refused(
            "a@[2,1]",
            "\"[2,1]\" is no range of versions: no version lies in it",
        );
        check_refused(
            "a@1,2]",
            "\"1,2]\" is no range of versions: expected '[' or '(' before it and ']' or ')' behind it",
        );
    }
}
