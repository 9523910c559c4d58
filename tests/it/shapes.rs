//! Feeds of every shape: behind Sluice each is as whole as in front of it. Every link is followed and none leaves, and a
//! restore brings every byte, cold, warm and with the upstream gone.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice::upstream::auth::Credential;

use crate::crawl::{follow, registrations};
use crate::harness::{Act, Answered, Origin, Reply, TestProxy, pass, seconds};
use crate::servers::packages::{self, Package, RESTORED};
use crate::servers::{Login, Server, Shape};

const US: &str = "http://us.test:6850";
const HOME: &str = "https://home.test";
const FAR: &str = "https://far.test";

fn reply(shape: &Shape, url: &str, authorization: Option<&str>) -> Reply {
    let answer = shape.answer(url, authorization);
    let bare = Reply::new(answer.status, answer.body);
    answer
        .headers
        .iter()
        .fold(bare, |reply, (name, value)| reply.header(name, value))
}

/// A server on pipes, and a feed of it.
pub(crate) async fn proxy(server: Server) -> TestProxy {
    let shape = server.shape(HOME, FAR);
    let origin = Origin::new();
    for url in shape.urls() {
        let place = url.strip_prefix("https://").unwrap().split('?').next();
        let shape = shape.clone();
        let act = Act::make(move |seen| {
            let url = format!("https://{}{}", seen.host, seen.target);
            reply(&shape, &url, seen.header("authorization"))
        });
        origin.on(place.unwrap(), act);
    }
    TestProxy::with(origin, |setup| {
        let feed = &mut setup.proxy.feeds[0];
        feed.upstream = shape.upstream.clone();
        feed.credential = shape.login.map(|login| match login {
            Login::Basic { user, password } => Credential::Basic {
                user: user.into(),
                password: password.into(),
            },
            Login::Bearer(token) => Credential::Bearer(token.into()),
        });
    })
    .await
}

fn ours(url: &Value) -> String {
    let url = url.as_str().unwrap();
    url.strip_prefix(US)
        .unwrap_or_else(|| panic!("{url} is not ours"))
        .to_owned()
}

/// The path of the first resource of these types, in the order in which a client prefers them.
fn resource(index: &Value, kinds: &[&str]) -> String {
    let resources = index["resources"].as_array().unwrap();
    let found = kinds
        .iter()
        .find_map(|kind| resources.iter().find(|resource| resource["@type"] == *kind));
    ours(&found.unwrap_or_else(|| panic!("none of {kinds:?}"))["@id"])
}

fn expect_package(answer: &Answered, package: &Package) {
    assert_eq!(answer.status, 200, "{package:?}: {:?}", answer.reason);
    assert!(answer.body == package.bytes(), "{package:?}");
}

/// What `dotnet restore` of a project that refers to `Shape.App` asks for, and how each was answered.
async fn restore(proxy: &TestProxy) -> Vec<String> {
    let index = proxy.get("/v3/index.json").await;
    let mut details = vec![index.detail().to_owned()];
    let flat = resource(&index.json(), &["PackageBaseAddress/3.0.0"]);
    for (id, normal) in RESTORED {
        let package = packages::find(id, normal);
        let lower = package.lower_id();
        let list = proxy.get(&format!("{flat}{lower}/index.json")).await;
        assert_eq!(list.status, 200, "{id}: {:?}", list.reason);
        let all = packages::ALL.iter().filter(|other| other.id == id);
        let listed = list.json()["versions"].as_array().unwrap().clone();
        assert_eq!(listed.len(), all.count(), "{listed:?}");
        let file = proxy.get(&format!("{flat}{}", package.path())).await;
        expect_package(&file, package);
        details.extend([list.detail().to_owned(), file.detail().to_owned()]);
    }
    details
}

/// Every package by the way of clients that ask no flat container: index, registrations, pages, `packageContent`.
async fn install_by_registrations(proxy: &TestProxy) {
    let index = proxy.get("/v3/index.json").await.json();
    let kinds = ["/3.6.0", "/3.4.0", "/3.0.0-rc", "/3.0.0-beta", ""]
        .map(|kind| format!("RegistrationsBaseUrl{kind}"));
    let kinds = kinds.each_ref().map(String::as_str);
    let hive = resource(&index, &kinds);
    let mut found = 0;
    for packages in packages::by_id() {
        let path = format!("{hive}{}/index.json", packages[0].lower_id());
        let registration = proxy.get(&path).await.json();
        for page in registration["items"].as_array().unwrap() {
            let page = match page.get("items") {
                Some(_) => page.clone(),
                None => proxy.get(&ours(&page["@id"])).await.json(),
            };
            for leaf in page["items"].as_array().unwrap() {
                let version = &leaf["catalogEntry"]["version"];
                let package = packages.iter().find(|package| version == package.version);
                let file = proxy.get(&ours(&leaf["packageContent"])).await;
                expect_package(&file, package.unwrap());
                found += 1;
            }
        }
    }
    assert_eq!(found, packages::ALL.len());
}

