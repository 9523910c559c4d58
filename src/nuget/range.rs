//! Ranges of versions in NuGet's interval notation.
//!
//! `[1.0,2.0)`, `(,2.0]`, `[1.0,)`, `(,)` and `[1.0]`, each bound with any spelling of a version. A version lies in a range
//! by order alone, as the real client has it: `[2.0,2.4)` holds 2.4.0-beta, and `[2.0,2.4]` does not hold 2.0.0-beta.
//! Floating versions and the bare version that means "at least" elsewhere are not read here.

use std::fmt;

use super::version::Version;

/// One end of a range.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Bound {
    Excluded(Version),
    Included(Version),
    Open,
}

/// A range of versions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VersionRange {
    lower: Bound,
    upper: Bound,
}

impl VersionRange {
    /// The range that holds one version alone.
    #[must_use]
    pub fn exactly(version: Version) -> Self {
        Self {
            lower: Bound::Included(version.clone()),
            upper: Bound::Included(version),
        }
    }

    /// The range that `text` writes as an interval.
    ///
    /// # Errors
    /// If a bracket, a comma or a version is missing or wrong, or if no version can lie in the range.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let fault = |problem| RangeError {
            value: text.chars().take(MAX_SHOWN_CHARS).collect(),
            problem,
        };
        let inner = text.strip_prefix(['[', '(']);
        let inner = inner.and_then(|inner| inner.strip_suffix([']', ')']));
        let inner = inner.ok_or_else(|| fault(RangeProblem::Brackets))?;
        let (from, to) = (text.starts_with('['), text.ends_with(']'));
        let version = |text: &str| {
            let parsed = Version::parse(text.trim());
            parsed.map_err(|error| fault(RangeProblem::Version(error.to_string())))
        };
        let Some((lower, upper)) = inner.split_once(',') else {
            let version = version(inner)?;
            return if from && to {
                Ok(Self::exactly(version))
            } else {
                Err(fault(RangeProblem::Single))
            };
        };
        let bound = |text: &str, is_included| match (text.trim(), is_included) {
            ("", _) => Ok(Bound::Open),
            (text, true) => version(text).map(Bound::Included),
            (text, false) => version(text).map(Bound::Excluded),
        };
        let range = Self {
            lower: bound(lower, from)?,
            upper: bound(upper, to)?,
        };
        if range.is_empty() {
            return Err(fault(RangeProblem::Empty));
        }
        Ok(range)
    }

    /// Whether a version lies in it.
    #[must_use]
    pub fn holds(&self, version: &Version) -> bool {
        let above = match &self.lower {
            Bound::Excluded(lower) => lower < version,
            Bound::Included(lower) => lower <= version,
            Bound::Open => true,
        };
        let below = match &self.upper {
            Bound::Excluded(upper) => version < upper,
            Bound::Included(upper) => version <= upper,
            Bound::Open => true,
        };
        above && below
    }

    /// Whether a version between these two, themselves included, may lie in it.
    #[must_use]
    pub fn meets(&self, lower: &Version, upper: &Version) -> bool {
        let above = match &self.upper {
            Bound::Excluded(own) => lower < own,
            Bound::Included(own) => lower <= own,
            Bound::Open => true,
        };
        let below = match &self.lower {
            Bound::Excluded(own) => own < upper,
            Bound::Included(own) => own <= upper,
            Bound::Open => true,
        };
        above && below
    }

    fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (
                Bound::Excluded(lower) | Bound::Included(lower),
                Bound::Excluded(upper) | Bound::Included(upper),
            ) => lower >= upper,
            (Bound::Open, _) | (_, Bound::Open) => false,
        }
    }
}

/// Longest part of a wrong text that an error repeats.
const MAX_SHOWN_CHARS: usize = 64;

