//! Patterns of package ids, as NuGet's packageSourceMapping has them: a whole id, or the beginning of ids and a `*`.
//!
//! They compare without case. Where several match one id, the whole id wins over every beginning and the longer
//! beginning over the shorter, as in the real client.

use std::fmt;

use super::id::{IdError, PackageId};

/// A pattern of package ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdPattern(Form);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Form {
    /// Ids that begin so, in lower case.
    Beginning(Box<str>),
    Whole(PackageId),
}

/// How closely a pattern fits an id: the greater is the closer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Closeness(usize);

impl IdPattern {
    /// Reads a pattern such as `Contoso.*`, `Contoso.Core` or `*`.
    ///
    /// # Errors
    /// If the whole, or what stands before a `*` at its end, is no id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Ok(Self(match text.strip_suffix('*') {
            None => Form::Whole(PackageId::parse(text)?),
            Some("") => Form::Beginning("".into()),
            // Made of the same characters as an id, and lowered in the same way.
            Some(beginning) => Form::Beginning(PackageId::parse(beginning)?.as_str().into()),
        }))
    }

    /// The same of a setting.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .map_err(|_| format!("a package id, \"Contoso.*\" or \"*\", which {text:?} is not"))
    }

    /// Whether every id fits.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(&self.0, Form::Beginning(beginning) if beginning.is_empty())
    }

    /// How closely it fits `id`, if it does.
    #[must_use]
    pub fn fits(&self, id: &PackageId) -> Option<Closeness> {
        match &self.0 {
            Form::Beginning(beginning) => id
                .as_str()
                .starts_with(&**beginning)
                .then_some(Closeness(beginning.len())),
            Form::Whole(whole) => (whole == id).then_some(Closeness(usize::MAX)),
        }
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Beginning(beginning) => write!(f, "{beginning}*"),
            Form::Whole(id) => write!(f, "{id}"),
        }
    }
}

/// The closest fit of several patterns.
#[must_use]
pub fn closest(patterns: &[IdPattern], id: &PackageId) -> Option<Closeness> {
    patterns.iter().filter_map(|pattern| pattern.fits(id)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> PackageId {
        PackageId::parse(text).expect("an id")
    }

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], others: &[&str]) {
        let pattern = IdPattern::parse(pattern).expect("a pattern");
        assert_eq!(IdPattern::parse(&pattern.to_string()), Ok(pattern.clone()));
        assert_eq!(pattern.is_everything(), pattern.to_string() == "*");
        for text in fits {
            assert!(pattern.fits(&id(text)).is_some(), "{pattern} {text}");
        }
        for text in others {
            assert!(pattern.fits(&id(text)).is_none(), "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_fit_as_package_source_mapping_does() {
        check(
            "Contoso.*",
            &["contoso.a", "CONTOSO.Core.B"],
            &["Contoso", "Contoso2", "x.contoso.a"],
        );
        check("Contoso", &["contoso"], &["contoso.a", "contos"]);
        check("*", &["a", "contoso.a"], &[]);
        check("Ünit*", &["üNIT.a"], &["unit.a"]);
    }

    #[test]
    fn the_whole_id_is_closest_then_the_longest_beginning() {
        let of = |texts: &[&str]| {
            let patterns: Vec<_> = texts
                .iter()
                .map(|text| IdPattern::parse(text).expect("a pattern"))
                .collect();
            closest(&patterns, &id("a.b.c"))
        };
        assert!(of(&["*"]) > of(&["b.*"]));
        assert!(of(&["a.*"]) > of(&["*"]));
        assert!(of(&["*", "a.b.*"]) > of(&["a.*"]));
        assert!(of(&["A.B.C"]) > of(&["a.b.c*"]));
        assert_eq!(of(&["x", "y.*"]), None);
    }

    #[test]
    fn what_can_fit_no_id_is_refused() {
        for text in ["", "a*b", "**", "a/b", "a b*", "a/*", "*.a", ".*"] {
            assert!(IdPattern::parse(text).is_err(), "{text}");
            let expected = IdPattern::read(text).expect_err(text);
            assert!(expected.contains("Contoso.*"), "{expected}");
        }
    }
}
