//! Client binaries: the list with our addresses, each binary found again in it.

use crate::harness::fixture::{document, nuget_like};
use crate::harness::{Ask, Reply, TestProxy, pass, seconds};

const LIST: &str = "/-/tools.json";
const UPSTREAM: &str = "https://dist.test/tools.json";
const US: &str = "http://us.test:6850";

fn list(versions: &[&str]) -> String {
    let release = |version: &&str| {
        let url = format!("https://dist.test/v{version}/nuget.exe");
        serde_json::json!({"version": version, "url": url, "stage": "ReleasedAndBlessed"})
    };
    let releases: Vec<_> = versions.iter().map(release).collect();
    serde_json::json!({ "nuget.exe": releases }).to_string()
}

async fn proxy() -> TestProxy {
    let origin = nuget_like();
    origin.on("dist.test/tools.json", document(&list(&["7.0.0", "6.9.0"])));
    for version in ["7.0.0", "6.9.0"] {
        let binary = Reply::file(vec![version.as_bytes()[0]; 200_000]).ranges();
        origin.on(&format!("dist.test/v{version}/nuget.exe"), binary);
    }
    TestProxy::with(origin, |setup| {
        setup.proxy.tools.upstream = Some(UPSTREAM.into());
    })
    .await
}

async fn binaries(proxy: &TestProxy) -> Vec<String> {
    let list = proxy.get(LIST).await.json();
    let releases = list["nuget.exe"].as_array().unwrap().iter();
    releases
        .map(|release| {
            assert_eq!(release["stage"], "ReleasedAndBlessed");
            let url = release["url"].as_str().unwrap();
            url.strip_prefix(US).expect("ours").to_owned()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_list_leads_to_us_and_binaries_are_kept_as_packages_are() {
    let proxy = proxy().await;
    let binaries = binaries(&proxy).await;
    assert_eq!(binaries.len(), 2);
    for (path, first) in binaries.iter().zip(*b"76") {
        assert!(path.ends_with("/nuget.exe"), "{path}");
        let answer = proxy.get(path).await.expect("miss");
        assert!(
            answer.body.len() == 200_000 && answer.body[0] == first,
            "{path}"
        );
    }
    pass(seconds(30 * 24 * 3600)).await;
    proxy.get(LIST).await.expect("revalidated");
    proxy.get(&binaries[0]).await.expect("hit");
    let part = Ask::get(&binaries[0]).header("range", "bytes=0-99");
    proxy.send(part).await.expect_status(206, "hit");
    assert_eq!(proxy.origin.count("GET dist.test/v7.0.0/nuget.exe"), 1);
    // Nothing of a feed was needed.
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 0);
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    assert_eq!(proxy.get(LIST).await.status, 200);
    proxy.get(&binaries[1]).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn another_instance_finds_a_binary_again_and_an_invented_one_is_absent() {
    let proxy = proxy().await;
    let binaries = binaries(&proxy).await;
    let second = proxy.second().await;
    assert_eq!(
        second.get(&binaries[0]).await.expect("miss").body.len(),
        200_000
    );
    let before = proxy.origin.total();
    assert_eq!(
        proxy
            .get("/-/tools/0123456789abcdef/nuget.exe")
            .await
            .status,
        404
    );
    // The list alone is asked once more.
    assert_eq!(proxy.origin.total(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_came_since_is_found_by_asking_for_the_list_once_more() {
    let proxy = proxy().await;
    binaries(&proxy).await;
    let second = proxy.second().await;
    let new = Reply::file(vec![8; 100_000]);
    proxy.origin.on("dist.test/v8.0.0/nuget.exe", new);
    let text = list(&["8.0.0", "7.0.0", "6.9.0"]);
    proxy.origin.on("dist.test/tools.json", document(&text));
    let newest = binaries(&second).await.remove(0);
    assert_eq!(proxy.get(&newest).await.expect("miss").body.len(), 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_none_replaces_nothing() {
    let proxy = proxy().await;
    let before = proxy.get(LIST).await.expect("miss");
    for bad in [
        Reply::new(404, ""),
        Reply::json("[]"),
        Reply::json(r#"{"a":[{}]}"#),
    ] {
        proxy.origin.on("dist.test/tools.json", bad);
        pass(seconds(3601)).await;
        let answer = proxy.get(LIST).await;
        assert!(answer.detail().starts_with("stale."), "{}", answer.note());
        assert_eq!(answer.body, before.body);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_there_are_none() {
    let proxy = TestProxy::new().await;
    let answer = proxy
        .get(LIST)
        .await
        .expect_status(404, "refused.bad-request");
    assert!(
        answer.text().contains("tools_upstream"),
        "{}",
        answer.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_serves_them_from_the_next_request_on_and_no_more() {
    let mut proxy = proxy().await;
    proxy.get(LIST).await.expect("miss");
    proxy.reload(|settings| settings.tools.upstream = None);
    assert_eq!(proxy.get(LIST).await.status, 404);
    proxy.reload(|settings| settings.tools.upstream = Some(UPSTREAM.into()));
    // It may be as old as the setting's last time here.
    proxy.get(LIST).await.expect("revalidated");
    pass(seconds(3000)).await;
    proxy.get(LIST).await.expect("hit");
    proxy.reload(|settings| settings.tools.fresh = seconds(60));
    proxy.get(LIST).await.expect("revalidated");
}
