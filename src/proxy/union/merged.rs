//! How one text is made of the documents of several members. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Union;
use crate::nuget::id::PackageId;
use crate::nuget::merge::{
    Audit, Frame, Owner, Piece, Window, merge_audit_indexes, merge_audit_pages, merge_autocomplete,
    merge_registrations, merge_search, own_leaves_only,
};
use crate::nuget::service_index::{self, OurLinks, PushMember};
use crate::nuget::version::Version;
use crate::nuget::version_list::render_version_list;
use crate::proxy::document::Document;
use crate::proxy::route::member_base;
use crate::proxy::view::How;

/// The documents of several members, and how they become one.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Merged {
    pub(super) parts: Vec<Part>,
    pub(super) merge: Merge,
}

/// What one member has.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The member's place among those who were asked.
    pub(super) place: usize,
    pub(super) member: Arc<str>,
    /// How its own feed shows it.
    pub(super) how: How,
    /// How many of the view's sources are its own; they follow those of the parts before it.
    pub(super) sources: usize,
}

/// Whose each version is. Of one that is not named the first who has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(pub(super) BTreeMap<Version, Owner>);

impl Owners {
    pub(super) fn of(&self, version: &Version) -> Owner {
        self.0.get(version).copied().unwrap_or(Owner::First)
    }
}

/// What is made of the members' documents.
#[derive(Clone, Debug)]
pub(super) enum Merge {
    /// Ids of all, but of each member only those that it is asked for.
    AutocompleteIds(Arc<Union>, Window),
    /// Versions of one id.
    AutocompleteVersions(Window),
    /// The only document, as its feed shows it.
    One,
    /// The same of a registration page, without the versions that are another member's.
    OwnPage(Shelf),
    Registration(Shelf),
    Search(Arc<Union>, Window),
    ServiceIndex {
        /// The place of the member that takes pushes.
        push: Option<usize>,
    },
    /// These versions.
    VersionList(Vec<Version>),
    VulnerabilityIndex,
    /// The pages that a client would not read, as one.
    VulnerabilityRest,
}

/// Where a registration of the union lies.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) hive: String,
    pub(super) id: PackageId,
    pub(super) owners: Arc<Owners>,
    /// The versions of a page; `None` for the index.
    pub(super) within: Option<(Version, Version)>,
}

impl Shelf {
    fn frame(&self, base: &str) -> Frame {
        let links = OurLinks {
            base: base.to_owned(),
        };
        Frame {
            folder: format!("{}{}/", links.registration(&self.hive), self.id.to_path()),
            within: self.within.clone(),
        }
    }
}

impl Merged {
    /// What tells it from other ways to make a text of the same documents.
    pub(in crate::proxy) fn word(&self) -> String {
        let members: Vec<&str> = self.parts.iter().map(|part| &*part.member).collect();
        format!("union {members:?} {:?}", self.merge)
    }

