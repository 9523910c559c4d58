//! Which package ids somebody may push: an id, or the beginning of ids.
//!
//! The form is that of the client's own package source mapping: `Contoso.Log`, `Contoso.*` or `*`, in any case.

use std::fmt;

use crate::nuget::id::PackageId;

/// An id or a beginning of ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    /// The id or beginning, in its canonical case.
    text: String,
    is_prefix: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let expected = || format!("a package id, \"Contoso.*\" or \"*\", which {text:?} is not");
        let (stem, is_prefix) = match text.strip_suffix('*') {
            Some("") => return Ok(Self::everything()),
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let id = PackageId::parse(stem).map_err(|_| expected())?;
        Ok(Self {
            text: id.as_str().to_owned(),
            is_prefix,
        })
    }

    /// The pattern that every id fits.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            text: String::new(),
            is_prefix: true,
        }
    }

    /// Whether every id fits.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.is_prefix && self.text.is_empty()
    }

    /// Whether this id fits.
    #[must_use]
    pub fn fits(&self, id: &PackageId) -> bool {
        if self.is_prefix {
            id.as_str().starts_with(&self.text)
        } else {
            id.as_str() == self.text
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        write!(f, "{}{star}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, id: &str, expected: bool) {
        let id = PackageId::parse(id).expect("an id");
        let pattern = Pattern::read(pattern).expect("a pattern");
        assert_eq!(pattern.fits(&id), expected, "{pattern} {id:?}");
        assert_eq!(Pattern::read(&pattern.to_string()), Ok(pattern));
    }

    #[test]
    fn an_id_fits_in_any_case_and_nothing_else_does() {
        check("Contoso.Log", "contoso.LOG", true);
        check("Contoso.Log", "Contoso.Logs", false);
        check("Contoso.Log", "Contoso", false);
        check("Contoso.*", "contoso.log", true);
        check("Contoso.*", "Contoso.Log.Sinks", true);
        check("Contoso.*", "Contoso", false);
        check("Contoso.*", "ContosoX.Log", false);
        check("contoso*", "Contoso", true);
        check("ÜNÏ.*", "ünï.code", true);
        check("*", "anything", true);
    }

    #[test]
    fn what_could_be_no_pattern_says_what_was_expected() {
        for text in ["", "a b", "a/b", "*.Log", "Contoso.*.Log", "**"] {
            let expected = Pattern::read(text).expect_err(text);
            assert!(expected.contains("Contoso.*"), "{expected}");
        }
    }
}
