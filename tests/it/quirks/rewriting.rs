//! Section 7.1: what is rewritten, and what is advertised.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice::proxy::base;

use super::{NEWEST, US, expect_ours, feed_at, many_path, offered, ours, package_path};
use crate::harness::fixture::{
    FLAT, HIVE, LIST, MANY_VERSIONS, OLD_HIVE, ONE, ONE_VERSIONS, document, inlined_registration,
    nuget_like, paged_registration, service_index, version_list,
};
use crate::harness::{Answered, Ask, Origin, Reply, TestProxy, pass, seconds};
use crate::servers::{Login, Server};
use crate::{chain, shapes};

/// Where the upstream's service index lies, without `https://`.
const PLACE: &str = "api.test/v3/index.json";

/// Protocol fact 7.1.1: of an id with several pages, nothing that a page, a leaf or a search result names is elsewhere.
#[tokio::test(start_paused = true)]
async fn a_multi_page_registration_sends_no_client_to_the_upstream() {
    let origin = nuget_like();
    let (index, pages) = paged_registration(HIVE, "dotnet-ef", &MANY_VERSIONS[..6]);
    let icon = format!(r#""iconUrl":"https://{FLAT}/dotnet-ef/1.0.0/icon","listed""#);
    let with_icon = |text: &str| document(&text.replace(r#""listed""#, &icon)).gzip();
    origin.on(&format!("{HIVE}/dotnet-ef/index.json"), with_icon(&index));
    for (place, page) in &pages {
        origin.on(place, with_icon(page));
    }
    let proxy = TestProxy::with(origin, |_| {}).await;
    let hive = proxy.path_of(NEWEST).await;
    let index = proxy.get(&format!("{hive}dotnet-ef/index.json")).await;
    expect_ours(index.text());
    let index = index.json();
    assert_eq!(index["items"].as_array().unwrap().len(), 2);
    for page in index["items"].as_array().unwrap() {
        let page = proxy.get(&ours(&page["@id"])).await.expect("miss");
        expect_ours(page.text());
        let leaf = &page.json()["items"][0];
        let entry = &leaf["catalogEntry"];
        for url in [&leaf["packageContent"], &entry["@id"], &entry["iconUrl"]] {
            ours(url);
        }
    }
    for path in ["/v3/search?q=ef", "/v3/autocomplete?q=ef"] {
        expect_ours(proxy.get(path).await.expect("miss").text());
    }
}

/// Protocol fact 7.1.2: every hive of the upstream's index is rewritten, not the newest alone, and so are templates.
#[tokio::test(start_paused = true)]
async fn every_hive_is_rewritten_and_no_template_names_the_upstream() {
    let (old, new) = (format!("https://{OLD_HIVE}/"), format!("https://{HIVE}/"));
    let display = format!("{old}{{id-lower}}/index.json");
    let readme = format!("https://{FLAT}/{{lower_id}}/{{lower_version}}/readme");
    let origin = nuget_like();
    let index = service_index(&[
        ("PackageBaseAddress/3.0.0", &format!("https://{FLAT}/")),
        ("RegistrationsBaseUrl", &old),
        (NEWEST, &new),
        ("PackageDisplayMetadataUriTemplate/3.0.0-rc", &display),
        ("ReadmeUriTemplate/6.13.0", &readme),
    ]);
    origin.on(PLACE, document(&index));
    let proxy = TestProxy::with(origin, |_| {}).await;
    expect_ours(proxy.get("/v3/index.json").await.text());
    for (kind, hive) in [("RegistrationsBaseUrl", OLD_HIVE), (NEWEST, HIVE)] {
        let path = format!("{}sample.one/index.json", proxy.path_of(kind).await);
        expect_ours(proxy.get(&path).await.expect("miss").text());
        let asked = format!("GET {hive}/sample.one/index.json");
        assert_eq!(proxy.origin.count(&asked), 1, "{kind}");
    }
}

/// Protocol fact 7.1.3: an index is built of known types; what is offered answers, and what does not is not offered.
#[tokio::test(start_paused = true)]
async fn what_is_not_served_is_not_advertised() {
    let origin = nuget_like();
    let flat = ("PackageBaseAddress/3.0.0", &*format!("https://{FLAT}/"));
    let index = service_index(&[
        flat,
        ("DependencyGraph/9.0.0", "https://api.test/v3/graph/"),
        ("LegacyGallery/2.0.0", "https://www.test/api/v2"),
        // Over http a client could not use it (protocol fact 2.6.3).
        ("RepositorySignatures/5.0.0", "https://api.test/v3/s.json"),
    ]);
    let proxy = TestProxy::with(origin, |_| {}).await;
    for (kind, url) in offered(&proxy).await {
        let is_push = kind.contains("Publish");
        if kind.contains("UriTemplate") {
            continue;
        }
        let mut path = ours(&url.into());
        if path.ends_with('/') {
            path.push_str("sample.one/index.json");
        }
        let expected = if is_push { 405 } else { 200 };
        assert_eq!(proxy.get(&path).await.status, expected, "{kind}");
    }
    proxy.origin.on(PLACE, document(&index));
    pass(seconds(16 * 60)).await;
    let ours = (flat.0.to_owned(), format!("{US}/v3/flatcontainer/"));
    assert_eq!(offered(&proxy).await, [ours]);
}

/// Protocol fact 7.1.4: vulnerability data is ours, index and pages, so that an audit needs no way out of the network.
#[tokio::test(start_paused = true)]
async fn an_audit_asks_nobody_but_us() {
    let proxy = TestProxy::new().await;
    let path = proxy.path_of("VulnerabilityInfo/6.7.0").await;
    let index = proxy.get(&path).await.expect("miss").json();
    proxy.origin.all_down();
    for page in index.as_array().unwrap() {
        let page = proxy.get(&ours(&page["@id"])).await.expect("hit");
        assert!(page.text().contains("sample.one"), "{}", page.text());
    }
}

/// Protocol fact 7.1.5: the upstream's types of hives are all kept, since tools choose by them, and each one answers.
#[tokio::test(start_paused = true)]
async fn every_type_of_hive_is_kept_and_every_one_answers() {
    const HIVES: [(&str, &str); 6] = [
        ("RegistrationsBaseUrl", "semver1"),
        ("RegistrationsBaseUrl/3.0.0-rc", "semver1"),
        ("RegistrationsBaseUrl/3.0.0-beta", "semver1"),
        ("RegistrationsBaseUrl/3.4.0", "gz-semver1"),
        (NEWEST, "gz-semver2"),
        ("RegistrationsBaseUrl/Versioned", "gz-semver2"),
    ];
    let origin = Origin::new();
    let urls = HIVES.map(|(kind, hive)| (kind, format!("https://api.test/{hive}/")));
    let index = urls.each_ref().map(|(kind, url)| (*kind, &**url));
    origin.on(PLACE, document(&service_index(&index)));
    for (_, hive) in HIVES {
        let hive = format!("api.test/{hive}");
        let text = inlined_registration(&hive, "dotnet-tool", &["1.0.0"]);
        origin.on(&format!("{hive}/dotnet-tool/index.json"), document(&text));
    }
    let proxy = TestProxy::with(origin, |_| {}).await;
    for ((kind, url), expected) in offered(&proxy).await.into_iter().zip(HIVES) {
        assert_eq!(kind, expected.0);
        let path = format!("{}dotnet-tool/index.json", ours(&url.into()));
        assert!(path.contains(&format!("/{}-", expected.1)), "{path}");
        assert_eq!(proxy.get(&path).await.status, 200, "{kind}");
    }
}

/// Protocol fact 7.1.6: nothing of V2 is sent to an upstream, whatever a client asks of us.
#[tokio::test(start_paused = true)]
async fn an_upstream_is_asked_for_nothing_of_v2() {
    let proxy = TestProxy::new().await;
    for path in [
        "/v3/Packages(Id='Telerik.Reporting',Version='1.0.0')",
        "/api/v2/FindPackagesById()?id='Telerik.Reporting'",
    ] {
        assert_eq!(proxy.get(path).await.status, 410, "{path}");
    }
    for path in [LIST, &package_path(ONE, "1.0.0")] {
        proxy.get(path).await.expect("miss");
    }
    let asked = proxy.origin.all();
    assert_eq!(asked.len(), 3, "index, list, package");
    assert!(asked.iter().all(|seen| seen.target.starts_with("/v3")));
}

/// Protocol fact 7.1.7: what a registration says of vulnerabilities, and what nobody knows yet, passes byte for byte.
#[tokio::test(start_paused = true)]
async fn vulnerabilities_and_unknown_properties_of_a_registration_are_not_lost() {
    const SAID: &str = r#""vulnerabilities": [ {"severity" : "2", "advisoryUrl":"https://cve.test/GHSA-5crp"} ],
        "somethingNew": {"b": 1.50, "a": [null, "é\u00e9"]}, "listed""#;
    let proxy = TestProxy::new().await;
    let text = inlined_registration(HIVE, ONE, &ONE_VERSIONS).replace(r#""listed""#, SAID);
    let place = format!("{HIVE}/sample.one/index.json");
    proxy.origin.on(&place, document(&text));
    let path = format!("{}sample.one/index.json", proxy.path_of(NEWEST).await);
    let answer = proxy.get(&path).await.expect("miss");
    assert_eq!(answer.text().matches(SAID).count(), 3, "{}", answer.text());
}

/// Protocol fact 7.1.8: behind another Sluice, one lists and delivers what the other has.
#[tokio::test(start_paused = true)]
async fn one_sluice_behind_another_lists_and_delivers_the_same() {
    let (inner, outer) = chain::two().await;
    for path in [LIST, &package_path(ONE, "1.0.0")] {
        let expected = inner.get(path).await.expect("miss").body;
        assert_eq!(outer.get(path).await.expect("miss").body, expected);
    }
    let registration = outer.get(&many_path(&outer).await).await.expect("miss");
    expect_ours(registration.text());
    for page in registration.json()["items"].as_array().unwrap() {
        let page = outer.get(&ours(&page["@id"])).await.expect("miss");
        assert_eq!(page.json()["count"], 3);
    }
}

/// Protocol fact 7.1.9: links begin with the public URL or with what a trusted proxy says of us, nobody else's word.
#[tokio::test(start_paused = true)]
async fn links_follow_the_public_url_and_trusted_proxies_alone() {
    let mut proxy = TestProxy::new().await;
    let ask = Ask::get("/v3/index.json")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "nuget.corp.test")
        .header("x-forwarded-prefix", "/cache");
    let begins = |answer: &Answered, base: &str| {
        let index = answer.json();
        let begins = |entry: &Value| {
            entry["@id"].as_str().unwrap().starts_with(base)
                || entry["@type"].as_str().unwrap().contains("UriTemplate")
        };
        assert!(index["resources"].as_array().unwrap().iter().all(begins));
    };
    begins(&proxy.send(ask.clone()).await, "http://us.test:6850/v3/");
    let network = "192.0.2.0/24".parse().unwrap();
    proxy.reload(|settings| settings.base.trusted_proxies = vec![network]);
    let behind = proxy.send(ask.clone()).await;
    begins(&behind, "https://nuget.corp.test/cache/v3/");
    let public_url = Some("https://public.test/nuget".into());
    proxy.reload(|settings| {
        settings.base = base::Settings {
            public_url,
            ..base::Settings::default()
        }
    });
    let public = proxy.send(ask).await;
    begins(&public, "https://public.test/nuget/v3/");
}

/// Protocol fact 7.1.10: an index lies at `/v3/index.json` below a source's address, where tools look without asking.
#[tokio::test(start_paused = true)]
async fn the_index_lies_where_tools_look_for_it() {
    let proxy = TestProxy::new().await;
    for (configured, detail) in [("", "miss"), ("/nuget", "hit")] {
        let path = format!("{configured}/v3/index.json");
        let index = proxy.get(&path).await.expect(detail).json();
        assert_eq!(index["version"], "3.0.0", "{path}");
    }
}

/// Protocol fact 7.1.11: paths are joined to what the index names, never to the index's own address.
#[tokio::test(start_paused = true)]
async fn no_path_is_joined_to_the_address_of_the_index() {
    let origin = Origin::new();
    let flat = "https://cdn.test/nuget/v3-flatcontainer/";
    let index = service_index(&[("PackageBaseAddress/3.0.0", flat)]);
    origin.on("up.test/api/nuget/index.json", document(&index));
    let list = document(&version_list(&["1.0.0"]));
    origin.on("cdn.test/nuget/v3-flatcontainer/a/index.json", list);
    let proxy = feed_at("https://up.test/api/nuget/index.json", origin).await;
    let list = proxy.get("/v3/flatcontainer/a/index.json").await;
    list.expect("miss");
    let asked: Vec<String> = proxy.origin.all().iter().map(|seen| seen.name()).collect();
    let expected = [
        "GET up.test/api/nuget/index.json",
        "GET cdn.test/nuget/v3-flatcontainer/a/index.json",
    ];
    assert_eq!(asked, expected);
}

/// Protocol fact 7.1.12: addresses come from the upstream's index alone, so one that was switched off is asked no more.
#[tokio::test(start_paused = true)]
async fn a_base_that_was_switched_off_is_asked_no_more() {
    let proxy = TestProxy::with(Origin::new(), |_| {}).await;
    for (hive, minutes) in [("registration3", 0), ("registration5", 16)] {
        let base = format!("api.test/{hive}");
        let index = service_index(&[(NEWEST, &format!("https://{base}/"))]);
        proxy.origin.on(PLACE, document(&index));
        let text = inlined_registration(&base, "A", &["1.0.0"]);
        proxy.origin.forget("api.test/registration3/a/index.json");
        proxy
            .origin
            .on(&format!("{base}/a/index.json"), document(&text));
        pass(seconds(minutes * 60)).await;
        let path = format!("{}a/index.json", proxy.path_of(NEWEST).await);
        proxy.get(&path).await.expect("miss");
        let asked = format!("GET {base}/a/index.json");
        assert_eq!(proxy.origin.count(&asked), 1, "{hive}");
    }
    assert_eq!(proxy.origin.total(), 4, "each time an index and a document");
}

/// Protocol fact 7.1.13: an index without packages, registrations, search and publish is one all the same.
#[tokio::test(start_paused = true)]
async fn an_index_without_the_four_core_resources_is_accepted() {
    let origin = nuget_like();
    let url = "https://api.test/v3/vulnerabilities/index.json";
    let index = service_index(&[("VulnerabilityInfo/6.7.0", url)]);
    origin.on("data.test/v3/index.json", document(&index));
    let proxy = feed_at("https://data.test/v3/index.json", origin).await;
    let [(kind, url)] = &offered(&proxy).await[..] else {
        panic!("one resource");
    };
    assert_eq!(kind, "VulnerabilityInfo/6.7.0");
    let path = ours(&url.as_str().into());
    proxy.get(&path).await.expect("miss");
    let list = proxy.get(LIST).await;
    list.expect_status(404, "failed.not-offered");
}

/// Protocol fact 7.1.14: every source that we tell people ends in `index.json`, or their clients would speak V2 to it.
#[tokio::test(start_paused = true)]
async fn every_source_that_is_told_ends_in_index_json() {
    let proxy = TestProxy::new().await;
    let page = proxy.get("/").await;
    let sources: Vec<&str> = page.text().split(US).skip(1).collect();
    assert!(sources.len() > 3, "{}", page.text());
    for source in sources {
        let path = source.split(['"', '<', '&', ' ']).next().unwrap();
        assert!(path.ends_with("/v3/index.json"), "{path}");
        assert_eq!(proxy.get(path).await.status, 200, "{path}");
    }
}

/// Protocol fact 7.1.15: an upstream without a flat container, its index not at `index.json`, gets one of ours.
#[tokio::test(start_paused = true)]
async fn an_upstream_without_a_flat_container_gets_one_of_ours() {
    let proxy = shapes::proxy(Server::Artifactory).await;
    let flat = proxy.path_of("PackageBaseAddress/3.0.0").await;
    let list = proxy.get(&format!("{flat}shape.text/index.json")).await;
    assert_eq!(list.text(), r#"{"versions":["22.1.0","23.1.0.4"]}"#);
    let path = "shape.text/22.1.0/shape.text.22.1.0.nupkg";
    let answer = proxy.get(&format!("{flat}{path}")).await.expect("miss");
    let packages = crate::servers::packages::find("Shape.Text", "22.1.0");
    assert_eq!(answer.body, packages.bytes());
    let index = proxy.origin.all().swap_remove(0);
    assert_eq!(index.target, "/artifactory/api/nuget/v3/nuget-repo");
}

/// Protocol fact 7.1.16: a page is asked for by its `@id`, not its bounds; a refused index leaves the last good copy.
#[tokio::test(start_paused = true)]
async fn a_page_is_found_by_its_id_and_a_refused_index_by_its_copy() {
    let proxy = shapes::proxy(Server::Artifactory).await;
    let path = format!("{}shape.many/index.json", proxy.path_of(NEWEST).await);
    let page = proxy.get(&path).await.json()["items"][0].clone();
    assert_eq!(page["lower"], "1.0.0-RC.1");
    let page = proxy.get(&ours(&page["@id"])).await.expect("miss").json();
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    let asked = proxy.origin.all().pop().unwrap().target;
    assert!(asked.ends_with("/page/1.0.0-rc.1/1.1.0.json"), "{asked}");

    let before = proxy.get("/v3/index.json").await.body;
    proxy.origin.spell("home.test", Reply::new(403, ""));
    pass(seconds(16 * 60)).await;
    let index = proxy.get("/v3/index.json").await;
    assert_eq!(index.expect("stale.not-authorized").body, before);
}

/// Protocol fact 7.1.17: bases end in a slash though the upstream's do not, since clients concatenate.
#[tokio::test(start_paused = true)]
async fn bases_get_the_slash_that_the_upstream_leaves_out() {
    let proxy = shapes::proxy(Server::GitHub).await;
    for (kind, url) in offered(&proxy).await {
        let is_base = kind.starts_with("PackageBase") || kind.starts_with("Registrations");
        assert_eq!(url.ends_with('/'), is_base, "{kind}");
    }
    let flat = proxy.path_of("PackageBaseAddress/3.0.0").await;
    let list = proxy.get(&format!("{flat}shape.lib/index.json")).await;
    list.expect("miss");
    let asked = "GET home.test/some-namespace/download/shape.lib/index.json";
    assert_eq!(proxy.origin.count(asked), 1);
}

/// Protocol fact 7.1.18: base URLs are plain and stay as they are whatever the upstream adds between its own; its
/// private properties and the entries that it forgot to rewrite do not come through.
#[tokio::test(start_paused = true)]
async fn our_bases_do_not_number_what_an_upstream_numbers() {
    let proxy = shapes::proxy(Server::Nexus).await;
    let index = proxy.get("/v3/index.json").await;
    expect_ours(index.text());
    assert!(!index.text().contains("@nxrm"), "{}", index.text());
    let before: BTreeSet<_> = offered(&proxy).await.into_iter().collect();
    let left = "SearchAutocompleteService";
    assert!(before.iter().any(|(kind, _)| kind == left));

    let shape = Server::Nexus.shape("https://home.test", "https://far.test");
    let login = shape.login.map(Login::header);
    let text = shape.answer(&shape.upstream, login.as_deref()).body;
    let mut index: Value = serde_json::from_slice(&text).unwrap();
    let base = shape.upstream.replace("index.json", "v3/registration/0");
    let resources = index["resources"].as_array_mut().unwrap();
    resources.reverse();
    resources.push(json!({"@id": base, "@type": "RegistrationsBaseUrl/Versioned"}));
    let place = &shape.upstream["https://".len()..];
    proxy.origin.on(place, document(&index.to_string()));
    let other = proxy.second().await;
    let after: BTreeSet<_> = offered(&other).await.into_iter().collect();
    assert!(after.is_superset(&before) && after.len() == before.len() + 1);
}

/// Protocol fact 7.1.19: the configured address is asked as it is written, no slash added; clients may add one to ours.
#[tokio::test(start_paused = true)]
async fn the_index_is_fetched_from_the_configured_address_as_it_is_written() {
    let index = json!({"version": "3.0.0", "resources": []}).to_string();
    let origin = Origin::new();
    origin.on("up.test/Api/nuget/v3/main?x=%2F", document(&index));
    let proxy = feed_at("https://up.test/Api/nuget/v3/main?x=%2F", origin).await;
    proxy.get("/v3/index.json").await.expect("miss");
    proxy.get("/v3/index.json/").await.expect("hit");
    assert_eq!(proxy.origin.total(), 1);
}

/// Protocol fact 7.1.20: icons and licences that the feed keeps come through us; a project's own site is left alone.
#[tokio::test(start_paused = true)]
async fn icons_and_licences_of_the_feed_come_through_us() {
    let proxy = TestProxy::new().await;
    let folder = format!("{FLAT}/sample.one/1.0.0");
    let icons = [
        format!("https://{folder}/icon"),
        "https://project.test/i.png".into(),
    ];
    let text = inlined_registration(HIVE, ONE, &["1.0.0", "1.1.0"]);
    let [first, second] = icons
        .each_ref()
        .map(|url| format!(r#""iconUrl":"{url}","listed""#));
    let text = text.replacen(r#""listed""#, &first, 1);
    let (one, other) = text.rsplit_once(r#""listed""#).unwrap();
    let text = [one, &*second, other].concat();
    let place = format!("{HIVE}/sample.one/index.json");
    proxy.origin.on(&place, document(&text));
    for file in ["icon", "license"] {
        let place = format!("{folder}/{file}");
        proxy.origin.on(&place, Reply::file(file));
    }
    let path = format!("{}sample.one/index.json", proxy.path_of(NEWEST).await);
    let leaves = proxy.get(&path).await.json()["items"][0]["items"].clone();
    let icon = ours(&leaves[0]["catalogEntry"]["iconUrl"]);
    assert_eq!(proxy.get(&icon).await.expect("miss").text(), "icon");
    assert_eq!(leaves[1]["catalogEntry"]["iconUrl"], *icons[1]);
    let license = icon.replace("/icon", "/license");
    assert_eq!(proxy.get(&license).await.expect("miss").text(), "license");
}

/// Protocol fact 7.1.21: a full index of nuget.org is mirrored whole, but for what no client needs.
#[tokio::test(start_paused = true)]
async fn a_full_index_of_nuget_org_is_mirrored_whole() {
    const FULL: &str = include_str!("../../data/service-index/nuget.org-2025-localhost.json");
    const DROPPED: [&str; 5] = [
        "LegacyGallery",
        "PackageDisplayMetadataUriTemplate",
        "PackageVersionDisplayMetadataUriTemplate",
        "RepositorySignatures",
        "SearchGalleryQueryService",
    ];
    let origin = Origin::new();
    origin.on(PLACE, document(FULL));
    let proxy = TestProxy::with(origin, |_| {}).await;
    let full: Value = serde_json::from_str(FULL).unwrap();
    let types = full["resources"].as_array().unwrap().iter();
    let types = types.map(|entry| entry["@type"].as_str().unwrap().to_owned());
    let is_served = |kind: &String| !DROPPED.contains(&kind.split('/').next().unwrap());
    let expected: BTreeSet<String> = types.filter(is_served).collect();
    let found = offered(&proxy).await;
    assert_eq!(found.len(), expected.len());
    let found: BTreeSet<String> = found.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(found, expected);
}

/// Protocol fact 7.1.22: beside types for clients of some version stand numbered ones, which other clients look for.
#[tokio::test(start_paused = true)]
async fn the_numbered_types_are_always_offered() {
    let origin = nuget_like();
    let index = service_index(&[
        ("PackageBaseAddress/Versioned", &format!("https://{FLAT}")),
        ("RegistrationsBaseUrl/Versioned", &format!("https://{HIVE}")),
        (
            "SearchQueryService/Versioned",
            "https://search-1.test/query",
        ),
    ]);
    origin.on(PLACE, document(&index));
    let proxy = TestProxy::with(origin, |_| {}).await;
    let flat = proxy.path_of("PackageBaseAddress/3.0.0").await;
    let hive = proxy.path_of(NEWEST).await;
    let search = proxy.path_of("SearchQueryService/3.0.0-beta").await;
    let list = format!("{flat}sample.one/index.json");
    let registration = format!("{hive}sample.one/index.json");
    for path in [list, registration, format!("{search}?q=a")] {
        proxy.get(&path).await.expect("miss");
    }
    assert_eq!(hive, proxy.path_of("RegistrationsBaseUrl/Versioned").await);
}
