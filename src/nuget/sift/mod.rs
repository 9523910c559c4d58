//! Documents with some of what they name left out: versions of a list, leaves and pages of a registration, search results.
//!
//! What is kept keeps every byte; only the parts left out go, each with one comma, and the numbers and bounds that spoke of
//! them are set right. Which parts go, the caller says; nothing is sorted or added.

mod registration;
mod search;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use registration::{Outside, registration};
pub use search::{names, search};

use super::ReadError;
use super::json::{Kind, Scanner};
use super::splice::splice;

/// What is left of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sifted {
    /// The text, if it is another than before.
    pub text: Option<String>,
    /// How much was left out: versions, leaves or results.
    pub dropped: usize,
    /// How much is left.
    pub left: usize,
}

/// A version list with those versions, as written, that `keep` wants.
///
/// # Errors
/// If `text` is no version list.
pub fn version_list(text: &str, mut keep: impl FnMut(&str) -> bool) -> Result<Sifted, ReadError> {
    let mut scanner = Scanner::new("version list", text);
    let mut cuts = Cuts::default();
    scanner.object(|scanner, name| {
        if name != "versions" {
            return Ok(());
        }
        cuts = Cuts::default();
        if scanner.peek()? == Kind::Array {
            scanner.array(|scanner| {
                let span = scanner.string()?;
                let version = scanner.decode(&span);
                cuts.note(span, keep(&version));
                Ok(())
            })?;
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(cuts.make(text, Vec::new()))
}

/// Items of arrays that stay or go.
#[derive(Debug, Default)]
struct Cuts {
    /// Those that go, in the order of the text.
    gone: Vec<Range<usize>>,
    left: usize,
}

impl Cuts {
    fn note(&mut self, span: Range<usize>, is_kept: bool) {
        if is_kept {
            self.left += 1;
        } else {
            self.gone.push(span);
        }
    }

    /// The text without them, and with these values in the place of others.
    fn make(self, text: &str, values: Vec<(Range<usize>, String)>) -> Sifted {
        let dropped = self.gone.len();
        let edited = (dropped > 0 || !values.is_empty()).then(|| edit(text, &self.gone, values));
        Sifted {
            text: edited,
            dropped,
            left: self.left,
        }
    }
}

/// `text` without `gone`, items of arrays that lie in no other of them, and with these values in the place of others. A
/// value inside a part that goes, goes with it.
fn edit(text: &str, gone: &[Range<usize>], values: Vec<(Range<usize>, String)>) -> String {
    let mut gone: Vec<Range<usize>> = gone.to_vec();
    gone.sort_by_key(|span| span.start);
    let cuts = cut(text, &gone);
    let inside = |span: &Range<usize>| {
        cuts.iter()
            .any(|cut| cut.start <= span.start && span.end <= cut.end)
    };
    let mut edits: Vec<(Range<usize>, String)> = values
        .into_iter()
        .filter(|(span, _)| !inside(span))
        .collect();
    edits.extend(cuts.iter().map(|cut| (cut.clone(), String::new())));
    edits.sort_by_key(|(span, _)| span.start);
    splice(text, edits)
}

/// The spans of items, each widened by the one comma that goes with it: the one before it, for the first the one behind.
/// The spans ascend and do not overlap.
fn cut(text: &str, items: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut cuts: Vec<Range<usize>> = Vec::with_capacity(items.len());
    for item in items {
        let from = cuts.last().map_or(0, |cut| cut.end);
        let before = text.get(from..item.start).unwrap_or_default().trim_end();
        let after = text.get(item.end..).unwrap_or_default();
        let behind = after.len() - after.trim_start().len();
        let cut = if before.ends_with(',') {
            from + before.len() - 1..item.end
        } else if after.trim_start().starts_with(',') {
            item.start..item.end + behind + 1
        } else {
            item.clone()
        };
        cuts.push(cut);
    }
    cuts
}
