//! TLS of our own: the whole proxy behind the server's connections, over HTTP/1.1 and HTTP/2, with pipes for sockets.

use bytes::Bytes;
use http::{Method, Version};

use crate::harness::client::HOST;
use crate::harness::fixture::{FLAT, LIST, LIST_ASKED, content_path, nuget_like, package};
use crate::harness::secure::{Link, NAME, Secure};
use crate::harness::{Act, Answered, Ask, Reply, TestProxy};

const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test(start_paused = true)]
async fn three_megabytes_arrive_byte_for_byte_fetched_and_stored_and_in_part() {
    let whole = package("Sample.Big", "1.0.0", 3 << 20);
    let content = content_path("Sample.Big", "1.0.0");
    let path = format!("/v3/flatcontainer/{content}");
    for version in BOTH {
        let origin = nuget_like();
        origin.on(
            &format!("{FLAT}/{content}"),
            Reply::file(whole.clone()).md5(),
        );
        let proxy = TestProxy::with(origin, |_| {}).await;
        let mut link = Secure::new(&proxy).open(&proxy, version).await;
        for detail in ["miss", "hit", "hit"] {
            let answer = link.get(&path).await.expect(detail);
            assert!(
                answer.body == whole,
                "{version:?}: the bytes of a {detail} differ"
            );
            let length = whole.len().to_string();
            assert_eq!(answer.header("content-length"), Some(&*length));
        }
        let range = [("range", "bytes=1000000-2999999")];
        let part = link.send(Method::GET, &path, &range, Bytes::new()).await;
        let part = part.expect_status(206, "hit");
        assert!(part.body == whole[1_000_000..3_000_000], "{version:?}");
        assert_eq!(proxy.origin.count(&format!("GET {FLAT}/{content}")), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn links_are_https_and_name_the_host_that_the_client_named() {
    let proxy = TestProxy::new().await;
    let secure = Secure::new(&proxy);
    let mut links = [
        secure.open(&proxy, BOTH[0]).await,
        secure.open(&proxy, BOTH[1]).await,
    ];
    let bases = |answer: &Answered| -> Vec<String> {
        let index = answer.json();
        let served =
            |entry: &&serde_json::Value| !entry["@type"].as_str().unwrap().contains("UriTemplate");
        let resources = index["resources"].as_array().unwrap().iter();
        let bases = resources.filter(served).map(|entry| {
            let url = entry["@id"].as_str().unwrap();
            url.split("/v3/").next().unwrap().to_owned()
        });
        bases.collect()
    };
    // Several times each, in turn with a plain client: what one was answered is not remembered for another.
    for _ in 0..3 {
        for link in &mut links {
            let found = bases(&link.get("/v3/index.json").await);
            assert!(found.len() > 7, "{found:?}");
            assert!(
                found
                    .iter()
                    .all(|base| *base == format!("https://{NAME}:6853")),
                "{found:?}"
            );
        }
        let plain = proxy.get("/v3/index.json").await;
        assert!(
            bases(&plain)
                .iter()
                .all(|base| *base == format!("http://{HOST}"))
        );
        let same_name = Ask::get("/v3/index.json").header("host", &format!("{NAME}:6853"));
        let plain = proxy.send(same_name).await;
        assert!(
            bases(&plain)
                .iter()
                .all(|base| *base == format!("http://{NAME}:6853"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_on_one_connection_are_one_fetch() {
    let proxy = TestProxy::new().await;
    let link = Secure::new(&proxy).open(&proxy, Version::HTTP_2).await;
    let Link::H2(sender) = link else {
        panic!("HTTP/2 was asked for");
    };
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let mut link = Link::H2(sender.clone());
            proxy
                .tasks
                .spawn("asking", async move { link.get(LIST).await.status })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 200);
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_reason_phrase_says_stands_in_the_body_over_http_2() {
    let proxy = TestProxy::new().await;
    proxy.get("/v3/index.json").await;
    let secure = Secure::new(&proxy);
    let [mut h1, mut h2] = [
        secure.open(&proxy, BOTH[0]).await,
        secure.open(&proxy, BOTH[1]).await,
    ];
    proxy.origin.all_down();
    let content = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let unknown = "/v3/nothing/here".to_owned();
    let malformed = "/v3/flatcontainer/%ff/index.json".to_owned();
    for (method, path, status) in [
        (Method::GET, &content, 502..=504),
        (Method::GET, &unknown, 404..=404),
        (Method::GET, &malformed, 400..=400),
        (Method::POST, &content, 405..=405),
        (Method::PUT, &"/v3/package".to_owned(), 502..=504),
    ] {
        let over_h1 = h1.send(method.clone(), path, &[], Bytes::new()).await;
        let over_h2 = h2.send(method.clone(), path, &[], Bytes::new()).await;
        assert!(status.contains(&over_h1.status), "{path}: {over_h1:?}");
        assert!(status.contains(&over_h2.status), "{path}: {over_h2:?}");
        let phrase = over_h1.reason.expect("a reason phrase");
        assert!(phrase.starts_with("Sluice: "), "{phrase}");
        assert_eq!(over_h2.reason, None);
        let said = over_h2.text().lines().next().unwrap().trim_end_matches('.');
        assert_eq!(said, phrase.trim_end_matches('.'), "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_keeps_its_reason_phrase_and_over_http_2_has_it_in_the_body() {
    let proxy = TestProxy::new().await;
    let secure = Secure::new(&proxy);
    let [mut h1, mut h2] = [
        secure.open(&proxy, BOTH[0]).await,
        secure.open(&proxy, BOTH[1]).await,
    ];
    let phrase = "The package Sample.One 1.0.0 already exists";
    for (body, kind, told) in [
        ("", "text/html", format!("{phrase}\n")),
        (
            "{\"why\":\"it exists\"}",
            "application/json",
            "{\"why\":\"it exists\"}".to_owned(),
        ),
    ] {
        let reply = Reply::new(409, body)
            .phrase(phrase)
            .header("Content-Type", kind);
        proxy
            .origin
            .on("PUT push.test/api/v2/package", Act::from(reply));
        let upload = Bytes::from(package("Sample.One", "1.0.0", 200_000));
        let length = upload.len();
        let over_h1 = h1
            .send(Method::PUT, "/v3/package", &[], upload.clone())
            .await;
        assert_eq!((over_h1.status, over_h1.text()), (409, body));
        assert_eq!(over_h1.reason.as_deref(), Some(phrase));
        let over_h2 = h2
            .send(Method::PUT, "/v3/package", &[], upload.clone())
            .await;
        assert_eq!((over_h2.status, over_h2.text()), (409, &*told));
        let expected = if body.is_empty() {
            "text/plain; charset=utf-8"
        } else {
            kind
        };
        assert_eq!(over_h2.header("content-type"), Some(expected));
        let seen = proxy.origin.last("PUT push.test/api/v2/package");
        assert!(seen.complete && seen.body.len() == length);
    }
    // A success needs no words.
    proxy
        .origin
        .on("PUT push.test/api/v2/package", Reply::new(201, ""));
    let answer = h2
        .send(Method::PUT, "/v3/package", &[], Bytes::from_static(b"x"))
        .await;
    assert_eq!((answer.status, answer.text()), (201, ""));
}

#[tokio::test(start_paused = true)]
async fn forwarded_headers_that_are_ignored_stand_in_readiness_until_they_are_believed() {
    let mut proxy = TestProxy::new().await;
    let ask = Ask::get("/v3/index.json").header("x-forwarded-host", "packages.example");
    proxy.send(ask.clone()).await.expect("miss");
    let readiness = proxy.proxy.readiness();
    let told = &readiness["ignored_forwarded"][0];
    assert_eq!(told["peer"], "192.0.2.1");
    assert_eq!(told["headers"][0], "X-Forwarded-Host");
    assert!(
        told["setting"]
            .as_str()
            .unwrap()
            .contains("trusted_proxies = [\"192.0.2.1\"]")
    );
    let network = "192.0.2.0/24".parse().unwrap();
    proxy.reload(|settings| settings.base.trusted_proxies = vec![network]);
    let believed = proxy.send(ask).await;
    assert!(believed.text().contains("http://packages.example/v3/"));
    let readiness = proxy.proxy.readiness();
    assert_eq!(readiness["ignored_forwarded"], serde_json::json!([]));
}
