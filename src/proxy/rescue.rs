//! How a reader goes on when the store fails in the middle of a body: with the rest of the same body from the upstream,
//! else with the whole of it once more.
//!
//! The rest is asked for where the upstream sent a digest of the whole: with the bytes that were given it tells at the end
//! whether the pieces belong together. Refuses to complete what was begun with anything that is not for certain the same.

use md5::Digest as _;

use super::Proxy;
use super::content::{Resume, Stop, Want};
use super::failure::Failure;
use super::live::Identity;
use super::outcome::Reason;
use super::past::Past;
use crate::store;

/// Bytes read at a time for the digest of what was given.
const DIGEST_STEP: u64 = 256 * 1024;

/// A body, and where to get it without the store.
#[derive(Clone, Debug)]
pub(super) struct Rescue {
    pub(super) proxy: Proxy,
    pub(super) want: Want,
    pub(super) identity: Identity,
}

/// Whether a reader was given anything yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Given {
    /// Nothing but the length, and perhaps a part's place.
    Nothing,
    /// Bytes, or an entity tag of ours: only the same body may follow.
    Some,
}

impl Rescue {
    /// The body from offset `at` on, past the store; `body` is what the store has of it.
    pub(super) async fn go_on(
        &self,
        body: &store::Body,
        at: u64,
        given: Given,
    ) -> Result<Past, Reason> {
        let past = match self.rest(body, at).await {
            Some(Ok(past)) => past,
            Some(Err(_)) if given == Given::Some => return Err(Reason::Store),
            Some(Err(_)) | None => self.whole(given).await?,
        };
        tracing::info!(key = ?self.want.ask.key, at, "a reader goes on without the store");
        Ok(past)
    }

    /// The rest alone; `None` if it cannot be asked for.
    async fn rest(&self, body: &store::Body, at: u64) -> Option<Result<Past, Stop>> {
        if at == 0 || !self.identity.can_be_continued() || self.identity.md5.is_none() {
            return None;
        }
        let digest = digest_of(body, at).await?;
        let mut resume = Resume::new(&self.proxy, &self.want, &self.identity, at);
        let broke = Failure::Internal("the store failed in the middle of a body");
        let rest = Box::pin(resume.rest(at, &digest, broke)).await;
        Some(rest.map(|line| Past::resumed(self, line, resume, digest, at)))
    }

    /// The whole once more.
    async fn whole(&self, given: Given) -> Result<Past, Reason> {
        let past = Box::pin(self.proxy.past_the_store(&self.want))
            .await
            .map_err(|failure| failure.reason())?;
        // Whoever has nothing yet may as well get another body of the promised length.
        let fits = match given {
            Given::Nothing => past.identity.length == self.identity.length,
            Given::Some => past.identity.is_that_of(&self.identity),
        };
        fits.then_some(past).ok_or(Reason::Store)
    }
}

/// The digest of the first bytes of a body; `None` if they cannot be read.
async fn digest_of(body: &store::Body, upto: u64) -> Option<md5::Md5> {
    let mut digest = md5::Md5::new();
    let mut at = 0;
    while at < upto {
        let end = upto.min(at + DIGEST_STEP);
        digest.update(&body.read(at..end).await.ok()?);
        at = end;
    }
    Some(digest)
}
