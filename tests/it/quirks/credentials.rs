//! Section 7.6: credentials and signatures.

use sluice::upstream::auth::Credential;

use super::{NEWEST, US, expect_ours, feed_at, offered, package_path};
use crate::access::{Files, RIGHT, basic};
use crate::harness::fixture::{FLAT, LIST, ONE, document, nuget_like, package, service_index};
use crate::harness::{Act, Ask, Origin, Reply, TestProxy};
use crate::servers::Server;
use crate::{shapes, signatures};

/// Where the upstream keeps 1.0.0 of [`ONE`].
const PLACE: &str = "api.test/v3-flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
/// How we are called over https.
const SECURE: &str = "https://us.example";

/// A proxy that has a credential for its upstream.
async fn with_credential(origin: Origin) -> TestProxy {
    TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].credential = Some(Credential::Bearer("s3cret".into()));
    })
    .await
}

/// A proxy of an upstream that signs its packages, reached over https.
async fn secure(origin: Origin) -> TestProxy {
    TestProxy::with(origin, |setup| {
        setup.proxy.base.public_url = Some(SECURE.into());
    })
    .await
}

/// Our path of a version's repository signatures.
fn signatures_path(version: &str) -> String {
    format!("/v3/repository-signatures/{version}/index.json")
}

/// Protocol fact 7.6.1: clients send no credential unasked: each first try is a 401, each second an answer.
#[tokio::test(start_paused = true)]
async fn every_first_try_is_a_challenge_and_every_second_an_answer() {
    let files = Files::new();
    let proxy = files.proxy().await;
    for path in ["/v3/index.json", LIST, &package_path(ONE, "1.0.0")] {
        let asked = proxy.origin.total();
        let first = proxy.get(path).await;
        let first = first.expect_status(401, "refused.no-credential");
        let challenge = first.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        assert_eq!(proxy.origin.total(), asked, "{path}");
        let second = Ask::get(path).header("authorization", &basic("alice", RIGHT));
        proxy.send(second).await.expect("miss");
    }
}

/// Protocol fact 7.6.2: an upstream that refuses us is never a 401 to the client, and an id that nobody knows is a 404.
#[tokio::test(start_paused = true)]
async fn an_upstreams_401_is_no_clients_401_and_an_unknown_id_is_a_404() {
    let proxy = with_credential(nuget_like()).await;
    for path in [
        "/v3/flatcontainer/sample.none/index.json",
        &package_path("Sample.None", "1.0.0"),
    ] {
        proxy.get(path).await.expect_status(404, "absent");
    }
    let challenge = Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"them\"");
    proxy.origin.spell("api.test", challenge);
    let registration = format!("{}sample.one/index.json", proxy.path_of(NEWEST).await);
    for path in [LIST, &registration, &package_path(ONE, "1.0.0")] {
        let answer = proxy.get(path).await;
        let answer = answer.expect_status(502, "failed.not-authorized");
        assert_eq!(answer.header("www-authenticate"), None, "{path}");
    }
}

/// Protocol fact 7.6.3: a credential does not follow a redirect to a storage service, which would refuse it.
#[tokio::test(start_paused = true)]
async fn a_credential_does_not_follow_a_redirect_to_another_host() {
    let origin = nuget_like();
    origin.on(PLACE, Reply::redirect(302, "https://blob.test/one?sig=1"));
    let file = package(ONE, "1.0.0", 9000);
    let blob = Act::make(move |seen| match seen.header("authorization") {
        Some(_) => Reply::new(403, "InvalidAuthenticationInfo"),
        None => Reply::file(file.clone()),
    });
    origin.on("blob.test/one", blob);
    let proxy = with_credential(origin).await;
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("miss");
    let at_home = proxy.origin.last(&format!("GET {PLACE}"));
    assert_eq!(at_home.header("authorization"), Some("Bearer s3cret"));
}

/// Protocol fact 7.6.4: a signed address is used as it is: no byte of it is coded otherwise, no port added.
#[tokio::test(start_paused = true)]
async fn a_signed_redirect_is_followed_byte_for_byte() {
    const TARGET: &str =
        "/b%2Fucket/a%20b~'()*,;=@/x.nupkg?se=2026-11-11T00%3A00%3A00Z&sig=a%2Fb%2Bc+d%3D&&sp=r";
    let proxy = TestProxy::new().await;
    let to = format!("https://blob.test{TARGET}");
    proxy.origin.on(PLACE, Reply::redirect(302, &to));
    let file = Reply::file(package(ONE, "1.0.0", 9000));
    proxy.origin.on(&to["https://".len()..], file);
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("miss");
    let asked = proxy.origin.all().pop().unwrap();
    assert_eq!(asked.target, TARGET);
    assert_eq!(asked.header("host"), Some("blob.test"));
}

/// Protocol fact 7.6.5: repository signatures and the addresses of their certificates are https and ours.
#[tokio::test(start_paused = true)]
async fn repository_signatures_and_their_certificates_are_https_and_ours() {
    let proxy = secure(signatures::origin()).await;
    let urls: Vec<String> = offered(&proxy)
        .await
        .into_iter()
        .map(|(_, url)| url)
        .collect();
    let expected =
        ["4.7.0", "4.9.0", "5.0.0"].map(|version| format!("{SECURE}{}", signatures_path(version)));
    assert_eq!(urls, expected);
    let document = proxy
        .get(&signatures_path("5.0.0"))
        .await
        .expect("miss")
        .json();
    for certificate in document["signingCertificates"].as_array().unwrap() {
        let url = certificate["contentUrl"].as_str().unwrap();
        let path = url.strip_prefix(SECURE).unwrap();
        proxy.get(path).await.expect("miss");
    }
}

