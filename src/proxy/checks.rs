//! What an upstream's answer must pass before anything of it is kept, and what of it is kept.

use std::io::Read as _;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};
use md5::Digest as _;

use super::document::Ask;
use super::failure::Failure;
use super::route::Class;
use crate::nuget::catalog_list::{self, ListKind};
use crate::nuget::{self, ReadError};
use crate::store::Stored;
use crate::upstream::{Conditional, Fetched};

/// The headers of an upstream's answer that are worth keeping: what describes the bytes, and how old they were.
const KEPT_HEADERS: [header::HeaderName; 5] = [
    header::AGE,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::LAST_MODIFIED,
];

/// Why a coded body could not be decoded.
#[derive(Debug)]
pub(super) enum DecodeFault {
    Bad(String),
    TooLarge,
}

impl DecodeFault {
    pub(super) fn into_failure(self, origin: &str, max_bytes: u64) -> Failure {
        let origin = origin.to_owned();
        match self {
            Self::Bad(what) => Failure::BadBody { origin, what },
            Self::TooLarge => Failure::TooLarge { origin, max_bytes },
        }
    }
}

/// How a body is coded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    Gzip,
    Plain,
}

impl Coding {
    /// The coding that the headers name, or what they name in vain. `aws-chunked` says how a file came into storage of
    /// Amazon's, whose feeds go on naming it; nothing of it is in the bytes (protocol fact 7.2.3).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let named = headers.get(header::CONTENT_ENCODING);
        let named = named.map_or(&b""[..], HeaderValue::as_bytes);
        let named = String::from_utf8_lossy(named).to_ascii_lowercase();
        let is_done = |coding: &&str| !matches!(*coding, "" | "aws-chunked" | "identity");
        let codings: Vec<&str> = named.split(',').map(str::trim).filter(is_done).collect();
        match codings[..] {
            [] => Ok(Self::Plain),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            _ => Err(format!("content coding {named:?}, expected gzip or none")),
        }
    }
}

/// Undoes the content coding that the headers name (protocol fact 2.2.6: the header decides, not the hive).
pub(super) fn decode(
    headers: &HeaderMap,
    raw: Bytes,
    max_bytes: u64,
) -> Result<Bytes, DecodeFault> {
    match Coding::of(headers).map_err(DecodeFault::Bad)? {
        Coding::Plain => Ok(raw),
        Coding::Gzip => {
            let mut text = Vec::with_capacity(raw.len().saturating_mul(4));
            let mut decoder = flate2::read::MultiGzDecoder::new(&*raw).take(max_bytes + 1);
            decoder
                .read_to_end(&mut text)
                .map_err(|error| DecodeFault::Bad(format!("gzip: {error}")))?;
            if text.len() as u64 > max_bytes {
                Err(DecodeFault::TooLarge)
            } else {
                Ok(text.into())
            }
        }
    }
}

/// Compares the bytes with the digest that the upstream sent of them (protocol fact 7.3.4).
pub(super) fn check_md5(headers: &HeaderMap, raw: &[u8]) -> Result<(), String> {
    let Some(sent) = sent_md5(headers) else {
        return Ok(());
    };
    let found: [u8; 16] = md5::Md5::digest(raw).into();
    if found == sent {
        Ok(())
    } else {
        Err("its bytes differ from its Content-MD5".into())
    }
}

/// The value of `Content-MD5`, if it is one.
pub(super) fn sent_md5(headers: &HeaderMap) -> Option<[u8; 16]> {
    use base64::Engine as _;
    let value = headers.get("content-md5")?.to_str().ok()?;
    base64::engine::general_purpose::STANDARD
        .decode(value.trim())
        .ok()?
        .try_into()
        .ok()
}

/// What a stored response is revalidated with, as the upstream wrote it.
pub(super) fn conditional_of(stored: &Stored) -> Conditional {
    let validator = &stored.entry.upstream_validator;
    Conditional {
        etag: validator.etag.clone(),
        last_modified: validator.last_modified.clone(),
        rest: None,
    }
}

pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in KEPT_HEADERS {
        if let Some(value) = headers.get(&name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

/// Kept headers after the upstream has confirmed what they describe: they are as old as it says now.
pub(super) fn aged(kept: &HeaderMap, age: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = kept.clone();
    headers.remove(header::AGE);
    headers.extend(age.map(|age| (header::AGE, age.clone())));
    headers
}

/// Whether a Sluice on the way, this one or one that it has asked, says that the request came round. From others the
/// same status means that a site has used up what it may.
pub(super) fn is_loop(fetched: &Fetched) -> bool {
    let is_ours = |via: &HeaderValue| via.to_str().is_ok_and(|via| via.contains("sluice"));
    let vias = fetched.headers.get_all(header::VIA);
    fetched.status == StatusCode::LOOP_DETECTED && vias.iter().any(is_ours)
}

/// Whether a status says that there is no such document. Where there is one for all, or results without end, that is a
/// failure, and another endpoint may do better (protocol facts 1.1.19, 2.3.14, 2.7.9); and only of an id's documents a 204
/// says it.
pub(super) fn is_absence(class: Class, status: StatusCode) -> bool {
    let is_of_id = || {
        matches!(
            class,
            Class::RegistrationIndex
                | Class::RegistrationLeaf
                | Class::RegistrationPage
                | Class::VersionList
        )
    };
    let says_so = match status {
        StatusCode::GONE | StatusCode::NOT_FOUND => true,
        StatusCode::NO_CONTENT => is_of_id(),
        _ => false,
    };
    let may_be_absent = !matches!(
        class,
        Class::Autocomplete
            | Class::CatalogIndex
            | Class::RepositorySignatures
            | Class::Search
            | Class::ServiceIndex
            | Class::ToolsList
            | Class::VulnerabilityIndex
    );
    says_so && may_be_absent
}

pub(super) fn sha512(bytes: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA512, bytes).as_ref());
    out
}

/// Whether a text is a document of its class's kind.
pub(super) fn check(ask: &Ask, text: &str) -> Result<(), ReadError> {
    match ask.class {
        Class::Autocomplete => nuget::search::read_autocomplete(text),
        Class::CatalogIndex => catalog_list::read(ListKind::Index, text).map(drop),
        Class::CatalogLeaf => nuget::catalog::read_leaf(text).map(drop),
        Class::CatalogPage => catalog_list::read(ListKind::Page, text).map(drop),
        Class::RegistrationIndex | Class::RegistrationLeaf | Class::RegistrationPage => {
            check_registration(ask, text)
        }
        Class::RepositorySignatures => nuget::signatures::read(text).map(drop),
        Class::Search => nuget::search::read_search(text).map(drop),
        Class::ServiceIndex => nuget::service_index::read(text).map(drop),
        Class::ToolsList => nuget::tools::read(text).map(drop),
        Class::VersionList => nuget::version_list::read_version_list(text).map(drop),
        Class::VulnerabilityIndex => nuget::vulnerabilities::read_index(text).map(drop),
        Class::VulnerabilityPage => nuget::vulnerabilities::read_page(text),
        Class::Certificate
        | Class::Icon
        | Class::License
        | Class::Manifest
        | Class::Package
        | Class::Readme
        | Class::Symbols
        | Class::Tool => Ok(()),
    }
}

/// Whether a text is a registration, and not another package's.
fn check_registration(ask: &Ask, text: &str) -> Result<(), ReadError> {
    let document = nuget::registration::read(text)?;
    let expected = ask.id.as_ref();
    match expected.and_then(|id| Some((id, document.stranger_to(id)?))) {
        Some((id, stranger)) => Err(ReadError {
            what: "registration",
            at: None,
            problem: format!("it is of {stranger}, expected {id}"),
        }),
        None => Ok(()),
    }
}
