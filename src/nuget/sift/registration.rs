//! Registrations with some of their leaves left out.

use std::ops::Range;

use super::{Cuts, Sifted};
use crate::nuget::ReadError;
use crate::nuget::json::encode_string;
use crate::nuget::registration::{self, Page, PageMarks, RegistrationKind};
use crate::nuget::version::Version;

/// What a page that lies outside its index holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outside {
    /// Nothing that can be had: it is left out.
    Gone,
    /// Leaves of these versions, as written.
    Holds(Vec<String>),
    /// Nobody knows: it stays as it is.
    Unknown,
}

/// A registration document with those leaves, by their version as written, that `keep` wants. A page of an index of which
/// nothing is left goes too; of one that lies elsewhere, `outside` says what it holds. Of a document that is a leaf itself,
/// only the numbers in the result tell.
///
/// # Errors
/// If `text` is no registration.
pub fn registration(
    text: &str,
    mut keep: impl FnMut(Option<&str>) -> bool,
    mut outside: impl FnMut(usize, &Page) -> Outside,
) -> Result<Sifted, ReadError> {
    let document = registration::read(text)?;
    let mut cuts = Cuts::default();
    let mut held: Vec<Held> = document.pages.iter().map(|_| Held::default()).collect();
    let mut beside = Held::default();
    let mut leaves = Vec::with_capacity(document.leaves.len());
    for leaf in &document.leaves {
        let version = leaf.version.as_deref();
        let is_kept = keep(version);
        let place = leaf.page.and_then(|page| held.get_mut(page));
        place.unwrap_or(&mut beside).note(version, is_kept);
        leaves.push((leaf.page, leaf.span.clone(), is_kept));
    }
    let is_index = document.kind == RegistrationKind::Index;
    for (at, (page, held)) in document.pages.iter().zip(&mut held).enumerate() {
        if is_index && !page.inlined {
            match outside(at, page) {
                Outside::Gone => held.dropped += 1,
                Outside::Holds(versions) => {
                    for version in &versions {
                        held.note(Some(version), keep(Some(version)));
                    }
                }
                Outside::Unknown => held.left += 1,
            }
        }
    }
    let mut values = Vec::new();
    let mut pages_gone = 0;
    for (page, held) in document.pages.iter().zip(&held) {
        if held.dropped == 0 {
            continue;
        }
        if is_index && held.left == 0 {
            pages_gone += 1;
            cuts.gone.push(page.span.clone());
        } else {
            held.correct(text, page, &mut values);
        }
    }
    let is_page_gone = |page: Option<usize>| {
        let held = page.and_then(|page| held.get(page));
        is_index && held.is_some_and(|held| held.left == 0)
    };
    for (page, span, is_kept) in leaves {
        if !is_kept && !is_page_gone(page) && document.kind != RegistrationKind::Leaf {
            cuts.gone.push(span);
        }
    }
    let items_gone = pages_gone + if is_index { beside.dropped } else { 0 };
    if items_gone > 0 {
        lower(text, document.count_span.as_ref(), items_gone, &mut values);
    }
    let sum = |count: fn(&Held) -> usize| held.iter().chain([&beside]).map(count).sum();
    let sifted = cuts.make(text, values);
    Ok(Sifted {
        text: sifted.text,
        dropped: sum(|held| held.dropped),
        left: sum(|held| held.left),
    })
}

/// What a page holds.
#[derive(Debug, Default)]
struct Held {
    left: usize,
    dropped: usize,
    lowest: Option<Version>,
    highest: Option<Version>,
}

impl Held {
    fn note(&mut self, version: Option<&str>, is_kept: bool) {
        if !is_kept {
            self.dropped += 1;
            return;
        }
        self.left += 1;
        let Some(version) = version.and_then(|text| Version::parse(text).ok()) else {
            return;
        };
        if self.lowest.as_ref().is_none_or(|lowest| version < *lowest) {
            self.lowest = Some(version.clone());
        }
        if self
            .highest
            .as_ref()
            .is_none_or(|highest| *highest < version)
        {
            self.highest = Some(version);
        }
    }

    /// Sets right what the page says of itself.
    fn correct(&self, text: &str, page: &Page, values: &mut Vec<(Range<usize>, String)>) {
        let PageMarks {
            count,
            lower: low,
            upper: high,
        } = &page.marks;
        lower(text, count.as_ref(), self.dropped, values);
        for (mark, said, bound) in [
            (low, &page.lower, &self.lowest),
            (high, &page.upper, &self.highest),
        ] {
            let said = said.as_deref().and_then(|text| Version::parse(text).ok());
            if let (Some(mark), Some(bound)) = (mark, bound)
                && said.as_ref() != Some(bound)
            {
                values.push((mark.clone(), encode_string(bound.as_str())));
            }
        }
    }
}

/// Lowers a number in a text; one that is written as a string stays one.
pub(super) fn lower(
    text: &str,
    span: Option<&Range<usize>>,
    by: usize,
    values: &mut Vec<(Range<usize>, String)>,
) {
    let Some(span) = span else { return };
    let raw = text.get(span.clone()).unwrap_or_default();
    let Ok(number) = raw.trim_matches('"').parse::<u64>() else {
        return;
    };
    let number = number.saturating_sub(u64::try_from(by).unwrap_or(u64::MAX));
    let quote = if raw.starts_with('"') { "\"" } else { "" };
    values.push((span.clone(), format!("{quote}{number}{quote}")));
}
