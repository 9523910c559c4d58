//! How a view's text is made of its sources. Pure.

use std::sync::Arc;

use bytes::Bytes;

use crate::nuget::catalog_list::{self, ListKind};
use crate::nuget::id::PackageId;
use crate::nuget::service_index::{self, Audit, OurLinks};
use crate::nuget::signatures::{self, Claim};
use crate::nuget::version::Version;
use crate::nuget::{catalog, registration, search, splice, tools, version_list, vulnerabilities};
use crate::proxy::document::Document;
use crate::proxy::links::Linker;
use crate::proxy::model::Model;
use crate::proxy::union::Merged;

/// How a view's text is made of its sources.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum How {
    /// The text of the first source as it is.
    AsIs,
    CatalogLeaf(Arc<Model>),
    /// The index or a page of the catalog.
    CatalogList(Arc<Model>, ListKind),
    /// A page that was inlined in an index: this one of it.
    InlinedPage {
        model: Arc<Model>,
        hive: String,
        id: PackageId,
        page: usize,
    },
    Registration {
        model: Arc<Model>,
        hive: String,
        id: PackageId,
        /// Of a leaf, the version that its URL names: the document may not say it.
        version: Option<Version>,
    },
    RepositorySignatures(Claim),
    Search(Arc<Model>),
    ServiceIndex(Audit),
    ToolsList,
    /// The documents of several feeds as one.
    Union(Arc<Merged>),
    /// Lists every version of all sources.
    VersionList,
    VulnerabilityIndex,
}

impl How {
    /// The text of a view. Pure, and for large documents heavy: the caller decides where it runs.
    pub(in crate::proxy) fn render(
        &self,
        sources: &[Document],
        base: &str,
    ) -> Result<Bytes, &'static str> {
        let first = sources.first().ok_or("a view without sources")?;
        let text = first.text();
        let linker = |model, hive, id| Linker {
            model,
            base,
            hive,
            id,
            version: None,
        };
        let links = OurLinks {
            base: base.to_owned(),
        };
        let rewritten = match self {
            Self::AsIs => return Ok(first.text.clone()),
            Self::CatalogLeaf(model) => {
                let leaf = catalog::read_leaf(text).map_err(|_| "a stored catalog leaf")?;
                let id = leaf
                    .details
                    .id
                    .as_deref()
                    .and_then(|id| PackageId::parse(id).ok());
                let edits = linker(model, None, id.as_ref())
                    .others(&leaf.links, leaf.details.version.as_deref());
                splice::splice(text, edits)
            }
            Self::CatalogList(model, kind) => {
                let list = catalog_list::read(*kind, text).map_err(|_| "a stored catalog list")?;
                let edits = linker(model, None, None).others(&list.links, None);
                splice::splice(text, edits)
            }
            Self::InlinedPage {
                model,
                hive,
                id,
                page,
            } => {
                let text = inlined_page(text, *page)?;
                let document = registration::read(text).map_err(|_| "an inlined page")?;
                splice::splice(
                    text,
                    linker(model, Some(hive), Some(id)).registration(&document),
                )
            }
            Self::Registration {
                model,
                hive,
                id,
                version,
            } => {
                let document = registration::read(text).map_err(|_| "a stored registration")?;
                let linker = Linker {
                    version: version.as_ref(),
                    ..linker(model, Some(hive.as_str()), Some(id))
                };
                splice::splice(text, linker.registration(&document))
            }
            Self::Search(model) => {
                let results = search::read_search(text).map_err(|_| "search results")?;
                splice::splice(text, linker(model, None, None).others(&results.links, None))
            }
            Self::RepositorySignatures(claim) => signatures::render(text, *claim, |certificate| {
                links.certificate(&certificate.sha256)
            })
            .map_err(|_| "stored repository signatures")?,
            Self::ServiceIndex(audit) => {
                let index = service_index::read(text).map_err(|_| "a stored service index")?;
                index.render(&links, *audit)
            }
            Self::ToolsList => tools::render(text, |release| {
                // Beside the feeds; the name is for whoever saves the file.
                format!("{base}tools/{}/{}", release.token(), release.file_name())
            })
            .map_err(|_| "a stored tools list")?,
            Self::Union(merged) => return merged.render(sources, base),
            Self::VersionList => version_list::render_version_list(&versions_of(sources)?),
            Self::VulnerabilityIndex => {
                vulnerabilities::render_index(text, |page| links.vulnerability_page(&page.token()))
                    .map_err(|_| "a stored vulnerability index")?
            }
        };
        Ok(rewritten.into())
    }
}

/// The versions of registration documents.
fn versions_of(sources: &[Document]) -> Result<Vec<Version>, &'static str> {
    let mut versions = Vec::new();
    for source in sources {
        let document = registration::read(source.text()).map_err(|_| "a stored registration")?;
        let texts = document
            .leaves
            .iter()
            .filter_map(|leaf| leaf.version.as_deref());
        versions.extend(texts.filter_map(|text| Version::parse(text).ok()));
    }
    Ok(versions)
}

/// A page as it stands in an index.
fn inlined_page(index: &str, page: usize) -> Result<&str, &'static str> {
    let document = registration::read(index).map_err(|_| "a stored registration")?;
    let page = document.pages.get(page).ok_or("a page that is gone")?;
    index
        .get(page.span.clone())
        .ok_or("a page outside its index")
}
