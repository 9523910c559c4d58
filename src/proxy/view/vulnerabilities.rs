//! Vulnerability data: an index is served only with its pages, and both are kept current while clients audit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{How, Query, Seen};
use crate::cache::decision::Demand;
use crate::cache::freshness::Deadline;
use crate::nuget::vulnerabilities;
use crate::proxy::Proxy;
use crate::proxy::document::{Ask, Missing, Obtained};
use crate::proxy::errand::Errand;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::outcome::Outcome;
use crate::proxy::route::{Class, Resource};
use crate::telemetry::{Family, Kind};
use crate::upstream::url::Origin;

/// After a try that failed the next is made this much later: the breaker probes the upstream more often by itself.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Data that the upstream has not confirmed for this long is still served, with a warning in the log.
const OLD_DATA: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Time between two such warnings: whoever reads the log has read the one before.
const WARNING_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

const DATA_AGE: Family = Family {
    name: "sluice_vulnerability_data_age_seconds",
    help: "Time since the upstream last confirmed a feed's vulnerability index.",
    kind: Kind::Gauge,
};

/// The shortest time between two looks, whatever freshness the settings give: nobody waits for them.
pub(in crate::proxy) const MIN_PAUSE: Duration = Duration::from_secs(1);

impl Proxy {
    pub(super) async fn vulnerability_page(
        &self,
        query: &Query<'_>,
        token: &str,
    ) -> Result<Seen, Failure> {
        let index = self.ask_for_resource(
            query,
            &Resource::VulnerabilityIndex,
            Class::VulnerabilityIndex,
            None,
        );
        let Obtained::Document { document, .. } = self.document(&index).await? else {
            return Ok(Seen::Absent(Missing::default()));
        };
        let pages = vulnerabilities::read_index(document.text())
            .map_err(|_| Failure::Internal("a stored vulnerability index that cannot be read"))?;
        // A token of an earlier or another instance's index gets the current page of that name.
        let name = token.rsplit_once('-').map(|(name, _)| name);
        let page = pages
            .iter()
            .find(|page| page.token() == token)
            .or_else(|| pages.iter().find(|page| Some(page.name.as_str()) == name));
        let Some(page) = page else {
            return Ok(Seen::Absent(Missing::default()));
        };
        let is_current = page.token() == token;
        let mut ask = self.vulnerability_page_ask(query.feed, page, query.errand);
        if query.demand == Demand::StoredOnly {
            ask.demand = Demand::StoredOnly;
        }
        let obtained = self.document(&ask).await?;
        let mut seen = self.shown(&ask, obtained, How::AsIs);
        if let Seen::Shown(shown) = &mut seen
            && !is_current
        {
            // It stands in for another only as long as the index says so.
            let policy = query.feed.policy(index.class);
            let until = policy.fresh_until(&document.entry, &self.gate(&index), self.clock.now());
            shown.deadline = shown.deadline.min(until);
        }
        Ok(seen)
    }

