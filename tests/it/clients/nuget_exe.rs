//! nuget.exe 3.4.4 under mono (protocol fact 9.9): the hive of its time, no session, packages.config by the flat
//! container alone, an upload with its length and a quoted boundary.

use http::Method;

use super::visitor::{Client, US, Visitor, package_of};
use crate::harness::fixture::{self, ONE};
use crate::harness::{Ask, TestProxy};
use crate::servers::packages::{self, RESTORED};

pub(super) const HEADERS: &[(&str, &str)] = &[
    (
        "user-agent",
        "NuGet Command Line/3.4.4.1321 (Unix 6.18.44.657)",
    ),
    ("connection", "keep-alive"),
    ("accept-encoding", "gzip, deflate"),
];

/// `install` of each id with all pages of its registration, `restore` of a packages.config, `list`.
pub(super) async fn visit(visitor: &Visitor<'_>) {
    let index = visitor.index().await;
    let hive = index.resource(&[
        "RegistrationsBaseUrl/3.4.0",
        "RegistrationsBaseUrl/3.0.0-beta",
    ]);
    let flat = index
        .resource(&["PackageBaseAddress/3.0.0"])
        .trim_end_matches('/');
    for all in packages::by_id() {
        let leaves = visitor.leaves(hive, &all[0].lower_id()).await;
        visitor.expect_all(&leaves, all[0].id);
        let package = package_of(&leaves[0]);
        visitor
            .package(&format!("{flat}/{}", package.path()), package, "")
            .await;
    }
    for (id, normal) in RESTORED {
        let package = packages::find(id, normal);
        visitor
            .package(&format!("{flat}/{}", package.path()), package, "")
            .await;
    }
    // `list` takes the V2 feed where one is named, and fails where that is not answered: none may be.
    assert_eq!(index.find(&["LegacyGallery/2.0.0", "LegacyGallery"]), None);
}

/// A multipart form with one file, as this client writes it.
fn form(package: &[u8]) -> (String, Vec<u8>) {
    let boundary = "a2146fcc-84ad-4b1e-b169-6ac3963ee946";
    let mut body = format!(
        "--{boundary}\r\nContent-Type: application/octet-stream\r\n\
         Content-Disposition: form-data; name=package; filename=package.nupkg; filename*=utf-8''package.nupkg\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(package);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (
        format!("multipart/form-data; boundary=\"{boundary}\""),
        body,
    )
}

#[tokio::test(start_paused = true)]
async fn nuget_exe_3_4_pushes_and_deletes() {
    let proxy = TestProxy::new().await;
    let visitor = Visitor::new(&proxy, Client::NugetExe34, "nuget.exe", "push");
    let index = visitor.index().await;
    let publish = index.resource(&["PackagePublish/2.0.0"]).to_owned();
    let path = publish.strip_prefix(US).expect("ours");
    let (kind, body) = form(&fixture::package(ONE, "3.0.0", 5000));
    let length = body.len().to_string();
    let mut ask = Ask::new(Method::PUT, &format!("{path}/")).body(body.clone());
    for (name, value) in HEADERS {
        ask = ask.header(name, value);
    }
    let ask = ask
        .header("x-nuget-apikey", "push-key")
        .header("content-type", &kind)
        .header("content-length", &length);
    proxy.send(ask).await.expect_status(201, "relayed");
    let seen = proxy.origin.last("PUT push.test/api/v2/package/");
    assert_eq!(seen.header("content-length"), Some(length.as_str()));
    assert_eq!(seen.header("content-type"), Some(kind.as_str()));
    assert_eq!(seen.header("x-nuget-apikey"), Some("push-key"));
    assert_eq!(seen.header("transfer-encoding"), None);
    assert!(seen.body == body);

    let url = format!("{publish}/{ONE}/1.0.0");
    let more = [("x-nuget-apikey", "push-key"), ("content-length", "0")];
    let answer = visitor.send(Method::DELETE, &url, "", &more).await;
    assert_eq!(answer.status, 204, "{:?}", answer.reason);
    let seen = proxy
        .origin
        .last(&format!("DELETE push.test/api/v2/package/{ONE}/1.0.0"));
    assert_eq!(seen.header("x-nuget-apikey"), Some("push-key"));
}
