//! What is done without being asked: vulnerability data is fetched at start and hourly while its feed is in use.
//!
//! Every restore asks for it and warns when it cannot be had (protocol fact 2.7.8), so it must be stored before the line
//! breaks. Nobody waits for this work, and nothing else is fetched ahead.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::feed::Feed;
use super::fetch::Obtained;
use super::route::{Class, Resource};
use super::view::Query;
use crate::cache::decision::Demand;
use crate::nuget::service_index::Service;
use crate::telemetry::{Family, Kind};

/// How often feeds are looked at: often enough that data an hour old is asked for again within the minute.
const ROUND: Duration = Duration::from_secs(60);
/// Vulnerability data older than this is served with a warning in the log.
const OLD_DATA: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const DATA_AGE: Family = Family {
    name: "sluice_vulnerability_data_age_seconds",
    help: "Time since the upstream last confirmed a feed's vulnerability index.",
    kind: Kind::Gauge,
};

impl Proxy {
    /// Starts the upkeep of every feed; it ends when draining begins.
    pub fn start_upkeep(&self) {
        for feed in &self.feeds {
            let (proxy, feed) = (self.clone(), Arc::clone(feed));
            self.tasks.spawn("upkeep", async move {
                tokio::select! {
                    () = proxy.tasks.draining() => {}
                    () = proxy.keep_up(&feed) => {}
                }
            });
        }
    }

    async fn keep_up(&self, feed: &Arc<Feed>) {
        let mut warned = false;
        loop {
            if feed.take_use() {
                warned = self.refresh_vulnerabilities(feed, warned).await;
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Brings a feed's vulnerability data up to date if its upstream offers any. Says whether its age was warned of.
    async fn refresh_vulnerabilities(&self, feed: &Arc<Feed>, warned: bool) -> bool {
        let offers = self
            .model(feed, &[])
            .await
            .is_ok_and(|model| !model.index.endpoints(Service::VulnerabilityInfo).is_empty());
        if !offers {
            return false;
        }
        let query = Query {
            feed,
            base: "",
            query: "",
            demand: Demand::None,
            via: &[],
        };
        let class = Class::VulnerabilityIndex;
        let ask = self.ask_for_resource(&query, &Resource::VulnerabilityIndex, class, None);
        let Ok(Obtained::Document { document, .. }) = Box::pin(self.document(&ask)).await else {
            return warned;
        };
        let age = self.clock.since(document.entry.validated_at);
        self.telemetry
            .set(&DATA_AGE, &[("feed", &feed.name)], age.as_secs());
        let is_old = age > OLD_DATA;
        if is_old && !warned {
            tracing::warn!(
                feed = &*feed.name,
                days = age.as_secs() / 86_400,
                "the vulnerability data is old: the upstream has not confirmed it"
            );
        }
        is_old
    }
}
