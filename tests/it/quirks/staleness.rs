//! Section 7.3: what is stale, and what contradicts itself.

use crate::harness::fixture::{content_path, nuget_like};
use crate::harness::{TestProxy, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_stored_package_needs_no_upstream() {
    let proxy = TestProxy::with(nuget_like(), |_| {}).await;
    let path = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let first = proxy.get(&path).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(24 * 60 * 60)).await;
    let again = proxy.get(&path).await.expect("hit");
    assert_eq!(again.body, first.body);
}
