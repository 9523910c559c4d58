//! One document made of those of several feeds: what a union of feeds hands out.
//!
//! The documents come with links that are ours already. Of each package version one feed's description is taken whole,
//! as slices of its document: every byte of a leaf or search result is one feed's. Who that is, is not decided here.

mod registration;
mod search;
mod vulnerabilities;

#[cfg(test)]
mod tests;

pub use registration::{Frame, Owner, Piece, merge_registrations, own_leaves_only};
pub use search::{Window, merge_autocomplete, merge_search};
pub use vulnerabilities::{
    Audit, Overflow, audit_overflow, merge_audit_indexes, merge_audit_pages,
};