/// A restore costs so many requests at the upstream when nothing is stored, none while all is fresh, and succeeds when
/// the upstream is gone.
async fn check_restores(server: Server, requests: usize) {
    let proxy = proxy(server).await;
    let cold = restore(&proxy).await;
    assert!(cold.iter().all(|detail| detail == "miss"), "{cold:?}");
    let asked: Vec<String> = proxy.origin.all().iter().map(|seen| seen.name()).collect();
    assert_eq!(asked.len(), requests, "{asked:#?}");

    let warm = restore(&proxy).await;
    assert!(warm.iter().all(|detail| detail == "hit"), "{warm:?}");
    assert_eq!(proxy.origin.total(), requests);
    install_by_registrations(&proxy).await;

    // Each credential goes where it belongs; a signed link would not have been answered with one.
    let login = server.shape(HOME, FAR).login.map(Login::header);
    let at_home = |seen: &&crate::harness::Seen| seen.host == "home.test";
    for seen in proxy.origin.all().iter().filter(at_home) {
        assert_eq!(seen.header("authorization"), login.as_deref());
    }

    proxy.origin.all_down();
    pass(seconds(24 * 60 * 60)).await;
    let gone = restore(&proxy).await;
    let is_kept = |detail: &String| detail == "hit" || detail.starts_with("stale.");
    assert!(gone.iter().all(is_kept), "{gone:?}");
    install_by_registrations(&proxy).await;
    let proxy = proxy.restart().await;
    let again = restore(&proxy).await;
    assert!(again.iter().all(is_kept), "{again:?}");
    install_by_registrations(&proxy).await;
}

/// From the service index, the lists, the registrations and a search on, so many documents and files are reached, each
/// of them ours and answered, by an instance that knows nothing too.
async fn check_links(server: Server, expected: usize, kinds: &[&str]) {
    let proxy = proxy(server).await;
    let mut starts: Vec<String> = vec!["/v3/index.json".into(), "/v3/search?q=shape".into()];
    for packages in packages::by_id() {
        let id = packages[0].lower_id();
        starts.push(format!("/v3/flatcontainer/{id}/index.json"));
        starts.extend(registrations(&proxy, &id).await);
    }
    let starts: Vec<&str> = starts.iter().map(String::as_str).collect();
    let paths: BTreeSet<String> = follow(&proxy, &starts).await;
    for kind in kinds {
        let found = paths.iter().any(|path| path.contains(kind));
        assert!(found, "{kind}: {paths:#?}");
    }
    // Links come before the registrations that name them, so each is looked for.
    let other = proxy.second().await;
    for path in &paths {
        assert!(
            !path.contains("sig=") && !path.contains("_packaging"),
            "{path}"
        );
        let answer = other.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.reason);
    }
    assert_eq!(paths.len(), expected, "{paths:#?}");
}

#[tokio::test(start_paused = true)]
async fn artifactory_links() {
    check_links(Server::Artifactory, 92, &["/page/", "/link/"]).await;
}

#[tokio::test(start_paused = true)]
async fn artifactory_restores() {
    check_restores(Server::Artifactory, 15).await;
}

#[tokio::test(start_paused = true)]
async fn azure_artifacts_links() {
    check_links(Server::AzureArtifacts, 114, &["/page/", "/link/"]).await;
}

#[tokio::test(start_paused = true)]
async fn azure_artifacts_restores() {
    check_restores(Server::AzureArtifacts, 13).await;
}

#[tokio::test(start_paused = true)]
async fn bagetter_links() {
    check_links(Server::BaGetter, 38, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn bagetter_restores() {
    check_restores(Server::BaGetter, 9).await;
}

#[tokio::test(start_paused = true)]
async fn github_links() {
    check_links(Server::GitHub, 50, &["/Shape.Lib/1.0.0.json"]).await;
}

#[tokio::test(start_paused = true)]
async fn github_restores() {
    check_restores(Server::GitHub, 13).await;
}

#[tokio::test(start_paused = true)]
async fn gitlab_links() {
    check_links(Server::GitLab, 37, &["/link/"]).await;
}

#[tokio::test(start_paused = true)]
async fn gitlab_restores() {
    check_restores(Server::GitLab, 13).await;
}

#[tokio::test(start_paused = true)]
async fn nexus_links() {
    check_links(
        Server::Nexus,
        120,
        &["/page/", "/v3/autocomplete", "/link/"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn nexus_restores() {
    check_restores(Server::Nexus, 9).await;
}

#[tokio::test(start_paused = true)]
async fn nuget_org_links() {
    let kinds = [
        "/page/",
        "/v3/catalog/",
        "/v3/autocomplete",
        "/icon",
        "/v3/vulnerabilities/",
    ];
    check_links(Server::NugetOrg, 106, &kinds).await;
}

#[tokio::test(start_paused = true)]
async fn nuget_org_restores() {
    check_restores(Server::NugetOrg, 9).await;
}

#[tokio::test(start_paused = true)]
async fn proget_links() {
    check_links(Server::ProGet, 81, &["/22.1.json", "/link/"]).await;
}

#[tokio::test(start_paused = true)]
async fn proget_restores() {
    check_restores(Server::ProGet, 9).await;
}

#[tokio::test(start_paused = true)]
async fn sleet_links() {
    check_links(Server::Sleet, 66, &["/v3/catalog/data/", "/icon"]).await;
}

#[tokio::test(start_paused = true)]
async fn sleet_restores() {
    check_restores(Server::Sleet, 9).await;
}
