//! A version that a member's upstream withdrew: the member's own setting says what becomes of it, and no other member
//! delivers other bytes in its place.

use std::time::Duration;

use sluice::proxy::{MarkKind, Withdrawn};

use super::*;
use crate::harness::{pass, seconds};

#[tokio::test(start_paused = true)]
async fn what_one_member_withdrew_no_other_delivers() {
    let mut proxy = union().await;
    let path = content("Shared", "1.0.0");
    proxy.get(&list("Shared")).await.expect("miss");
    let first = proxy.get(&path).await.expect("miss");
    assert_eq!(first.body, bytes_of("company.test", "Shared", "1.0.0"));
    let dropped = document(&version_list(&["3.0.0"]));
    proxy
        .origin
        .on("company.test/flat/shared/index.json", dropped);
    pass(seconds(60)).await;
    proxy.get(&list("Shared")).await.expect("miss");
    pass(Duration::from_millis(500)).await;
    let answer = proxy.get(&path).await.expect("hit.withdrawn");
    assert_eq!(answer.body, first.body);
    let listed = proxy.proxy.marked(MarkKind::Withdrawn);
    assert_eq!(listed["withdrawn"][0]["feed"], "company");
    assert_eq!(listed["withdrawn"][1], serde_json::Value::Null);
    proxy.reload(|settings| {
        let company = settings.feeds.iter_mut();
        for feed in company.filter(|feed| feed.name == "company") {
            feed.withdrawn = Withdrawn::Block;
        }
    });
    let refused = proxy.get(&path).await;
    assert_eq!(
        (refused.status, refused.detail()),
        (404, "refused.withdrawn")
    );
    let asked = format!("GET nuget.test/flat/{}", content_path("Shared", "1.0.0"));
    assert_eq!(proxy.origin.count(&asked), 0);
}
