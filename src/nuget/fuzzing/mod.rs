//! Entry points for fuzzing of the readers that need nothing but the protocol.

mod archive;
mod documents;

pub(crate) use archive::{nuspec, nuspecs, package, packages, push, pushes};
pub(crate) use documents::{json, sift, version, versions};
