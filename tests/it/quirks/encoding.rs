//! Section 7.2: codings, validators, case.

use super::{NEWEST, feed_at, package_path};
use crate::harness::fixture::{
    FLAT, HIVE, LIST, LIST_ASKED, LIST_PLACE, MODIFIED, OLD_HIVE, ONE, document,
    inlined_registration, nuget_like, package, service_index, version_list,
};
use crate::harness::{Answered, Ask, Origin, Reply, TestProxy, pass, seconds};

/// The path of the registration index of [`ONE`] in the hive of this type.
async fn one(proxy: &TestProxy, kind: &str) -> String {
    format!("{}sample.one/index.json", proxy.path_of(kind).await)
}

/// The text of an answer, whatever its coding.
fn plain(answer: &Answered) -> String {
    match answer.header("content-encoding") {
        None => answer.text().to_owned(),
        Some(coding) => {
            assert_eq!(coding, "gzip");
            let mut text = String::new();
            let mut decoder = flate2::read::GzDecoder::new(&*answer.body);
            std::io::Read::read_to_string(&mut decoder, &mut text).expect("gzip");
            text
        }
    }
}

/// Protocol fact 7.2.1: a body is what its header says, whatever the name of its hive promises.
#[tokio::test(start_paused = true)]
async fn a_body_is_decoded_by_its_header_and_not_by_its_hive() {
    let proxy = TestProxy::new().await;
    for (kind, hive, is_coded) in [
        (NEWEST, HIVE, false),
        ("RegistrationsBaseUrl", OLD_HIVE, true),
    ] {
        let reply = document(&inlined_registration(hive, ONE, &["7.0.0"]));
        let reply = if is_coded { reply.gzip() } else { reply };
        proxy
            .origin
            .on(&format!("{hive}/sample.one/index.json"), reply);
        let answer = proxy.get(&one(&proxy, kind).await).await.expect("miss");
        assert_eq!(answer.json()["items"][0]["upper"], "7.0.0", "{kind}");
    }
}

