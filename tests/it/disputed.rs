//! Packages whose bytes are not those that their upstream publishes: found behind answers, asked for again, served with a
//! warning or refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::{Value, json};
use sluice::access::rules;
use sluice::proxy::{FeedSettings, MarkKind, Scrutiny};
use sluice::store::{Choice, Progress, Scope};

use crate::harness::fixture::{
    FLAT, HIVE, MODIFIED, ONE, ONE_VERSIONS, content_path, document, inlined_registration,
    manifest, nuget_like, package, package_with, service_index,
};
use crate::harness::log::Log;
use crate::harness::{Act, Answered, Ask, Gate, Origin, Reply, TestProxy, pass, seconds};

const PATH: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const ASKED: &str = "GET api.test/v3-flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const INDEX: &str = "api.test/v3/registration5-gz-semver2/sample.one/index.json";
const INDEX_ASKED: &str = "GET api.test/v3/registration5-gz-semver2/sample.one/index.json";
const LEAF: &str = "api.test/v3/catalog0/data/2026.11.04.10.00.00/sample.one.1.0.0.json";
const LEAF_ASKED: &str = "GET api.test/v3/catalog0/data/2026.11.04.10.00.00/sample.one.1.0.0.json";
const LEAF_PATH: &str = "/v3/catalog/data/2026.11.04.10.00.00/sample.one.1.0.0.json";

/// What the upstream delivers at first.
fn delivered() -> Vec<u8> {
    package(ONE, "1.0.0", 40_000)
}

/// Another package of the same length.
fn other() -> Vec<u8> {
    let nuspec = manifest(ONE, "1.0.0").replace("A sample", "B sample");
    package_with(ONE, "1.0.0", 40_000, &nuspec)
}

fn hash(bytes: &[u8]) -> String {
    STANDARD.encode(digest::digest(&digest::SHA512, bytes))
}

fn place() -> String {
    format!("{FLAT}/{}", content_path(ONE, "1.0.0"))
}

/// Has the upstream deliver this, with validators that do not tell it from what was delivered before.
fn deliver(origin: &Origin, bytes: Vec<u8>) {
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(&delivered()));
    let reply = Reply::file(bytes).header("ETag", &etag);
    origin.on(&place(), reply.header("Last-Modified", MODIFIED));
}

/// A catalog leaf that publishes the hash of this.
fn leaf_of(bytes: &[u8]) -> Reply {
    let leaf = json!({
        "@id": format!("https://{LEAF}"), "@type": ["PackageDetails", "catalog:Permalink"],
        "id": ONE, "version": "1.0.0", "packageHash": hash(bytes),
        "packageHashAlgorithm": "SHA512",
    });
    document(&leaf.to_string())
}

/// An upstream whose catalog publishes the hash of this.
fn publishing(bytes: &[u8]) -> Origin {
    let origin = nuget_like();
    origin.on(LEAF, leaf_of(bytes));
    origin
}

async fn proxy_of(origin: Origin, scrutiny: Scrutiny) -> TestProxy {
    TestProxy::with(origin, |setup| {
        let feed = &mut setup.proxy.feeds[0];
        assert_eq!(
            (feed.package_hashes, feed.seek_package_hashes),
            (Scrutiny::Warn, false)
        );
        feed.package_hashes = scrutiny;
        feed.seek_package_hashes = true;
    })
    .await
}

/// A proxy that holds a package which is not what is published, and knows it.
async fn disputing(scrutiny: Scrutiny) -> TestProxy {
    let origin = nuget_like();
    let later = Gate::new();
    origin.on(LEAF, leaf_of(&other()).gate(&later));
    let proxy = proxy_of(origin, scrutiny).await;
    let answer = proxy.get(PATH).await.expect("miss");
    assert_eq!(answer.body, delivered());
    later.open();
    settle().await;
    assert_eq!(disputed(&proxy).len(), 1);
    proxy
}

