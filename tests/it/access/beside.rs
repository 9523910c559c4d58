//! What stands beside a feed: audit data and symbols of other upstreams, client binaries.

use super::{Files, bearer, get};
use crate::harness::fixture::{document, service_index};
use crate::harness::{Reply, TestProxy};

const VULNERABILITIES: &str = "/v3/vulnerabilities/index.json";
const SYMBOLS: &str = "/v3/symbols/a.pdb/1/a.pdb";

async fn proxy(files: &Files) -> TestProxy {
    let proxy = files
        .proxy_with(|feed| {
            feed.audit_upstream = Some("https://data.test/index.json".into());
            feed.symbols_upstream = Some("https://symbols.test".into());
        })
        .await;
    let url = "https://data.test/vulnerabilities.json";
    let index = service_index(&[("VulnerabilityInfo/6.7.0", url)]);
    proxy.origin.on("data.test/index.json", document(&index));
    let pages = r#"[{"@name": "base", "@id": "https://data.test/base.json", "@updated": "2026-11-04T10:00:00Z"}]"#;
    let pages = document(pages);
    proxy.origin.on("data.test/vulnerabilities.json", pages);
    proxy.origin.on("data.test/base.json", document("{}"));
    let file = Reply::file(b"symbols".to_vec());
    proxy.origin.on("symbols.test/a.pdb/1/a.pdb", file);
    proxy
}

#[tokio::test(start_paused = true)]
async fn other_upstreams_of_a_feed_are_for_its_clients_alone() {
    let files = Files::new();
    let ours = files.create(&["ours", "--feed", "nuget"]);
    let others = files.create(&["others", "--feed", "open"]);
    let proxy = proxy(&files).await;
    for path in [VULNERABILITIES, SYMBOLS] {
        let refused = proxy.get(path).await;
        refused.expect_status(401, "refused.no-credential");
        assert_eq!(proxy.origin.total(), 0);
    }
    for path in [VULNERABILITIES, SYMBOLS] {
        // The third time a shortcut leads to it.
        for detail in ["miss", "hit", "hit"] {
            proxy.send(get(path, &bearer(&ours))).await.expect(detail);
        }
        let refused = proxy.get(path).await;
        let refused = refused.expect_status(401, "refused.no-credential");
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Basic realm=\"Sluice feed nuget\"")
        );
        let refused = proxy.send(get(path, &bearer(&others))).await;
        refused.expect_status(403, "refused.forbidden");
    }
    for seen in proxy.origin.all() {
        assert_eq!(seen.header("authorization"), None, "{}", seen.name());
    }
}

#[tokio::test(start_paused = true)]
async fn client_binaries_are_for_everybody() {
    let files = Files::new();
    let mut proxy = proxy(&files).await;
    proxy.origin.on("dist.test/tools.json", document("{}"));
    proxy.reload(|settings| {
        settings.tools.upstream = Some("https://dist.test/tools.json".into());
    });
    proxy.get("/-/tools.json").await.expect("miss");
}
