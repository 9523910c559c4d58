//! Through a forward proxy: what it is told, what is refused to it, what goes past it. Plain http; CONNECT is tested
//! where it is made and with real sockets.

use http::{HeaderMap, Method};

use super::*;
use crate::upstream::way::{Exceptions, ForwardProxy, Proxies};

const PROXY: &str = "http://proxy.test:3128";

/// A bench whose feed goes through [`PROXY`] but for `direct.test`.
fn bench(home: &str) -> Bench {
    let mut bench = Bench::with(home, Settings::default());
    let proxy = ForwardProxy::parse("http://u:p@proxy.test:3128").unwrap();
    let ways = WaySettings {
        identity: None,
        proxies: Proxies {
            http: Some(proxy.clone()),
            https: Some(proxy),
            except: Exceptions::parse(["direct.test"]),
        },
    };
    let credential = Credential::Bearer("t0ken".into());
    let home = Origin::of(home).unwrap();
    let (clock, tasks) = (&bench.clock, &bench.tasks);
    bench.access = Access::open("a", home, Some(&credential), ways, clock, tasks).unwrap();
    bench
}

#[tokio::test(start_paused = true)]
async fn http_goes_out_with_absolute_addresses_and_the_proxys_credential() {
    let bench = bench(HOME);
    let proxy = bench.site(PROXY);
    proxy.set([Reply::Keep(ok("x"))]);
    assert_eq!(
        bench.get(&format!("{HOME}/a?b=%2B")).await,
        (200, "x".into())
    );
    assert_eq!(bench.site(HOME).connections.load(Ordering::SeqCst), 0);
    let requests = proxy.requests();
    let mut lines: Vec<&str> = requests[0].trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET http://home.test/a?b=%2B HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip",
            "authorization: Bearer t0ken",
            "host: home.test",
            "proxy-authorization: Basic dTpw",
            "user-agent: Sluice/test",
            "via: 1.1 sluice-0badcafe",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn exceptions_and_redirects_to_them_go_past_the_proxy() {
    let bench = bench(HOME);
    let moved = answer("302 Found", "Location: http://a.direct.test/x\r\n", "");
    bench.site(PROXY).set([Reply::Keep(moved)]);
    let direct = bench.site("http://a.direct.test");
    direct.set([Reply::Keep(ok("near"))]);
    assert_eq!(bench.get(HOME).await, (200, "near".into()));
    let head = &direct.requests()[0];
    assert!(head.starts_with("GET /x HTTP/1.1"), "{head}");
    assert!(!head.contains("proxy-authorization"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_through_the_proxy() {
    let bench = bench(HOME);
    let proxy = bench.site(PROXY);
    proxy.set([Reply::Keep("HTTP/1.1 204 No Content\r\n\r\n".into())]);
    let request = PublishRequest {
        access: bench.access.clone(),
        body: http_body_util::Empty::<bytes::Bytes>::new(),
        headers: HeaderMap::new(),
        length: None,
        method: Method::DELETE,
        url: format!("{HOME}/a/1.0.0?x"),
        via: Vec::new(),
    };
    let reply = bench.upstream.publish(request).await.unwrap();
    assert_eq!(reply.status, 204);
    let head = &proxy.requests()[0];
    assert!(
        head.starts_with("DELETE http://home.test/a/1.0.0?x "),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: Basic dTpw\r\n"),
        "{head}"
    );

    proxy.set([Reply::Keep(demand())]);
    let request = PublishRequest {
        access: bench.access.clone(),
        body: http_body_util::Empty::<bytes::Bytes>::new(),
        headers: HeaderMap::new(),
        length: None,
        method: Method::DELETE,
        url: format!("{HOME}/a/1.0.0"),
        via: Vec::new(),
    };
    let error = bench.upstream.publish(request).await.unwrap_err();
    assert_eq!(error.fault.word(), "proxy-auth-required");
}

fn demand() -> String {
    answer(
        "407 Proxy Authentication Required",
        "Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=\"x\"\r\n",
        "",
    )
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_a_credential_is_told_with_its_schemes_and_not_repeated() {
    let bench = bench(HOME);
    let proxy = bench.site(PROXY);
    proxy.set([Reply::Keep(demand())]);
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the proxy http://proxy.test:3128 demands a credential (407: NTLM, Basic) on the way to http://home.test"
    );
    assert_eq!(proxy.asked(), 1);

    let bench = Bench::new();
    bench.site(HOME).set([Reply::Keep(demand())]);
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a proxy demands a credential (407: NTLM, Basic) on the way to http://home.test, and none is configured"
    );
}

#[tokio::test(start_paused = true)]
async fn names_of_inner_networks_are_refused_although_the_proxy_looks_them_up() {
    for (home, allowed) in [("http://home.test", false), ("http://feed.corp", true)] {
        for target in [
            "http://10.0.0.1/x",
            "http://wiki/x",
            "http://wiki.internal/x",
        ] {
            let bench = bench(home);
            let moved = answer("302 Found", &format!("Location: {target}\r\n"), "");
            bench
                .site(PROXY)
                .set([Reply::Keep(moved), Reply::Keep(ok("in"))]);
            match bench.fetch(home).await {
                Ok(fetched) => assert!(allowed && fetched.status == 200, "{home} {target}"),
                Err(error) => {
                    assert_eq!(
                        (error.word(), allowed),
                        ("private-address", false),
                        "{home}"
                    );
                }
            }
            assert_eq!(bench.site(PROXY).asked(), if allowed { 2 } else { 1 });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_proxy_opens_the_breaker_of_its_way_alone_and_is_probed() {
    let bench = bench(HOME);
    let proxy = bench.site(PROXY);
    proxy.set_door(Door::Refuse);
    assert_eq!(bench.fetch(HOME).await.unwrap_err().word(), "breaker-open");
    // Another feed reaches the same origin directly.
    let direct = Access::new(Origin::of(HOME).unwrap(), None).unwrap();
    let origin = Origin::of(HOME).unwrap();
    assert_eq!(bench.upstream.state(&origin, &direct), OriginState::Live);
    proxy.set([Reply::Keep(ok("x"))]);
    proxy.set_door(Door::Open);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    let probe = &proxy.requests()[0];
    assert!(
        probe.starts_with("HEAD http://home.test/ HTTP/1.1"),
        "{probe}"
    );
    assert!(
        probe.contains("proxy-authorization: Basic dTpw\r\n"),
        "{probe}"
    );
    assert!(!probe.contains("\r\nauthorization"), "{probe}");
}
