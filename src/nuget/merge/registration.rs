//! Registrations of one id, from the indexes and pages of several feeds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::nuget::ReadError;
use crate::nuget::json::encode_string;
use crate::nuget::registration;
use crate::nuget::version::Version;

/// A document of one feed: an index, a page or a leaf.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Which feed it is of: the feed's place in the order.
    pub from: usize,
    /// Its text, with links that are ours.
    pub text: &'a str,
}

/// Whose description of a version is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The first that has one.
    First,
    /// That of the feed in this place, and no other's.
    Is(usize),
    /// Nobody's: the version cannot be delivered.
    Nobody,
}

/// The addresses of what is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// The folder of the id's registrations, with a final slash.
    pub folder: String,
    /// The versions that are wanted, and that it is a page alone that is made; `None` for the whole index.
    pub within: Option<(Version, Version)>,
}

impl Frame {
    fn index(&self) -> String {
        format!("{}index.json", self.folder)
    }

    fn page(&self, lower: &Version, upper: &Version) -> String {
        let (lower, upper) = (lower.as_str(), upper.as_str());
        format!("{}page/{lower}/{upper}.json", self.folder)
    }
}

/// Makes one index with one inlined page, or the page alone, of the leaves of all pieces, by version. Without
/// a leaf to show it is empty. A leaf without a version that can be read is left out: nobody could ask for it.
///
/// # Errors
/// If a piece is no registration.
pub fn merge_registrations(
    pieces: &[Piece<'_>],
    owner: impl Fn(&Version) -> Owner,
    frame: &Frame,
) -> Result<String, ReadError> {
    let mut leaves: BTreeMap<Version, &str> = BTreeMap::new();
    let mut commit_time: Option<String> = None;
    for piece in pieces {
        let document = registration::read(piece.text)?;
        for leaf in &document.leaves {
            let Some(version) = version_of(leaf.version.as_deref()) else {
                continue;
            };
            let is_wanted = frame
                .within
                .as_ref()
                .is_none_or(|(lower, upper)| *lower <= version && version <= *upper);
            if !is_wanted || !may_show(owner(&version), piece.from) {
                continue;
            }
            if let (Entry::Vacant(vacant), Some(text)) =
                (leaves.entry(version), piece.text.get(leaf.span.clone()))
            {
                vacant.insert(text);
            }
        }
        // Written alike by every server that writes them: the text that sorts last is the latest.
        commit_time = commit_time.max(document.commit_time);
    }
    let commit = commit_time.map_or_else(String::new, |time| {
        format!("\"commitTimeStamp\":{},", encode_string(&time))
    });
    let index = encode_string(&frame.index());
    let page = page(&leaves, &commit, frame);
    Ok(match (&frame.within, page) {
        (Some(_), Some(page)) => page,
        (Some(_), None) => format!("{{\"count\":0,\"items\":[],\"parent\":{index}}}"),
        (None, page) => {
            let count = u8::from(page.is_some());
            format!(
                "{{\"@id\":{index},\"@type\":[\"catalog:CatalogRoot\",\"PackageRegistration\",\"catalog:Permalink\"],\
                 {commit}\"count\":{count},\"items\":[{}]}}",
                page.unwrap_or_default()
            )
        }
    })
}

/// A page with its leaves, if there are any. It is named by what it was asked for, and tells what it has.
fn page(leaves: &BTreeMap<Version, &str>, commit: &str, frame: &Frame) -> Option<String> {
    let ((lower, _), (upper, _)) = (leaves.first_key_value()?, leaves.last_key_value()?);
    let name = frame
        .within
        .as_ref()
        .map_or((lower, upper), |(lower, upper)| (lower, upper));
    let items: Vec<&str> = leaves.values().copied().collect();
    Some(format!(
        "{{\"@id\":{},\"@type\":\"catalog:CatalogPage\",{commit}\"count\":{},\"items\":[{}],\"parent\":{},\
         \"lower\":{},\"upper\":{}}}",
        encode_string(&frame.page(name.0, name.1)),
        items.len(),
        items.join(","),
        encode_string(&frame.index()),
        encode_string(lower.as_str()),
        encode_string(upper.as_str()),
    ))
}

/// Whether every leaf of a piece may be shown as its feed's.
///
/// # Errors
/// If it is no registration.
pub fn own_leaves_only(
    piece: Piece<'_>,
    owner: impl Fn(&Version) -> Owner,
) -> Result<bool, ReadError> {
    let document = registration::read(piece.text)?;
    Ok(document.leaves.iter().all(|leaf| {
        version_of(leaf.version.as_deref())
            .is_none_or(|version| may_show(owner(&version), piece.from))
    }))
}

fn may_show(owner: Owner, from: usize) -> bool {
    match owner {
        Owner::First => true,
        Owner::Is(owner) => owner == from,
        Owner::Nobody => false,
    }
}

fn version_of(text: Option<&str>) -> Option<Version> {
    Version::parse(text?).ok()
}
