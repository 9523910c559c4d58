//! NuGet's own library, which is inside Visual Studio and Rider's back end too, reads everything that a feed offers: over
//! http and https what the upstream offers, and at feeds of every shape. What differs is listed, each with its reason.

use crate::authority::Authority;
use crate::harness::shared;
use crate::harness::sluice;
use crate::machine::Machine;
use crate::servers::{Server, packages};
use crate::site::Site;
use crate::stage::{Stage, say, use_directly};
use crate::suite::{Turn, turn};
use crate::tls::Scene;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Types that Sluice does not offer, each with its reason.
const DROPPED: [(&str, &str); 6] = [
    (
        "AzureDevOpsProjectId",
        "an identifier of the vendor's tools",
    ),
    ("LegacyGallery", "it is a V2 feed"),
    ("PackageDisplayMetadataUriTemplate", "no client reads it"),
    (
        "PackageVersionDisplayMetadataUriTemplate",
        "no client reads it",
    ),
    ("Vss", "an identifier of the vendor's tools"),
    (
        "http://schema.emgarten.com/",
        "read by the tool that writes the feed",
    ),
];

/// What a client offers no address for, over http.
const OVER_HTTPS_ALONE: &str = "RepositorySignatures/";

/// What NuGet's library reads from a source, of these ids and for these words.
fn probe(machine: &Machine, source: &str, ids: &[&str], queries: &[&str]) -> Value {
    let program = shared().join("client/nuget-probe").display().to_string();
    let mut words = vec![program.as_str(), source];
    words.extend(ids.iter().flat_map(|id| ["--id", id]));
    words.extend(queries.iter().flat_map(|query| ["--query", query]));
    let outcome = machine.run(&machine.work(), &words).succeeded();
    serde_json::from_str(&outcome.text).unwrap_or_else(|error| panic!("{error}: {}", outcome.text))
}

/// Takes the types out of what was read.
fn types(read: &mut Value) -> BTreeSet<String> {
    let types = read["types"].take();
    let types = types.as_array().expect("types are a list").iter();
    types
        .map(|name| name.as_str().expect("a type is text").to_owned())
        .collect()
}

/// Fails unless each type is offered, but for those that are dropped, and none but `added` besides.
fn assert_types(
    offered: &BTreeSet<String>,
    upstream: &BTreeSet<String>,
    dropped: &[&str],
    added: &[&str],
) {
    let starts = |name: &String, with: &[&str]| with.iter().any(|start| name.starts_with(start));
    for name in upstream {
        assert_eq!(!offered.contains(name), starts(name, dropped), "{name}");
    }
    let more: Vec<&String> = offered.difference(upstream).collect();
    assert!(more.iter().all(|name| starts(name, added)), "{more:?}");
}

/// Fails at the first line that differs, and where the library failed on both sides alike, but for steps whose names begin
/// so.
fn assert_same(got: &Value, expected: &Value, impossible: &str) {
    let text = |value: &Value| serde_json::to_string_pretty(value).expect("it was JSON");
    let (text, expected) = (text(got), text(expected));
    let differs = text
        .lines()
        .zip(expected.lines())
        .find(|(got, expected)| got != expected);
    assert!(text == expected, "first difference: {differs:?}");
    for (name, step) in got.as_object().expect("an object") {
        let is_possible = impossible.is_empty() || !name.starts_with(impossible);
        assert!(
            !is_possible || step.get("error").is_none(),
            "{name}: {step}"
        );
    }
}

const IDS: [&str; 10] = [
    "Newtonsoft.Json",
    "Polly",
    "Serilog",
    "Sluice.Sample.Assets",
    "Sluice.Sample.Deprecated",
    "Sluice.Sample.Many",
    "Sluice.Sample.Odd",
    "Sluice.Sample.Unlisted",
    "System.Net.Http",
    "Ünïcode.Påket",
];
const QUERIES: [&str; 3] = ["microsoft extensions", "serilog", "sluice"];

/// What is read straight from an upstream.
fn directly(turn: &Turn, source: &str) -> Value {
    let machine = Machine::new(&turn.folder.join("direct"), &turn.sdk);
    use_directly(&machine, source);
    probe(&machine, source, &IDS, &QUERIES)
}

