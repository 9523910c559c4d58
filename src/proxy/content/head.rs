//! HEAD of a file that is not stored: asked upstream as a HEAD, once for all who wait, and not kept.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderMap;

use super::lead::head_of;
use super::{Delivery, Want};
use crate::cache::epoch::Epoch;
use crate::flight::Joined;
use crate::proxy::Proxy;
use crate::proxy::document::{FlightKey, Missing};
use crate::proxy::failure::Failure;
use crate::proxy::fetch::status_failure;
use crate::proxy::live::lost;
use crate::proxy::outcome::Reason;
use crate::upstream::{FetchMethod, Stake};

/// The state of a HEAD under way.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum HeadState {
    /// Whoever joins shares its place in the queue of the origin.
    Asking(Arc<Stake>),
    Done(Result<HeadLanded, Failure>),
}

/// What a HEAD brought: `None` if the upstream has no such file.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct HeadLanded(Option<(HeaderMap, Option<u64>)>);

impl Proxy {
    /// A HEAD for a file that is not stored: asked upstream as a HEAD, once for all who wait, and not kept.
    pub(super) async fn head(&self, want: &Want, epoch: Epoch) -> Result<Delivery, Failure> {
        let (ask, stake) = want.ask.led();
        let mut ticket = match self.heads.join(
            FlightKey::of_client(&want.ask, epoch),
            HeadState::Asking(stake),
        ) {
            Joined::Follower(ticket) => {
                if let HeadState::Asking(stake) = &*ticket.now() {
                    want.ask.share(stake);
                }
                ticket
            }
            Joined::Leader(ticket, lead) => {
                let (proxy, want) = (self.clone(), want.with(ask));
                self.tasks.spawn("head", async move {
                    let verdict = Box::pin(proxy.fetch_head(&want, epoch)).await;
                    lead.finish(HeadState::Done(verdict));
                });
                ticket
            }
        };
        let asking = match &*ticket.now() {
            HeadState::Asking(stake) => Some(Arc::clone(stake)),
            HeadState::Done(_) => None,
        };
        let done = ticket.wait_for(|state| matches!(state, HeadState::Done(_)));
        let verdict = match tokio::time::timeout(self.settings.max_hold, done).await {
            Err(_) => Err(self.out_of_time(&want.ask, asking.as_ref())),
            Ok(Err(_)) => Err(lost()),
            Ok(Ok(state)) => match &*state {
                HeadState::Asking(_) => Err(lost()),
                HeadState::Done(verdict) => verdict.clone(),
            },
        };
        match verdict {
            Ok(HeadLanded(Some((headers, length)))) => Ok(Delivery::Head { headers, length }),
            Ok(HeadLanded(None)) => Ok(Delivery::Absent(Missing::default())),
            Err(failure) => {
                if matches!(failure.reason(), Reason::HeldOut | Reason::OwnLimit) {
                    self.note_refusal(want, &failure);
                }
                Err(failure)
            }
        }
    }

    async fn fetch_head(&self, want: &Want, epoch: Epoch) -> Result<HeadLanded, Failure> {
        let fetched = self.ask_for(want, FetchMethod::Head, None).await?;
        match fetched.status {
            StatusCode::OK => {
                let head = head_of(&fetched);
                Ok(HeadLanded(Some((head.headers, head.identity.length))))
            }
            status if want.is_absence(status) => {
                self.note_absent(want, epoch, status).await;
                Ok(HeadLanded(None))
            }
            status => Err(status_failure(&fetched.origin, status)),
        }
    }
}
