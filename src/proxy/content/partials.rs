//! Bodies that broke off, and the next fetch of each: it goes on with the bytes at hand once the upstream has confirmed for
//! whoever asks now that they are still the beginning of its body.
//!
//! The store keeps the bytes; here stands which body they begin. Refuses to give a byte of them to anybody before the
//! upstream's answer, and to go on with them under another epoch or with other credentials of the feed's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;

use super::Want;
use super::lead::Head;
use super::resume::{Verdict, judge};
use super::stream::{Inflow, Pieces};
use crate::cache::entry::UpstreamValidator;
use crate::cache::epoch::Epoch;
use crate::proxy::Proxy;
use crate::proxy::document::FlightKey;
use crate::proxy::failure::Failure;
use crate::proxy::outcome::Resumption;
use crate::store::Partial;
use crate::upstream::{Conditional, FetchMethod, Fetched};

/// The beginning of a body.
#[derive(Debug)]
struct Beginning {
    partial: Partial,
    head: Arc<Head>,
    validator: UpstreamValidator,
    digest: md5::Md5,
}

/// Beginnings of bodies, by the flight that may go on with them.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Partials(Mutex<HashMap<FlightKey, Beginning>>);

impl Partials {
    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Beginning>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many as the store keeps: what it has let go of is forgotten here.
    fn put(&self, key: FlightKey, beginning: Beginning) {
        let mut all = self.lock();
        all.retain(|_, other| other.partial.is_kept());
        let before = all.insert(key, beginning);
        drop(all);
        drop(before);
    }

    /// What is known of the body, and how many bytes of it are there.
    fn of(&self, key: &FlightKey) -> Option<(Arc<Head>, u64)> {
        let all = self.lock();
        let found = all.get(key).filter(|found| found.partial.is_kept())?;
        Some((Arc::clone(&found.head), found.partial.written()))
    }

    fn take(&self, key: &FlightKey) -> Option<Beginning> {
        self.lock().remove(key)
    }
}

impl Beginning {
    /// Goes on with it; `None` if the store needed its room meanwhile.
    async fn resume(self) -> Option<Inflow> {
        Some(Inflow {
            writer: self.partial.resume().await?,
            head: self.head,
            validator: self.validator,
            digest: self.digest,
            pieces: Pieces::Several,
        })
    }
}

impl Proxy {
    /// Asks for a file, or for the rest of what an earlier flight like this one left of it. With the rest comes what it
    /// goes on with.
    pub(super) async fn ask_or_go_on(
        &self,
        want: &Want,
        epoch: Epoch,
        validators: Option<Conditional>,
    ) -> Result<(Fetched, Option<Inflow>), Failure> {
        let key = FlightKey::of(&want.ask, epoch);
        if let Some((head, at)) = self.partials.of(&key) {
            let asked = self.ask_for_rest(want, &head.identity, at, validators.clone());
            let fetched = Box::pin(asked).await?;
            match judge(&fetched, &head.identity, at) {
                Verdict::Neither => return Ok((fetched, None)),
                Verdict::Other(why) => {
                    self.note_resume(want, at, Resumption::Refused, why);
                    drop(self.partials.take(&key));
                    if fetched.status == StatusCode::OK {
                        return Ok((fetched, None));
                    }
                }
                Verdict::Rest => {
                    let beginning = self.partials.take(&key);
                    let resumed = match beginning {
                        Some(beginning) => beginning.resume().await,
                        None => None,
                    };
                    if let Some(inflow) = resumed {
                        self.note_resume(want, at, Resumption::Resumed, "");
                        return Ok((fetched, Some(inflow)));
                    }
                }
                // All of it comes: there is nothing to go on with.
                Verdict::Whole => {
                    drop(self.partials.take(&key));
                    return Ok((fetched, None));
                }
            }
        }
        let fetched = self.ask_for(want, FetchMethod::Get, validators).await?;
        Ok((fetched, None))
    }

    /// Keeps the beginning of a body for the next flight like this one, if it can tell whether it may go on with it.
    pub(super) async fn keep_beginning(&self, want: &Want, epoch: Epoch, inflow: Inflow) {
        if !inflow.can_go_on(want) {
            return;
        }
        let Some(partial) = inflow.writer.keep().await else {
            return;
        };
        let bytes = partial.written();
        tracing::info!(key = ?want.ask.key, bytes, "a body that broke off is kept for a while");
        let beginning = Beginning {
            partial,
            head: inflow.head,
            validator: inflow.validator,
            digest: inflow.digest,
        };
        self.partials
            .put(FlightKey::of(&want.ask, epoch), beginning);
    }
}
