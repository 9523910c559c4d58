//! View → answer: the text for a base URL, its coding and its headers, made once and kept in memory.
//!
//! Small texts are made at once; large ones off the async threads, once for all who want the same, and only a few of the
//! very large at a time, since each holds its text whole.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};
use ring::digest;

use super::document::TEXT;
use super::failure::Failure;
use super::feed::{Face, Generation};
use super::respond::{self, DOCUMENT_CACHING};
use super::view::{How, Shown};
use super::{Proxy, Snapshot};
use crate::cache::epoch::Epoch;
use crate::cache::key::Audience;
use crate::flight::Joined;
use crate::store::Answer;

/// Texts above this are made off the async threads: below it the making costs less than the way there.
pub(super) const INLINE_BYTES: usize = 64 * 1024;
/// Texts above this are made two at a time.
pub(super) const LARGE_BYTES: usize = 8 << 20;
/// How many large texts are made at a time.
pub(super) const MAX_LARGE_RENDERS: usize = 2;
/// Texts below this go out as they are: gzip would not make them smaller by more than its own frame.
const MIN_GZIP_BYTES: usize = 256;
/// zlib's own default: a good ratio at a cost that is paid once for each answer.
const GZIP_LEVEL: u32 = 6;
/// Part of every entity tag of ours: raised whenever a rewrite changes what it makes of the same documents.
const REWRITE_VERSION: u8 = 1;

/// The content coding of an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Coding {
    Gzip,
    Identity,
}

impl Coding {
    /// What the client can take (RFC 9110 section 12.5.3). Nothing but gzip is offered: the real client takes gzip and
    /// deflate only (protocol fact 3.1.5).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut any = None;
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for item in value.to_str().unwrap_or_default().split(',') {
                let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
                let quality = parameters
                    .trim()
                    .strip_prefix("q=")
                    .map_or(1.0, |text| text.trim().parse::<f32>().unwrap_or(0.0));
                match name.trim() {
                    name if name.eq_ignore_ascii_case("gzip") => {
                        return if quality > 0.0 {
                            Self::Gzip
                        } else {
                            Self::Identity
                        };
                    }
                    "*" => any = Some(quality > 0.0),
                    _ => {}
                }
            }
        }
        if any == Some(true) {
            Self::Gzip
        } else {
            Self::Identity
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

/// The name of an answer in memory. What a reload changes of a feed gives its answers other names.
pub(super) fn answer_key(face: Face<'_>, path: &str, base: &str, coding: Coding) -> String {
    let generation = face.generation.0.to_string();
    let mut key = String::with_capacity(face.name.len() + path.len() + base.len() + 24);
    for part in [face.name, &*generation, path, base, coding.word()] {
        key.push_str(part);
        key.push('\u{1f}');
    }
    for feed in face.feeds {
        if let Audience::Credential(hash) = feed.audience() {
            key.push_str(&hash);
        }
    }
    key
}

/// Whether what lies in memory under this name may still be asked for: it is no answer (the text of search results), or
/// of a feed or union as it is in this snapshot.
pub(super) fn is_of(key: &str, snapshot: &Snapshot) -> bool {
    let mut parts = key.split('\u{1f}');
    let (name, generation) = (parts.next(), parts.next());
    let mut faces = snapshot.faces();
    name == Some(TEXT)
        || faces.any(|face| {
            name == Some(&**face.name) && generation == Some(&*face.generation.0.to_string())
        })
}

/// What an answer is made for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) base: String,
    /// Of the settings of the feed or union, on which its deadline depends.
    pub(super) generation: Generation,
    pub(super) coding: Coding,
    /// Its name in memory; `None` if it is not to be kept there.
    pub(super) key: Option<String>,
}

impl Proxy {
    /// The answer that a view amounts to.
    pub(super) async fn render(
        &self,
        shown: &Shown,
        order: &Order,
    ) -> Result<Arc<Answer>, Failure> {
        let size: usize = shown.sources.iter().map(|source| source.text.len()).sum();
        let answer = if size <= INLINE_BYTES {
            Arc::new(make(shown, order).map_err(Failure::Internal)?)
        } else {
            self.render_apart(shown, order, size).await?
        };
        if let Some(key) = &order.key {
            self.store.answers().put(key, Arc::clone(&answer));
        }
        Ok(answer)
    }