/// Lets what goes on behind an answer end.
async fn settle() {
    pass(Duration::from_millis(500)).await;
}

fn disputed(proxy: &TestProxy) -> Vec<String> {
    let listed = proxy.proxy.marked(MarkKind::Disputed);
    let listed = listed["disputed"].as_array().expect("a list").clone();
    let text = |entry: &Value, name: &str| entry[name].as_str().expect("a text").to_owned();
    listed
        .iter()
        .map(|entry| {
            let parts = ["feed", "id", "version", "since", "published", "held"];
            parts.map(|part| text(entry, part)).join(" ")
        })
        .collect()
}

#[track_caller]
fn check_counted(proxy: &TestProxy, series: &str) {
    let metrics = proxy.telemetry.render();
    assert!(metrics.contains(series), "{series} in {metrics}");
}

fn findings(result: &str, count: u32) -> String {
    format!("sluice_package_hashes_total{{feed=\"nuget\",result=\"{result}\"}} {count}")
}

#[track_caller]
fn check_refused(answer: &Answered) {
    assert_eq!((answer.status, answer.detail()), (502, "refused.disputed"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_comparison_and_what_agrees_is_served_as_ever() {
    let origin = publishing(&delivered());
    origin.on(INDEX, Act::Hang);
    let proxy = proxy_of(origin, Scrutiny::Enforce).await;
    let (answer, took) = proxy.timed(PATH).await;
    answer.expect("miss");
    assert_eq!(took, Duration::ZERO);
    let (answer, took) = proxy.timed(PATH).await;
    answer.expect("hit");
    assert_eq!(took, Duration::ZERO);
    pass(seconds(60)).await;
    check_counted(&proxy, &findings("unknown", 1));

    let proxy = proxy_of(publishing(&delivered()), Scrutiny::Enforce).await;
    proxy.get(PATH).await.expect("miss");
    settle().await;
    proxy.get(PATH).await.expect("hit");
    let asked = [INDEX_ASKED, LEAF_ASKED, ASKED].map(|name| proxy.origin.count(name));
    assert_eq!(asked, [1, 1, 1]);
    check_counted(&proxy, &findings("agrees", 1));
    assert_eq!(disputed(&proxy), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_package_with_another_hash_is_asked_for_again_listed_and_served_with_a_warning() {
    let log = Log::listen();
    let proxy = disputing(Scrutiny::Warn).await;
    assert_eq!(proxy.origin.count(ASKED), 2, "asked again");
    let again = proxy.origin.last(ASKED);
    assert_eq!(again.header("if-none-match"), None);
    let expected = format!(
        "nuget sample.one 1.0.0 2026-11-10T12:00:00Z {} {}",
        hash(&other()),
        hash(&delivered())
    );
    assert_eq!(disputed(&proxy), [expected.as_str()]);
    assert_eq!(log.lines_with("is disputed:").len(), 1);
    for _ in 0..2 {
        let answer = proxy.get(PATH).await.expect("hit.disputed");
        assert_eq!(answer.body, delivered());
    }
    assert_eq!(log.lines_with("speaks against is served").len(), 1);
    check_counted(&proxy, &findings("differs", 2));
    check_counted(&proxy, "sluice_disputed_versions{feed=\"nuget\"} 1");
    let served =
        "sluice_doubted_requests_total{feed=\"nuget\",done=\"served\",reason=\"disputed\"} 2";
    check_counted(&proxy, served);
    let proxy = proxy.restart().await;
    settle().await;
    assert_eq!(disputed(&proxy), [expected.as_str()]);
    proxy.origin.all_down();
    proxy.get(PATH).await.expect("hit.disputed");
    let choice = Choice::everything(Scope::new(["nuget"], Some("sample.one")));
    proxy.store.purge(&choice, &Progress::default()).await;
    assert_eq!(disputed(&proxy), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn enforced_it_is_a_502_until_the_upstream_delivers_what_it_publishes() {
    let proxy = disputing(Scrutiny::Enforce).await;
    let answer = proxy.get(PATH).await;
    check_refused(&answer);
    assert_eq!(
        answer.reason.as_deref(),
        Some(
            "Sluice: sample.one 1.0.0 has not the SHA-512 that its upstream publishes, since 12:00"
        )
    );
    assert!(answer.text().contains(&hash(&other())), "{}", answer.text());
    assert_eq!(proxy.origin.count(ASKED), 3);
    for ask in [
        Ask::get(PATH).header("range", "bytes=0-9"),
        Ask::head(PATH),
        Ask::get(PATH).header("cache-control", "only-if-cached"),
    ] {
        check_refused(&proxy.send(ask).await);
    }
    assert_eq!(proxy.origin.count(ASKED), 3, "once a minute");
    let refused =
        "sluice_doubted_requests_total{feed=\"nuget\",done=\"refused\",reason=\"disputed\"} 4";
    check_counted(&proxy, refused);
    let proxy = proxy.restart().await;
    settle().await;
    deliver(&proxy.origin, other());
    let answer = proxy.get(PATH).await.expect("revalidated");
    assert_eq!(answer.body, other());
    assert_eq!(disputed(&proxy), [""; 0]);
    settle().await;
    let answer = proxy.get(PATH).await.expect("hit");
    assert_eq!(answer.body, other());
    check_counted(&proxy, "sluice_disputed_versions{feed=\"nuget\"} 0");
    let proxy = proxy.restart().await;
    settle().await;
    proxy.get(PATH).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_asks_for_it_again_once() {
    let proxy = disputing(Scrutiny::Enforce).await;
    let crowd: Vec<_> = (0..10).map(|_| proxy.spawn(Ask::get(PATH))).collect();
    for answer in crowd {
        check_refused(&answer.await.expect("an answer"));
    }
    assert_eq!(proxy.origin.count(ASKED), 3);
    pass(seconds(60)).await;
    check_refused(&proxy.get(PATH).await);
    assert_eq!(proxy.origin.count(ASKED), 4);
}

#[tokio::test(start_paused = true)]
async fn enforced_nothing_disputed_comes_of_an_outage_a_slow_upstream_or_offline() {
    let mut proxy = disputing(Scrutiny::Enforce).await;
    proxy.origin.on(&place(), Act::Hang);
    let (answer, took) = proxy.timed(PATH).await;
    check_refused(&answer);
    assert_eq!(took, seconds(15));
    pass(seconds(60)).await;
    proxy.origin.all_down();
    check_refused(&proxy.get(PATH).await);
    proxy.reload(|settings| settings.feeds[0].mode = sluice::proxy::Mode::Offline);
    pass(seconds(60)).await;
    let asked = proxy.origin.total();
    check_refused(&proxy.get(PATH).await);
    assert_eq!(proxy.origin.total(), asked);
    // What the feed no longer cares for is served as ever.
    proxy.reload(|settings| settings.feeds[0].package_hashes = Scrutiny::Off);
    proxy.get(PATH).await.expect("hit");
    proxy.reload(|settings| settings.feeds[0].package_hashes = Scrutiny::Warn);
    proxy.get(PATH).await.expect("hit.disputed");
}

/// An address or text of the leaf as it is when the package was signed anew.
fn renewed(text: &str) -> String {
    text.replace("2026.11.04", "2026.11.09")
}

/// Has the upstream publish the other package by another leaf of the catalog, and a registration that names that.
fn publish_anew(origin: &Origin) {
    origin.on(&renewed(LEAF), leaf_of(&other()));
    let index = inlined_registration(HIVE, ONE, &ONE_VERSIONS);
    origin.on(INDEX, document(&renewed(&index)));
}

#[tokio::test(start_paused = true)]
async fn a_package_that_was_signed_anew_is_replaced_and_nothing_is_refused() {
    let proxy = proxy_of(publishing(&delivered()), Scrutiny::Enforce).await;
    proxy.get(PATH).await.expect("miss");
    settle().await;
    // The upstream has another package, another leaf of the catalog for it, and a registration that names that.
    deliver(&proxy.origin, other());
    publish_anew(&proxy.origin);
    proxy.get(&renewed(LEAF_PATH)).await.expect("miss");
    settle().await;
    let answer = proxy.get(PATH).await.expect("hit");
    assert_eq!(answer.body, other());
    assert_eq!(disputed(&proxy), [""; 0]);
    assert_eq!(proxy.origin.count(ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn an_old_leaf_and_an_old_registration_dispute_nothing() {
    // The package is newer than what is stored of its registration.
    let proxy = proxy_of(publishing(&delivered()), Scrutiny::Enforce).await;
    let registration = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    proxy
        .get(&format!("{registration}sample.one/index.json"))
        .await
        .expect("miss");
    deliver(&proxy.origin, other());
    publish_anew(&proxy.origin);
    proxy.get(PATH).await.expect("miss");
    settle().await;
    assert_eq!(disputed(&proxy), [""; 0]);
    check_counted(&proxy, &findings("agrees", 1));
    // Whoever reads the catalog reads leaves of every state.
    let proxy = proxy_of(nuget_like(), Scrutiny::Enforce).await;
    proxy.origin.on(LEAF, leaf_of(&delivered()));
    let old = LEAF.replace("2026.11.04", "2026.10.01");
    proxy.origin.on(&old, leaf_of(&other()));
    proxy.get(PATH).await.expect("miss");
    settle().await;
    proxy
        .get(&LEAF_PATH.replace("2026.11.04", "2026.10.01"))
        .await
        .expect("miss");
    settle().await;
    assert_eq!(disputed(&proxy), [""; 0]);
    proxy.get(PATH).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn unless_told_to_seek_hashes_it_asks_nothing_and_compares_what_comes() {
    let proxy = TestProxy::with(publishing(&other()), |_| {}).await;
    proxy.get(PATH).await.expect("miss");
    settle().await;
    assert_eq!(proxy.origin.count(INDEX_ASKED), 0);
    assert_eq!(proxy.origin.count(LEAF_ASKED), 0);
    check_counted(&proxy, &findings("unknown", 1));
    proxy.get(PATH).await.expect("hit");
    // A document that a client asks for tells.
    proxy.get(LEAF_PATH).await.expect("miss");
    settle().await;
    assert_eq!(disputed(&proxy).len(), 1);
    proxy.get(PATH).await.expect("hit.disputed");

    // What is stored tells of what comes.
    let proxy = TestProxy::with(publishing(&other()), |_| {}).await;
    let registration = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let index = format!("{registration}sample.one/index.json");
    proxy.get(&index).await.expect("miss");
    proxy.get(LEAF_PATH).await.expect("miss");
    proxy.get(PATH).await.expect("miss");
    settle().await;
    proxy.get(PATH).await.expect("hit.disputed");
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_looks_at_nothing() {
    let proxy = proxy_of(publishing(&other()), Scrutiny::Off).await;
    proxy.get(PATH).await.expect("miss");
    proxy.get(LEAF_PATH).await.expect("miss");
    settle().await;
    proxy.get(PATH).await.expect("hit");
    assert_eq!(proxy.origin.count(INDEX_ASKED), 0);
    assert!(!proxy.telemetry.render().contains("package_hashes_total"));
}

#[tokio::test(start_paused = true)]
async fn hashes_that_are_none_of_it_say_nothing() {
    for (name, value) in [
        ("packageHash", json!(null)),
        ("packageHash", json!("AAAA")),
        ("packageHashAlgorithm", json!("SHA256")),
        ("version", json!("2.0.0")),
        ("id", json!("Sample.Other")),
    ] {
        let leaf = leaf_of(&other());
        let mut leaf: Value = serde_json::from_slice(leaf.bytes()).expect("a leaf");
        leaf[name] = value;
        let origin = nuget_like();
        origin.on(LEAF, document(&leaf.to_string()));
        let proxy = proxy_of(origin, Scrutiny::Enforce).await;
        proxy.get(PATH).await.expect("miss");
        settle().await;
        proxy.get(PATH).await.expect("hit");
        check_counted(&proxy, &findings("unpublished", 1));
    }
}

/// An upstream without a flat container whose registration has the hash of this itself.
fn without_flat_container(bytes: &[u8]) -> Origin {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://odd.test/reg/")]);
    origin.on("odd.test/index.json", document(&index));
    let leaf = json!({
        "@id": "https://odd.test/reg/sample.one/1.0.0.json",
        "catalogEntry": {"id": ONE, "version": "1.0.0", "packageHash": hash(bytes)},
        "packageContent": "https://odd.test/download/1.0.0",
    });
    let page = json!({"@id": "https://odd.test/reg/sample.one/index.json#p",
        "count": 1, "lower": "1.0.0", "upper": "9.0.0", "items": [leaf]});
    let text = json!({"count": 1, "items": [page]}).to_string();
    origin.on("odd.test/reg/sample.one/index.json", document(&text));
    let file = Reply::file(delivered()).md5();
    origin.on("odd.test/download/1.0.0", file);
    origin
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_has_the_hash_itself_tells_at_no_cost() {
    let origin = without_flat_container(&other());
    let proxy = TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = "https://odd.test/index.json".into();
        setup.proxy.feeds[0].package_hashes = Scrutiny::Enforce;
    })
    .await;
    // The first answer may come before or after the comparison.
    proxy.get(PATH).await;
    settle().await;
    check_refused(&proxy.get(PATH).await);
    // Nor is anything taken from it.
    let nuspec = "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec";
    proxy.get(nuspec).await;
    check_refused(&proxy.get(nuspec).await);
}

#[tokio::test(start_paused = true)]
async fn where_credentials_are_passed_on_a_dispute_is_for_those_who_may_see_the_package() {
    let origin = without_flat_container(&other());
    let flat = ("PackageBaseAddress/3.0.0", "https://odd.test/flat/");
    let hive = ("RegistrationsBaseUrl/3.6.0", "https://odd.test/reg/");
    origin.on(
        "odd.test/index.json",
        document(&service_index(&[flat, hive])),
    );
    let place = format!("odd.test/flat/{}", content_path(ONE, "1.0.0"));
    let file = Act::make(|seen| match seen.header("authorization") {
        Some("Basic YTpi") => Reply::file(delivered()).md5(),
        _ => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"odd\""),
    });
    origin.on(&place, file);
    let proxy = TestProxy::with(origin, |setup| {
        let mut feed = FeedSettings::new("corp", "https://odd.test/index.json");
        feed.clients.mode = rules::Mode::Passthrough;
        feed.package_hashes = Scrutiny::Enforce;
        feed.seek_package_hashes = true;
        setup.proxy.feeds = vec![feed];
    })
    .await;
    let ask = |credential: &str| Ask::get(PATH).header("authorization", credential);
    proxy.send(ask("Basic YTpi")).await;
    settle().await;
    assert_eq!(disputed(&proxy).len(), 1);
    check_refused(&proxy.send(ask("Basic YTpi")).await);
    assert_eq!(proxy.send(ask("Basic Yjpi")).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn the_weekly_question_compares_what_was_held_before() {
    let mut proxy = TestProxy::with(publishing(&other()), |setup| {
        setup.proxy.feeds[0].freshness.content_revalidated = Some(seconds(3600));
    })
    .await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(3600)).await;
    proxy.reload(|settings| settings.feeds[0].seek_package_hashes = true);
    proxy.get(PATH).await.expect("hit");
    settle().await;
    proxy.get(PATH).await.expect("hit.disputed");
}
