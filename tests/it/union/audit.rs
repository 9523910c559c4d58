//! Audit data of a union: that of all members under the names of all, never half, sixteen pages at most.

use std::collections::BTreeSet;

use super::*;
use crate::harness::{pass, seconds};

#[tokio::test(start_paused = true)]
async fn audit_data_is_that_of_all_under_the_names_of_all() {
    let proxy = union().await;
    let index = proxy
        .get("/v3/vulnerabilities/index.json")
        .await
        .expect("miss")
        .json();
    let names: Vec<&str> = index
        .as_array()
        .expect("pages")
        .iter()
        .filter_map(|page| page["@name"].as_str())
        .collect();
    assert_eq!(names, ["company-base", "nuget-base"]);
    for (page, host) in index
        .as_array()
        .expect("pages")
        .iter()
        .zip(["company.test", "nuget.test"])
    {
        let path = page["@id"]
            .as_str()
            .expect("an address")
            .strip_prefix(US)
            .expect("ours");
        let text = proxy.get(path).await.text().to_owned();
        assert!(text.contains(&format!("https://cve.test/{host}")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_more_audit_pages_than_a_client_reads_the_last_are_one() {
    let origin = upstreams();
    for (host, count) in [("company.test", 10), ("nuget.test", 8)] {
        let pages: Vec<_> = (0..count)
            .map(|n| {
                let page = format!(r#"{{"id{n}":[{{"url":"https://cve.test/{host}/{n}","severity":1,"versions":"(, 1)"}}]}}"#);
                origin.on(&format!("{host}/audit-{n}.json"), document(&page));
                serde_json::json!({
                    "@name": format!("p{n}"), "@id": format!("https://{host}/audit-{n}.json"),
                    "@updated": "2026-11-04T10:00:00Z",
                })
            })
            .collect();
        origin.on(
            &format!("{host}/audit.json"),
            document(&serde_json::json!(pages).to_string()),
        );
    }
    let proxy = union_with(origin, |_| {}).await;
    let index = proxy.get("/v3/vulnerabilities/index.json").await.json();
    let pages = index.as_array().expect("pages");
    assert_eq!(pages.len(), 16);
    let mut known = BTreeSet::new();
    for page in pages {
        let path = page["@id"]
            .as_str()
            .expect("an address")
            .strip_prefix(US)
            .expect("ours");
        let text = proxy.get(path).await.text().to_owned();
        let found = text.match_indices("https://cve.test/");
        known.extend(found.map(|(at, _)| text[at..].split('"').next().expect("a URL").to_owned()));
    }
    assert_eq!(known.len(), 18, "nothing is lost: {known:?}");
    let rest = pages[15]["@id"]
        .as_str()
        .expect("an address")
        .strip_prefix(US)
        .expect("ours");
    let second = proxy.second().await;
    assert_eq!(second.get(rest).await.body, proxy.get(rest).await.body);
}

#[tokio::test(start_paused = true)]
async fn audit_data_without_a_members_is_a_failure_or_an_old_copy_and_never_half() {
    const AUDIT: &str = "/v3/vulnerabilities/index.json";
    let proxy = union().await;
    proxy.origin.down("company.test");
    let answer = proxy.get(AUDIT).await;
    assert!((502..=503).contains(&answer.status), "{}", answer.status);
    let reason = answer.reason.expect("a reason");
    assert!(reason.starts_with("Sluice: member company: "), "{reason}");
    proxy.origin.mend("company.test");
    pass(seconds(60)).await;
    let whole = proxy.get(AUDIT).await;
    assert_eq!(whole.json().as_array().expect("pages").len(), 2);
    proxy.origin.down("company.test");
    pass(seconds(9 * 24 * 60 * 60)).await;
    let old = proxy.get(AUDIT).await;
    assert_eq!((old.status, &old.body), (200, &whole.body));
    assert!(old.detail().starts_with("stale."), "{}", old.detail());
}

#[tokio::test(start_paused = true)]
async fn audit_data_that_a_member_has_of_another_upstream_is_in_the_unions() {
    let origin = upstreams();
    let url = "https://data.test/audit.json";
    let index = service_index(&[("VulnerabilityInfo/6.7.0", url)]);
    origin.on("data.test/index.json", document(&index));
    origin.on(
        "data.test/audit.json",
        document(
            &serde_json::json!([{
                "@name": "base", "@id": "https://data.test/page.json",
                "@updated": "2026-11-04T10:00:00Z",
            }])
            .to_string(),
        ),
    );
    let page =
        r#"{"shared":[{"url":"https://cve.test/data","severity":2,"versions":"(, 1.0.0)"}]}"#;
    origin.on("data.test/page.json", document(page));
    let only_packages = [("PackageBaseAddress/3.0.0", "https://company.test/flat/")];
    for host in ["company.test", "nuget.test"] {
        let index = document(&service_index(&only_packages));
        origin.on(&format!("{host}/index.json"), index);
    }
    let proxy = union_with(origin, |setup| {
        setup.proxy.feeds[0].audit_upstream = Some("https://data.test/index.json".into());
    })
    .await;
    let path = proxy.path_of("VulnerabilityInfo/6.7.0").await;
    for detail in ["miss", "hit"] {
        let index = proxy.get(&path).await.expect(detail).json();
        let pages = index.as_array().expect("pages");
        assert_eq!(
            (pages.len(), &pages[0]["@name"]),
            (1, &"company-base".into())
        );
        let page = pages[0]["@id"].as_str().expect("an address");
        let text = proxy.get(page.strip_prefix(US).expect("ours")).await;
        assert!(
            text.text().contains("https://cve.test/data"),
            "{}",
            text.text()
        );
    }
}
