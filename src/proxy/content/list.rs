//! What a fetched file says of the stored version list: whether that is behind the upstream.

use super::Want;
use crate::cache::decision::Demand;
use crate::nuget::version::Version;
use crate::proxy::Proxy;
use crate::proxy::document::{Ask, Obtained};
use crate::store::Raise;

impl Proxy {
    /// Raises the epoch of an id whose stored list disagrees with what the upstream just said of one version: the list
    /// is old (protocol facts 7.3.1, 7.3.2).
    pub(super) async fn compare_with_list(&self, want: &Want, found: Found) {
        let package = want.ask.id.as_ref().zip(want.version());
        let Some((id, wanted)) = package.filter(|_| want.is_package()) else {
            return;
        };
        let list = self.list_ask(&want.ask.feed, id, &want.ask.errand);
        let Some(stored) = self.stored(&list.key).await else {
            return;
        };
        let Ok(Obtained::Document { document, .. }) = Box::pin(self.document(&Ask {
            demand: Demand::StoredOnly,
            ..list.clone()
        }))
        .await
        else {
            return;
        };
        let Ok(versions) = crate::nuget::version_list::read_version_list(document.text()) else {
            return;
        };
        let is_listed = versions
            .versions
            .iter()
            .any(|text| Version::parse(text).is_ok_and(|version| version == *wanted));
        let disagrees = match found {
            Found::Confirmed => false,
            Found::Fetched => !is_listed,
            Found::Missing => is_listed,
        };
        if disagrees
            && stored.entry.epoch >= self.gate(&list).epoch
            && self
                .forced
                .first(list.key.clone(), (), self.clock.instant())
        {
            tracing::info!(
                id = id.as_str(),
                version = wanted.as_str(),
                "the stored list is behind the upstream"
            );
            self.store
                .raise(&want.ask.feed.name, Some(id.as_str()), Raise::Refresh);
        }
    }
}

/// What the upstream said of one version's package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Confirmed,
    Fetched,
    Missing,
}
