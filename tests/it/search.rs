//! Search and autocomplete: forwarded, kept in memory for a minute, stale in an outage, tried at every endpoint.

use http::Method;

use crate::harness::fixture::{self, FLAT, document, service_index, version_list};
use crate::harness::{Act, Ask, Door, Reply, TestProxy, pass, seconds};

const FIRST: &str = "GET search-1.test/query";
const SECOND: &str = "GET search-2.test/query";

#[tokio::test(start_paused = true)]
async fn every_parameter_is_forwarded_as_it_was_written() {
    let proxy = TestProxy::new().await;
    let query = "q=a%20b+c%2Bd&skip=0&take=26&prerelease=true&includeDelisted=true\
        &supportedFramework=net8.0&supportedFramework=net9.0&packageTypeFilter=x&odd&semVerLevel=2.0.0";
    let answer = proxy
        .get(&format!("/v3/search?{query}"))
        .await
        .expect("miss");
    assert_eq!(proxy.origin.last(FIRST).target, format!("/query?{query}"));
    assert_eq!(proxy.origin.count(SECOND), 0);
    // Links of the old hive stay in the old hive (protocol fact 2.3.8).
    let data = &answer.json()["data"][0];
    let base = "http://us.test:6850/v3/registration/registration5-semver1-";
    assert!(
        data["registration"].as_str().unwrap().starts_with(base),
        "{data}"
    );
    assert!(!answer.text().contains("api.test"), "{}", answer.text());
    proxy
        .get("/v3/autocomplete?id=a&prerelease=true")
        .await
        .expect("miss");
    let seen = proxy.origin.last("GET search-1.test/autocomplete");
    assert_eq!(seen.target, "/autocomplete?id=a&prerelease=true");
}

#[tokio::test(start_paused = true)]
async fn queries_that_mean_the_same_are_asked_once_a_minute_and_others_on_their_own() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/search?q=a%20b&take=1").await.expect("miss");
    pass(seconds(59)).await;
    proxy.get("/v3/search?take=1&q=a+b").await.expect("hit");
    assert_eq!(proxy.origin.count(FIRST), 1);
    proxy.get("/v3/search?take=2&q=a+b").await.expect("miss");
    proxy.get("/v3/search?take=1&q=A+b").await.expect("miss");
    pass(seconds(1)).await;
    proxy.get("/v3/search?q=a%20b&take=1").await.expect("miss");
    assert_eq!(proxy.origin.count(FIRST), 4);
}

#[tokio::test(start_paused = true)]
async fn results_are_kept_in_memory_alone() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await.expect("miss");
    pass(seconds(1)).await;
    let bodies = bodies(&proxy);
    proxy.get("/v3/search?q=a").await.expect("miss");
    proxy.get("/v3/autocomplete?q=a").await.expect("miss");
    pass(seconds(1)).await;
    assert_eq!(self::bodies(&proxy), bodies);
    let proxy = proxy.restart().await;
    proxy.get("/v3/search?q=a").await.expect("miss");
}

/// How many files hold bodies.
fn bodies(proxy: &TestProxy) -> usize {
    let folders = std::fs::read_dir(proxy.data_dir().join("bodies")).unwrap();
    let files = |folder: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_dir(folder.unwrap().path()).map_or(0, Iterator::count)
    };
    folders.map(files).sum()
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_results_are_stale_and_without_any_it_says_so() {
    let proxy = TestProxy::new().await;
    let before = proxy.get("/v3/search?q=a").await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(3600)).await;
    let answer = proxy.get("/v3/search?q=a").await;
    assert_eq!(answer.status, 200);
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert_eq!(answer.body, before.body);
    let other = proxy.get("/v3/search?q=b").await;
    assert!(matches!(other.status, 502..=504), "{}", other.status);
    assert!(other.reason.unwrap().contains("unreachable since"));
}

