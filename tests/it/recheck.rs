//! Files of packages never stop being fresh; once a week the upstream is asked about them, behind a hit.

use std::time::Duration;

use serde_json::json;
use sluice::proxy::Mode;

use crate::harness::fixture::{
    FLAT, MANY, MANY_VERSIONS, MODIFIED, ONE, content_path, document, manifest, nuget_like,
    package, package_with, service_index,
};
use crate::harness::{Act, Ask, Ending, Gate, Origin, Reply, TestProxy, pass, seconds};

const PATH: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const ASKED: &str = "GET api.test/v3-flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
/// In these tests a week has an hour.
const WEEK: u64 = 3600;

fn place() -> String {
    format!("{FLAT}/{}", content_path(ONE, "1.0.0"))
}

fn file(bytes: &[u8]) -> Reply {
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(bytes));
    let reply = Reply::file(bytes.to_vec()).header("ETag", &etag);
    reply.header("Last-Modified", MODIFIED).md5()
}

fn whole() -> Vec<u8> {
    package(ONE, "1.0.0", 40_000)
}

async fn proxy_of(origin: Origin) -> TestProxy {
    TestProxy::with(origin, |setup| {
        let freshness = &mut setup.proxy.feeds[0].freshness;
        assert_eq!(freshness.content_revalidated, Some(seconds(7 * 86_400)));
        freshness.content_revalidated = Some(seconds(WEEK));
    })
    .await
}

async fn proxy() -> TestProxy {
    proxy_of(nuget_like()).await
}

/// A proxy that holds the package, which is due.
async fn due() -> TestProxy {
    let proxy = proxy().await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(WEEK)).await;
    proxy
}

/// Lets what goes on behind an answer end.
async fn settle() {
    pass(Duration::from_millis(500)).await;
}

fn counted(proxy: &TestProxy, result: &str) -> bool {
    let series = format!(
        "sluice_content_rechecks_total{{feed=\"nuget\",class=\"package\",result=\"{result}\"}} 1"
    );
    proxy.telemetry.render().contains(&series)
}

#[tokio::test(start_paused = true)]
async fn a_hit_starts_one_question_a_week() {
    let proxy = proxy().await;
    let first = proxy.get(PATH).await.expect("miss");
    pass(seconds(WEEK - 1)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 1);
    pass(seconds(1)).await;
    let answer = proxy.get(PATH).await.expect("hit");
    assert_eq!(answer.body, first.body);
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2);
    let seen = proxy.origin.last(ASKED);
    assert!(seen.header("if-none-match").is_some());
    assert!(counted(&proxy, "confirmed"));
    // Confirmed: young again, also after a restart.
    let answer = proxy.get(PATH).await.expect("hit");
    assert_eq!(answer.header("age"), Some("0"));
    let proxy = proxy.restart().await;
    pass(seconds(WEEK - 2)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2);
    pass(seconds(2)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 3);
}

