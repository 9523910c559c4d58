//! What marks on stored packages say, for operators: counted in metrics, listed by name.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Proxy;
use super::integrity::Dispute;
use crate::access::moment;
use crate::store::{Mark, MarkKind};
use crate::telemetry::{Family, Kind};

const DISPUTED: Family = Family {
    name: "sluice_disputed_versions",
    help: "Versions held here with another hash than the one that the upstream publishes.",
    kind: Kind::Gauge,
};
const UNSIGNED: Family = Family {
    name: "sluice_unsigned_versions",
    help: "Versions held here without the signature of the upstream's repository.",
    kind: Kind::Gauge,
};
const WITHDRAWN: Family = Family {
    name: "sluice_withdrawn_versions",
    help: "Versions held here that the upstream has no more.",
    kind: Kind::Gauge,
};

impl Proxy {
    /// Shows in the metrics how many versions are marked.
    pub(super) fn watch_marks(&self) {
        let current = Arc::downgrade(&self.current);
        self.telemetry.collect(move |samples| {
            let Some(current) = current.upgrade() else {
                return;
            };
            let now = current.load();
            for (kind, family) in [
                (MarkKind::Disputed, &DISPUTED),
                (MarkKind::Unsigned, &UNSIGNED),
                (MarkKind::Withdrawn, &WITHDRAWN),
            ] {
                let marks = now.store.marks(kind);
                for feed in &now.feeds {
                    let of_feed = marks.iter().filter(|mark| mark.key.feed() == &*feed.name);
                    let count = u64::try_from(of_feed.count()).unwrap_or(u64::MAX);
                    samples.add(family, &[("feed", &feed.name)], count);
                }
            }
        });
    }

    /// Every version that is held here and marked so, with the time since when that is known: an object with one list, whose
    /// name is the kind's word.
    #[must_use]
    pub fn marked(&self, kind: MarkKind) -> Value {
        let mut marks = self.store.marks(kind);
        marks.sort_by(|one, other| one.key.text().cmp(other.key.text()));
        let all: Vec<Value> = marks.iter().map(|mark| shown(kind, mark)).collect();
        json!({kind.word(): all})
    }
}

fn shown(kind: MarkKind, mark: &Mark) -> Value {
    let mut shown = json!({
        "feed": mark.key.feed(),
        "id": mark.key.id(),
        "version": mark.key.rest(),
        "since": moment::show(mark.since),
    });
    match kind {
        MarkKind::Disputed => {
            let dispute = Dispute::of(mark);
            shown["published"] = dispute.published.into();
            shown["held"] = dispute.held.into();
        }
        MarkKind::Unsigned => shown["problem"] = mark.detail.as_str().into(),
        MarkKind::Withdrawn => {}
    }
    shown
}
