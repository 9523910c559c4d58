//! The manifest of a package whose upstream has no flat container: taken from the package itself, for the upstream has no
//! address for it (protocol facts 2.1.6, 7.1.15).

use bytes::Bytes;

use super::lead::{ContentState, Landed, Setback};
use super::{File, Want};
use crate::cache::decision::Demand;
use crate::cache::epoch::Epoch;
use crate::nuget::nupkg;
use crate::proxy::Proxy;
use crate::proxy::failure::Failure;
use crate::proxy::live::lost;
use crate::proxy::outcome::Outcome;
use crate::proxy::route::Content;
use crate::proxy::view::Query;
use crate::store::{Draft, StoreFault, Stored};

impl Proxy {
    /// Whether a file is made of its package.
    pub(super) fn is_made_of_its_package(&self, want: &Want) -> bool {
        let model = want.ask.feed.model();
        matches!(want.file, File::OfPackage(_, Content::Manifest))
            && model.is_some_and(|model| model.is_without_flat_container())
    }

    /// The want for the package that a file is made of, if it is made of one.
    pub(in crate::proxy) fn source_of(&self, want: &Want) -> Option<Want> {
        self.package_want(want)
            .filter(|_| self.is_made_of_its_package(want))
    }

    /// Takes a manifest from its package, which is fetched and stored if need be, and stores it beside that.
    pub(super) async fn take_manifest(&self, want: &Want, epoch: Epoch) -> Result<Landed, Setback> {
        let Some(package) = self.package_of(want).await? else {
            return Ok(Landed::Absent(want.ask.feed.audience()));
        };
        let reader = package.body.reader();
        let origin = package.entry.origin.clone();
        let manifest = match self
            .tasks
            .blocking("manifest", move || nupkg::nuspec_of(reader))
            .await
        {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(fault)) => {
                let what = fault.to_string();
                return Err(Failure::BadBody { origin, what }.into());
            }
            Err(_) => return Err(Failure::Internal("reading a package panicked").into()),
        };
        let length = manifest.len() as u64;
        let written = async {
            let mut writer = self.store.begin(&want.ask.key, Some(length)).await?;
            writer.write(Bytes::from(manifest)).await?;
            Ok::<_, StoreFault>(writer)
        };
        let writer = written.await.map_err(|fault| {
            tracing::debug!(key = ?want.ask.key, %fault, "a manifest could not be stored");
            Failure::Internal("the store takes no manifest")
        })?;
        let stored = writer.publish(Draft {
            epoch,
            status: package.entry.status,
            headers: Default::default(),
            upstream_validator: Default::default(),
            origin,
            fetched_at: package.entry.fetched_at,
            validated_at: package.entry.validated_at,
        });
        Ok(Landed::Stored(stored, Outcome::Miss))
    }

    /// The want for the package that a manifest belongs to, with no demand of its own; `None` if the file is of no version.
    pub(super) fn package_want(&self, want: &Want) -> Option<Want> {
        let (id, version) = want.ask.id.as_ref().zip(want.version())?;
        let query = Query {
            feed: &want.ask.feed,
            base: "",
            query: "",
            demand: Demand::None,
            since: want.ask.since,
            errand: &want.ask.errand,
        };
        Some(self.want(&query, id, version, Content::Package, None))
    }

    /// The stored package that a manifest belongs to; `None` if the upstream has none.
    async fn package_of(&self, want: &Want) -> Result<Option<Stored>, Failure> {
        let Some(mut package) = self.package_want(want) else {
            return Ok(None);
        };
        package.ask.demand = want.ask.demand;
        let epoch = package.gate(self).epoch;
        if want.ask.demand != Demand::Forced
            && let Some(stored) = self.stored(&package.ask.key).await
            && stored.entry.epoch >= epoch
        {
            return Ok(Some(stored));
        }
        let audience = want.ask.feed.audience();
        let state = loop {
            let (mut ticket, _) = self.board_content(&package, epoch);
            let landed = ticket.wait_for(ContentState::is_landed).await;
            let state = landed.map_err(|_| lost())?.clone();
            if !state.is_for_another_than(&audience) {
                break state;
            }
        };
        match state {
            ContentState::Done(Ok(Landed::Resumed(stored) | Landed::Stored(stored, _))) => {
                Ok(Some(stored))
            }
            ContentState::Done(Ok(Landed::Absent(_))) => Ok(None),
            ContentState::Done(Err(failure)) | ContentState::Refused(_, failure) => Err(failure),
            ContentState::Asking(_)
            | ContentState::Cut { .. }
            | ContentState::Past(_)
            | ContentState::Streaming(_) => Err(Failure::Internal(
                "the store takes no package to read a manifest from",
            )),
        }
    }
}
