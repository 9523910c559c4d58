//! One visit of a client: requests with its headers, links that are ours, answers as it can read them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Read as _;

use http::Method;
use serde_json::Value;
use sluice::nuget::version::Version;

use super::{dependabot, nuget_exe, nuget_protocol, paket, renovate, rider, visual_studio};
use crate::crawl::urls;
use crate::harness::{Answered, Ask, TestProxy};
use crate::servers::packages::{self, Package};

pub(super) const US: &str = "http://us.test:6850";

/// A client whose way of asking is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Client {
    DependabotReader,
    DependabotUpdater,
    Dotnet31,
    NugetExe34,
    Paket,
    Renovate,
    Rider,
    VisualStudio,
}

impl Client {
    /// What it sends with every request for a document.
    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::DependabotReader => dependabot::HEADERS,
            Self::DependabotUpdater | Self::Rider => nuget_protocol::LIBRARY,
            Self::Dotnet31 => nuget_protocol::DOTNET_3_1,
            Self::NugetExe34 => nuget_exe::HEADERS,
            Self::Paket => paket::HEADERS,
            Self::Renovate => renovate::HEADERS,
            Self::VisualStudio => visual_studio::HEADERS,
        }
    }

    /// All that it asks.
    pub(super) async fn visit(self, visitor: &Visitor<'_>) {
        match self {
            Self::DependabotReader => dependabot::read(visitor).await,
            Self::DependabotUpdater => dependabot::update(visitor).await,
            Self::Dotnet31 => nuget_protocol::restore(visitor).await,
            Self::NugetExe34 => nuget_exe::visit(visitor).await,
            Self::Paket => paket::install(visitor).await,
            Self::Renovate => renovate::look_up(visitor).await,
            Self::Rider => rider::visit(visitor).await,
            Self::VisualStudio => visual_studio::visit(visitor).await,
        }
    }
}

/// A visit.
pub(super) struct Visitor<'a> {
    proxy: &'a TestProxy,
    client: Client,
    /// Who visits whom, for whoever reads a failure.
    name: &'a str,
    /// Operations begun: to a source that is asked twice in one, NuGet's library says so by its session (9.2).
    operations: Cell<usize>,
    /// Which of its visits it is.
    visit: &'static str,
    steps: RefCell<Vec<(String, u16)>>,
}

impl<'a> Visitor<'a> {
    pub(super) fn new(
        proxy: &'a TestProxy,
        client: Client,
        name: &'a str,
        visit: &'static str,
    ) -> Self {
        Self {
            proxy,
            client,
            name,
            operations: Cell::new(0),
            visit,
            steps: RefCell::default(),
        }
    }

    /// Begins another operation of the client.
    pub(super) fn begin(&self) {
        self.operations.set(self.operations.get() + 1);
    }

    /// The session of the operation at hand, never that of another visit.
    fn session(&self) -> String {
        format!("{} {}", self.visit, self.operations.get())
    }

    /// The paths that were asked with GET, and the statuses that came.
    pub(super) fn steps(&self) -> Vec<(String, u16)> {
        self.steps.borrow().clone()
    }

