//! The main path: headers, redirects, credentials, private addresses, turns, draining.

use http::HeaderValue;
use tokio::time::Instant;

use super::*;

fn redirect(to: &str) -> Reply {
    Reply::Keep(answer("302 Found", &format!("Location: {to}\r\n"), ""))
}

/// The value of a header in a request's head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[tokio::test(start_paused = true)]
async fn a_read_carries_ours_and_nothing_else() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(answer("200 OK", "ETag: x\r\n", "hello"))]);
    let mut read = bench.read(&format!("{HOME}/v3/index.json?a=%2B"));
    read.via = vec!["1.1 edge".into(), "2 inner".into()];
    read.validators = Some(Conditional {
        etag: Some(HeaderValue::from_static("0x8DC")),
        last_modified: Some(HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
        rest: Some(Rest {
            first: 500,
            last: 999,
            if_range: Some(HeaderValue::from_static("\"0x8DD\"")),
        }),
    });
    let fetched = bench.upstream.fetch(read).await.unwrap();
    assert_eq!(fetched.length, Some(5));
    assert_eq!(fetched.headers["etag"], "x");
    assert_eq!(fetched.url, format!("{HOME}/v3/index.json"));
    assert_eq!(text(fetched.body).await.unwrap(), "hello");

    let requests = site.requests();
    let mut lines: Vec<&str> = requests[0].trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /v3/index.json?a=%2B HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip",
            "authorization: Bearer t0ken",
            "host: home.test",
            "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
            "if-none-match: 0x8DC",
            "if-range: \"0x8DD\"",
            "range: bytes=500-999",
            "user-agent: Sluice/test",
            "via: 1.1 edge, 2 inner, 1.1 sluice-0badcafe",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn content_comes_uncoded_and_heads_have_lengths() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Close(
        "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".into(),
    )]);
    let mut read = bench.read(HOME);
    read.accept = Accept::Content;
    read.method = FetchMethod::Head;
    let fetched = bench.upstream.fetch(read).await.unwrap();
    assert_eq!(fetched.length, Some(77));
    assert_eq!(text(fetched.body).await.unwrap(), "");
    let head = &site.requests()[0];
    assert!(head.starts_with("HEAD / "), "{head}");
    assert_eq!(header(head, "accept-encoding"), Some("identity"));
}

