//! Block rules: who is turned away by one, and who is told.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::failure::Failure;
use super::feed::Feed;
use super::told::Told;
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::telemetry::{Family, Kind};

/// How long the log names a rule no second time: a client asks for what it cannot get again and again.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(60);

const BLOCKED: Family = Family {
    name: "sluice_blocked_total",
    help: "Requests turned away by a block rule.",
    kind: Kind::Counter,
};

impl Feed {
    /// Fails for what a rule hides: a version, or without one an id as a whole.
    pub(super) fn check_rules(
        &self,
        id: &PackageId,
        version: Option<&Version>,
    ) -> Result<(), Failure> {
        let rules = &self.settings.block;
        let hiding = match version {
            Some(version) => rules.hiding_version(id, version),
            None => rules.hiding(id),
        };
        match hiding {
            None => Ok(()),
            Some(rule) => Err(Failure::Blocked {
                rule: rule.as_str().to_owned(),
            }),
        }
    }
}

impl Proxy {
    /// Counts a request that a rule turned away, and tells the log, once a minute for each rule.
    pub(super) fn note_blocked(&self, feed: &Arc<str>, failure: &Failure, told: &Told) {
        let Failure::Blocked { rule } = failure else {
            return;
        };
        let labels = [("feed", &**feed), ("rule", rule)];
        self.telemetry.add(&BLOCKED, &labels, 1);
        let name = (Arc::clone(feed), rule.clone());
        if self.named_rules.first(name, (), self.clock.instant()) {
            let client = told.client.map(tracing::field::display);
            let (id, version) = (&told.subject.id, &told.subject.version);
            tracing::warn!(
                feed = &**feed,
                rule,
                id = id.as_deref(),
                version = version.as_deref(),
                client,
                "a block rule turned a request away"
            );
        }
    }
}
