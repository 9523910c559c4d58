//! What sends us upstream: for which client, how urgently, and the `Via` of the request behind it.
//!
//! Each flight has a [`Stake`] of its own, its place in the queues of the origins that it asks; whoever joins the flight
//! shares it. It refuses to know what is asked for.

use std::net::IpAddr;
use std::sync::Arc;

use super::document::Ask;
use crate::upstream::{Asker, Stake, Urgency};

/// What sends us upstream.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// The client behind it; none is ourselves.
    client: Option<IpAddr>,
    /// The place of the flight that it is a part of.
    stake: Option<Arc<Stake>>,
    urgency: Urgency,
    /// The `Via` values of the request behind it.
    pub(super) via: Vec<String>,
}

impl Errand {
    /// A client's: it waits for what we bring.
    pub(super) fn of_client(client: IpAddr, via: Vec<String>) -> Self {
        Self {
            client: Some(client),
            stake: None,
            urgency: Urgency::Client,
            via,
        }
    }

    /// Our own: nobody waits.
    pub(super) fn of_ours() -> Self {
        Self {
            client: None,
            stake: None,
            urgency: Urgency::Background,
            via: Vec::new(),
        }
    }

    /// Whether no client is behind it.
    pub(super) fn is_ours(&self) -> bool {
        self.client.is_none()
    }

    /// How urgent it is by now: who waits for the flight that it is a part of waits for it.
    fn urgency(&self) -> Urgency {
        let stake = self.stake.as_ref();
        stake.map_or(self.urgency, |stake| stake.urgency())
    }
}

impl Ask {
    /// The same, with nobody waiting for it: asked behind an answer.
    pub(super) fn behind(&self) -> Self {
        let mut ask = self.clone();
        (ask.errand.stake, ask.errand.urgency) = (None, Urgency::Background);
        ask
    }

    /// The same as the leader of a flight asks it, and the place that followers share.
    pub(super) fn led(&self) -> (Self, Arc<Stake>) {
        let stake = self.new_stake();
        let mut ask = self.clone();
        ask.errand.stake = Some(Arc::clone(&stake));
        (ask, stake)
    }

    /// Joins whoever waits in this place.
    pub(super) fn share(&self, stake: &Stake) {
        stake.join(self.asker(), self.errand.urgency());
    }

    /// The place that it waits in.
    pub(super) fn stake(&self) -> Arc<Stake> {
        match &self.errand.stake {
            Some(stake) => Arc::clone(stake),
            None => self.new_stake(),
        }
    }

    fn new_stake(&self) -> Arc<Stake> {
        Stake::new(self.asker(), self.errand.urgency())
    }

    fn asker(&self) -> Asker {
        Asker::new(&self.feed.label, self.errand.client)
    }
}
