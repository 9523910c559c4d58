//! Search and autocomplete results with some of what they name left out.

use std::ops::Range;

use super::registration::lower;
use super::{Cuts, Sifted};
use crate::nuget::ReadError;
use crate::nuget::json::{Kind, Scanner};
use crate::nuget::link::read_text;
use crate::nuget::version::Version;

/// What of a result stays.
#[derive(Debug, Default)]
struct Hit {
    span: Range<usize>,
    id: Option<String>,
    /// The version shown, and where it stands.
    version: Option<(String, Range<usize>)>,
    /// The versions beside it.
    versions: Vec<HitVersion>,
}

/// One of the versions of a result.
#[derive(Clone, Debug, Default)]
struct HitVersion {
    span: Range<usize>,
    version: Option<String>,
    /// Where the version stands.
    written: Range<usize>,
}

/// Search results with those packages that `keep` wants, by id and version as written. A result whose shown version goes
/// shows the highest that stays; one of which none stays goes, and `totalHits` is lowered by it.
///
/// # Errors
/// If `text` is no JSON object.
pub fn search(text: &str, mut keep: impl FnMut(&str, &str) -> bool) -> Result<Sifted, ReadError> {
    let mut scanner = Scanner::new("search results", text);
    let mut hits = Vec::new();
    let total = around(&mut scanner, |scanner| {
        hits.clear();
        if scanner.peek()? == Kind::Array {
            scanner.array(|scanner| {
                if scanner.peek()? == Kind::Object {
                    hits.push(hit(scanner)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    let (mut cuts, mut values) = (Cuts::default(), Vec::new());
    let mut gone = Vec::new();
    for hit in &hits {
        let left = hit.sift(text, &mut keep, &mut gone, &mut values);
        cuts.note(hit.span.clone(), left);
    }
    if !cuts.gone.is_empty() {
        lower(text, total.as_ref(), cuts.gone.len(), &mut values);
    }
    let (dropped, left) = (cuts.gone.len(), cuts.left);
    gone.retain(|version| !within(version, &cuts.gone));
    cuts.gone.extend(gone);
    let sifted = cuts.make(text, values);
    Ok(Sifted {
        dropped,
        left,
        ..sifted
    })
}

impl Hit {
    /// Says whether the result stays, and what of it does not.
    fn sift(
        &self,
        text: &str,
        keep: &mut impl FnMut(&str, &str) -> bool,
        gone: &mut Vec<Range<usize>>,
        values: &mut Vec<(Range<usize>, String)>,
    ) -> bool {
        let Some(id) = self.id.as_deref() else {
            // Nobody can ask for what has no name.
            return true;
        };
        let mut best: Option<(Version, &Range<usize>)> = None;
        for one in &self.versions {
            let Some(version) = one.version.as_deref() else {
                continue;
            };
            if !keep(id, version) {
                gone.push(one.span.clone());
            } else if let Ok(version) = Version::parse(version)
                && best.as_ref().is_none_or(|(best, _)| *best < version)
            {
                best = Some((version, &one.written));
            }
        }
        match (&self.version, best) {
            (Some((shown, _)), _) if keep(id, shown) => true,
            (Some((_, place)), Some((_, written))) => {
                let written = text.get(written.clone()).unwrap_or_default();
                values.push((place.clone(), written.to_owned()));
                true
            }
            (None, best) => best.is_some() || self.versions.is_empty(),
            (Some(_), None) => false,
        }
    }
}

fn hit(scanner: &mut Scanner<'_>) -> Result<Hit, ReadError> {
    let mut hit = Hit::default();
    hit.span = scanner.object(|scanner, name| {
        match name.as_ref() {
            "id" => hit.id = read_text(scanner)?,
            "version" => {
                let text = scanner.text()?;
                hit.version = text.map(|text| (text.content.into_owned(), text.span));
            }
            "versions" if scanner.peek()? == Kind::Array => {
                hit.versions.clear();
                scanner.array(|scanner| {
                    if scanner.peek()? == Kind::Object {
                        hit.versions.push(hit_version(scanner)?);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(hit)
}

fn hit_version(scanner: &mut Scanner<'_>) -> Result<HitVersion, ReadError> {
    let mut found = HitVersion::default();
    found.span = scanner.object(|scanner, name| {
        if name == "version"
            && let Some(text) = scanner.text()?
        {
            found.version = Some(text.content.into_owned());
            found.written = text.span;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Autocomplete results, be they ids or the versions of one, with those names that `keep` wants; `totalHits` is lowered by
/// the others.
///
/// # Errors
/// If `text` is no JSON object.
pub fn names(text: &str, mut keep: impl FnMut(&str) -> bool) -> Result<Sifted, ReadError> {
    let mut scanner = Scanner::new("autocomplete results", text);
    let mut cuts = Cuts::default();
    let total = around(&mut scanner, |scanner| {
        cuts = Cuts::default();
        if scanner.peek()? == Kind::Array {
            scanner.array(|scanner| {
                if let Some(name) = scanner.text()? {
                    cuts.note(name.span, keep(&name.content));
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    let mut values = Vec::new();
    if !cuts.gone.is_empty() {
        lower(text, total.as_ref(), cuts.gone.len(), &mut values);
    }
    Ok(cuts.make(text, values))
}

/// Reads the object around results, `data` with the given reader. Gives where `totalHits` stands.
fn around<'a>(
    scanner: &mut Scanner<'a>,
    mut data: impl FnMut(&mut Scanner<'a>) -> Result<(), ReadError>,
) -> Result<Option<Range<usize>>, ReadError> {
    let mut total = None;
    scanner.object(|scanner, name| match name.as_ref() {
        "data" => data(scanner),
        "totalHits" => {
            total = Some(scanner.skip()?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    scanner.end()?;
    Ok(total)
}

fn within(span: &Range<usize>, others: &[Range<usize>]) -> bool {
    let at = others.partition_point(|other| other.end <= span.start);
    others
        .get(at)
        .is_some_and(|other| other.start <= span.start)
}