    /// Fetches and stores every page that a new vulnerability index names: an index is served only with its pages, for a
    /// missing one costs every restore a warning and seconds (protocol fact 9.16).
    pub(in crate::proxy) async fn store_pages(
        &self,
        ask: &Ask,
        text: &Bytes,
    ) -> Result<(), Failure> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let pages = vulnerabilities::read_index(text)
            .map_err(|_| Failure::Internal("a checked vulnerability index that cannot be read"))?;
        for page in &pages {
            let page_ask = self.vulnerability_page_ask(&ask.feed, page, &ask.errand);
            if let Obtained::Absent(_) = Box::pin(self.document(&page_ask)).await? {
                let named = Origin::of(&page.url).ok();
                let origin = named.as_ref().unwrap_or(ask.feed.access.upstream());
                let origin = origin.host().to_owned();
                return Err(Failure::BadBody {
                    origin,
                    what: format!("page {:?} is missing", page.name),
                });
            }
        }
        Ok(())
    }

    /// Fetches every feed's vulnerability data now, and again whenever it grows old while clients ask for it: the audit
    /// of a restore then never waits for it, and an outage finds it recent. Certificates likewise, while packages are
    /// asked for. Ends when draining begins; a reload goes on
    /// with the feeds of then.
    pub fn keep_vulnerabilities(&self) {
        self.reloads.keeps_current.store(true, Ordering::Relaxed);
        self.now().keep_current();
    }

    /// The same for the feeds of one snapshot, until another takes its place. A feed that passes clients' credentials on
    /// has none of its own to ask with.
    pub(in crate::proxy) fn keep_current(&self) {
        let own = |feed: &&Arc<Feed>| !feed.settings.passes_credentials_on();
        for feed in self.feeds.iter().filter(own) {
            let (proxy, of_packages) = (self.clone(), Arc::clone(feed));
            self.tasks.spawn("certificates", async move {
                tokio::select! {
                    () = proxy.tasks.draining() => {}
                    () = proxy.superseded.cancelled() => {}
                    () = proxy.watch_certificates(&of_packages) => {}
                }
            });
            let (proxy, feed) = (self.clone(), Arc::clone(feed));
            self.tasks.spawn("vulnerabilities", async move {
                tokio::select! {
                    () = proxy.tasks.draining() => {}
                    () = proxy.superseded.cancelled() => {}
                    () = proxy.watch_vulnerabilities(&feed) => {}
                }
            });
        }
    }

    async fn watch_vulnerabilities(&self, feed: &Arc<Feed>) {
        let source = feed.audit_source();
        let interval = source.settings.freshness.vulnerability_index;
        loop {
            let asked = self.clock.instant();
            let pause = match self.refresh_vulnerabilities(feed, asked).await {
                Ok(pause) => pause,
                Err(Failure::NotOffered(_)) => {
                    if feed.beside.audit.is_some() {
                        tracing::warn!(
                            feed = &*feed.name,
                            upstream = source.settings.upstream,
                            "the upstream named for vulnerability data offers none"
                        );
                    }
                    interval
                }
                Err(failure) => {
                    tracing::info!(feed = &*feed.name, reason = %failure.reason(), "vulnerability data is not at hand");
                    tokio::time::sleep(TRY_AGAIN).await;
                    continue;
                }
            };
            tokio::time::sleep(pause.max(MIN_PAUSE)).await;
            while !source.take_audit() {
                tokio::time::sleep(interval.max(MIN_PAUSE)).await;
            }
        }
    }

    /// Asks for the index unless it is fresh. Gives the time until it is to be asked for again.
    async fn refresh_vulnerabilities(
        &self,
        feed: &Arc<Feed>,
        since: Instant,
    ) -> Result<Duration, Failure> {
        let source = feed.audit_source();
        let errand = Errand::of_ours();
        let query = Query {
            feed: source,
            base: "",
            query: "",
            demand: Demand::None,
            since,
            errand: &errand,
        };
        let ask = self.ask_for_resource(
            &query,
            &Resource::VulnerabilityIndex,
            Class::VulnerabilityIndex,
            None,
        );
        let Obtained::Document {
            document, outcome, ..
        } = self.document(&ask).await?
        else {
            return Ok(TRY_AGAIN);
        };
        self.tell_age(feed, self.clock.since(document.entry.validated_at));
        let until = source.policy(ask.class).fresh_until(
            &document.entry,
            &self.gate(&ask),
            self.clock.now(),
        );
        Ok(match until {
            Deadline::At(time) if outcome != Outcome::Stale => {
                time.duration_since(self.clock.now()).unwrap_or(TRY_AGAIN)
            }
            Deadline::At(_) | Deadline::Never => TRY_AGAIN,
        })
    }

    /// Shows how old a feed's data is, and warns when it is too old.
    fn tell_age(&self, feed: &Feed, age: Duration) {
        self.telemetry
            .set(&DATA_AGE, &[("feed", &feed.name)], age.as_secs());
        if age > OLD_DATA && feed.take_warning(self.clock.now(), WARNING_PAUSE) {
            let days = age.as_secs() / 86_400;
            tracing::warn!(feed = &*feed.name, days, "the vulnerability data is old");
        }
    }
}