#[tokio::test(start_paused = true)]
async fn the_second_endpoint_answers_when_the_first_does_not() {
    for bad in [
        Act::from(Reply::new(503, "")),
        Reply::new(404, "").into(),
        Reply::new(204, "").into(),
        Reply::new(403, "").into(),
        Reply::new(200, "<html>").into(),
        Act::Close,
        Act::Hang,
    ] {
        let proxy = TestProxy::new().await;
        proxy.get("/v3/index.json").await.expect("miss");
        proxy.origin.spell("search-1.test", bad);
        let began = tokio::time::Instant::now();
        let answer = proxy.get("/v3/search?q=a").await.expect("miss");
        assert_eq!(answer.json()["totalHits"], 1);
        assert!(began.elapsed() < seconds(15), "{:?}", began.elapsed());
        assert_eq!(proxy.get("/v3/autocomplete?q=a").await.status, 200);
        assert_eq!(proxy.origin.count(SECOND), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_endpoint_whose_breaker_is_open_keeps_nobody_from_the_second() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/search?q=a").await.expect("miss");
    proxy.origin.down("search-1.test");
    pass(seconds(61)).await;
    proxy.get("/v3/search?q=warm-up").await.expect("miss");
    let began = tokio::time::Instant::now();
    // Neither a stale copy nor a refusal: the second endpoint is alive.
    proxy.get("/v3/search?q=a").await.expect("miss");
    proxy.get("/v3/search?q=b").await.expect("miss");
    assert!(began.elapsed() < seconds(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_404_everywhere_is_a_failure_and_no_empty_result() {
    let proxy = TestProxy::new().await;
    for host in ["search-1.test", "search-2.test"] {
        proxy.origin.spell(host, Reply::new(404, ""));
    }
    proxy.get("/v3/index.json").await.expect("miss");
    assert_eq!(proxy.get("/v3/search?q=a").await.status, 502);
}

#[tokio::test(start_paused = true)]
async fn pages_of_any_origin_may_search() {
    let proxy = TestProxy::new().await;
    let preflight = Ask::new(Method::OPTIONS, "/v3/search?q=a")
        .header("origin", "https://page.test")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "if-none-match");
    let answer = proxy.send(preflight).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let methods = answer.header("access-control-allow-methods").unwrap();
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert!(methods.contains(method), "{methods}");
    }
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(
        headers.to_lowercase().contains("if-none-match"),
        "{headers}"
    );
    assert_eq!(proxy.origin.total(), 0);
    for path in ["/v3/search?q=a", "/v3/autocomplete?q=a"] {
        let answer = proxy.get(path).await.expect("miss");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("ETag"), "{exposed}");
    }
    let list = proxy.get("/v3/flatcontainer/sample.one/index.json").await;
    assert_eq!(list.header("access-control-allow-origin"), None);
    // Failures too: a page must be able to show why.
    proxy.origin.all_down();
    let failed = proxy.get("/v3/search?q=b").await;
    assert_ne!(failed.status, 200);
    assert_eq!(failed.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test(start_paused = true)]
async fn a_query_is_forwarded_up_to_its_limit() {
    let proxy = TestProxy::new().await;
    let long = "a".repeat(11_990);
    proxy
        .get(&format!("/v3/search?q={long}"))
        .await
        .expect("miss");
    let answer = proxy.get(&format!("/v3/search?q={long}aaaaaaaaaaaa")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(proxy.origin.count(FIRST), 1);
}

#[tokio::test(start_paused = true)]
async fn the_second_flat_container_answers_when_the_first_does_not() {
    for door in [Door::Refuse, Door::Hang] {
        let origin = fixture::nuget_like();
        let index = service_index(&[
            ("PackageBaseAddress/3.0.0", "https://flat-1.test/"),
            ("PackageBaseAddress/3.0.0", &format!("https://{FLAT}/")),
        ]);
        origin.on("api.test/v3/index.json", document(&index));
        origin.door("flat-1.test", door);
        let proxy = TestProxy::with(origin, |_| {}).await;
        let list = proxy.get("/v3/flatcontainer/sample.one/index.json").await;
        assert_eq!(list.text(), version_list(&fixture::ONE_VERSIONS));
        let path = fixture::content_path(fixture::ONE, "1.0.0");
        proxy
            .get(&format!("/v3/flatcontainer/{path}"))
            .await
            .expect("miss");
        assert_eq!(proxy.origin.count(&format!("GET {FLAT}/{path}")), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_wait_is_shared_by_all_documents_of_an_answer() {
    let origin = fixture::nuget_like();
    let index = service_index(&[
        ("SearchQueryService", "https://search-1.test/query"),
        ("RegistrationsBaseUrl/3.6.0", "https://hive.test/"),
    ]);
    origin.on("api.test/v3/index.json", document(&index));
    let text = fixture::inlined_registration("hive.test", "a", &["1.0.0"]);
    origin.on("hive.test/a/index.json", document(&text));
    let proxy = TestProxy::with(origin, |_| {}).await;
    let index = proxy.get("/v3/index.json").await.json();
    let base = index["resources"][1]["@id"].as_str().unwrap().to_owned();
    let path = format!("{}a/index.json", &base["http://us.test:6850".len()..]);
    proxy.get(&path).await.expect("miss");
    pass(seconds(16 * 60)).await;
    // Index and registration are old, and both their hosts hang.
    for host in ["api.test", "hive.test"] {
        proxy.origin.spell(host, Act::Hang);
    }
    let began = tokio::time::Instant::now();
    let answer = proxy.get(&path).await;
    assert!(answer.detail().starts_with("stale."), "{}", answer.note());
    assert!(began.elapsed() <= seconds(2), "{:?}", began.elapsed());
}