/// Protocol fact 7.6.6: where we have a credential, clients need none: every address is ours, nobody asks for a login.
#[tokio::test(start_paused = true)]
async fn behind_our_credential_no_client_is_asked_to_log_in() {
    let proxy = shapes::proxy(Server::Nexus).await;
    let hive = proxy.path_of(NEWEST).await;
    for path in [
        "/v3/index.json",
        "/v3/flatcontainer/shape.lib/index.json",
        "/v3/search?q=shape",
        "/v3/autocomplete?q=shape",
        &format!("{hive}shape.lib/index.json"),
    ] {
        let answer = proxy.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
        expect_ours(answer.text());
    }
    let content = package_path("Shape.Lib", "1.0.0");
    proxy.get(&content).await.expect("miss");
    let asked = proxy.origin.all();
    let at_home = asked.iter().filter(|seen| seen.host == "home.test");
    assert!(
        at_home
            .map(|seen| seen.header("authorization"))
            .all(|sent| sent.is_some())
    );
}

/// Protocol fact 7.6.7: the older versions of repository signatures are documents of their own, and claim nothing: old
/// clients keep all versions under one name.
#[tokio::test(start_paused = true)]
async fn older_repository_signatures_are_apart_and_claim_nothing() {
    let origin = signatures::origin();
    let proxy = secure(origin.clone()).await;
    let text = proxy.get(&signatures_path("5.0.0")).await.expect("miss");
    assert_eq!(text.json()["allRepositorySigned"], true);
    for version in ["4.7.0", "4.9.0"] {
        // One that says true here too, with a certificate of its own.
        let place = format!("api.test{}", signatures_path(version));
        let own = text
            .text()
            .replace("CN=a", version)
            .replace(SECURE, "https://api.test");
        origin.on(&place, document(&own));
        let document = proxy
            .get(&signatures_path(version))
            .await
            .expect("miss")
            .json();
        assert_eq!(document["allRepositorySigned"], false, "{version}");
        assert_eq!(document["signingCertificates"][0]["subject"], version);
    }
}

/// Protocol fact 7.6.8: the versions that the upstream has are offered, no other; the newest makes its claim.
#[tokio::test(start_paused = true)]
async fn each_version_of_repository_signatures_is_offered_as_the_upstream_has_it() {
    for (version, claims) in [("4.7.0", false), ("4.9.0", false), ("5.0.0", true)] {
        let origin = signatures::origin();
        let url = format!("https://api.test{}", signatures_path(version));
        let kind = format!("RepositorySignatures/{version}");
        let index = service_index(&[(&kind, &url)]);
        origin.on("api.test/v3/index.json", document(&index));
        let proxy = secure(origin).await;
        let path = signatures_path(version);
        assert_eq!(offered(&proxy).await, [(kind, format!("{SECURE}{path}"))]);
        let document = proxy.get(&path).await.expect("miss").json();
        assert_eq!(document["allRepositorySigned"], claims, "{version}");
    }
}

/// Protocol fact 7.6.9: over http no repository signatures are offered, whatever the upstream has: clients fail on it.
#[tokio::test(start_paused = true)]
async fn over_http_no_repository_signatures_are_offered() {
    let upstream = "https://www.myget.test/F/xunit/api/v3/index.json";
    let origin = signatures::origin();
    let flat = format!("https://{FLAT}/");
    let signatures = format!("https://api.test{}", signatures_path("5.0.0"));
    let index = service_index(&[
        ("PackageBaseAddress/3.0.0", &flat),
        ("RepositorySignatures/5.0.0", &signatures),
    ]);
    origin.on(&upstream["https://".len()..], document(&index));
    let proxy = feed_at(upstream, origin).await;
    let flat = format!("{US}/v3/flatcontainer/");
    assert_eq!(
        offered(&proxy).await,
        [("PackageBaseAddress/3.0.0".into(), flat)]
    );
    assert_eq!(proxy.get(&signatures_path("5.0.0")).await.status, 404);
    proxy.get(LIST).await.expect("miss");
}

/// Protocol fact 7.6.10: newer clients refuse audit sources over http: over https, all addresses of the data are https.
#[tokio::test(start_paused = true)]
async fn addresses_of_audit_data_have_the_scheme_that_the_client_used() {
    let proxy = TestProxy::new().await;
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
    for scheme in ["https", "http", "https"] {
        let ask = |path: &str| {
            Ask::get(path)
                .header("x-forwarded-proto", scheme)
                .peer(local)
        };
        let base = format!("{scheme}://us.test:6850/v3/vulnerabilities/");
        let index = proxy.send(ask("/v3/index.json")).await;
        let address = format!("\"{base}index.json\"");
        assert!(index.text().contains(&address), "{}", index.text());
        let pages = proxy.send(ask("/v3/vulnerabilities/index.json")).await;
        for page in pages.json().as_array().unwrap() {
            let url = page["@id"].as_str().unwrap();
            assert!(url.starts_with(&base), "{url}");
        }
    }
}