#[tokio::test(start_paused = true)]
async fn answers_of_any_status_are_handed_on_at_once() {
    for status in [
        "204 No Content",
        "304 Not Modified",
        "400 Bad",
        "401 Who",
        "403 No",
        "404 None",
        "410 Gone",
        "501 What",
    ] {
        let bench = Bench::new();
        let site = bench.site(HOME);
        site.set([Reply::Keep(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"
        ))]);
        let before = Instant::now();
        let (found, _) = bench.get(HOME).await;
        assert_eq!(found.to_string(), status[..3]);
        assert_eq!((site.asked(), before.elapsed()), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_used_again() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    for _ in 0..5 {
        assert_eq!(bench.get(HOME).await, (200, "x".into()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(site.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed_byte_for_byte_without_the_credential() {
    let bench = Bench::new();
    bench.site(HOME).set([redirect(
        "https://blob.test/c//p%2fq?sig=a%2Bb+c/d==&x=[1]&u=\u{e9}|",
    )]);
    let blob = bench.site("https://blob.test");
    blob.set([Reply::Keep(ok("bytes"))]);
    let fetched = bench.fetch(&format!("{HOME}/p")).await.unwrap();
    assert_eq!(fetched.url, "https://blob.test/c//p%2fq");
    assert_eq!(fetched.origin.to_string(), "https://blob.test");
    assert_eq!(text(fetched.body).await.unwrap(), "bytes");
    let head = &blob.requests()[0];
    assert!(
        head.starts_with("GET /c//p%2fq?sig=a%2Bb+c/d==&x=[1]&u=%C3%A9%7C HTTP/1.1"),
        "{head}"
    );
    assert_eq!(header(head, "authorization"), None);
    assert_eq!(header(head, "host"), Some("blob.test"));
}

#[tokio::test(start_paused = true)]
async fn the_credential_goes_to_the_origins_of_the_feed() {
    let bench = Bench::new();
    bench
        .site(HOME)
        .set([redirect("http://cdn.test/a"), redirect("b?c")]);
    let cdn = bench.site("http://cdn.test");
    cdn.set([Reply::Keep(ok(""))]);
    bench
        .access
        .add_origin(&Origin::of("http://cdn.test/x").unwrap());
    bench.get(&format!("{HOME}/d/e")).await;
    assert_eq!(
        header(&cdn.requests()[0], "authorization"),
        Some("Bearer t0ken")
    );

    bench.site(HOME).set([redirect("b?c"), Reply::Keep(ok(""))]);
    bench.get(&format!("{HOME}/d/e")).await;
    let last = bench.site(HOME).requests().pop().unwrap();
    assert!(last.starts_with("GET /d/b?c "), "{last}");
    assert_eq!(header(&last, "authorization"), Some("Bearer t0ken"));
}

#[tokio::test(start_paused = true)]
async fn redirects_end() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([redirect("/again")]);
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(error.word(), "too-many-redirects");
    assert_eq!(site.asked(), 11);
}

#[track_caller]
fn assert_private(outcome: Result<Fetched, UpstreamError>) {
    assert_eq!(outcome.unwrap_err().word(), "private-address");
}

#[tokio::test(start_paused = true)]
async fn private_addresses_are_refused_to_a_public_feed() {
    for target in [
        "http://127.0.0.1/x",
        "http://[::ffff:10.0.0.1]/x",
        "http://localhost:81/x",
        "http://inner.test/x",
    ] {
        let bench = Bench::new();
        bench.site(HOME).set([redirect(target)]);
        let inner = bench.site(target);
        inner.set_door(Door::Private);
        inner.set([Reply::Keep(ok("secret"))]);
        assert_private(bench.fetch(HOME).await);
        assert_private(bench.fetch(target).await);
        assert_eq!(inner.asked(), 0, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn private_addresses_are_allowed_to_a_private_feed() {
    for home in ["http://10.0.0.1", "http://corp.test"] {
        let bench = Bench::with(home, Settings::default());
        bench.site(home).set_door(Door::Private);
        bench.site(home).set([redirect("http://inner.test/x")]);
        let inner = bench.site("http://inner.test");
        inner.set_door(Door::Private);
        inner.set([redirect("http://127.0.0.1:5/y")]);
        bench
            .site("http://127.0.0.1:5")
            .set([Reply::Keep(ok("in"))]);
        assert_eq!(bench.get(home).await, (200, "in".into()), "{home}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_limited() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Hang]);
    let reads: Vec<_> = (0..70)
        .map(|at| bench.start(&format!("{HOME}/{at}")))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(site.asked(), 64);
    site.released.send_replace(true);
    for read in reads {
        let fetched = read.await.unwrap().unwrap();
        assert_eq!(text(fetched.body).await.unwrap(), "late");
    }
    assert_eq!(
        (site.asked(), site.most_busy.load(Ordering::SeqCst)),
        (70, 64)
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_holds_its_turn_to_its_end() {
    let settings = Settings {
        max_connections: 1,
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    bench.site(HOME).set([Reply::Keep(ok("x"))]);
    let first = bench.fetch(HOME).await.unwrap();
    let second = bench.start(HOME);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!second.is_finished());
    assert_eq!(text(first.body).await.unwrap(), "x");
    assert_eq!(second.await.unwrap().unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn draining_lets_go_of_idle_connections() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Keep(ok("x"))]);
    bench.get(HOME).await;
    let before = Instant::now();
    let drained = bench.tasks.drain(Duration::from_secs(20)).await;
    assert_eq!(drained, crate::tasks::Drained::Complete);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_while_draining() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Keep(ok("x"))]);
    bench.tasks.begin_drain();
    assert_eq!(bench.get(HOME).await, (200, "x".into()));
    let before = Instant::now();
    let drained = bench.tasks.drain(Duration::from_secs(20)).await;
    assert_eq!(drained, crate::tasks::Drained::Complete);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_gave_are_not_found() {
    let bench = Bench::new();
    let error = bench.fetch("http://unknown.test/").await.unwrap_err();
    assert_eq!(error.word(), "breaker-open");
    let error = bench.fetch("not a url").await.unwrap_err();
    assert_eq!(error.word(), "bad-url");
}
