//! Repository signatures: over https alone, with certificates that we serve.

use ring::digest;
use serde_json::{Value, json};

use crate::harness::fixture::{document, nuget_like, service_index};
use crate::harness::{Ask, Origin, Reply, TestProxy, pass, seconds};

const US: &str = "https://us.example";
const PATH: &str = "/v3/repository-signatures/5.0.0/index.json";
const CERTIFICATE: &[u8] = b"a certificate, as far as its fingerprint goes";

fn fingerprint(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A document that names a certificate of these bytes.
fn signatures(all_signed: bool, certificate: &[u8]) -> String {
    json!({
        "allRepositorySigned": all_signed,
        "signingCertificates": [{
            "fingerprints": {"2.16.840.1.101.3.4.2.1": fingerprint(certificate)},
            "subject": "CN=a", "issuer": "CN=b", "notBefore": "2024-01-01", "notAfter": "2027-01-01",
            "contentUrl": "https://api.test/certificates/a.crt",
        }],
    })
    .to_string()
}

pub(crate) fn origin() -> Origin {
    let origin = nuget_like();
    let resources = ["4.7.0", "4.9.0", "5.0.0"].map(|version| {
        let place = format!("api.test/v3/repository-signatures/{version}/index.json");
        let all_signed = version == "5.0.0";
        origin.on(&place, document(&signatures(all_signed, CERTIFICATE)));
        (
            format!("RepositorySignatures/{version}"),
            format!("https://{place}"),
        )
    });
    let resources = resources.each_ref().map(|(name, url)| (&**name, &**url));
    origin.on(
        "api.test/v3/index.json",
        document(&service_index(&resources)),
    );
    origin.on(
        "api.test/certificates/a.crt",
        Reply::file(CERTIFICATE.to_vec()),
    );
    origin
}

/// A proxy that clients reach over https.
async fn proxy() -> TestProxy {
    TestProxy::with(origin(), |setup| {
        setup.proxy.base.public_url = Some(US.into());
    })
    .await
}

/// The path of the certificate that a document of ours names.
fn certificate_of(document: &Value) -> String {
    let url = document["signingCertificates"][0]["contentUrl"]
        .as_str()
        .unwrap();
    url.strip_prefix(US).expect("ours, over https").to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_version_is_offered_and_its_certificates_are_served_by_us() {
    let proxy = proxy().await;
    let index = proxy.get("/v3/index.json").await.json();
    for version in ["4.7.0", "4.9.0", "5.0.0"] {
        let path = format!("/v3/repository-signatures/{version}/index.json");
        let resources = index["resources"].as_array().unwrap();
        let kind = format!("RepositorySignatures/{version}");
        let resource = resources.iter().find(|resource| resource["@type"] == kind);
        assert_eq!(resource.expect("it is there")["@id"], format!("{US}{path}"));
        let document = proxy.get(&path).await;
        assert_eq!(document.status, 200, "{:?}", document.reason);
        let document = document.json();
        // Passed on for a feed that is purely this upstream.
        assert_eq!(document["allRepositorySigned"], version == "5.0.0");
        assert_eq!(document["signingCertificates"][0]["subject"], "CN=a");
        let certificate = certificate_of(&document);
        assert_eq!(proxy.get(&certificate).await.body, CERTIFICATE);
    }
    pass(seconds(7 * 24 * 3600)).await;
    let document = proxy.get(PATH).await.expect("revalidated").json();
    let certificate = certificate_of(&document);
    proxy.get(&certificate).await.expect("hit");
    assert_eq!(proxy.origin.count("GET api.test/certificates/a.crt"), 1);
    // Nothing is minted: the address holds the fingerprint alone.
    let second = proxy.second().await;
    assert_eq!(second.get(&certificate).await.body, CERTIFICATE);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_the_one_of_its_fingerprint_is_refused() {
    let proxy = proxy().await;
    let certificate = certificate_of(&proxy.get(PATH).await.json());
    let place = "api.test/certificates/a.crt";
    proxy.origin.on(place, Reply::file(b"another".to_vec()));
    let answer = proxy.get(&certificate).await;
    answer.expect_status(502, "failed.bad-body");
    proxy.origin.on(place, Reply::file(CERTIFICATE.to_vec()));
    proxy.get(&certificate).await.expect("miss");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_no_document_names_is_absent_and_asks_for_no_address_of_its_own() {
    let proxy = proxy().await;
    let path = format!(
        "/v3/repository-signatures/certificates/{}.crt",
        "0".repeat(64)
    );
    assert_eq!(proxy.get(&path).await.status, 404);
    assert_eq!(proxy.origin.count("GET api.test/certificates/a.crt"), 0);
    // One that has come since is found by asking for the documents once more.
    let new = b"a new one";
    let text = signatures(true, new);
    let place = "api.test/v3/repository-signatures/5.0.0/index.json";
    proxy.origin.on(place, document(&text));
    proxy
        .origin
        .on("api.test/certificates/a.crt", Reply::file(new.to_vec()));
    pass(seconds(3)).await;
    let path = format!(
        "/v3/repository-signatures/certificates/{}.crt",
        fingerprint(new)
    );
    assert_eq!(proxy.get(&path).await.expect("miss").body, &new[..]);
}

#[tokio::test(start_paused = true)]
async fn over_http_they_are_left_out_and_refused() {
    let proxy = TestProxy::with(origin(), |_| {}).await;
    let index = proxy.get("/v3/index.json").await;
    assert!(!index.text().contains("RepositorySignatures"));
    let answer = proxy.get(PATH).await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("over https alone"),
        "{}",
        answer.text()
    );
    // A proxy on this machine that ends TLS in front of us makes it https.
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
    let ask = |path: &str| {
        Ask::get(path)
            .header("x-forwarded-proto", "https")
            .peer(local)
    };
    let index = proxy.send(ask("/v3/index.json")).await;
    let url = format!("https://us.test:6850{PATH}");
    assert!(index.text().contains(&url), "{}", index.text());
    let document = proxy.send(ask(PATH)).await;
    let ours = "\"https://us.test:6850/v3/repository-signatures/certificates/";
    assert!(document.text().contains(ours), "{}", document.text());
}

#[tokio::test(start_paused = true)]
async fn what_the_index_offers_is_served_however_the_scheme_is_written() {
    let proxy = TestProxy::with(origin(), |setup| {
        setup.proxy.base.public_url = Some("HTTPS://us.example".into());
    })
    .await;
    let index = proxy.get("/v3/index.json").await;
    assert!(
        index
            .text()
            .contains("HTTPS://us.example/v3/repository-signatures/")
    );
    assert_eq!(proxy.get(PATH).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn they_are_fresh_for_an_hour_and_there_in_an_outage() {
    let proxy = proxy().await;
    let before = proxy.get(PATH).await.expect("miss");
    pass(seconds(59 * 60)).await;
    proxy.get(PATH).await.expect("hit");
    pass(seconds(61)).await;
    proxy.get(PATH).await.expect("revalidated");
    let place = "api.test/v3/repository-signatures/5.0.0/index.json";
    // A client that found them would end at a 404 (protocol fact 2.6.6).
    for bad in [Reply::new(404, ""), Reply::json("{}"), Reply::new(500, "")] {
        proxy.origin.on(place, bad);
        pass(seconds(3601)).await;
        let answer = proxy.get(PATH).await;
        assert!(answer.detail().starts_with("stale."), "{}", answer.note());
        assert_eq!(answer.body, before.body);
    }
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    assert_eq!(proxy.get(PATH).await.body, before.body);
}
