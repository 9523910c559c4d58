//! What broke other proxies and their clients: every row of section 7 of the protocol facts is a test named after its
//! lesson. Each says the lesson and no more; what else is guaranteed there has tests of its own.

mod credentials;
mod encoding;
mod load;
mod publish;
mod rewriting;
mod staleness;

use serde_json::Value;

use crate::harness::fixture::{MANY, content_path};
use crate::harness::{Origin, TestProxy};

const US: &str = "http://us.test:6850";
/// The newest hive's type.
const NEWEST: &str = "RegistrationsBaseUrl/3.6.0";
const MANY_LIST: &str = "/v3/flatcontainer/sample.many/index.json";
/// Pushes, as the upstream counts them.
const PUT: &str = "PUT push.test/api/v2/package";

/// A proxy whose one feed's service index is at this address.
async fn feed_at(upstream: &str, origin: Origin) -> TestProxy {
    TestProxy::with(origin, |setup| {
        setup.proxy.feeds[0].upstream = upstream.into();
    })
    .await
}

/// Types and addresses of the index that we hand out.
async fn offered(proxy: &TestProxy) -> Vec<(String, String)> {
    let answer = proxy.get("/v3/index.json").await;
    assert_eq!(answer.status, 200, "{:?}", answer.reason);
    let index = answer.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let pair = |entry: &Value| (text(&entry["@type"]), text(&entry["@id"]));
    let resources = index["resources"].as_array().expect("resources");
    resources.iter().map(pair).collect()
}

/// The path of an address of ours.
#[track_caller]
fn ours(url: &Value) -> String {
    let path = url.as_str().and_then(|url| url.strip_prefix(US));
    path.unwrap_or_else(|| panic!("{url} is not ours"))
        .to_owned()
}

/// Every address in a document is ours, or of a project's own site.
#[track_caller]
fn expect_ours(text: &str) {
    for after in text.split("://").skip(1) {
        let host = after.split(['/', '"']).next().expect("a host");
        let is_for_people = ["cve.test", "project.test", "schema.nuget.org"].contains(&host);
        assert!(is_for_people || host == "us.test:6850", "{host}: {text}");
    }
}

/// Our path of a package.
fn package_path(id: &str, version: &str) -> String {
    format!("/v3/flatcontainer/{}", content_path(id, version))
}

/// Our path of the registration index of [`MANY`] in the newest hive.
async fn many_path(proxy: &TestProxy) -> String {
    let hive = proxy.path_of(NEWEST).await;
    format!("{hive}{}/index.json", MANY.to_lowercase())
}

/// The files of this module, with the number of rows of the part that each proves.
const PARTS: [(&str, usize); 6] = [
    (include_str!("rewriting.rs"), 22),
    (include_str!("encoding.rs"), 9),
    (include_str!("staleness.rs"), 10),
    (include_str!("load.rs"), 4),
    (include_str!("publish.rs"), 7),
    (include_str!("credentials.rs"), 10),
];

/// The row that each test of a file names: the comment before a test begins with it.
fn rows(text: &str) -> Vec<&str> {
    let (mut named, mut rows) = (None, Vec::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("/// Protocol fact ") {
            assert_eq!(named, None, "two rows, one test: {line}");
            named = comment.split(": ").next();
        } else if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            rows.push(named.take().expect("a row before every test"));
        }
    }
    assert_eq!(named, None, "a row without a test");
    rows
}

#[test]
fn every_row_is_one_test_in_the_order_of_the_rows() {
    for (part, (text, count)) in PARTS.iter().enumerate() {
        let part = part + 1;
        let expected: Vec<String> = (1..=*count).map(|row| format!("7.{part}.{row}")).collect();
        assert_eq!(rows(text), expected, "part {part}");
    }
}
