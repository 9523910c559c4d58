//! MyGet, TeamCity and feedz.io: their documents are read for what they say, and every link leads to us.

use serde_json::{Value, json};
use sluice::nuget::link::LinkKind;
use sluice::nuget::service_index::{self, Service, ServiceIndex};
use sluice::nuget::{registration, search};

use crate::harness::fixture::{document, package};
use crate::harness::{Origin, Reply, TestProxy};

const US: &str = "http://us.test:6850/v3/";
const MYGET: &str = include_str!("../data/service-index/myget-exceptionless.json");
const MYGET_SEARCH: &str = include_str!("../data/samples/myget/search-nuget-volatile-2016.json");
const TEAMCITY: &str = include_str!("../data/service-index/teamcity-template-a.json");

fn read(text: &str) -> ServiceIndex {
    service_index::read(text).expect("an index")
}

/// A proxy whose feed's upstream is this index.
async fn proxy(origin: Origin, place: &str, index: &str) -> TestProxy {
    origin.on(place, document(index));
    TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = format!("https://{place}");
    })
    .await
}

/// Types and addresses of the index that we hand out.
async fn offered(proxy: &TestProxy) -> Vec<(String, String)> {
    let index = proxy.get("/v3/index.json").await.expect("miss").json();
    let resources = index["resources"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pair = |resource: &Value| (text(&resource["@type"]), text(&resource["@id"]));
    resources.iter().map(pair).collect()
}

#[test]
fn every_registration_type_of_myget_is_one_hive() {
    let index = read(MYGET);
    let base = "https://www.myget.org/F/exceptionless/api/v3";
    let hives: Vec<String> = index.hives().into_iter().map(|hive| hive.base).collect();
    assert_eq!(hives, [format!("{base}/registration1/")]);
    for (service, path) in [
        (Service::Autocomplete, "autocomplete"),
        (Service::PackageBase, "flatcontainer/"),
        (Service::Search, "query"),
    ] {
        assert_eq!(index.endpoints(service), [format!("{base}/{path}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn all_six_types_of_myget_lead_to_that_hive_of_ours() {
    let place = "www.myget.org/F/exceptionless/api/v3/index.json";
    let proxy = proxy(Origin::new(), place, MYGET).await;
    let offered = offered(&proxy).await;
    let bases: Vec<&String> = offered
        .iter()
        .filter(|(kind, _)| kind.starts_with("RegistrationsBaseUrl"))
        .map(|(_, url)| url)
        .collect();
    assert_eq!(bases.len(), 6);
    assert!(bases.iter().all(|base| *base == bases[0]), "{bases:?}");
    assert!(
        offered.iter().all(|(_, url)| url.starts_with(US)),
        "{offered:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn hits_of_myget_are_leaves_and_their_pictures_stay() {
    let results = search::read_search(MYGET_SEARCH).expect("results");
    let kinds = |kind| results.links.iter().filter(move |link| link.kind == kind);
    let hits = kinds(LinkKind::Hit).count();
    assert_eq!((hits, kinds(LinkKind::Index).count()), (8, 8));
    assert!(kinds(LinkKind::Hit).all(|link| !link.url.ends_with("index.json")));

    let index = MYGET.replace("/F/exceptionless/", "/F/nuget-volatile/");
    let origin = Origin::new();
    let found = Reply::json(MYGET_SEARCH);
    origin.on("www.myget.org/F/nuget-volatile/api/v3/query", found);
    let place = "www.myget.org/F/nuget-volatile/api/v3/index.json";
    let proxy = proxy(origin, place, &index).await;
    let before: Value = serde_json::from_str(MYGET_SEARCH).unwrap();
    let after = proxy.get("/v3/search?q=nuget").await.expect("miss").json();
    let hive = &read(&index).hives()[0].token;
    for (before, after) in before["data"]
        .as_array()
        .unwrap()
        .iter()
        .zip(after["data"].as_array().unwrap())
    {
        let ours = |url: &Value| {
            let rest = url
                .as_str()
                .unwrap()
                .split_once("/registration1/")
                .unwrap()
                .1;
            json!(format!("{US}registration/{hive}/{rest}"))
        };
        assert_eq!(after["@id"], ours(&before["@id"]));
        assert_eq!(after["registration"], ours(&before["registration"]));
        assert_eq!(
            after["versions"][0]["@id"],
            ours(&before["versions"][0]["@id"])
        );
        // Relative to MyGet's own site, as some are, or at a project's.
        assert_eq!(after["iconUrl"], before["iconUrl"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_template_of_teamcity_is_an_index_once_the_root_is_in() {
    let root = "https://teamcity.test/httpAuth/app/nuget/feed/Project/default/v3";
    let text = TEAMCITY.replace("%1$s", root);
    let text = text.replace("%2$s", "https://teamcity.test/httpAuth/app/nuget/feed/v2");
    let index = read(&text);
    let hives: Vec<String> = index.hives().into_iter().map(|hive| hive.base).collect();
    assert_eq!(hives, [format!("{root}/registration1/")]);
    let place = "teamcity.test/httpAuth/app/nuget/feed/Project/default/v3/index.json";
    let proxy = proxy(Origin::new(), place, &text).await;
    let offered = offered(&proxy).await;
    assert!(
        offered.iter().all(|(_, url)| url.starts_with(US)),
        "{offered:?}"
    );
    for kind in [
        "PackageBaseAddress/3.0.0",
        "PackagePublish/2.0.0",
        "RegistrationsBaseUrl/Versioned",
        "SearchAutocompleteService",
        "SearchQueryService/3.0.0-rc",
    ] {
        assert!(offered.iter().any(|(found, _)| found == kind), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_template_of_teamcity_that_nobody_filled_in_offers_nothing() {
    let index = read(TEAMCITY);
    assert!(index.resources.iter().all(|resource| !resource.is_url()));
    let proxy = proxy(Origin::new(), "teamcity.test/v3/index.json", TEAMCITY).await;
    assert_eq!(offered(&proxy).await, []);
    let answer = proxy.get("/v3/flatcontainer/a/index.json").await;
    let answer = answer.expect_status(404, "failed.not-offered");
    assert!(answer.reason.unwrap().contains("offers no version list"));
    assert_eq!(proxy.origin.total(), 1);
}

/// A registration of feedz.io: the documents of its versions lie in folders.
fn of_feedz(hive: &str, flat: &str) -> (Value, Value) {
    let leaf = json!({
        "@id": format!("{hive}a.b/1.2.0/index.json"), "@type": "Package",
        "catalogEntry": {
            "@id": format!("{hive}a.b/1.2.0/index.json"), "id": "A.B", "version": "1.2.0", "listed": true,
        },
        "packageContent": format!("{flat}a.b/1.2.0/a.b.1.2.0.nupkg"),
        "registration": format!("{hive}a.b/index.json"),
    });
    let index = json!({"@id": format!("{hive}a.b/index.json"), "count": 1, "items": [{
        "@id": format!("{hive}a.b/index.json#page/1.2.0/1.2.0"), "count": 1, "lower": "1.2.0",
        "upper": "1.2.0", "items": [leaf],
    }]});
    (index, leaf)
}

#[tokio::test(start_paused = true)]
async fn leaves_of_feedz_lie_in_folders_and_are_answered_there() {
    let root = "f.feedz.test/org/repo/nuget/v3";
    let (hive, flat) = (
        format!("https://{root}/registrations/"),
        format!("https://{root}/packages/"),
    );
    let (index, leaf) = of_feedz(&hive, &flat);
    let text = index.to_string();
    let read = registration::read(&text).expect("a registration");
    assert_eq!(read.leaves[0].version.as_deref(), Some("1.2.0"));
    let own = read
        .links
        .iter()
        .find(|link| link.kind == LinkKind::LeafSelf);
    assert_eq!(own.unwrap().url, format!("{hive}a.b/1.2.0/index.json"));

    let origin = Origin::new();
    origin.on(
        &format!("{root}/registrations/a.b/index.json"),
        document(&text),
    );
    let place = format!("{root}/registrations/a.b/1.2.0/index.json");
    origin.on(&place, document(&leaf.to_string()));
    let file = Reply::file(package("A.B", "1.2.0", 3000));
    origin.on(&format!("{root}/packages/a.b/1.2.0/a.b.1.2.0.nupkg"), file);
    let entry = |url: &str, kind: &str| json!({"@id": url, "@type": kind});
    let service = json!({"version": "3.0.0", "resources": [
        entry(&hive, "RegistrationsBaseUrl/3.6.0"), entry(&flat, "PackageBaseAddress/3.0.0"),
    ]});
    let at = "f.feedz.test/org/repo/nuget/index.json";
    let proxy = proxy(origin, at, &service.to_string()).await;
    let offered = offered(&proxy).await;
    let base = offered[0].1.strip_prefix("http://us.test:6850").unwrap();
    let index = proxy.get(&format!("{base}a.b/index.json")).await.json();
    let leaf = &index["items"][0]["items"][0];
    let ours = format!("{base}a.b/1.2.0/index.json");
    assert_eq!(leaf["@id"], format!("http://us.test:6850{ours}"));
    let leaf = proxy.get(&ours).await.expect("miss").json();
    let content = leaf["packageContent"].as_str().unwrap();
    let path = content.strip_prefix("http://us.test:6850").unwrap();
    let answer = proxy.get(path).await.expect("miss");
    assert_eq!(answer.body, package("A.B", "1.2.0", 3000));
}
