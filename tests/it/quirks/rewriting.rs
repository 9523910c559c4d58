//! Section 7.1: what is rewritten, and what is advertised.

use serde_json::json;

use crate::harness::fixture::document;
use crate::harness::{Origin, TestProxy};

#[tokio::test(start_paused = true)]
async fn the_index_is_fetched_from_the_configured_address_as_it_is_written() {
    let index = json!({"version": "3.0.0", "resources": []}).to_string();
    let origin = Origin::new();
    origin.on("up.test/Api/nuget/v3/main?x=%2F", document(&index));
    let proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = "https://up.test/Api/nuget/v3/main?x=%2F".into();
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    assert_eq!(proxy.origin.total(), 1);
}