#[tokio::test(start_paused = true)]
async fn no_hit_waits_for_it_and_further_hits_ask_nothing() {
    let proxy = due().await;
    proxy.origin.on(&place(), Act::Hang);
    for _ in 0..5 {
        let (answer, took) = proxy.timed(PATH).await;
        answer.expect("hit");
        assert_eq!(took, Duration::ZERO);
        settle().await;
    }
    assert_eq!(proxy.origin.count(ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn a_200_with_the_same_digest_counts_as_confirmed_and_its_body_is_not_read() {
    let proxy = due().await;
    let never = Gate::new();
    let other_edge = Reply::file(whole())
        .header("ETag", "\"another edge\"")
        .md5()
        .body_gate(0, &never);
    proxy.origin.on(&place(), other_edge);
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2);
    assert!(counted(&proxy, "confirmed"));
    pass(seconds(30)).await;
    let answer = proxy.get(PATH).await.expect("hit");
    assert_eq!(answer.header("age"), Some("30"));
    never.open();
}

#[tokio::test(start_paused = true)]
async fn without_a_digest_length_and_every_validator_must_be_the_same() {
    let plain = |bytes: &[u8], validators: [&str; 2]| {
        let named = ["ETag", "Last-Modified"].into_iter().zip(validators);
        let named = named.filter(|(_, value)| !value.is_empty());
        // The blank keeps the scripted upstream from answering 304; on the way it is gone.
        named.fold(Reply::file(bytes.to_vec()), |reply, (name, value)| {
            reply.header(name, &format!("{value} "))
        })
    };
    let (both, other) = (["\"a\"", MODIFIED], package(ONE, "1.0.0", 50_000));
    let later = "Thu, 05 Nov 2026 10:00:00 GMT";
    for (before, after, new, is_same) in [
        (both, both, whole(), true),
        (both, ["\"b\"", MODIFIED], whole(), false),
        (both, ["\"a\"", later], whole(), false),
        (both, both, other, false),
        (["", ""], ["", ""], whole(), false),
    ] {
        let origin = nuget_like();
        origin.on(&place(), plain(&whole(), before));
        let proxy = proxy_of(origin).await;
        proxy.get(PATH).await.expect("miss");
        pass(seconds(WEEK)).await;
        let gate = Gate::new();
        let reply = plain(&new, after).body_gate(0, &gate);
        proxy.origin.on(&place(), reply);
        proxy.get(PATH).await.expect("hit");
        settle().await;
        assert_eq!(counted(&proxy, "confirmed"), is_same, "{after:?}");
        gate.open();
        settle().await;
        // Fetched whole it may turn out to be the same after all.
        let is_equal = new == whole();
        assert_eq!(counted(&proxy, "confirmed"), is_equal, "{after:?}");
        assert!(proxy.get(PATH).await.expect("hit").body == new);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_changed_is_replaced_and_checked_like_any_other() {
    let proxy = due().await;
    let cut = file(&package(ONE, "1.0.0", 50_000)).ending(Ending::Cut(20_000));
    let other = Reply::file(package(ONE, "9.9.9", 50_000));
    for bad in [cut, other] {
        proxy.origin.on(&place(), bad);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole());
        pass(seconds(700)).await;
    }
    let new = package(ONE, "1.0.0", 50_000);
    proxy.origin.on(&place(), file(&new));
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole());
    settle().await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, new);
    assert!(counted(&proxy, "changed"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_changes_nothing_and_a_later_hit_asks_again() {
    let proxy = due().await;
    proxy.origin.spell("api.test", Reply::new(500, ""));
    proxy.get(PATH).await.expect("hit");
    pass(seconds(60)).await;
    assert!(counted(&proxy, "failed"));
    let before = proxy.origin.count(ASKED);
    for _ in 0..8 {
        proxy.get(PATH).await.expect("hit");
        pass(seconds(60)).await;
    }
    assert_eq!(proxy.origin.count(ASKED), before, "not at each hit");
    proxy.origin.mend("api.test");
    pass(seconds(60)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), before + 1);
    assert!(counted(&proxy, "confirmed"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_the_breaker_is_open() {
    let proxy = due().await;
    proxy.origin.all_down();
    let unknown = "/v3/flatcontainer/sample.one/7.0.0/sample.one.7.0.0.nupkg";
    let answer = proxy.get(unknown).await;
    assert!((502..=504).contains(&answer.status), "{answer:?}");
    let tried = proxy.origin.connections("api.test");
    proxy.get(PATH).await.expect("hit");
    pass(Duration::from_millis(100)).await;
    assert_eq!(proxy.origin.connections("api.test"), tried);
    // It was not tried, so that nothing keeps the next hit from it.
    proxy.origin.mend_all();
    pass(seconds(120)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_offline_and_where_it_is_off() {
    let mut proxy = due().await;
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Offline);
    proxy.get(PATH).await.expect("hit");
    settle().await;
    proxy.reload(|settings| {
        settings.feeds[0].mode = Mode::Online;
        settings.feeds[0].freshness.content_revalidated = None;
    });
    pass(seconds(30 * WEEK)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 1);
}

#[tokio::test(start_paused = true)]
async fn few_are_asked_at_once_and_all_in_the_end() {
    let proxy = proxy().await;
    let path = |version: &str| format!("/v3/flatcontainer/{}", content_path(MANY, version));
    let gate = Gate::new();
    for version in MANY_VERSIONS {
        proxy.get(&path(version)).await.expect("miss");
        let held = file(&package(MANY, version, 40_000)).gate(&gate);
        proxy
            .origin
            .on(&format!("{FLAT}/{}", content_path(MANY, version)), held);
    }
    let of_packages = |proxy: &TestProxy| {
        let all = proxy.origin.all();
        all.iter()
            .filter(|seen| seen.target.ends_with(".nupkg"))
            .count()
    };
    assert_eq!(of_packages(&proxy), 9);
    pass(seconds(WEEK)).await;
    for version in MANY_VERSIONS {
        proxy.get(&path(version)).await.expect("hit");
    }
    settle().await;
    assert_eq!(of_packages(&proxy), 11);
    gate.open();
    pass(seconds(5)).await;
    assert_eq!(of_packages(&proxy), 18);
}

#[tokio::test(start_paused = true)]
async fn what_was_confirmed_while_its_question_waited_is_not_asked_about() {
    let proxy = proxy().await;
    let [first, second, last] = [0, 1, 2].map(|at| content_path(MANY, MANY_VERSIONS[at]));
    let path = |content: &str| format!("/v3/flatcontainer/{content}");
    let gate = Gate::new();
    for (content, at) in [(&first, 0), (&second, 1), (&last, 2)] {
        proxy.get(&path(content)).await.expect("miss");
        let held = file(&package(MANY, MANY_VERSIONS[at], 40_000)).gate(&gate);
        if at < 2 {
            proxy.origin.on(&format!("{FLAT}/{content}"), held);
        }
    }
    pass(seconds(WEEK)).await;
    for content in [&first, &second, &last] {
        proxy.get(&path(content)).await.expect("hit");
    }
    settle().await;
    let asked = format!("GET {FLAT}/{last}");
    assert_eq!(proxy.origin.count(&asked), 1, "it waits");
    let forced = Ask::get(&path(&last)).header("cache-control", "no-cache");
    proxy.send(forced).await.expect("revalidated");
    gate.open();
    settle().await;
    assert_eq!(proxy.origin.count(&asked), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_only_what_is_stored_starts_no_question() {
    let proxy = due().await;
    let ask = Ask::get(PATH).header("cache-control", "only-if-cached");
    proxy.send(ask).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_demands_the_upstream_joins_the_question() {
    let proxy = due().await;
    let gate = Gate::new();
    proxy.origin.on(&place(), file(&whole()).gate(&gate));
    proxy.get(PATH).await.expect("hit");
    gate.reached().await;
    let forced = Ask::get(PATH).header("cache-control", "no-cache");
    let client = proxy.spawn(forced);
    settle().await;
    gate.open();
    client.await.unwrap().expect("revalidated");
    assert_eq!(proxy.origin.count(ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn manifests_and_the_other_files_are_asked_about_too() {
    let origin = nuget_like();
    let files = ["sample.one.nuspec", "icon", "license", "readme"];
    for name in &files[1..] {
        let place = format!("{FLAT}/sample.one/1.0.0/{name}");
        origin.on(&place, document("some text").header("x", name));
    }
    let proxy = proxy_of(origin).await;
    for name in files {
        let path = format!("/v3/flatcontainer/sample.one/1.0.0/{name}");
        proxy.get(&path).await.expect("miss");
        pass(seconds(WEEK)).await;
        proxy.get(&path).await.expect("hit");
        settle().await;
        let asked = format!("GET {FLAT}/sample.one/1.0.0/{name}");
        assert_eq!(proxy.origin.count(&asked), 2, "{name}");
        // Gone: it is served, and the version is not withdrawn for that.
        proxy
            .origin
            .forget(&format!("{FLAT}/sample.one/1.0.0/{name}"));
        pass(seconds(WEEK)).await;
        proxy.get(&path).await.expect("hit");
        settle().await;
        proxy.get(&path).await.expect("hit");
        assert_eq!(proxy.origin.count(&asked), 3, "{name}");
    }
}

const PLACE_OF_ODD: &str = "odd.test/download/1.0.0";

/// An upstream without a flat container.
fn odd(bytes: &[u8]) -> Origin {
    let origin = Origin::new();
    let index = service_index(&[("RegistrationsBaseUrl/3.6.0", "https://odd.test/reg/")]);
    origin.on("odd.test/index.json", document(&index));
    let leaf = json!({
        "@id": "https://odd.test/reg/sample.one/1.0.0.json",
        "catalogEntry": {"id": ONE, "version": "1.0.0"},
        "packageContent": format!("https://{PLACE_OF_ODD}"),
    });
    let page = json!({"@id": "https://odd.test/reg/sample.one/index.json#p", "count": 1,
        "lower": "1.0.0", "upper": "1.0.0", "items": [leaf]});
    let text = json!({"count": 1, "items": [page]}).to_string();
    origin.on("odd.test/reg/sample.one/index.json", document(&text));
    origin.on(PLACE_OF_ODD, file(bytes));
    origin
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_made_of_its_package_follows_it() {
    let path = "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec";
    let asked = format!("GET {PLACE_OF_ODD}");
    let proxy = TestProxy::with(odd(&whole()), |setup| {
        let feed = &mut setup.proxy.feeds[0];
        feed.upstream = "https://odd.test/index.json".into();
        feed.freshness.content_revalidated = Some(seconds(WEEK));
    })
    .await;
    let first = proxy.get(path).await.expect("miss");
    pass(seconds(WEEK)).await;
    proxy.get(path).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(&asked), 2);
    let answer = proxy.get(path).await.expect("hit");
    assert_eq!(answer.header("age"), Some("0"), "as young as its package");
    // The package is replaced by one with another manifest.
    let nuspec = manifest(ONE, "1.0.0").replace("A sample.", "Another.");
    let replaced = package_with(ONE, "1.0.0", 30_000, &nuspec);
    proxy.origin.on(PLACE_OF_ODD, file(&replaced));
    pass(seconds(WEEK)).await;
    proxy.get(path).await.expect("hit");
    settle().await;
    let second = proxy.get(path).await.expect("miss");
    assert_ne!(second.body, first.body);
    assert!(second.text().contains("Another."));
    assert_eq!(proxy.origin.count(&asked), 3);
}

fn signatures(fingerprints: &[&str]) -> String {
    let certificates: Vec<_> = fingerprints
        .iter()
        .map(|digit| {
            json!({
                "fingerprints": {"2.16.840.1.101.3.4.2.1": digit.repeat(64)},
                "contentUrl": "https://api.test/certificates/a.crt",
            })
        })
        .collect();
    json!({"allRepositorySigned": true, "signingCertificates": certificates}).to_string()
}

#[tokio::test(start_paused = true)]
async fn changed_certificates_make_packages_due_and_nothing_else() {
    let certificates = "api.test/v3/repository-signatures/5.0.0/index.json";
    let asked = format!("GET {certificates}");
    let nuspec = "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec";
    let nuspec_asked = format!("GET {FLAT}/sample.one/1.0.0/sample.one.nuspec");
    let origin = nuget_like();
    origin.on(certificates, document(&signatures(&["a"])));
    let proxy = TestProxy::with(origin, |_| {}).await;
    proxy.proxy.keep_vulnerabilities();
    // Not while nothing is in use.
    pass(seconds(3 * 3600 + 60)).await;
    assert_eq!(proxy.origin.count(&asked), 0);
    for path in [PATH, nuspec] {
        proxy.get(path).await.expect("miss");
        proxy.get(path).await.expect("hit");
    }
    pass(seconds(3600)).await;
    assert_eq!(proxy.origin.count(&asked), 1, "hourly while in use");
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 1, "a first list is no change");
    pass(seconds(3600)).await;
    assert_eq!(proxy.origin.count(&asked), 2);
    proxy.origin.on(certificates, document(&signatures(&["b"])));
    proxy.get(PATH).await.expect("hit");
    pass(seconds(3600)).await;
    assert_eq!(proxy.origin.count(&asked), 3);
    // The change is remembered.
    let proxy = proxy.restart().await;
    settle().await;
    for path in [PATH, nuspec] {
        proxy.get(path).await.expect("hit");
    }
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2);
    assert_eq!(proxy.origin.count(&nuspec_asked), 1);
    pass(seconds(3600)).await;
    proxy.get(PATH).await.expect("hit");
    settle().await;
    assert_eq!(proxy.origin.count(ASKED), 2, "once");
}