#[test]
fn the_clients_library_reads_the_same_through_it() {
    let Some(turn) = turn("the_clients_library_reads_the_same_through_it") else {
        return;
    };
    let stage = Stage::empty(&turn);
    let mut expected = directly(&turn, &stage.upstream.source());
    stage.upstream.reset();
    let mut got = probe(&stage.machine, &stage.sluice.source(), &IDS, &QUERIES);
    stage.asked();
    let mut dropped = DROPPED.map(|(start, _)| start).to_vec();
    dropped.push(OVER_HTTPS_ALONE);
    assert_types(&types(&mut got), &types(&mut expected), &dropped, &[]);
    for read in [&mut got, &mut expected] {
        read.as_object_mut()
            .expect("an object")
            .remove("signatures");
    }
    assert_same(&got, &expected, "");
}

#[test]
fn the_clients_library_reads_the_same_over_https() {
    let Some(turn) = turn("the_clients_library_reads_the_same_over_https") else {
        return;
    };
    let mut scene = Scene::new(&turn);
    let mut expected = directly(&turn, &scene.upstream.source());
    scene.upstream.reset();
    scene.machine.trust(&scene.authority.file.clone());
    let mut got = probe(
        &scene.machine,
        &scene.sluice.secure_source(),
        &IDS,
        &QUERIES,
    );
    scene.upstream.assert_no_leak();
    let dropped = DROPPED.map(|(start, _)| start);
    assert_types(&types(&mut got), &types(&mut expected), &dropped, &[]);
    assert_same(&got, &expected, "");
}

/// Leaves of each address on this machine that it is one.
fn forget_places(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_places),
        Value::Object(members) => members.values_mut().for_each(forget_places),
        Value::String(text) if text.starts_with("{origin}/") => text.truncate("{origin}".len()),
        _ => {}
    }
}

/// What was read at a shape without what differs: where packages and icons lie, whose addresses need not be below any base
/// of the server; and where the flat container is ours, made of registrations, the case of versions, which lists have
/// lower.
fn comparable(read: &Value, server: Server) -> Value {
    let is_ours = server == Server::Artifactory;
    let steps = read.as_object().expect("an object").iter();
    let steps = steps.map(|(name, step)| {
        let (kind, _) = name.split_once(' ').unwrap_or((name, ""));
        let by_version = matches!(kind, "install" | "nupkg" | "versions");
        let (mut name, mut step) = (name.clone(), step.clone());
        forget_places(&mut step);
        if is_ours && by_version {
            name = name.to_lowercase();
        }
        if is_ours && kind == "versions" {
            let lower = |version: &Value| version.as_str().map(str::to_lowercase);
            step = step.as_array().expect("a list").iter().map(lower).collect();
        }
        (name, step)
    });
    steps.collect()
}

#[test]
fn the_clients_library_reads_the_same_at_every_shape() {
    let Some(turn) = turn("the_clients_library_reads_the_same_at_every_shape") else {
        return;
    };
    let ids: Vec<&str> = packages::by_id().map(|all| all[0].id).collect();
    let mut machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    let authority = Authority::new(&turn.folder);
    let pair = authority.certify(&["127.0.0.1"]);
    machine.trust(&authority.file);
    for server in Server::ALL {
        let site = Site::start(server);
        site.is_open.store(true, Ordering::SeqCst);
        let mut expected = probe(&machine, site.source(), &ids, &["shape"]);
        site.is_open.store(false, Ordering::SeqCst);
        site.reset();
        let folder = turn.folder.join(format!("{server:?}"));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let sluice = sluice::Settings::new(&folder, &turn.folder)
            .config(&site.config())
            .argument("--tls-listen", "127.0.0.1:0")
            .argument("--tls-certificate", &pair.certificate.display().to_string())
            .argument("--tls-key", &pair.key.display().to_string())
            .start();
        let types = types(&mut expected);
        for source in [sluice.source(), sluice.secure_source()] {
            let got = probe(&machine, &source, &ids, &["shape"]);
            say(&format!("{server:?}, {source}"));
            compare(server, got, &types, &expected);
        }
        assert!(!site.asked().is_empty());
    }
}

/// Fails where what was read at a shape differs from what was read directly, its types taken out.
fn compare(server: Server, mut got: Value, upstream: &BTreeSet<String>, expected: &Value) {
    let dropped = DROPPED.map(|(start, _)| start);
    let added: &[&str] = match server {
        // One of ours, made of the registrations.
        Server::Artifactory => &["PackageBaseAddress/3.0.0"],
        _ => &[],
    };
    assert_types(&types(&mut got), upstream, &dropped, added);
    let impossible = match server {
        Server::Artifactory | Server::AzureArtifacts | Server::GitHub | Server::GitLab => {
            "autocomplete "
        }
        _ => "",
    };
    let (got, expected) = (comparable(&got, server), comparable(expected, server));
    assert_same(&got, &expected, impossible);
}
