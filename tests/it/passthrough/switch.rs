//! A feed that begins to pass clients' credentials on, or ends it, while it runs and from one start to the next.

use sluice::access::rules::Mode;
use sluice::upstream::auth::Credential;

use super::{ANN, CARL, CONTENT, CONTENT_ASKED, CONTENT_PLACE, Corp, LIST, ask, file, get, whole};
use crate::harness::{Gate, TestProxy, pass, seconds};

/// Lets the feed be asked with a credential of its own, for everybody, or with each client's.
fn switch(proxy: &mut TestProxy, mode: Mode, token: Option<&str>) {
    proxy.reload(|settings| {
        let feed = &mut settings.feeds[0];
        feed.clients.mode = mode;
        feed.credential = token.map(|token| Credential::Bearer(token.into()));
    });
}

#[tokio::test(start_paused = true)]
async fn what_came_with_clients_credentials_is_for_nobody_else_once_the_feed_is_open() {
    let corp = Corp::new();
    let mut proxy = corp.known_to(&[ANN]).await;
    for path in [LIST, CONTENT] {
        get(&proxy, ANN, path).await.expect("miss");
        get(&proxy, ANN, path).await.expect("hit");
    }
    switch(&mut proxy, Mode::Open, None);
    for path in [LIST, CONTENT, "/v3/index.json"] {
        let refused = get(&proxy, "", path).await;
        refused.expect_status(502, "failed.not-authorized");
    }
    let mut proxy = proxy.restart().await;
    for path in [LIST, CONTENT, "/v3/index.json"] {
        let refused = get(&proxy, "", path).await;
        refused.expect_status(502, "failed.not-authorized");
    }
    switch(&mut proxy, Mode::Passthrough, None);
    assert_eq!(get(&proxy, ANN, CONTENT).await.expect("hit").body, whole());
}

#[tokio::test(start_paused = true)]
async fn what_came_with_the_feeds_own_credential_is_for_nobody_once_clients_bring_theirs() {
    let corp = Corp::new();
    corp.rights.grant("Bearer own", &["*"]);
    let gate = Gate::new();
    let mut proxy = corp.proxy().await;
    switch(&mut proxy, Mode::Open, Some("own"));
    get(&proxy, "", LIST).await.expect("miss");
    // The second hit is by way of what is remembered of plain requests.
    get(&proxy, "", LIST).await.expect("hit");
    get(&proxy, "", LIST).await.expect("hit");
    let slow = file(&whole()).body_gate(30_000, &gate);
    corp.on(CONTENT_PLACE, "sample.one", slow);
    let mut under_way = ask("", CONTENT).open(&proxy.proxy).await;
    let mut taken = under_way.at_least(10_000).await;
    switch(&mut proxy, Mode::Passthrough, None);
    for path in [LIST, CONTENT] {
        get(&proxy, "", path).await.expect_status(401, "challenged");
        get(&proxy, CARL, path)
            .await
            .expect_status(403, "challenged");
    }
    gate.open();
    taken.extend_from_slice(&under_way.collect().await.body);
    assert!(taken == whole());
    pass(seconds(1)).await;
    get(&proxy, CARL, CONTENT)
        .await
        .expect_status(403, "challenged");
    assert_eq!(get(&proxy, ANN, CONTENT).await.expect("miss").body, whole());
    let own = proxy.origin.seen(CONTENT_ASKED);
    let own = own
        .iter()
        .filter(|seen| seen.header("authorization") == Some("Bearer own"));
    assert_eq!(own.count(), 1);
}
