//! Packages and the signature of their upstream's repository: found behind answers, served with a warning or refused.

use std::time::Duration;

use serde_json::json;
use sluice::proxy::{MarkKind, Mode, Scrutiny};

use crate::harness::fixture::{
    FLAT, MODIFIED, content_path, document, nuget_like, package, service_index,
};
use crate::harness::log::Log;
use crate::harness::{Answered, Ask, Origin, Reply, TestProxy, pass, seconds};

pub(crate) const ID: &str = "xunit.core";
pub(crate) const VERSION: &str = "2.4.1";
pub(crate) const PATH: &str = "/v3/flatcontainer/xunit.core/2.4.1/xunit.core.2.4.1.nupkg";
const ASKED: &str = "GET api.test/v3-flatcontainer/xunit.core/2.4.1/xunit.core.2.4.1.nupkg";
const LIST: &str = "api.test/v3/repository-signatures/5.0.0/index.json";
/// Countersigned by nuget.org with the certificate of this SHA-256.
pub(crate) const SIGNED: &[u8] = include_bytes!("../data/signatures/xunit.core.2.4.1.nupkg");
pub(crate) const CERTIFICATE: &str =
    "0e5f38f57dc1bcc806d8494f4f90fbcedd988b46760709cbeec6f4219aa6157d";

/// The package with another byte in one of its files' data, whose checksum nobody looks at.
pub(crate) fn altered() -> Vec<u8> {
    let mut bytes = SIGNED.to_vec();
    let data = memchr::memmem::find(&bytes, b"[Content_Types].xml").expect("it is there");
    bytes[data + 40] ^= 1;
    bytes
}

pub(crate) fn list(claims_all: bool, certificate: &str) -> Reply {
    let list = json!({"allRepositorySigned": claims_all, "signingCertificates": [{
        "contentUrl": format!("https://api.test/certificates/{certificate}.crt"),
        "fingerprints": {"2.16.840.1.101.3.4.2.1": certificate},
    }]});
    document(&list.to_string())
}

/// An upstream that delivers this and lists this certificate.
fn upstream(bytes: &[u8], claims_all: bool, certificate: &str) -> Origin {
    let origin = nuget_like();
    origin.on(LIST, list(claims_all, certificate));
    deliver(&origin, bytes);
    origin
}

fn deliver(origin: &Origin, bytes: &[u8]) {
    let reply = Reply::file(bytes.to_vec()).header("Last-Modified", MODIFIED);
    origin.on(&format!("{FLAT}/{}", content_path(ID, VERSION)), reply);
}

async fn proxy_of(origin: Origin, scrutiny: Scrutiny) -> TestProxy {
    TestProxy::with(origin, |setup| {
        let feed = &mut setup.proxy.feeds[0];
        assert_eq!(feed.repository_signatures, Scrutiny::Off);
        feed.repository_signatures = scrutiny;
    })
    .await
}

/// The same, once it has fetched the package and looked at it.
async fn holding(origin: Origin, scrutiny: Scrutiny) -> TestProxy {
    let proxy = proxy_of(origin, scrutiny).await;
    // The first answer may come before or after the look.
    proxy.get(PATH).await;
    pass(Duration::from_millis(500)).await;
    proxy
}

fn unsigned(proxy: &TestProxy) -> Vec<String> {
    let listed = proxy.proxy.marked(MarkKind::Unsigned);
    let listed = listed["unsigned"].as_array().expect("a list").clone();
    let problem = |entry: &serde_json::Value| entry["problem"].as_str().expect("why").to_owned();
    listed.iter().map(problem).collect()
}

