//! How each origin is asked, as metrics: who waits for a turn, how long that took, and whether the origin rests.
//!
//! It refuses to know what a turn is.

use std::sync::Arc;

use super::Proxy;
use crate::telemetry::{Family, Kind, Samples};
use crate::upstream::{OriginQueue, Urgency};

const WAITING: Family = Family {
    name: "sluice_upstream_queue_length",
    help: "Requests, and pieces of bodies, that wait for their turn at an origin.",
    kind: Kind::Gauge,
};

const TURNS: Family = Family {
    name: "sluice_upstream_turns_total",
    help: "Requests, and pieces of bodies under a limit, that had their turn at an origin.",
    kind: Kind::Counter,
};

const WAITED: Family = Family {
    name: "sluice_upstream_turn_wait_milliseconds_total",
    help: "How long those had waited for their turn, all together.",
    kind: Kind::Counter,
};

const RESTS: Family = Family {
    name: "sluice_upstream_rest_seconds",
    help: "How much longer nothing is sent to an origin, as it wished by Retry-After.",
    kind: Kind::Gauge,
};

impl Proxy {
    /// Shows the queues of the origins in the metrics.
    pub(super) fn watch_queues(&self) {
        let current = Arc::downgrade(&self.current);
        self.telemetry.collect(move |samples| {
            let Some(current) = current.upgrade() else {
                return;
            };
            for queue in current.load().upstream.queues() {
                show(&queue, samples);
            }
        });
    }
}

fn show(queue: &OriginQueue, samples: &mut Samples) {
    let origin = queue.origin.to_string();
    let origin = ("origin", &*origin);
    for (of, backlog) in [("bodies", &queue.bodies), ("requests", &queue.requests)] {
        let labels = [origin, ("of", of)];
        for (urgency, waiting) in [
            (Urgency::Background, backlog.waiting_behind),
            (Urgency::Client, backlog.waiting_clients),
        ] {
            let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
            let labels = [origin, ("of", of), ("urgency", urgency.word())];
            samples.add(&WAITING, &labels, waiting);
        }
        samples.add(&TURNS, &labels, backlog.turns);
        let waited = u64::try_from(backlog.waited.as_millis()).unwrap_or(u64::MAX);
        samples.add(&WAITED, &labels, waited);
    }
    samples.add(&RESTS, &[origin], queue.rests_for.as_secs());
}