    /// The text, with every link below the union's `base`.
    pub(in crate::proxy) fn render(
        &self,
        sources: &[Document],
        base: &str,
    ) -> Result<Bytes, &'static str> {
        let pieces = self.pieces(sources, base)?;
        let texts: Vec<&str> = pieces.iter().map(|(_, text)| text_of(text)).collect();
        let links = OurLinks {
            base: base.to_owned(),
        };
        let first = || pieces.first().map(|(_, text)| text.clone());
        let text = match &self.merge {
            Merge::AutocompleteIds(union, window) => {
                let shows = |at: usize, text: &str| {
                    PackageId::parse(text).is_ok_and(|id| self.may_show(union, at, &id))
                };
                merge_autocomplete(&texts, shows, *window).map_err(|_| "autocomplete results")?
            }
            Merge::AutocompleteVersions(window) => merge_autocomplete(&texts, |_, _| true, *window)
                .map_err(|_| "autocomplete results")?,
            Merge::One => return first().ok_or("a union without a document"),
            Merge::OwnPage(shelf) => {
                let owner = |version: &Version| shelf.owners.of(version);
                let all = registration_pieces(&pieces);
                let piece = *all.first().ok_or("a union without a page")?;
                if own_leaves_only(piece, owner).map_err(|_| "a member's page")? {
                    return first().ok_or("a union without a page");
                }
                merge_registrations(&all, owner, &shelf.frame(base))
                    .map_err(|_| "a member's page")?
            }
            Merge::Registration(shelf) => {
                let owner = |version: &Version| shelf.owners.of(version);
                merge_registrations(&registration_pieces(&pieces), owner, &shelf.frame(base))
                    .map_err(|_| "a member's registration")?
            }
            Merge::Search(union, window) => {
                let shows = |at: usize, id: &PackageId| self.may_show(union, at, id);
                merge_search(&texts, shows, *window).map_err(|_| "search results")?
            }
            Merge::ServiceIndex { push } => self.service_index(sources, *push, &links)?,
            Merge::VersionList(versions) => render_version_list(versions),
            Merge::VulnerabilityIndex => {
                let audits = self.audits(&texts);
                merge_audit_indexes(&audits, |token| links.vulnerability_page(token))
                    .map_err(|_| "a member's vulnerability index")?
            }
            Merge::VulnerabilityRest => {
                merge_audit_pages(&texts).map_err(|_| "a member's vulnerability page")?
            }
        };
        Ok(text.into())
    }

    /// The texts of all parts.
    pub(super) fn texts(
        &self,
        sources: &[Document],
        base: &str,
    ) -> Result<Vec<String>, &'static str> {
        let pieces = self.pieces(sources, base)?.into_iter();
        Ok(pieces.map(|(_, text)| text_of(&text).to_owned()).collect())
    }

    /// The text of every document, by its member's place. What a member shows as one text is one; a registration's index
    /// and pages stay apart.
    fn pieces(
        &self,
        sources: &[Document],
        base: &str,
    ) -> Result<Vec<(usize, Bytes)>, &'static str> {
        let needs_text = !matches!(
            self.merge,
            Merge::ServiceIndex { .. } | Merge::VersionList(_)
        );
        let mut pieces = Vec::new();
        let mut rest = sources;
        for part in self.parts.iter().filter(|_| needs_text) {
            let (own, others) = rest
                .split_at_checked(part.sources)
                .ok_or("a union without its sources")?;
            rest = others;
            let base = member_base(base, &part.member);
            match self.merge {
                Merge::Registration(_) => {
                    for source in own {
                        let text = part.how.render(std::slice::from_ref(source), &base)?;
                        pieces.push((part.place, text));
                    }
                }
                _ => pieces.push((part.place, part.how.render(own, &base)?)),
            }
        }
        Ok(pieces)
    }

    /// Whether the member behind a part may show an id.
    fn may_show(&self, union: &Union, at: usize, id: &PackageId) -> bool {
        let part = self.parts.get(at);
        let member = part.and_then(|part| {
            let mut members = union.members.iter();
            members.find(|feed| feed.name == part.member)
        });
        member.is_some_and(|member| union.is_candidate(member, id))
    }

    fn service_index(
        &self,
        sources: &[Document],
        push: Option<usize>,
        links: &OurLinks,
    ) -> Result<String, &'static str> {
        let indexes = sources
            .iter()
            .map(|source| service_index::read(source.text()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "a member's service index")?;
        let push = self
            .parts
            .iter()
            .position(|part| Some(part.place) == push)
            .map_or(PushMember::Nobody, PushMember::Is);
        let is_of_another =
            |part: &Part| matches!(part.how, How::ServiceIndex(service_index::Audit::OfAnother));
        let audit = match self.parts.iter().any(is_of_another) {
            true => service_index::Audit::OfAnother,
            false => service_index::Audit::OfUpstream,
        };
        Ok(service_index::render_union(&indexes, push, audit, links))
    }

    /// The members' vulnerability indexes.
    pub(super) fn audits<'a>(&'a self, texts: &[&'a str]) -> Vec<Audit<'a>> {
        let parts = self.parts.iter().zip(texts);
        parts
            .map(|(part, text)| Audit {
                feed: &part.member,
                text,
            })
            .collect()
    }
}

fn registration_pieces(pieces: &[(usize, Bytes)]) -> Vec<Piece<'_>> {
    let pieces = pieces.iter();
    pieces
        .map(|(from, text)| Piece {
            from: *from,
            text: text_of(text),
        })
        .collect()
}

/// A text that was checked to be UTF-8 when its document was read.
fn text_of(text: &Bytes) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}