#[track_caller]
fn check_counted(proxy: &TestProxy, series: &str) {
    let metrics = proxy.telemetry.render();
    assert!(metrics.contains(series), "{series} in {metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_package_that_its_repository_signed_is_served_as_ever() {
    let proxy = holding(upstream(SIGNED, true, CERTIFICATE), Scrutiny::Enforce).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, SIGNED);
    assert_eq!(proxy.origin.count(ASKED), 1);
    let signed = "sluice_package_signatures_total{feed=\"nuget\",result=\"signed\"} 1";
    check_counted(&proxy, signed);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_altered_is_listed_and_served_with_a_warning() {
    let log = Log::listen();
    let proxy = holding(upstream(&altered(), false, CERTIFICATE), Scrutiny::Warn).await;
    assert_eq!(proxy.origin.count(ASKED), 2, "asked again");
    let problem = "its signature is of another package";
    assert_eq!(unsigned(&proxy), [problem]);
    assert_eq!(log.lines_with(problem).len(), 1);
    assert_eq!(proxy.get(PATH).await.expect("hit.unsigned").body, altered());
    check_counted(&proxy, "sluice_unsigned_versions{feed=\"nuget\"} 1");
    let proxy = proxy.restart().await;
    pass(Duration::from_millis(500)).await;
    assert_eq!(unsigned(&proxy), [problem]);
    proxy.get(PATH).await.expect("hit.unsigned");
}

#[tokio::test(start_paused = true)]
async fn enforced_it_is_a_502_until_a_signed_one_comes() {
    let proxy = holding(upstream(&altered(), true, CERTIFICATE), Scrutiny::Enforce).await;
    let answer = proxy.get(PATH).await;
    assert_eq!((answer.status, answer.detail()), (502, "refused.unsigned"));
    assert_eq!(
        answer.reason.as_deref(),
        Some(
            "Sluice: xunit.core 2.4.1 is not signed by its repository: its signature is of another package, since 12:00"
        )
    );
    let refused =
        "sluice_doubted_requests_total{feed=\"nuget\",done=\"refused\",reason=\"unsigned\"} ";
    check_counted(&proxy, refused);
    deliver(&proxy.origin, SIGNED);
    pass(seconds(60)).await;
    assert_eq!(proxy.get(PATH).await.expect("revalidated").body, SIGNED);
    assert_eq!(unsigned(&proxy), [""; 0]);
    proxy.get(PATH).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn a_signer_must_be_on_the_newest_list() {
    let other = "a".repeat(64);
    let proxy = holding(upstream(SIGNED, false, &other), Scrutiny::Warn).await;
    let problem = format!("its signer is not listed: certificate {CERTIFICATE}");
    assert_eq!(unsigned(&proxy), [problem]);

    // A list that is stored may lack the newest certificate.
    let proxy = proxy_of(upstream(SIGNED, false, &other), Scrutiny::Enforce).await;
    pass(Duration::from_millis(500)).await;
    proxy.origin.on(LIST, list(false, CERTIFICATE));
    proxy.get(PATH).await.expect("miss");
    pass(Duration::from_millis(500)).await;
    proxy.get(PATH).await.expect("hit");
    assert_eq!(unsigned(&proxy), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_without_a_signature_is_none_where_all_are_or_must_be_signed() {
    let plain = package(ID, VERSION, 20_000);
    for (claims_all, scrutiny, detail) in [
        (false, Scrutiny::Warn, "hit"),
        (true, Scrutiny::Warn, "hit.unsigned"),
        (false, Scrutiny::Enforce, "refused.unsigned"),
        (true, Scrutiny::Off, "hit"),
    ] {
        let proxy = holding(upstream(&plain, claims_all, CERTIFICATE), scrutiny).await;
        assert_eq!(proxy.get(PATH).await.detail(), detail);
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_upstream_that_lists_nobody_it_warns_at_the_start_and_refuses_nothing() {
    let log = Log::listen();
    let origin = Origin::new();
    let index = service_index(&[(
        "PackageBaseAddress/3.0.0",
        "https://api.test/v3-flatcontainer/",
    )]);
    origin.on("api.test/v3/index.json", document(&index));
    deliver(&origin, SIGNED);
    let proxy = proxy_of(origin, Scrutiny::Enforce).await;
    proxy.proxy.keep_vulnerabilities();
    proxy.get(PATH).await.expect("miss");
    pass(Duration::from_millis(500)).await;
    proxy.get(PATH).await.expect("hit");
    assert_eq!(
        log.lines_with("the upstream lists no certificates").len(),
        1
    );
    let counted = "sluice_package_signatures_total{feed=\"nuget\",result=\"not-offered\"} 1";
    check_counted(&proxy, counted);
}

#[track_caller]
fn check_refused(answer: &Answered) {
    let reason = answer.reason.as_deref().unwrap_or_default();
    assert_eq!(
        (answer.status, answer.detail()),
        (502, "refused.unsigned"),
        "{reason}"
    );
    assert!(reason.starts_with("Sluice: xunit.core 2.4.1 is not signed by its repository: "));
}

/// Whatever of it is asked for is refused, and nobody is asked.
async fn check_refused_from_here(proxy: &TestProxy) {
    let asked = proxy.origin.total();
    let answer = proxy.get(PATH).await;
    check_refused(&answer);
    let said = "The upstream gave no other, and this feed serves no such packages";
    assert!(answer.text().contains(said), "{}", answer.text());
    for ask in [
        Ask::head(PATH),
        Ask::get(PATH).header("range", "bytes=0-9"),
        Ask::get(PATH).header("cache-control", "no-cache"),
        Ask::get(PATH).header("cache-control", "only-if-cached"),
    ] {
        check_refused(&proxy.send(ask).await);
    }
    assert_eq!(proxy.origin.total(), asked);
}

#[tokio::test(start_paused = true)]
async fn offline_nothing_is_asked_and_what_is_known_holds_over_a_restart() {
    for (bytes, scrutiny) in [
        (altered(), Scrutiny::Enforce),
        (altered(), Scrutiny::Warn),
        (SIGNED.to_vec(), Scrutiny::Enforce),
    ] {
        let mut proxy = holding(upstream(&bytes, true, CERTIFICATE), scrutiny).await;
        let is_good = bytes == SIGNED;
        proxy.reload(|settings| settings.feeds[0].mode = Mode::Offline);
        // A better one is there, and nobody asks for it.
        deliver(&proxy.origin, SIGNED);
        let asked = proxy.origin.total();
        for _ in 0..2 {
            pass(seconds(3600)).await;
            match (scrutiny, is_good) {
                (Scrutiny::Enforce, false) => check_refused_from_here(&proxy).await,
                (_, false) => assert_eq!(proxy.get(PATH).await.expect("hit.unsigned").body, bytes),
                (_, true) => assert_eq!(proxy.get(PATH).await.expect("hit").body, bytes),
            }
            proxy = proxy.restart().await;
            pass(Duration::from_millis(500)).await;
        }
        assert_eq!(proxy.origin.total(), asked);
        assert_eq!(unsigned(&proxy).len(), usize::from(!is_good));
        // Online again, what is refused is asked for again.
        proxy.reload(|settings| settings.feeds[0].mode = Mode::Online);
        let answer = proxy.get(PATH).await;
        if scrutiny == Scrutiny::Enforce {
            assert_eq!((answer.status, &answer.body[..]), (200, SIGNED));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn offline_a_package_is_judged_by_the_list_that_is_stored() {
    // It comes after the package, with the hourly look at the certificates.
    let origin = upstream(&altered(), true, CERTIFICATE);
    origin.on(LIST, Reply::new(503, ""));
    let mut proxy = proxy_of(origin, Scrutiny::Enforce).await;
    proxy.proxy.keep_vulnerabilities();
    proxy.get(PATH).await.expect("miss");
    pass(seconds(30)).await;
    proxy.origin.on(LIST, list(true, CERTIFICATE));
    pass(seconds(3660)).await;
    assert_eq!(unsigned(&proxy), [""; 0]);
    proxy.reload(|settings| settings.feeds[0].mode = Mode::Offline);
    let asked = proxy.origin.total();
    proxy.get(PATH).await.expect("hit");
    pass(Duration::from_millis(500)).await;
    check_refused_from_here(&proxy).await;
    assert_eq!(proxy.origin.total(), asked);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_what_is_known_holds_over_a_restart() {
    let proxy = holding(upstream(&altered(), true, CERTIFICATE), Scrutiny::Enforce).await;
    proxy.origin.all_down();
    let (answer, took) = proxy.timed(PATH).await;
    check_refused(&answer);
    assert!(took <= seconds(15), "{took:?}");
    check_refused_from_here(&proxy).await;
    let proxy = proxy.restart().await;
    pass(Duration::from_millis(500)).await;
    check_refused(&proxy.get(PATH).await);
    assert_eq!(unsigned(&proxy).len(), 1);
    // Once it is over, another is asked for.
    proxy.origin.mend_all();
    deliver(&proxy.origin, SIGNED);
    pass(seconds(60)).await;
    assert_eq!(proxy.get(PATH).await.expect("revalidated").body, SIGNED);

    let proxy = holding(upstream(SIGNED, true, CERTIFICATE), Scrutiny::Enforce).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    pass(seconds(3600)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, SIGNED);
}

#[tokio::test(start_paused = true)]
async fn what_no_list_judged_for_an_outage_is_looked_at_again_once_there_is_one() {
    for (scrutiny, expected) in [
        (Scrutiny::Warn, (200, "hit.unsigned")),
        (Scrutiny::Enforce, (502, "refused.unsigned")),
    ] {
        let origin = upstream(&altered(), true, CERTIFICATE);
        origin.on(LIST, Reply::new(503, ""));
        let proxy = proxy_of(origin, scrutiny).await;
        proxy.get(PATH).await.expect("miss");
        pass(seconds(30)).await;
        proxy.get(PATH).await.expect("hit");
        assert_eq!(unsigned(&proxy), [""; 0]);
        let unknown = "sluice_package_signatures_total{feed=\"nuget\",result=\"unknown\"} 1";
        check_counted(&proxy, unknown);
        proxy.origin.on(LIST, list(true, CERTIFICATE));
        pass(seconds(60)).await;
        proxy.get(PATH).await.expect("hit");
        pass(Duration::from_millis(500)).await;
        let answer = proxy.get(PATH).await;
        assert_eq!((answer.status, answer.detail()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_list_counts_in_an_outage_and_the_newest_after_it() {
    let other = "a".repeat(64);
    for (scrutiny, expected) in [
        (Scrutiny::Warn, (200, "hit.unsigned")),
        (Scrutiny::Enforce, (502, "refused.unsigned")),
    ] {
        let proxy = proxy_of(upstream(SIGNED, true, &other), scrutiny).await;
        proxy.proxy.keep_vulnerabilities();
        pass(seconds(1)).await;
        proxy.origin.on(LIST, Reply::new(503, ""));
        proxy.get(PATH).await;
        pass(seconds(30)).await;
        let answer = proxy.get(PATH).await;
        assert_eq!((answer.status, answer.detail()), expected);
        proxy.origin.on(LIST, list(true, CERTIFICATE));
        pass(seconds(90)).await;
        proxy.get(PATH).await;
        pass(seconds(2)).await;
        assert_eq!(unsigned(&proxy), [""; 0]);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, SIGNED);
    }
}
