//! A version of which a member's upstream publishes another hash: the member's own setting says what becomes of it, and no
//! other member delivers other bytes in its place.

use std::time::Duration;

use serde_json::json;
use sluice::proxy::{MarkKind, Presence, Scrutiny};

use super::*;
use crate::harness::pass;

#[tokio::test(start_paused = true)]
async fn what_is_disputed_in_one_member_no_other_delivers() {
    let mut proxy = union().await;
    let leaf = json!({
        "@id": "https://company.test/catalog/data/shared.1.0.0.json", "id": "Shared",
        "version": "1.0.0", "packageHash": format!("{}==", "A".repeat(86)),
    });
    let place = "company.test/catalog/data/shared.1.0.0.json";
    proxy.origin.on(place, document(&leaf.to_string()));
    proxy.reload(|settings| {
        for feed in &mut settings.feeds {
            feed.seek_package_hashes = true;
        }
    });
    let path = content("Shared", "1.0.0");
    let first = proxy.get(&path).await.expect("miss");
    assert_eq!(first.body, bytes_of("company.test", "Shared", "1.0.0"));
    pass(Duration::from_millis(500)).await;
    let answer = proxy.get(&path).await.expect("hit.disputed");
    assert_eq!(answer.body, first.body);
    let listed = proxy.proxy.marked(MarkKind::Disputed);
    assert_eq!(listed["disputed"][0]["feed"], "company");
    assert_eq!(listed["disputed"][1], serde_json::Value::Null);
    for presence in [Presence::Required, Presence::Optional] {
        proxy.reload(|settings| {
            let company = settings.feeds.iter_mut();
            for feed in company.filter(|feed| feed.name == "company") {
                feed.package_hashes = Scrutiny::Enforce;
                feed.member.presence = presence;
            }
        });
        let refused = proxy.get(&path).await;
        assert_eq!(
            (refused.status, refused.detail()),
            (502, "refused.disputed")
        );
        let reason = refused.reason.expect("a reason");
        assert!(reason.contains("member company"), "{reason}");
    }
    let asked = format!("GET nuget.test/flat/{}", content_path("Shared", "1.0.0"));
    assert_eq!(proxy.origin.count(&asked), 0);
}
