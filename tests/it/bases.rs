//! One running proxy answers several base URLs at the same time.

use crate::harness::fixture::nuget_like;
use crate::harness::{Ask, TestProxy, pass, seconds};

fn at(host: &str, path: &str) -> Ask {
    Ask::get(path).header("host", host)
}

#[tokio::test(start_paused = true)]
async fn two_base_urls_at_the_same_time() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.base.trusted_proxies = vec!["192.0.2.0/24".parse().expect("a network")];
    })
    .await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let path = format!("{hive}sample.one/index.json");
    for _ in 0..2 {
        for (ask, base) in [
            (at("one.test:6850", &path), "http://one.test:6850"),
            (at("two.test", &path), "http://two.test"),
            (
                at("two.test", &path).header("x-forwarded-proto", "https"),
                "https://two.test",
            ),
            (
                at("two.test", &path)
                    .header("x-forwarded-host", "far.test")
                    .header("x-forwarded-prefix", "/nuget/"),
                "http://far.test/nuget",
            ),
        ] {
            let answer = proxy.send(ask).await;
            assert_eq!(answer.status, 200);
            let json = answer.json();
            assert_eq!(json["@id"], format!("{base}{path}"));
            assert!(!answer.text().contains("api.test"), "{}", answer.text());
        }
    }
    let asked = "GET api.test/v3/registration5-gz-semver2/sample.one/index.json";
    assert_eq!(proxy.origin.count(asked), 1);
}

#[tokio::test(start_paused = true)]
async fn the_short_and_the_long_path_are_two_base_urls() {
    let proxy = TestProxy::new().await;
    for (path, below) in [
        ("/v3/index.json", "/v3/"),
        ("/nuget/v3/index.json", "/nuget/v3/"),
    ] {
        let index = proxy.get(path).await.json();
        let url = index["resources"][0]["@id"].as_str().expect("an address");
        assert!(
            url.starts_with(&format!("http://us.test:6850{below}")),
            "{url}"
        );
    }
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_public_url_decides_alone() {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.base.public_url = Some("https://nuget.corp.test/cache".into());
    })
    .await;
    let index = proxy.send(at("us.test", "/v3/index.json")).await.json();
    for resource in index["resources"].as_array().expect("resources") {
        let url = resource["@id"].as_str().expect("an address");
        let browser = url.starts_with("https://www.test/packages/{id}");
        assert!(
            browser || url.starts_with("https://nuget.corp.test/cache/v3/"),
            "{url}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_base_urls_live_in_memory() {
    let proxy = TestProxy::with(nuget_like(), |setup| setup.proxy.max_base_urls = 3).await;
    let answers = proxy.store.answers().clone();
    let kept = |host: &str| {
        // The first generation of the feed's settings.
        let key =
            format!("nuget\u{1f}1\u{1f}/v3/index.json\u{1f}http://{host}/v3/\u{1f}identity\u{1f}");
        answers.get(&key).is_some()
    };
    for number in 0..20 {
        let host = format!("h{number}.test");
        proxy.send(at(&host, "/v3/index.json")).await;
        assert_eq!(kept(&host), number < 3, "{host}");
    }
    // The others are answered all the same, from the store.
    pass(seconds(1)).await;
    let answer = proxy
        .send(at("h19.test", "/v3/index.json"))
        .await
        .expect("hit");
    assert!(answer.text().contains("http://h19.test/v3/"));
    assert_eq!(proxy.origin.count("GET api.test/v3/index.json"), 1);
}
