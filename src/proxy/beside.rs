//! Upstreams beside a feed's own: where its vulnerability data and symbols come from, and where client binaries do.
//!
//! Each is a feed of its own, without credentials, whose name no configured feed can have: what it keeps is kept apart,
//! and nothing that belongs to the feed goes there.

use std::sync::Arc;

use super::feed::Feed;
use super::settings::{FeedSettings, ToolsSettings};
use crate::access::rules::Rules;
use crate::upstream::WaySettings;

/// The upstreams beside one feed's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    /// A service index whose vulnerability data is the feed's.
    pub(super) audit: Option<Arc<Feed>>,
    /// A symbol server.
    pub(super) symbols: Option<Arc<Feed>>,
}

impl Beside {
    /// All of them.
    pub(super) fn feeds(&self) -> impl Iterator<Item = &Arc<Feed>> {
        self.audit.iter().chain(&self.symbols)
    }
}

/// The feed that a feed's vulnerability data comes from, where another upstream is named.
pub(super) fn audit(feed: &FeedSettings) -> Option<FeedSettings> {
    let name = format!("{}:audit", feed.name);
    Some(companion(feed, &name, feed.audit_upstream.as_ref()?))
}

/// The feed that a feed's symbols come from, if there is one.
pub(super) fn symbols(feed: &FeedSettings) -> Option<FeedSettings> {
    let name = format!("{}:symbols", feed.name);
    Some(companion(feed, &name, feed.symbols_upstream.as_ref()?))
}

/// The feed that client binaries come from, if there is one. They are for everybody.
pub(super) fn tools(settings: &ToolsSettings) -> Option<FeedSettings> {
    let mut tools = FeedSettings::new(":tools", settings.upstream.as_ref()?);
    tools.freshness.tools_list = settings.fresh;
    tools.ways.clone_from(&settings.ways);
    Some(tools)
}

/// What stands beside a feed is for the same clients, as fresh, and reached through the same proxies. Beside a feed that
/// passes credentials on it is for everybody, for it gets none.
fn companion(feed: &FeedSettings, name: &str, url: &str) -> FeedSettings {
    // Where clients are known by what the feed's own upstream says of them, that one is not asked here.
    let clients = if feed.passes_credentials_on() {
        Rules::default()
    } else {
        feed.clients.clone()
    };
    FeedSettings {
        name: name.to_owned(),
        upstream: url.to_owned(),
        clients,
        credential: None,
        audit_upstream: None,
        symbols_upstream: None,
        // It is offline with the feed; what becomes of its own upstream has no say in that.
        auto_offline_after: None,
        // Our certificate is for the feed's own upstream.
        ways: WaySettings {
            identity: None,
            proxies: feed.ways.proxies.clone(),
        },
        ..feed.clone()
    }
}

impl Feed {
    /// Every origin in trouble, of its own upstream and of those beside it, for readiness.
    pub(super) fn troubles_told(&self) -> Vec<serde_json::Value> {
        let beside = self.beside.feeds().flat_map(|feed| feed.troubles.told());
        self.troubles.told().into_iter().chain(beside).collect()
    }

    /// The feed whose vulnerability data is this one's: itself, unless another upstream was named.
    pub(super) fn audit_source(self: &Arc<Self>) -> &Arc<Self> {
        self.beside.audit.as_ref().unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::proxy::feed::{AccessGeneration, Generation};
    use crate::proxy::mode::{Mode, ModeState};
    use crate::upstream::auth::{Access, Credential};
    use crate::upstream::url::Origin;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn feed(name: &str) -> Feed {
        let settings = FeedSettings::new(name, "https://h.test/index.json");
        let origin = Origin::of(&settings.upstream).expect("an address");
        let credential = Credential::Bearer("s3cret".into());
        let access = Access::new(origin, Some(&credential)).expect("a credential");
        let (generation, asked_with) = (Generation(1), AccessGeneration(1));
        let (beside, mode) = (Beside::default(), ModeState::new(Mode::Online));
        Feed::new(
            settings,
            access,
            generation,
            asked_with,
            beside,
            mode.into(),
        )
    }

    #[test]
    fn old_data_is_warned_of_once_a_day() {
        let (feed, now) = (feed("nuget"), SystemTime::UNIX_EPOCH + 9 * DAY);
        assert!(feed.take_warning(now, DAY));
        assert!(!feed.take_warning(now, DAY));
        assert!(!feed.take_warning(now + DAY - Duration::from_secs(1), DAY));
        assert!(feed.take_warning(now + DAY, DAY));
    }

    #[test]
    fn log_and_metrics_call_it_by_the_feed_that_it_stands_beside() {
        assert_eq!(&*feed("nuget").label, "nuget");
        assert_eq!(&*feed("nuget:audit").label, "nuget");
        assert_eq!(&*feed(":tools").label, "-");
    }
}