/// Why a text is no range of versions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RangeError {
    value: String,
    problem: RangeProblem,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum RangeProblem {
    Brackets,
    Empty,
    Single,
    Version(String),
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = &self.value;
        write!(f, "{value:?} is no range of versions: ")?;
        match &self.problem {
            RangeProblem::Brackets => {
                f.write_str("expected '[' or '(' before it and ']' or ')' behind it")
            }
            RangeProblem::Empty => f.write_str("no version lies in it"),
            RangeProblem::Single => f.write_str("one version alone is written [1.2.3]"),
            RangeProblem::Version(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for RangeError {}

#[cfg(test)]
mod tests {
    //! Cases: every form of the notation (learn.microsoft.com, "Package versioning", interval notation); SemVer 2.0.0
    //! section 11 at the bounds.

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    #[track_caller]
    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let range = VersionRange::parse(range).expect(range);
        for text in inside {
            assert!(range.holds(&version(text)), "{text} in {range:?}");
        }
        for text in outside {
            assert!(!range.holds(&version(text)), "{text} in {range:?}");
        }
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = VersionRange::parse(text).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err(format!("{text:?} is no range of versions: {expected}"))
        );
    }

    #[test]
    fn every_form_of_the_notation() {
        check(
            "[1.0]",
            &["1", "1.0.0.0", "1.0.0+x"],
            &["1.0.0-rc", "1.0.0.1", "0.9"],
        );
        check(
            "[2.0,2.4]",
            &["2.0", "2.4.0", "2.3.9-beta"],
            &["2.0.0-beta", "2.4.0.1", "2.5.0-a"],
        );
        check(
            "(2.0,2.4)",
            &["2.0.0.1", "2.4.0-beta"],
            &["2.0", "2.4", "2.0.0-beta"],
        );
        check("[2.0,2.4)", &["2.0", "2.4.0-beta"], &["2.4"]);
        check("(2.0, 2.4]", &["2.0.1-a", "2.4"], &["2.0"]);
        check("[1.0,)", &["1.0", "99"], &["1.0-rc"]);
        check("(1.0,)", &["1.0.0.1"], &["1.0"]);
        check("(,1.0]", &["0.0.0-a", "1.0", "1.0-rc"], &["1.0.1-a"]);
        check("[,1.0)", &["0.9", "1.0-rc"], &["1.0"]);
        check("(,)", &["0.0.0-a", "99"], &[]);
        check(
            "[1.0-RC.2,1.0-rc.10]",
            &["1.0-rc.3", "1.0-rc.10"],
            &["1.0-rc.1", "1.0-rc.11", "1.0"],
        );
    }

    #[test]
    fn ranges_meet_where_they_share_a_version() {
        let check = |range: &str, lower: &str, upper: &str, expected: bool| {
            let range = VersionRange::parse(range).expect(range);
            assert_eq!(
                range.meets(&version(lower), &version(upper)),
                expected,
                "{range:?} {lower} {upper}"
            );
        };
        check("[1.0,2.0]", "2.0", "3.0", true);
        check("[1.0,2.0)", "2.0", "3.0", false);
        check("(1.0,2.0]", "0.1", "1.0", false);
        check("[1.0,2.0]", "0.1", "1.0", true);
        check("[1.0,2.0]", "1.1", "1.2", true);
        check("[1.5]", "1.0", "2.0", true);
        check("(,)", "1.0", "1.0", true);
        check("[3.0,)", "1.0", "2.0", false);
        check("(,0.5]", "1.0", "2.0", false);
    }

    #[test]
    fn what_is_no_range_says_why() {
        const BRACKETS: &str = "expected '[' or '(' before it and ']' or ')' behind it";
        for text in ["", "1.0", "[1.0", "1.0]", "[", "{1,2}", " [1.0]"] {
            check_refused(text, BRACKETS);
        }
        for text in ["(1.0)", "[1.0)", "(1.0]"] {
            check_refused(text, "one version alone is written [1.2.3]");
        }
        for text in [
            "[2.0,1.0]",
            "(1.0,1.0)",
            "[1.0,1.0)",
            "(1.0,1.0]",
            "[1.0,1.0-rc]",
        ] {
            check_refused(text, "no version lies in it");
        }
        let number = "expected numbers from 0 to 2147483647 between dots";
        check_refused("[]", &format!("\"\" is no package version: {number}"));
        check_refused("[1.*]", &format!("\"1.*\" is no package version: {number}"));
        check_refused(
            "[1,2,3]",
            &format!("\"2,3\" is no package version: {number}"),
        );
        check_refused("[x,2]", &format!("\"x\" is no package version: {number}"));
    }
}
