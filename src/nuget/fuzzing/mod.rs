//! Entry points for fuzzing of the readers that need nothing but the protocol.

mod archive;
mod documents;

pub(crate) use archive::{
    nuspec, nuspecs, package, package_signature, packages, push, pushes, signed_packages,
};
pub(crate) use documents::{json, sift, version, versions};
