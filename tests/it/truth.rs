//! The status of each failure: never a 404 that the upstream did not say, never a challenge to the client.

use crate::harness::fixture::{LIST, LIST_PLACE, content_path, document, nuget_like, version_list};
use crate::harness::{Act, Answered, Door, Ending, Framing, Reply, TestProxy, seconds};

/// What a client without a copy gets of a list that the upstream answers so.
async fn list(act: impl Into<Act>) -> Answered {
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.proxy.max_document_bytes = 64 * 1024;
    })
    .await;
    proxy.origin.on(LIST_PLACE, act);
    let (answer, took) = proxy.timed(LIST).await;
    assert!(took <= seconds(15), "{took:?}");
    answer
}

/// Answers that are refusals or errors.
fn statuses() -> Vec<(Reply, u16, &'static str)> {
    vec![
        (
            Reply::new(401, "").header("WWW-Authenticate", "Basic"),
            502,
            "failed.not-authorized",
        ),
        (
            Reply::new(403, "").header("WWW-Authenticate", "Basic"),
            502,
            "failed.not-authorized",
        ),
        (
            Reply::new(407, "").header("Proxy-Authenticate", "Basic"),
            502,
            "failed.proxy-auth-required",
        ),
        (Reply::new(400, ""), 502, "failed.upstream-status"),
        (Reply::new(405, ""), 502, "failed.upstream-status"),
        (Reply::new(451, ""), 502, "failed.upstream-status"),
        (Reply::new(500, ""), 502, "failed.upstream-status"),
        (Reply::new(502, ""), 502, "failed.upstream-status"),
        (Reply::new(503, ""), 503, "failed.upstream-status"),
        (Reply::new(504, ""), 504, "failed.upstream-status"),
        (
            Reply::new(429, "").header("Retry-After", "3600"),
            503,
            "failed.rate-limited",
        ),
        (Reply::new(304, ""), 502, "failed.upstream-status"),
        (
            Reply::new(206, r#"{"versions":[]}"#),
            502,
            "failed.upstream-status",
        ),
    ]
}

/// Bodies that are not the document asked for.
fn bodies() -> Vec<(Reply, u16, &'static str)> {
    let good = document(&version_list(&["1.0.0"]));
    vec![
        (Reply::json("<html></html>"), 502, "failed.html-page"),
        (Reply::json(""), 502, "failed.bad-body"),
        (Reply::json("[]"), 502, "failed.bad-body"),
        (
            Reply::json(r#"{"versions":["1.0.0""#),
            502,
            "failed.bad-body",
        ),
        (
            Reply::json(vec![b'{', b'"', 0xff, b'"', b'}']),
            502,
            "failed.bad-body",
        ),
        (
            good.clone().header("Content-Encoding", "gzip"),
            502,
            "failed.bad-body",
        ),
        (
            good.clone()
                .header("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            502,
            "failed.bad-body",
        ),
        (good.clone().ending(Ending::Cut(5)), 502, "failed.closed"),
        (
            good.clone()
                .framing(Framing::Chunked)
                .ending(Ending::Cut(5)),
            502,
            "failed.closed",
        ),
        (
            good.clone().ending(Ending::Stall(5)),
            504,
            "failed.held-out",
        ),
        (Reply::json(vec![b' '; 70_000]), 502, "failed.too-large"),
        (
            Reply::json(vec![b' '; 70_000]).gzip(),
            502,
            "failed.too-large",
        ),
    ]
}

/// Redirects that lead nowhere.
fn redirects() -> Vec<(Reply, u16, &'static str)> {
    vec![
        (
            Reply::redirect(302, &format!("https://{LIST_PLACE}")),
            502,
            "failed.protocol",
        ),
        (
            Reply::redirect(302, "https://nowhere.test/a"),
            503,
            "failed.breaker-open",
        ),
        (
            Reply::redirect(302, "https://127.0.0.1/a"),
            502,
            "failed.protocol",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_status() {
    let cases = [statuses(), bodies(), redirects()].concat();
    for (number, (reply, status, detail)) in cases.into_iter().enumerate() {
        let answer = list(reply).await;
        assert_eq!(
            (answer.status, answer.detail()),
            (status, detail),
            "case {number}"
        );
        assert_eq!(answer.header("www-authenticate"), None, "case {number}");
        assert_eq!(answer.header("proxy-authenticate"), None, "case {number}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let reason = answer.reason.expect("a reason phrase");
        assert!(
            reason.starts_with("Sluice: ") && reason.len() <= 512,
            "{reason}"
        );
        assert!(reason.contains("sample.one"), "{reason}");
        assert!(
            reason.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
            "{reason}"
        );
        let text = std::str::from_utf8(&answer.body).expect("text");
        assert!(text.starts_with(&*reason), "{text:?} {reason:?}");
        let wait = answer
            .headers
            .get("retry-after")
            .map(|value| value.as_bytes());
        assert!(matches!(wait, None | Some(b"1")), "case {number}: {wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_document_is_not_stored_and_the_next_request_asks_again() {
    for bad in [
        Reply::json("<html></html>"),
        Reply::json("{}").ending(Ending::Cut(1)),
        Reply::new(401, ""),
        Reply::new(400, ""),
    ] {
        let proxy = TestProxy::new().await;
        let good = document(&version_list(&["1.0.0"]));
        proxy
            .origin
            .script(LIST_PLACE, [Act::from(bad), Act::from(good)]);
        assert_eq!(proxy.get(LIST).await.status, 502);
        proxy.get(LIST).await.expect("miss");
    }
}

#[tokio::test(start_paused = true)]
async fn no_outage_becomes_a_404() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    proxy.origin.all_down();
    for path in [
        LIST.to_owned(),
        format!("{hive}sample.one/index.json"),
        format!("{hive}sample.one/1.0.0.json"),
        format!("{hive}sample.many/page/1.0.0/1.2.0.json"),
        format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0")),
        "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec".into(),
        "/v3/search?q=a".into(),
        "/v3/autocomplete?q=a".into(),
        "/v3/vulnerabilities/index.json".into(),
        "/v3/vulnerabilities/base-0123456789ab".into(),
        "/v3/catalog/data/2026.11.04.10.00.00/sample.one.1.0.0.json".into(),
    ] {
        let answer = proxy.get(&path).await;
        assert!(
            matches!(answer.status, 502..=504),
            "{path}: {}",
            answer.status
        );
        assert!(answer.detail().starts_with("failed."), "{path}");
    }
    // The index itself is there.
    proxy.get("/v3/index.json").await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_service_index_that_is_not_there_is_a_failure() {
    for status in [404, 410, 204] {
        let proxy = TestProxy::new().await;
        proxy
            .origin
            .on("api.test/v3/index.json", Reply::new(status, ""));
        for path in ["/v3/index.json", LIST] {
            let answer = proxy.get(path).await;
            assert_eq!(answer.status, 502, "{status} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_public_feed_leads_nobody_inside() {
    let proxy = TestProxy::new().await;
    proxy
        .origin
        .on("inside.test/secret", document(&version_list(&["6.6.6"])));
    proxy.origin.door("inside.test", Door::Private);
    for target in [
        "https://inside.test/secret",
        "http://localhost/secret",
        "http://[::1]/x",
    ] {
        proxy.origin.on(LIST_PLACE, Reply::redirect(302, target));
        proxy.get(LIST).await.expect_status(502, "failed.protocol");
    }
    assert_eq!(proxy.origin.count("GET inside.test/secret"), 0);
}
