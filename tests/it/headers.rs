//! What clients are told beside the body: tags, conditions, caching, age.

use crate::harness::fixture::{FLAT, LIST, LIST_ASKED, MODIFIED, ONE, content_path, package};
use crate::harness::{Ask, Gate, Reply, TestProxy, pass, seconds};

fn content() -> String {
    format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"))
}

#[tokio::test(start_paused = true)]
async fn documents() {
    let proxy = TestProxy::new().await;
    for detail in ["miss", "hit"] {
        let answer = proxy.get(LIST).await.expect(detail);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("age"), Some("0"));
        assert_eq!(answer.header("last-modified"), None);
        assert_eq!(answer.header("accept-ranges"), None);
        assert!(
            answer
                .header("etag")
                .is_some_and(|tag| tag.starts_with('"'))
        );
    }
    pass(seconds(30)).await;
    assert_eq!(proxy.get(LIST).await.header("age"), Some("30"));
}

#[tokio::test(start_paused = true)]
async fn content_live_and_stored() {
    let proxy = TestProxy::new().await;
    let (place, gate) = (
        format!("{FLAT}/{}", content_path(ONE, "1.0.0")),
        Gate::new(),
    );
    let reply = Reply::file(package(ONE, "1.0.0", 40_000)).header("Last-Modified", MODIFIED);
    proxy.origin.on(&place, reply.body_gate(20_000, &gate));
    let live = Ask::get(&content()).open(&proxy.proxy).await;
    gate.open();
    let live = live.collect().await.expect("miss");
    assert_eq!(live.header("etag"), None);
    assert_eq!(live.header("age"), Some("0"));
    let stored = proxy.get(&content()).await.expect("hit");
    assert!(stored.header("etag").is_some());
    for answer in [live, stored] {
        assert_eq!(answer.header("cache-control"), Some("max-age=86400"));
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(answer.header("last-modified"), Some(MODIFIED));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(answer.header("vary"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_upstream_goes_out_but_what_is_listed() {
    let proxy = TestProxy::new().await;
    let place = format!("{FLAT}/{}", content_path(ONE, "1.0.0"));
    let extras = [
        ("Set-Cookie", "a=b"),
        ("Strict-Transport-Security", "max-age=1"),
        ("X-NuGet-Warning", "w"),
        ("WWW-Authenticate", "Basic"),
        ("x-ms-request-id", "1"),
        ("Server", "Blob"),
    ];
    let mut reply = Reply::file(package(ONE, "1.0.0", 40_000));
    let mut list = Reply::json(r#"{"versions":[]}"#);
    for (name, value) in extras {
        reply = reply.header(name, value);
        list = list.header(name, value);
    }
    proxy.origin.on(&place, reply);
    proxy
        .origin
        .on("api.test/v3-flatcontainer/sample.one/index.json", list);
    for _ in 0..2 {
        for path in [LIST, &content()] {
            let answer = proxy.get(path).await;
            for (name, _) in extras {
                assert_eq!(answer.header(name), None, "{path}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn conditions() {
    let proxy = TestProxy::new().await;
    for path in [LIST, &content()] {
        proxy.get(path).await.expect("miss");
        let answer = proxy.get(path).await.expect("hit");
        let tag = answer.header("etag").expect("a tag").to_owned();
        for value in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".into(),
        ] {
            let ask = Ask::get(path).header("if-none-match", &value);
            let answer = proxy.send(ask).await;
            assert_eq!((answer.status, answer.detail()), (304, "hit"), "{value}");
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some(&*tag));
            assert!(answer.header("cache-control").is_some());
            assert_eq!(answer.header("content-length"), None);
        }
        let ask = Ask::get(path).header("if-none-match", "\"x\"");
        proxy.send(ask).await.expect("hit");
    }
    // The upstream's own tag is not ours.
    let upstream = proxy.origin.last(LIST_ASKED);
    assert_eq!(upstream.header("if-none-match"), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_names_no_coding() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let ask = Ask::get(&format!("{hive}sample.many/index.json")).header("accept-encoding", "gzip");
    let coded = proxy.send(ask.clone()).await.expect("miss");
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    let tag = coded.header("etag").expect("a tag");
    let answer = proxy.send(ask.header("if-none-match", tag)).await;
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
}

#[tokio::test(start_paused = true)]
async fn tags_tell_codings_and_base_urls_apart_and_nothing_else() {
    let proxy = TestProxy::new().await;
    let hive = proxy.path_of("RegistrationsBaseUrl/3.6.0").await;
    let path = format!("{hive}sample.one/index.json");
    let plain = proxy.get(&path).await;
    let gzip = proxy
        .send(Ask::get(&path).header("accept-encoding", "gzip"))
        .await;
    let other = proxy
        .send(Ask::get(&path).header("host", "other.test"))
        .await;
    let tags = [&plain, &gzip, &other].map(|answer| answer.header("etag").expect("a tag"));
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
    // Another instance makes the same tags.
    let second = proxy.second().await;
    assert_eq!(second.get(&path).await.header("etag"), Some(tags[0]));
}

#[tokio::test(start_paused = true)]
async fn head_of_a_document_uses_the_get() {
    let proxy = TestProxy::new().await;
    let head = proxy.send(Ask::head(LIST)).await.expect("miss");
    assert!(head.body.is_empty());
    let get = proxy.get(LIST).await.expect("hit");
    let length = get.body.len().to_string();
    for name in ["etag", "content-type", "cache-control", "vary"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(head.header("content-length"), Some(&*length));
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
    assert_eq!(proxy.origin.count(&LIST_ASKED.replace("GET", "HEAD")), 0);
    let absent = proxy
        .send(Ask::head("/v3/flatcontainer/sample.none/index.json"))
        .await;
    assert_eq!((absent.status, absent.body.len()), (404, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_has_an_age_too() {
    let proxy = TestProxy::new().await;
    let none = "/v3/flatcontainer/sample.none/index.json";
    let package = "/v3/flatcontainer/sample.none/1.0.0/sample.none.1.0.0.nupkg";
    for path in [none, package] {
        assert_eq!(proxy.get(path).await.header("age"), Some("0"));
        pass(seconds(7)).await;
        let remembered = proxy.get(path).await;
        assert_eq!(remembered.header("age"), Some("7"), "{path}");
        remembered.expect_status(404, "absent");
    }
    proxy.get(LIST).await.expect("miss");
    proxy.origin.all_down();
    pass(seconds(93)).await;
    let outage = proxy.get(none).await;
    let age: u64 = outage.header("age").unwrap().parse().unwrap();
    // At most two seconds of waiting for the upstream are in it.
    assert!((107..=109).contains(&age), "{age}");
}

#[tokio::test(start_paused = true)]
async fn failures_and_refusals_are_said_just_now() {
    let proxy = TestProxy::new().await;
    proxy.origin.all_down();
    for (path, status) in [
        (LIST, 503),
        ("/v3/none", 404),
        ("/v3/flatcontainer/a%00/index.json", 400),
    ] {
        let answer = proxy.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("age"), Some("0"), "{path}");
        assert!(answer.header("cache-status").is_some(), "{path}");
    }
}