    /// Sends a request for a URL that Sluice gave, with the client's own headers but for `without`, and `more`.
    ///
    /// What comes must be whole, coded as the client can read it, and lead to nobody else.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        without: &str,
        more: &[(&str, &str)],
    ) -> Answered {
        let Some(path) = url.strip_prefix(US) else {
            panic!("{}: sent to {url}", self.name);
        };
        let mut ask = Ask::new(method, path);
        let headers = self.client.headers();
        let own = headers.iter().filter(|(name, _)| *name != without);
        for (name, value) in own.chain(more) {
            ask = ask.header(name, value);
        }
        if headers
            .iter()
            .any(|(name, _)| *name == "x-nuget-client-version")
        {
            ask = ask.header("x-nuget-session-id", &self.session());
        }
        let mut answer = self.proxy.send(ask).await;
        assert_eq!(answer.broken, None, "{}: {path}", self.name);
        match answer.header("content-encoding") {
            None => {}
            // Any other spelling, and any other coding, is not read by NuGet's library (protocol facts 3.1.5, 3.1.6).
            Some("gzip") => {
                let accepts = self.client.headers().iter().any(|(name, value)| {
                    *name == "accept-encoding" && *name != without && value.contains("gzip")
                });
                assert!(accepts, "{}: {path} is coded, unasked", self.name);
                let mut plain = Vec::new();
                let read = flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain);
                read.expect("a whole coding");
                answer.body = plain.into();
            }
            Some(other) => panic!("{}: {path} is coded as {other}", self.name),
        }
        let kind = answer.header("content-type").unwrap_or_default();
        if answer.status == 200 && kind.starts_with("application/json") {
            self.expect_ours(path, &answer.json());
        }
        answer
    }

    /// Fails if a link of a document that programs follow leads elsewhere. Projects' own sites are for people.
    fn expect_ours(&self, path: &str, document: &Value) {
        let mut found = BTreeSet::new();
        urls(document, &mut found);
        let strangers: Vec<&String> = found
            .iter()
            .filter(|url| !url.starts_with(US) && !url.starts_with("https://project.test/"))
            .collect();
        assert!(strangers.is_empty(), "{}: {path}: {strangers:?}", self.name);
    }

    /// What a GET brings.
    pub(super) async fn try_get(&self, url: &str) -> Answered {
        let answer = self.send(Method::GET, url, "", &[]).await;
        self.note(url, &answer);
        answer
    }

    fn note(&self, url: &str, answer: &Answered) {
        let path = url.strip_prefix(US).expect("it was sent to us");
        self.steps
            .borrow_mut()
            .push((path.to_owned(), answer.status));
    }

    /// What must be there.
    pub(super) async fn get(&self, url: &str) -> Answered {
        let answer = self.try_get(url).await;
        assert_eq!(
            answer.status, 200,
            "{}: {url}: {:?}",
            self.name, answer.reason
        );
        answer
    }

    /// A document that must be there.
    pub(super) async fn json(&self, url: &str) -> Value {
        self.get(url).await.json()
    }

    /// What need not be there.
    pub(super) async fn find(&self, url: &str) -> Option<Answered> {
        let answer = self.try_get(url).await;
        (answer.status == 200).then_some(answer)
    }

    /// The service index, as the user has put its address into the client's configuration.
    pub(super) async fn index(&self) -> Index {
        let index = self.json(&format!("{US}/v3/index.json")).await;
        let resources = index["resources"].as_array().expect("resources");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let entries = resources
            .iter()
            .map(|entry| (text(&entry["@type"]), text(&entry["@id"])));
        Index(entries.collect())
    }

    /// A package, fetched without the headers for documents; it must be the one that is meant, byte for byte.
    pub(super) async fn package(&self, url: &str, package: &Package, without: &str) {
        let answer = self.send(Method::GET, url, without, &[]).await;
        self.note(url, &answer);
        assert_eq!(
            answer.status, 200,
            "{}: {url}: {:?}",
            self.name, answer.reason
        );
        assert!(answer.body == package.bytes(), "{}: {url}", self.name);
    }

    /// The leaves of an id in a hive: its index, and each page that is not within it by the page's own address.
    pub(super) async fn leaves(&self, hive: &str, id: &str) -> Vec<Value> {
        let url = format!("{}/{id}/index.json", hive.trim_end_matches('/'));
        let index = self.json(&url).await;
        let mut leaves = Vec::new();
        for page in items(&index) {
            let page = match page.get("items") {
                Some(_) => page.clone(),
                None => self.json(text(&page["@id"])).await,
            };
            leaves.extend(items(&page).iter().cloned());
        }
        leaves
    }

    /// Fails unless these leaves are those of an id, all of them or all but those for newer clients.
    pub(super) fn expect_all(&self, leaves: &[Value], id: &str) {
        let mut found: Vec<&str> = leaves.iter().map(version_of).collect();
        found.sort_unstable();
        let of_id = || packages::ALL.iter().filter(|package| package.id == id);
        let mut all: Vec<&str> = of_id().map(|package| package.version).collect();
        all.sort_unstable();
        let mut older = all.clone();
        // Labels with a dot are SemVer 2 (protocol fact 2.2.22).
        older.retain(|version| {
            !version
                .split_once('-')
                .is_some_and(|(_, label)| label.contains('.'))
        });
        assert!(
            found == all || found == older,
            "{}: {id}: {found:?}",
            self.name
        );
    }
}

/// A service index as types and addresses, in its order.
pub(super) struct Index(pub(super) Vec<(String, String)>);

impl Index {
    /// The address of the first of these types that is there, in the client's order.
    pub(super) fn find(&self, kinds: &[&str]) -> Option<&str> {
        kinds.iter().find_map(|kind| {
            let found = self.0.iter().find(|(own, _)| own == kind);
            found.map(|(_, url)| url.as_str())
        })
    }

    /// The same, which must be there.
    #[track_caller]
    pub(super) fn resource(&self, kinds: &[&str]) -> &str {
        self.find(kinds)
            .unwrap_or_else(|| panic!("none of {kinds:?}"))
    }
}

pub(super) fn items(value: &Value) -> &[Value] {
    value["items"].as_array().expect("items")
}

#[track_caller]
pub(super) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// The version of a leaf of a page, as it is written there.
pub(super) fn version_of(leaf: &Value) -> &str {
    text(&leaf["catalogEntry"]["version"])
}

/// The package that a leaf of a page is about.
pub(super) fn package_of(leaf: &Value) -> &'static Package {
    let id = text(&leaf["catalogEntry"]["id"]);
    packages::find(id, parsed(version_of(leaf)).as_str())
}

pub(super) fn parsed(version: &str) -> Version {
    Version::parse(version).expect("a version")
}

/// The highest version without a label, else the highest.
pub(super) fn latest<'a>(versions: impl Iterator<Item = &'a str>) -> &'a str {
    let rank = |version: &&str| {
        let version = parsed(version);
        (!version.is_prerelease(), version)
    };
    versions.max_by_key(rank).expect("a version")
}

/// The ids of the packages, in lower case.
pub(super) fn ids() -> Vec<String> {
    packages::by_id()
        .map(|packages| packages[0].lower_id())
        .collect()
}
