//! The NuGet V3 protocol as pure functions: ids, versions, and readers of every document that Sluice serves.
//!
//! Readers yield spans of the text they read, so that a document is rewritten by joining slices and every byte that is
//! not a link survives. Nothing here does I/O, knows HTTP or storage, or reads a clock.

pub mod catalog;
pub mod catalog_list;
pub mod commit_time;
pub(crate) mod digest;
pub mod foreign;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod id;
pub mod json;
pub mod link;
pub mod merge;
pub mod nupkg;
pub mod package_signature;
pub mod pattern;
pub mod push;
pub mod range;
pub mod registration;
pub mod rule;
pub mod search;
pub mod service_index;
pub mod sift;
pub mod signatures;
pub mod splice;
pub mod tools;
pub mod version;
pub mod version_list;
pub mod vulnerabilities;

#[cfg(test)]
mod tests;

use std::fmt;

/// Why a document could not be read as one of its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReadError {
    /// The kind of document that was expected, such as "registration".
    pub what: &'static str,
    /// Where in the text the problem is, in bytes, where it has a place.
    pub at: Option<usize>,
    /// What was expected and what was found.
    pub problem: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        if let Some(at) = self.at {
            write!(f, "at byte {at}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ReadError {}