/// Protocol fact 7.2.2: hives of coded documents are offered; coding and body go together; caches hear of both forms.
#[tokio::test(start_paused = true)]
async fn coded_hives_are_offered_and_both_forms_say_what_they_are() {
    let origin = nuget_like();
    let hive = format!("https://{HIVE}/");
    let index = service_index(&[("RegistrationsBaseUrl/3.4.0", &hive), (NEWEST, &hive)]);
    origin.on("api.test/v3/index.json", document(&index));
    let proxy = TestProxy::with(origin, |_| {}).await;
    let path = one(&proxy, "RegistrationsBaseUrl/3.4.0").await;
    assert_eq!(path, one(&proxy, NEWEST).await);
    let uncoded = proxy.get(&path).await.expect("miss");
    let coded = Ask::get(&path).header("accept-encoding", "gzip, deflate");
    let coded = proxy.send(coded).await.expect("hit");
    assert_eq!(uncoded.header("content-encoding"), None);
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    assert_eq!(plain(&coded), uncoded.text());
    for answer in [coded, uncoded] {
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
}

/// Protocol fact 7.2.3: a feed on Amazon's storage names "aws-chunked" beside the coding; clients are told clean ones.
#[tokio::test(start_paused = true)]
async fn codings_of_storage_services_reach_no_client() {
    let package = package(ONE, "1.0.0", 40_000);
    let place = format!("{FLAT}/sample.one/1.0.0/sample.one.1.0.0.nupkg");
    for (coding, is_coded) in [("gzip, aws-chunked", true), ("aws-chunked", false)] {
        let proxy = TestProxy::new().await;
        let coded = |reply: Reply| {
            let coded = if is_coded {
                reply.clone().gzip()
            } else {
                reply
            };
            Reply::new(200, coded.bytes().clone()).header("Content-Encoding", coding)
        };
        proxy
            .origin
            .on(LIST_PLACE, coded(Reply::json(version_list(&["1.0.0"]))));
        proxy.origin.on(&place, coded(Reply::file(package.clone())));
        for detail in ["miss", "hit"] {
            let ask = Ask::get(LIST).header("accept-encoding", "gzip");
            let list = proxy.send(ask).await.expect(detail);
            assert_eq!(plain(&list), r#"{"versions":["1.0.0"]}"#, "{coding}");
            let file = proxy.get(&package_path(ONE, "1.0.0")).await.expect(detail);
            assert_eq!(file.header("content-encoding"), None);
            assert_eq!(file.body, package, "{coding}");
        }
    }
}

/// Protocol fact 7.2.4: what is stored coded is read by us too, after a restart too, and sent coded to who takes it.
#[tokio::test(start_paused = true)]
async fn a_stored_coded_body_is_still_read_by_our_own_readers() {
    let origin = nuget_like();
    // Without a flat container lists are read out of registrations.
    let index = service_index(&[(NEWEST, &format!("https://{HIVE}/"))]);
    origin.on("api.test/v3/index.json", document(&index));
    let proxy = TestProxy::with(origin, |_| {}).await;
    let path = one(&proxy, NEWEST).await;
    let coded = Ask::get(&path).header("accept-encoding", "gzip");
    let first = proxy.send(coded.clone()).await.expect("miss");
    assert_eq!(first.header("content-encoding"), Some("gzip"));
    pass(seconds(1)).await;
    let proxy = proxy.restart().await;
    proxy.origin.all_down();
    let list = proxy.get(LIST).await;
    assert_eq!(
        list.text(),
        r#"{"versions":["1.0.0","1.1.0","2.0.0-beta.1"]}"#
    );
    let again = proxy.send(coded).await.expect("hit");
    assert_eq!(plain(&again), plain(&first));
    let asked = format!("GET {HIVE}/sample.one/index.json");
    assert_eq!(proxy.origin.count(&asked), 1);
}

/// Protocol fact 7.2.5: edges that answer 200 where a 304 was due, or quote their tags now and then, cost only bytes.
#[tokio::test(start_paused = true)]
async fn nothing_depends_on_a_304() {
    let proxy = TestProxy::new().await;
    let edge = |tag: &str, version: &str| {
        let reply = Reply::json(version_list(&[version]));
        reply
            .header("ETag", tag)
            .header("Last-Modified", MODIFIED)
            .into()
    };
    // A tag that no condition ever equals, since each answer has another.
    let edges = [
        ("0x8D1", "1.0.0"),
        ("\"0x8D1\"", "1.0.0"),
        ("\"0x8D2\"", "9.0.0"),
    ];
    let edges = edges.map(|(tag, version)| edge(tag, version));
    proxy.origin.script(LIST_PLACE, edges);
    for expected in ["1.0.0", "1.0.0", "9.0.0"] {
        let list = proxy.get(LIST).await.expect("miss");
        assert_eq!(list.text(), version_list(&[expected]));
        proxy.get(LIST).await.expect("hit");
        pass(seconds(60)).await;
    }
    let sent = proxy.origin.seen(LIST_ASKED);
    let tags: Vec<_> = sent
        .iter()
        .map(|seen| seen.header("if-none-match"))
        .collect();
    assert_eq!(tags, [None, Some("0x8D1"), Some("\"0x8D1\"")]);
}

/// Protocol fact 7.2.6: what is stored is confirmed by both of the upstream's validators; no byte of it comes again.
#[tokio::test(start_paused = true)]
async fn a_condition_names_both_validators() {
    let proxy = TestProxy::new().await;
    let first = proxy.get(LIST).await.expect("miss");
    pass(seconds(60)).await;
    assert_eq!(proxy.get(LIST).await.expect("revalidated").body, first.body);
    let seen = proxy.origin.last(LIST_ASKED);
    assert_eq!(seen.header("if-modified-since"), Some(MODIFIED));
    let tag = seen.header("if-none-match").unwrap();
    assert!(tag.starts_with("\"0x"), "{tag}");
}

/// Protocol fact 7.2.7: paths upstream are in lower case, however a client spells id and version.
#[tokio::test(start_paused = true)]
async fn paths_upstream_are_in_lower_case() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of(NEWEST).await;
    for path in [
        "/v3/flatcontainer/Sample.ONE/index.json",
        "/v3/flatcontainer/Sample.One/2.0.0-BETA.1/Sample.One.2.0.0-Beta.1.nupkg",
        "/v3/flatcontainer/SAMPLE.ONE/2.0.0-Beta.1/SAMPLE.ONE.nuspec",
        &format!("{hive}Sample.One/index.json"),
    ] {
        proxy.get(path).await.expect("miss");
    }
    for seen in proxy.origin.all() {
        assert_eq!(seen.target, seen.target.to_lowercase());
    }
}

/// Protocol fact 7.2.8: a version is found in any case; an upstream's list passes as it is, one of ours is lowered.
#[tokio::test(start_paused = true)]
async fn any_case_is_found_and_only_a_list_of_our_own_is_lowered() {
    const UPPER: &str = r#"{ "versions": ["2.0.0-Beta.1" ] }"#;
    let proxy = TestProxy::new().await;
    proxy.origin.on(LIST_PLACE, document(UPPER));
    assert_eq!(proxy.get(LIST).await.expect("miss").text(), UPPER);
    for (version, detail) in [("2.0.0-Beta.1", "miss"), ("2.0.0-beta.1", "hit")] {
        let path = format!("/v3/flatcontainer/sample.one/{version}/sample.one.{version}.nupkg");
        proxy.get(&path).await.expect(detail);
    }

    let origin = Origin::new();
    let index = service_index(&[(NEWEST, "https://art.test/reg/")]);
    origin.on("art.test/index.json", document(&index));
    let text = inlined_registration("art.test/reg", ONE, &["1.0", "2.0.0-Beta.1"]);
    origin.on("art.test/reg/sample.one/index.json", document(&text));
    let proxy = feed_at("https://art.test/index.json", origin).await;
    let list = proxy.get(LIST).await;
    assert_eq!(list.text(), r#"{"versions":["1.0.0","2.0.0-beta.1"]}"#);
}

/// Protocol fact 7.2.9: a hive without SemVer 2 lacks those versions rightly: none is added to it from another.
#[tokio::test(start_paused = true)]
async fn a_hive_without_semver_2_is_not_repaired() {
    let proxy = TestProxy::new().await;
    let place = format!("{OLD_HIVE}/sample.one/index.json");
    let older = inlined_registration(OLD_HIVE, ONE, &["1.0.0", "1.1.0"]);
    proxy.origin.on(&place, document(&older));
    for (kind, expected) in [(NEWEST, 3), ("RegistrationsBaseUrl", 2), (NEWEST, 3)] {
        let index = proxy.get(&one(&proxy, kind).await).await.json();
        assert_eq!(index["items"][0]["count"], expected, "{kind}");
    }
}
