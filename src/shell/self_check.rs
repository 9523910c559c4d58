//! What the check of our own index looks at: the address that clients have of it, and an index that they may read.

use std::sync::Arc;

use sluice::access::rules::Right;
use sluice::config::Config;
use sluice::server::{Listeners, SelfCheck, Subject};
use sluice::tasks::Tasks;
use sluice::upstream::connect;

use super::USER_AGENT;

/// The check of our own index, as clients that know us by `public_url` or else on this machine reach it.
pub(crate) fn self_check(
    config: &Config,
    listeners: &Listeners,
    network: &Arc<connect::Network>,
    tasks: &Tasks,
) -> SelfCheck {
    let public = config.proxy.base.public_url.clone();
    let base_url = public
        .or_else(|| listeners.tls_url())
        .or_else(|| listeners.local_url())
        .unwrap_or_default();
    let feeds = &config.proxy.feeds;
    let open = feeds
        .iter()
        .position(|feed| !feed.clients.guard(Right::Index));
    let folder = match open.and_then(|at| feeds.get(at)) {
        // What lies below `/v3/` may be a feed made of others, which lets in whom they all let in.
        Some(feed) if open != Some(0) || config.proxy.default_feed.is_some() => {
            format!("/{}", feed.name)
        }
        Some(_) | None => String::new(),
    };
    let subject = Subject {
        index_url: format!("{base_url}{folder}/v3/index.json"),
        certificates: listeners.certificates().cloned(),
        roots: config.roots.clone(),
        user_agent: format!("{USER_AGENT} (self-check)"),
    };
    SelfCheck::new(
        subject,
        Arc::<connect::Network>::clone(network),
        tasks.clone(),
    )
}
