//! Files that no flat container holds: certificates, symbols and client binaries. They are kept and streamed as packages
//! are, each checked by what its name says of it.

use http::{HeaderValue, Response};

use super::Proxy;
use super::body::Body;
use super::content::{File, Purpose, Want};
use super::document::{Ask, Missing, Obtained, Place};
use super::failure::Failure;
use super::reads::answer_absent;
use super::refusal::Refusal;
use super::respond::{self, Facts};
use super::route::{Class, Resource, SymbolPath};
use super::told::Told;
use super::view::Query;
use crate::cache::decision::Demand;
use crate::cache::key::{Audience, Key, Parts};
use crate::nuget::service_index::SignaturesVersion;
use crate::nuget::{signatures, tools};

/// What a client knows of a portable PDB (Simple Symbol Query Protocol).
const SYMBOL_CHECKSUM: &str = "symbolchecksum";
/// Longest such value: it is part of a key. Some algorithms' hashes of one file take less than half of it.
const MAX_CHECKSUM_BYTES: usize = 1024;

impl Proxy {
    /// A file beside the flat container.
    pub(super) async fn answer_file(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let want = match resource {
            Resource::Certificate(sha256) => self.certificate(query, sha256).await?,
            Resource::Symbols(path) => match checksum_of(facts) {
                Ok(checksum) => Some(self.symbols(query, path, checksum)?),
                Err(problem) => {
                    return Ok(respond::refusal(facts, &Refusal::BadRequest(problem)));
                }
            },
            Resource::Tool(token) => self.tool(query, token).await?,
            _ => return Err(Failure::Internal("a resource that is no such file")),
        };
        match want {
            Some(want) => self.answer_content(&want, facts, told).await,
            None => Ok(answer_absent(Missing::default(), facts, told)),
        }
    }

    /// The certificate with this fingerprint, found again in the documents that name it: the upstream's URL stands in no
    /// URL of ours.
    async fn certificate(&self, query: &Query<'_>, sha256: &str) -> Result<Option<Want>, Failure> {
        for demand in demands(query) {
            for version in SignaturesVersion::ALL.into_iter().rev() {
                let query = Query {
                    demand,
                    ..query.clone()
                };
                let ask = self.signatures_ask(&query, version);
                let document = match self.document(&ask).await {
                    Ok(Obtained::Document { document, .. }) => document,
                    Ok(Obtained::Absent(_)) | Err(Failure::NotOffered(_)) => continue,
                    Err(failure) => return Err(failure),
                };
                let Ok(document) = signatures::read(document.text()) else {
                    continue;
                };
                let mut certificates = document.certificates.into_iter();
                if let Some(found) = certificates.find(|found| found.sha256 == sha256) {
                    let file = File::Certificate(found.sha256);
                    let place = Place::Named(found.url);
                    return Ok(Some(file_want(
                        &query,
                        Class::Certificate,
                        sha256,
                        place,
                        file,
                    )));
                }
            }
        }
        Ok(None)
    }

    /// The binary with this token, found again in the list of releases.
    async fn tool(&self, query: &Query<'_>, token: &str) -> Result<Option<Want>, Failure> {
        for demand in demands(query) {
            let query = Query {
                demand,
                ..query.clone()
            };
            let Obtained::Document { document, .. } =
                self.document(&self.tools_ask(&query)).await?
            else {
                continue;
            };
            let releases = tools::read(document.text())
                .map_err(|_| Failure::Internal("a stored tools list that cannot be read"))?;
            let mut releases = releases.into_iter();
            if let Some(found) = releases.find(|release| release.token() == token) {
                let place = Place::Named(found.url);
                return Ok(Some(file_want(
                    &query,
                    Class::Tool,
                    token,
                    place,
                    File::Opaque,
                )));
            }
        }
        Ok(None)
    }

    /// A file of the symbol server. What it answers depends on the checksum, so that is part of the key.
    pub(super) fn symbols(
        &self,
        query: &Query<'_>,
        path: &SymbolPath,
        checksum: Option<HeaderValue>,
    ) -> Result<Want, Failure> {
        let Some(feed) = &query.feed.beside.symbols else {
            return Err(Failure::NotOffered("symbols"));
        };
        let variant = checksum
            .as_ref()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
            .unwrap_or_default();
        let key = Key::new(&Parts {
            feed: &feed.name,
            id: None,
            class: Class::Symbols.word(),
            rest: &path.canonical,
            variant: &variant,
            audience: Audience::Shared,
        });
        let base = feed.settings.upstream.trim_end_matches('/');
        let ask = Ask {
            feed: feed.clone(),
            class: Class::Symbols,
            id: None,
            demand: self.demand_of(query, &key),
            key,
            place: Place::Symbols {
                url: format!("{base}/{}", path.as_typed),
                checksum,
            },
            since: query.since,
            errand: query.errand.clone(),
        };
        Ok(Want {
            ask,
            file: File::Opaque,
            purpose: Purpose::Answer,
        })
    }
}

/// What to demand of a document that should name something: what the client does, then once more the upstream's own word,
/// for another instance may have read a newer one.
fn demands(query: &Query<'_>) -> impl Iterator<Item = Demand> + use<> {
    let first = query.demand;
    let again = (first == Demand::None).then_some(Demand::Forced);
    [Some(first), again].into_iter().flatten()
}

/// The want for a file at a place of its own. A forced demand was for the document that named it.
fn file_want(query: &Query<'_>, class: Class, rest: &str, place: Place, file: File) -> Want {
    let demand = match query.demand {
        Demand::Forced | Demand::None => Demand::None,
        Demand::StoredOnly => Demand::StoredOnly,
    };
    let ask = Ask {
        feed: query.feed.clone(),
        class,
        id: None,
        key: query.feed.key(class, None, rest),
        place,
        demand,
        since: query.since,
        errand: query.errand.clone(),
    };
    Want {
        ask,
        file,
        purpose: Purpose::Answer,
    }
}

/// The checksum that a request names.
pub(super) fn checksum_of(facts: &Facts<'_>) -> Result<Option<HeaderValue>, String> {
    let mut values = facts.headers.get_all(SYMBOL_CHECKSUM).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.len() <= MAX_CHECKSUM_BYTES && value.to_str().is_ok() => {
            Ok(Some(value.clone()))
        }
        (Some(_), _) => Err(format!(
            "SymbolChecksum: expected once, at most {MAX_CHECKSUM_BYTES} printable ASCII characters"
        )),
    }
}
