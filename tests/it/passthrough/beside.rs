//! What belongs to no package: data of other upstreams, and certificates that lie where no credential goes.

use ring::digest;
use serde_json::json;

use super::{ANN, CARL, Corp, ask, get, has_heard};
use crate::harness::Reply;
use crate::harness::fixture::{document, service_index};

const VULNERABILITIES: &str = "/v3/vulnerabilities/index.json";
const SYMBOLS: &str = "/v3/symbols/a.pdb/1/a.pdb";
const SIGNATURES: &str = "/v3/repository-signatures/5.0.0/index.json";
const CERTIFICATE: &[u8] = b"a certificate, as far as its fingerprint goes";

#[tokio::test(start_paused = true)]
async fn other_upstreams_get_no_credential_and_are_for_everybody() {
    let corp = Corp::new();
    let url = "https://data.test/vulnerabilities.json";
    let index = service_index(&[("VulnerabilityInfo/6.7.0", url)]);
    corp.origin.on("data.test/index.json", document(&index));
    let pages = r#"[{"@name": "base", "@id": "https://data.test/base.json", "@updated": "2026-11-04T10:00:00Z"}]"#;
    corp.origin
        .on("data.test/vulnerabilities.json", document(pages));
    corp.origin.on("data.test/base.json", document("{}"));
    let file = Reply::file(b"symbols".to_vec());
    corp.origin.on("symbols.test/a.pdb/1/a.pdb", file);
    let mut proxy = corp.known_to(&[ANN]).await;
    proxy.reload(|settings| {
        let feed = &mut settings.feeds[0];
        feed.audit_upstream = Some("https://data.test/index.json".into());
        feed.symbols_upstream = Some("https://symbols.test".into());
    });
    for path in [VULNERABILITIES, SYMBOLS] {
        get(&proxy, ANN, path).await.expect("miss");
        get(&proxy, "", path).await.expect("hit");
    }
    assert!(!has_heard(&proxy, "data.test"));
    assert!(!has_heard(&proxy, "symbols.test"));
}

#[tokio::test(start_paused = true)]
async fn certificates_are_for_whoever_may_read_the_document_that_names_them() {
    let corp = Corp::new();
    let digest = digest::digest(&digest::SHA256, CERTIFICATE);
    let hex = |byte: &u8| format!("{byte:02x}");
    let sha256: String = digest.as_ref().iter().map(hex).collect();
    let signatures = json!({
        "allRepositorySigned": true,
        "signingCertificates": [{
            "fingerprints": {"2.16.840.1.101.3.4.2.1": sha256},
            "contentUrl": "https://cdn.test/a.crt",
        }],
    });
    let url = "https://corp.test/signatures.json";
    let index = service_index(&[("RepositorySignatures/5.0.0", url)]);
    corp.on("corp.test/index.json", "", document(&index));
    let signatures = document(&signatures.to_string());
    corp.on("corp.test/signatures.json", "sample.one", signatures);
    corp.origin
        .on("cdn.test/a.crt", Reply::file(CERTIFICATE.to_vec()));
    let mut proxy = corp.proxy().await;
    proxy.reload(|settings| settings.base.public_url = Some("https://us.example".into()));
    let index = get(&proxy, ANN, "/v3/index.json").await.expect("miss");
    let named = format!("https://us.example{SIGNATURES}");
    assert!(index.text().contains(&named), "{}", index.text());
    let document = get(&proxy, ANN, SIGNATURES).await.expect("miss").json();
    let certificate = document["signingCertificates"][0]["contentUrl"]
        .as_str()
        .and_then(|url| url.strip_prefix("https://us.example"))
        .expect("ours, over https");
    let answer = get(&proxy, ANN, certificate).await.expect("miss");
    assert_eq!(answer.body, CERTIFICATE);
    get(&proxy, ANN, certificate).await.expect("hit");
    assert!(!has_heard(&proxy, "cdn.test"));
    for path in [SIGNATURES, certificate] {
        proxy
            .send(ask(CARL, path))
            .await
            .expect_status(403, "challenged");
        get(&proxy, "", path).await.expect_status(401, "challenged");
    }
}
