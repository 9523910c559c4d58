//! Paths of the V2 protocol get an answer that says what to use in their place.

use http::Method;
use sluice::proxy::FeedSettings;

use crate::harness::fixture::{INDEX, nuget_like};
use crate::harness::{Ask, TestProxy};

async fn proxy() -> TestProxy {
    TestProxy::with(nuget_like(), |setup| {
        let feeds = ["nuget", "company"].map(|name| FeedSettings::new(name, INDEX));
        setup.proxy.feeds = feeds.into();
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_client_of_v2_is_told_where_v3_is() {
    let proxy = proxy().await;
    for (path, source) in [
        ("/api/v2", "/v3/index.json"),
        (
            "/api/v2/FindPackagesById()?id='Serilog'&semVerLevel=2.0.0",
            "/v3/index.json",
        ),
        (
            "/nuget/FindPackagesById()?id='Serilog'",
            "/nuget/v3/index.json",
        ),
        (
            "/nuget/Packages(Id='Serilog',Version='3.1.1')",
            "/nuget/v3/index.json",
        ),
        (
            "/company/api/v2/package/serilog/3.1.1",
            "/company/v3/index.json",
        ),
        ("/v3/Search()?searchTerm='a'", "/v3/index.json"),
        ("/v3/$metadata", "/v3/index.json"),
        ("/other/api/v2/", "/v3/index.json"),
    ] {
        let answer = proxy.get(path).await;
        // Not a 404: a client takes that for a package that is not there.
        assert_eq!(answer.status, 410, "{path}");
        assert_eq!(answer.detail(), "refused.bad-request", "{path}");
        let expected = format!("V3 is: use the source http://us.test:6850{source}");
        let reason = answer.reason.as_deref().unwrap();
        assert!(reason.ends_with(&expected), "{path}: {reason}");
        assert!(
            answer.text().contains(&expected),
            "{path}: {}",
            answer.text()
        );
    }
    assert_eq!(proxy.origin.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_push_to_v2_is_told_the_same() {
    let proxy = proxy().await;
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        let ask = Ask::new(method, "/api/v2/package/a/1.0.0").body("x");
        assert_eq!(proxy.send(ask).await.status, 410);
    }
    assert_eq!(proxy.origin.total(), 0);
}