    /// The same off the async threads, once for all who want it now.
    async fn render_apart(
        &self,
        shown: &Shown,
        order: &Order,
        size: usize,
    ) -> Result<Arc<Answer>, Failure> {
        // What has no place in the store has no sequence of its own: the bytes tell.
        let sources: Vec<&[u8]> = shown
            .sources
            .iter()
            .map(|source| &source.entry.sha512[..16])
            .collect();
        let first = shown
            .sources
            .first()
            .map(|source| source.entry.key.text().to_owned());
        let key = format!(
            "{first:?}{sources:?}{}{:?}{:?}{}",
            order.base,
            order.generation,
            order.coding,
            shown.how.word()
        );
        let mut ticket = match self.renders.join(key, None) {
            Joined::Follower(ticket) => ticket,
            Joined::Leader(ticket, lead) => {
                let (proxy, shown, order) = (self.clone(), shown.clone(), order.clone());
                self.tasks.spawn("render", async move {
                    let permit = match size > LARGE_BYTES {
                        true => proxy.large_renders.acquire().await.ok(),
                        false => None,
                    };
                    let made = proxy
                        .tasks
                        .blocking("render", move || make(&shown, &order))
                        .await;
                    drop(permit);
                    let made = match made {
                        Ok(made) => made.map(Arc::new).map_err(Failure::Internal),
                        Err(_) => Err(Failure::Internal("rendering panicked")),
                    };
                    lead.finish(Some(made));
                });
                ticket
            }
        };
        let made = ticket
            .wait_for(Option::is_some)
            .await
            .map_err(|_| super::live::lost())?;
        made.clone().unwrap_or_else(|| Err(super::live::lost()))
    }
}

/// Makes an answer. Pure.
fn make(shown: &Shown, order: &Order) -> Result<Answer, &'static str> {
    let text = shown.how.render(&shown.sources, &order.base)?;
    let coded = (order.coding == Coding::Gzip && text.len() >= MIN_GZIP_BYTES)
        .then(|| gzip(&text))
        .flatten();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, DOCUMENT_CACHING);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if coded.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let coding = if coded.is_some() {
        Coding::Gzip
    } else {
        Coding::Identity
    };
    let tag = match shown.how {
        // Who delivers which version decides over the text too.
        How::Union(_) => text_etag(&text, coding),
        _ => etag(shown, &order.base, coding),
    };
    headers.insert(header::ETAG, tag);
    let body = coded.unwrap_or(text);
    respond::reserve(&mut headers, body.len());
    let sources = || shown.sources.iter().map(|source| &source.entry);
    Ok(Answer {
        status: StatusCode::OK,
        headers,
        body,
        deadline: shown.deadline.time(),
        epoch: shown
            .stamp
            .or_else(|| sources().map(|entry| entry.epoch).min())
            .unwrap_or(Epoch(0)),
        validated_at: sources()
            .map(|entry| entry.confirmed_at())
            .min()
            .unwrap_or(std::time::UNIX_EPOCH),
        origin: sources()
            .next()
            .map(|entry| entry.origin.clone())
            .unwrap_or_default(),
    })
}

fn gzip(text: &[u8]) -> Option<Bytes> {
    let out = Vec::with_capacity(text.len() / 4);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
    encoder.write_all(text).ok()?;
    Some(encoder.finish().ok()?.into())
}

/// Our tag of an answer: a hash of what it is made of, how and for whom, the same on every instance.
fn etag(shown: &Shown, base: &str, coding: Coding) -> HeaderValue {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[REWRITE_VERSION]);
    for source in &shown.sources {
        context.update(&source.entry.sha512);
    }
    // A setting may have changed how the same documents are shown.
    context.update(shown.how.word().as_bytes());
    context.update(base.as_bytes());
    context.update(coding.word().as_bytes());
    respond::etag_of(context.finish().as_ref())
}

/// The same of a text that other things decide over than what it is made of.
fn text_etag(text: &[u8], coding: Coding) -> HeaderValue {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[REWRITE_VERSION]);
    context.update(text);
    context.update(coding.word().as_bytes());
    respond::etag_of(context.finish().as_ref())
}

impl How {
    /// A word that tells views of the same documents apart.
    fn word(&self) -> String {
        match self {
            Self::AsIs => "as-is".into(),
            Self::CatalogLeaf(_) => "catalog-leaf".into(),
            Self::CatalogList(_, kind) => format!("catalog-list-{kind:?}"),
            Self::InlinedPage { page, .. } => format!("page-{page}"),
            Self::Registration { .. } => "registration".into(),
            Self::RepositorySignatures(claim) => format!("repository-signatures-{claim:?}"),
            Self::Search(_) => "search".into(),
            Self::ServiceIndex(audit) => format!("service-index-{audit:?}"),
            Self::ToolsList => "tools-list".into(),
            Self::Union(merged) => merged.word(),
            Self::VersionList => "version-list".into(),
            Self::VulnerabilityIndex => "vulnerability-index".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &[&str], expected: Coding) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT_ENCODING, value.parse().expect("a value"));
        }
        assert_eq!(Coding::of(&headers), expected, "{accept:?}");
    }

    #[test]
    fn gzip_goes_to_who_can_take_it() {
        check(&[], Coding::Identity);
        check(&["gzip, deflate"], Coding::Gzip);
        check(&["deflate", "GZIP;q=0.5"], Coding::Gzip);
        check(&["gzip;q=0"], Coding::Identity);
        check(&["gzip; q=0.0, *"], Coding::Identity);
        check(&["*"], Coding::Gzip);
        check(&["*;q=0"], Coding::Identity);
        check(&["br"], Coding::Identity);
    }
}
