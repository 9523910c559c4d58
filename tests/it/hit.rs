//! What is stored answers, and the upstream is asked once, whatever the spelling.

use crate::harness::fixture::{FLAT, LIST, LIST_ASKED, ONE, content_path, package};
use crate::harness::{Ask, TestProxy, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_list_is_fetched_once() {
    let proxy = TestProxy::new().await;
    let first = proxy.get(LIST).await.expect("miss");
    assert_eq!(
        first.text(),
        r#"{"versions":["1.0.0","1.1.0","2.0.0-beta.1"]}"#
    );
    pass(seconds(59)).await;
    for path in [
        LIST,
        "/nuget/v3/flatcontainer/Sample.ONE/index.json",
        "/v3/flatcontainer/sample%2Eone/index.json/?semVerLevel=2.0.0",
    ] {
        let again = proxy.get(path).await.expect("hit");
        assert_eq!(again.note(), "sluice; hit; ttl=1; detail=hit", "{path}");
        assert_eq!(again.header("age"), Some("59"));
        assert_eq!(again.body, first.body);
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 1);
    assert_eq!(proxy.origin.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn content_is_fetched_once_and_kept() {
    let proxy = TestProxy::new().await;
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    let expected = package(ONE, "1.0.0", 40_000);
    let first = proxy.get(&path).await.expect("miss");
    assert_eq!(first.body, expected);
    let length = expected.len().to_string();
    assert_eq!(first.header("content-length"), Some(&*length));
    pass(seconds(6 * 60 * 60)).await;
    for path in [
        path.clone(),
        path.replace("1.0.0", "1.0"),
        path.replace("1.0.0", "1.0.0.0+build"),
        path.replace("sample.one", "SAMPLE.One"),
    ] {
        let again = proxy.get(&path).await.expect("hit");
        assert_eq!(again.body, expected, "{path}");
    }
    let asked = format!("GET {FLAT}/{}", content_path(ONE, "1.0.0"));
    assert_eq!(proxy.origin.count(&asked), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_carries_nothing_of_the_client_upstream() {
    let proxy = TestProxy::new().await;
    let ask = Ask::get(LIST)
        .header("authorization", "Basic c2VjcmV0")
        .header("x-nuget-apikey", "secret")
        .header("cookie", "a=b")
        .header("user-agent", "NuGet Command Line")
        .header("x-nuget-session-id", "5e55")
        .header("accept-language", "de")
        .header("via", "1.0 before");
    proxy.send(ask).await.expect("miss");
    for seen in proxy.origin.all() {
        let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "host", "user-agent", "via"]);
        assert_eq!(seen.header("user-agent"), Some("sluice/test"));
        assert_eq!(seen.header("accept-encoding"), Some("gzip"));
        assert_eq!(seen.header("via"), Some("1.0 before, 1.1 sluice-0badcafe"));
    }
    let path = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    proxy.get(&path).await.expect("miss");
    let asked = format!("GET {FLAT}/{}", content_path(ONE, "1.0.0"));
    let coding = proxy.origin.last(&asked);
    assert_eq!(coding.header("accept-encoding"), Some("identity"));
}
