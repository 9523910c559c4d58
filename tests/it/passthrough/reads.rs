//! Who is served what while the upstream answers, and what each answer costs it.

use http::Method;

use super::{
    ANN, BOB, CARL, CONTENT, CONTENT_ASKED, CONTENT_PLACE, Corp, LIST, LIST_ASKED, OTHER_LIST, ask,
    file, get, whole,
};
use crate::harness::fixture::{document, package, version_list};
use crate::harness::{Ask, Reply, pass, seconds};

#[tokio::test(start_paused = true)]
async fn an_older_answer_to_one_keeps_back_nothing_of_anothers() {
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, LIST).await.expect("miss");
    let older = Reply::json(version_list(&["1.0.0"]));
    let older = older.header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT");
    let place = "corp.test/flat/sample.one/index.json";
    corp.on(place, "sample.one", older);
    pass(seconds(60)).await;
    let answer = get(&proxy, ANN, LIST).await.expect("stale.older-answer");
    assert_ne!(answer.text(), r#"{"versions":["1.0.0"]}"#);
    let answer = get(&proxy, BOB, LIST).await.expect("miss");
    assert_eq!(answer.text(), r#"{"versions":["1.0.0"]}"#);
    // Refused, Ann gets nothing of it.
    corp.rights.revoke(ANN);
    pass(seconds(10)).await;
    assert_eq!(get(&proxy, ANN, LIST).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_challenged_first_and_served_then() {
    let proxy = Corp::new().proxy().await;
    let refused = get(&proxy, "", "/v3/index.json").await;
    let refused = refused.expect_status(401, "challenged");
    // What cannot pass a proxy is not offered; all else is the upstream's own.
    let offered: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(offered, ["Basic realm=\"corp\""]);
    assert_eq!(refused.reason.as_deref(), Some("Corp wants a name"));
    assert_eq!(refused.text(), "sign in");
    assert_eq!(refused.header("content-type"), Some("text/plain"));
    get(&proxy, ANN, "/v3/index.json").await.expect("miss");
    get(&proxy, ANN, LIST).await.expect("miss");
    assert_eq!(get(&proxy, ANN, CONTENT).await.expect("miss").body, whole());
    let sent: Vec<_> = proxy.origin.all();
    let sent = sent.iter().map(|seen| seen.header("authorization"));
    assert_eq!(
        sent.collect::<Vec<_>>(),
        [None, Some(ANN), Some(ANN), Some(ANN)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_is_challenged_too() {
    let proxy = Corp::new().known_to(&[ANN]).await;
    let refused = proxy.send(Ask::head(CONTENT)).await;
    assert_eq!((refused.status, refused.detail()), (401, "challenged"));
    assert!(refused.body.is_empty());
    get(&proxy, ANN, CONTENT).await.expect("miss");
    let refused = proxy.send(Ask::head(CONTENT)).await;
    assert_eq!((refused.status, refused.detail()), (401, "challenged"));
}

#[tokio::test(start_paused = true)]
async fn what_one_may_see_is_not_given_to_another() {
    let proxy = Corp::new().known_to(&[ANN, BOB, CARL]).await;
    let registration = proxy_path(&proxy).await;
    for path in [LIST, CONTENT, &registration] {
        get(&proxy, ANN, path).await.expect("miss");
        get(&proxy, ANN, path).await.expect("hit");
        let refused = get(&proxy, CARL, path).await;
        let refused = refused.expect_status(403, "challenged");
        assert_eq!(refused.reason.as_deref(), Some("Corp says no"));
        assert_eq!(refused.text(), "not yours");
        get(&proxy, "", path).await.expect_status(401, "challenged");
        get(&proxy, "Basic d3Jvbmc=", path)
            .await
            .expect_status(401, "challenged");
        // Nor does that cost whoever may see it.
        get(&proxy, ANN, path).await.expect("hit");
    }
    let other = get(&proxy, BOB, OTHER_LIST).await;
    other.expect_status(403, "challenged");
}

/// The path of the registration of the package.
async fn proxy_path(proxy: &crate::harness::TestProxy) -> String {
    let index = get(proxy, ANN, "/v3/index.json").await.json();
    let resources = index["resources"].as_array().expect("resources").iter();
    let hive = resources
        .filter(|entry| entry["@type"] == "RegistrationsBaseUrl/3.6.0")
        .filter_map(|entry| entry["@id"].as_str())
        .next();
    let hive = hive.and_then(|url| url.strip_prefix("http://us.test:6850"));
    format!("{}sample.one/index.json", hive.expect("our own address"))
}

#[tokio::test(start_paused = true)]
async fn a_stored_package_costs_another_credential_one_question_and_no_second_copy() {
    let proxy = Corp::new().known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    pass(seconds(1)).await;
    let (entries, total) = (proxy.store.usage().entries, proxy.origin.total());
    let first = get(&proxy, BOB, CONTENT).await.expect("revalidated");
    assert_eq!(first.body, whole());
    assert_eq!(proxy.origin.total() - total, 1);
    let proof = proxy.origin.last(CONTENT_ASKED);
    assert_eq!(proof.header("authorization"), Some(BOB));
    assert!(proof.header("if-none-match").is_some());
    for _ in 0..3 {
        get(&proxy, BOB, CONTENT).await.expect("hit");
        get(&proxy, ANN, CONTENT).await.expect("hit");
    }
    assert_eq!(proxy.origin.total() - total, 1);
    assert_eq!(proxy.store.usage().entries, entries);
}

#[tokio::test(start_paused = true)]
async fn a_list_proves_for_the_package_and_a_proof_is_good_for_its_time() {
    let proxy = Corp::new().known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    get(&proxy, BOB, LIST).await.expect("miss");
    get(&proxy, BOB, CONTENT).await.expect("hit");
    pass(seconds(5 * 60 - 1)).await;
    get(&proxy, BOB, CONTENT).await.expect("hit");
    pass(seconds(2)).await;
    assert_eq!(proxy.origin.count(CONTENT_ASKED), 1);
    get(&proxy, BOB, CONTENT).await.expect("revalidated");
    get(&proxy, BOB, CONTENT).await.expect("hit");
    assert_eq!(proxy.origin.count(CONTENT_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_document_is_not_given_after_its_proof() {
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN]).await;
    let path = proxy_path(&proxy).await;
    // Registrations are fresh as long as a proof is good: the memory of them must not outlive it.
    for path in ["/v3/index.json", &path] {
        get(&proxy, ANN, path).await;
    }
    corp.rights.revoke(ANN);
    pass(seconds(6 * 60)).await;
    let index = get(&proxy, ANN, "/v3/index.json").await;
    index.expect_status(401, "challenged");
    get(&proxy, ANN, &path)
        .await
        .expect_status(401, "challenged");
}

#[tokio::test(start_paused = true)]
async fn a_401_ends_every_proof_of_its_credential_and_a_403_one() {
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB]).await;
    for credential in [ANN, BOB] {
        get(&proxy, credential, LIST).await.expect("miss");
    }
    get(&proxy, ANN, OTHER_LIST).await.expect("miss");
    // A right that was withdrawn is seen at the next question, and nothing comes from memory after it.
    corp.rights.grant(ANN, &["sample.other"]);
    get(&proxy, ANN, LIST).await.expect("hit");
    let forced = ask(ANN, LIST).header("cache-control", "no-cache");
    proxy.send(forced).await.expect_status(403, "challenged");
    get(&proxy, ANN, LIST)
        .await
        .expect_status(403, "challenged");
    get(&proxy, ANN, OTHER_LIST).await.expect("hit");
    corp.rights.revoke(ANN);
    get(&proxy, ANN, LIST)
        .await
        .expect_status(401, "challenged");
    get(&proxy, ANN, OTHER_LIST)
        .await
        .expect_status(401, "challenged");
    get(&proxy, BOB, LIST).await.expect("hit");
    corp.rights.grant(ANN, &["*"]);
    get(&proxy, ANN, OTHER_LIST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_asked_for_before_a_refusal_is_no_proof_after_it() {
    let corp = Corp::new();
    let gate = crate::harness::Gate::new();
    let late = file(&whole()).body_gate(30_000, &gate);
    corp.on(CONTENT_PLACE, "sample.one", late);
    let proxy = corp.known_to(&[ANN]).await;
    let mut first = ask(ANN, CONTENT).open(&proxy.proxy).await;
    assert_eq!(first.status, 200);
    first.at_least(1_000).await;
    corp.rights.revoke(ANN);
    get(&proxy, ANN, OTHER_LIST)
        .await
        .expect_status(401, "challenged");
    pass(seconds(1)).await;
    gate.open();
    first.collect().await;
    get(&proxy, ANN, CONTENT)
        .await
        .expect_status(401, "challenged");
}

#[tokio::test(start_paused = true)]
async fn no_credential_is_an_audience_of_its_own() {
    let corp = Corp::new();
    corp.rights.grant("", &["sample.other"]);
    let proxy = corp.known_to(&[ANN, ""]).await;
    get(&proxy, ANN, LIST).await.expect("miss");
    get(&proxy, "", OTHER_LIST).await.expect("miss");
    // The first hit from memory is remembered, and the next is found without routing.
    get(&proxy, "", OTHER_LIST).await.expect("hit");
    get(&proxy, "", OTHER_LIST).await.expect("hit");
    get(&proxy, "", LIST).await.expect_status(403, "challenged");
    // Nobody's refusal ends nobody's proofs but the one.
    get(&proxy, "", OTHER_LIST).await.expect("hit");
    corp.rights.revoke("");
    get(&proxy, "", LIST).await.expect_status(401, "challenged");
    get(&proxy, "", OTHER_LIST).await.expect("hit");
    pass(seconds(301)).await;
    get(&proxy, "", OTHER_LIST)
        .await
        .expect_status(401, "challenged");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_plain_requests_passes_no_proof() {
    let corp = Corp::new();
    corp.rights.grant("", &["*"]);
    let proxy = corp.known_to(&[""]).await;
    let path = "/v3/index.json";
    for _ in 0..3 {
        get(&proxy, "", path).await.expect("hit");
    }
    // The index is fresh for longer than a proof is good.
    corp.rights.revoke("");
    pass(seconds(301)).await;
    get(&proxy, "", path).await.expect_status(401, "challenged");
    get(&proxy, "", path).await.expect_status(401, "challenged");
}

#[tokio::test(start_paused = true)]
async fn a_404_is_for_whom_it_was_said() {
    let corp = Corp::new();
    let list = document(&version_list(&["1.0.0"]));
    corp.hide("corp.test/flat/sample.one/index.json", "sample.one", list);
    corp.hide(CONTENT_PLACE, "sample.one", file(&whole()));
    let proxy = corp.known_to(&[ANN, CARL]).await;
    for path in [LIST, CONTENT] {
        get(&proxy, CARL, path).await.expect_status(404, "absent");
        get(&proxy, ANN, path).await.expect("miss");
        get(&proxy, CARL, path).await.expect_status(404, "absent");
        get(&proxy, ANN, path).await.expect("hit");
    }
    // Nor is a 404 a proof.
    proxy.origin.all_down();
    pass(seconds(60)).await;
    let refused = get(&proxy, CARL, CONTENT).await;
    assert_eq!(refused.status, 503, "{:?}", refused.reason);
}

#[tokio::test(start_paused = true)]
async fn a_part_needs_a_proof_and_so_does_the_length() {
    let proxy = Corp::new().known_to(&[ANN, BOB, CARL]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    let part = |credential| ask(credential, CONTENT).header("range", "bytes=10-19");
    let beyond = |credential| ask(credential, CONTENT).header("range", "bytes=90000000-");
    for request in [part(CARL), beyond(CARL)] {
        let refused = proxy.send(request).await.expect_status(403, "challenged");
        assert_eq!(refused.header("content-range"), None);
    }
    let answer = proxy
        .send(part(BOB))
        .await
        .expect_status(206, "revalidated");
    assert_eq!(answer.body, whole()[10..20]);
    proxy.send(part(BOB)).await.expect_status(206, "hit");
    assert_eq!(proxy.send(beyond(BOB)).await.status, 416);
}

#[tokio::test(start_paused = true)]
async fn a_condition_needs_a_proof() {
    let proxy = Corp::new().known_to(&[ANN, CARL]).await;
    let etag = get(&proxy, ANN, CONTENT).await;
    assert_eq!(etag.status, 200);
    let kept = get(&proxy, ANN, CONTENT).await.expect("hit");
    let tag = kept.header("etag").expect("a tag").to_owned();
    let conditional = |credential| ask(credential, CONTENT).header("if-none-match", &tag);
    assert_eq!(proxy.send(conditional(ANN)).await.status, 304);
    let refused = proxy.send(conditional(CARL)).await;
    refused.expect_status(403, "challenged");
}

#[tokio::test(start_paused = true)]
async fn search_results_are_for_whom_they_were_found() {
    let proxy = Corp::new().known_to(&[ANN, BOB]).await;
    let path = "/v3/search?q=a";
    get(&proxy, ANN, path).await.expect("miss");
    get(&proxy, ANN, path).await.expect("hit");
    get(&proxy, BOB, path).await.expect("miss");
    get(&proxy, "", path).await.expect_status(401, "challenged");
    assert_eq!(proxy.origin.count("GET corp.test/query"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_page_to_sign_in_at_is_no_proof() {
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    let page = Reply::new(200, "<html>sign in</html>").header("Content-Type", "text/html");
    proxy.origin.on(CONTENT_PLACE, page);
    let refused = get(&proxy, BOB, CONTENT).await;
    assert_eq!(
        (refused.status, refused.detail()),
        (502, "failed.html-page")
    );
    let list = Reply::new(200, "<html>sign in</html>").header("Content-Type", "text/html");
    proxy
        .origin
        .on("corp.test/flat/sample.one/index.json", list);
    let refused = get(&proxy, BOB, LIST).await;
    assert_eq!(
        (refused.status, refused.detail()),
        (502, "failed.html-page")
    );
    // The stored package is as it was.
    assert_eq!(get(&proxy, ANN, CONTENT).await.expect("hit").body, whole());
}

#[tokio::test(start_paused = true)]
async fn a_package_that_was_replaced_is_fetched_by_whom_found_that() {
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    let other = package("Sample.One", "1.0.0", 50_000);
    corp.on(CONTENT_PLACE, "sample.one", file(&other));
    assert_eq!(get(&proxy, BOB, CONTENT).await.expect("miss").body, other);
    assert_eq!(get(&proxy, BOB, CONTENT).await.expect("hit").body, other);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_validators_proves_by_length() {
    let corp = Corp::new();
    corp.on(CONTENT_PLACE, "sample.one", Reply::file(whole()));
    let proxy = corp.known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    let answer = get(&proxy, BOB, CONTENT).await.expect("revalidated");
    assert_eq!(answer.body, whole());
    get(&proxy, BOB, CONTENT).await.expect("hit");
    assert_eq!(proxy.origin.count(CONTENT_ASKED), 2);
}

#[tokio::test(start_paused = true)]
async fn a_push_carries_the_clients_credential_and_key() {
    let corp = Corp::new();
    let taken = Reply::new(201, "");
    corp.on("PUT corp.test/push", "sample.one", taken);
    let proxy = corp.known_to(&[ANN]).await;
    let push = |credential: &str| {
        let push = Ask::new(Method::PUT, "/v3/package").header("x-nuget-apikey", "key");
        push.header("authorization", credential)
            .body(package("Sample.One", "9.0.0", 99))
    };
    assert_eq!(proxy.send(push(ANN)).await.status, 201);
    let seen = proxy.origin.last("PUT corp.test/push");
    assert_eq!(seen.header("authorization"), Some(ANN));
    assert_eq!(seen.header("x-nuget-apikey"), Some("key"));
    let refused = proxy.send(push("Basic d3Jvbmc=")).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.reason.as_deref(), Some("Corp wants a name"));
    let offered: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(offered, ["Basic realm=\"corp\""]);
}

#[tokio::test(start_paused = true)]
async fn a_publish_by_one_makes_the_search_results_of_all_old() {
    let corp = Corp::new();
    corp.on("PUT corp.test/push", "sample.one", Reply::new(201, ""));
    let proxy = corp.known_to(&[ANN, BOB]).await;
    let path = "/v3/search?q=a";
    get(&proxy, BOB, path).await.expect("miss");
    get(&proxy, BOB, LIST).await.expect("miss");
    let push = Ask::new(Method::PUT, "/v3/package").header("authorization", ANN);
    let push = push.body(package("Sample.One", "9.0.0", 99));
    assert_eq!(proxy.send(push).await.status, 201);
    get(&proxy, BOB, path).await.expect("miss");
    get(&proxy, BOB, LIST).await.expect("revalidated");
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}
