//! Cases: the table of routes, spellings of ids and versions (protocol facts 2.0.1 to 2.0.6), bad paths.

use super::*;

fn id(text: &str) -> PackageId {
    PackageId::parse(text).expect("an id")
}

fn v(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

#[track_caller]
fn check(path: &str, expected: Resource) {
    assert_eq!(
        parse(path),
        Ok(Route::Feed(None, expected.clone())),
        "{path}"
    );
    assert_eq!(
        parse(&format!("/nuget{path}/")),
        Ok(Route::Feed(Some("nuget".into()), expected)),
        "{path} of a named feed, with a final slash"
    );
}

#[track_caller]
fn refused(path: &str) {
    assert!(
        matches!(parse(path), Err(RouteError::Malformed(_))),
        "{path}: {:?}",
        parse(path)
    );
}

#[track_caller]
fn unknown(path: &str) {
    assert_eq!(parse(path), Err(RouteError::Unknown), "{path}");
}

#[test]
fn every_resource_has_its_path() {
    let content = |file| Resource::Content {
        id: id("serilog"),
        version: v("3.1.1"),
        file,
    };
    check("/v3/index.json", Resource::ServiceIndex);
    check(
        "/v3/flatcontainer/serilog/index.json",
        Resource::VersionList(id("serilog")),
    );
    check(
        "/v3/flatcontainer/serilog/3.1.1/serilog.3.1.1.nupkg",
        content(Content::Package),
    );
    check(
        "/v3/flatcontainer/serilog/3.1.1/serilog.nuspec",
        content(Content::Manifest),
    );
    check(
        "/v3/flatcontainer/serilog/3.1.1/icon",
        content(Content::Icon),
    );
    check(
        "/v3/flatcontainer/serilog/3.1.1/readme",
        content(Content::Readme),
    );
    check(
        "/v3/flatcontainer/serilog/3.1.1/license",
        content(Content::License),
    );
    check("/v3/search", Resource::Search);
    check("/v3/autocomplete", Resource::Autocomplete);
    check("/v3/package", Resource::Publish(None));
    check("/v3/symbolpackage", Resource::SymbolPublish(None));
    check(
        "/v3/vulnerabilities/index.json",
        Resource::VulnerabilityIndex,
    );
    check(
        "/v3/vulnerabilities/base-0a",
        Resource::VulnerabilityPage("base-0a".into()),
    );
    check(
        "/v3/catalog/data/2024.1/a.1.json",
        Resource::Catalog("data/2024.1/a.1.json".into()),
    );
    assert_eq!(parse("/"), Ok(Route::Home));
    assert_eq!(parse("/-/healthz"), Ok(Route::Health));
}

#[test]
fn registration_documents_keep_their_path_as_written() {
    let of = |part| Resource::Registration {
        hive: "gz-1a2b3c".into(),
        id: id("a.b"),
        part,
    };
    check(
        "/v3/registration/gz-1a2b3c/A.b/Index.json",
        of(RegistrationPart::Index),
    );
    check(
        "/v3/registration/gz-1a2b3c/a.b/1.0.0-RC.json",
        of(RegistrationPart::Leaf("1.0.0-RC.json".into())),
    );
    check(
        "/v3/registration/gz-1a2b3c/a.b/page/1.0.0-rc/2.0.json",
        of(RegistrationPart::Page {
            rest: "page/1.0.0-rc/2.0.json".into(),
            bounds: Some((v("1.0.0-rc"), v("2.0.0"))),
        }),
    );
    check(
        "/v3/registration/gz-1a2b3c/a.b/page/odd",
        of(RegistrationPart::Page {
            rest: "page/odd".into(),
            bounds: None,
        }),
    );
}

#[test]
fn links_name_a_version_or_bounds() {
    let of = |subject| Resource::Link {
        hive: "h".into(),
        id: id("a"),
        subject,
        digest: "0123456789abcdef".into(),
    };
    check(
        "/v3/link/h/a/1.0/0123456789abcdef",
        of(LinkSubject::Version(v("1.0.0"))),
    );
    check(
        "/v3/link/h/a/1.0..2.0-b/0123456789abcdef",
        of(LinkSubject::Page(v("1.0.0"), v("2.0.0-b"))),
    );
}

#[test]
fn every_spelling_of_an_id_and_version_reaches_one_route() {
    let one = parse("/v3/flatcontainer/sluice.odd/1.0.0/sluice.odd.1.0.0.nupkg");
    for path in [
        "/v3/flatcontainer/Sluice.Odd/1.0/Sluice.Odd.1.0.nupkg",
        "/v3/flatcontainer/SLUICE.ODD/01.0.0.0/sluice.odd.1.0.0.NUPKG",
        "/v3/flatcontainer/sluice%2eodd/1.0.0%2Bmeta/sluice.odd.1.0.nupkg",
    ] {
        assert_eq!(parse(path), one, "{path}");
    }
    assert_eq!(
        parse("/v3/flatcontainer/%C3%9Cn%C3%AFcode/index.json"),
        Ok(Route::Feed(None, Resource::VersionList(id("ünïcode"))))
    );
}

#[test]
fn publish_keeps_what_was_typed() {
    check(
        "/v3/package/Serilog/3.01",
        Resource::Publish(Some(Published {
            id: id("serilog"),
            version: v("3.1.0"),
            as_typed: "Serilog/3.01".into(),
        })),
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    refused("v3/index.json");
    refused("/v3/../index.json");
    refused("/v3/%2e%2e/index.json");
    refused("/v3//index.json");
    refused("/v3/flatcontainer/a%2fb/index.json");
    refused("/v3/flatcontainer/a%00/index.json");
    refused("/v3/flatcontainer/%ff/index.json");
    refused("/v3/flatcontainer/%c0%ae/index.json");
    refused("/v3/flatcontainer/serilog/latest/serilog.latest.nupkg");
    refused("/v3/flatcontainer/serilog/1.0/dapper.1.0.nupkg");
    refused("/v3/flatcontainer/serilog/1.0/serilog.1.1.nupkg");
    refused("/v3/flatcontainer/serilog/1.0/dapper.nuspec");
    refused(&format!("/{}", "a".repeat(5000)));
}

#[test]
fn files_beside_the_flat_container_have_their_paths() {
    let hex = "3f9001ea83c560d712c24cf213c3d312cb3bff51ee89435d3430bd06b5d0eece";
    for spelled in [hex.to_owned(), hex.to_uppercase()] {
        check(
            &format!("/v3/repository-signatures/certificates/{spelled}.crt"),
            Resource::Certificate(hex.into()),
        );
    }
    for version in SignaturesVersion::ALL {
        check(
            &format!("/v3/repository-signatures/{}/index.json", version.as_str()),
            Resource::RepositorySignatures(version),
        );
    }
    check(
        "/v3/symbols/A%20b.pdb/KEYffffffff/A%20b.pdb",
        Resource::Symbols(SymbolPath {
            as_typed: "A%20b.pdb/KEYffffffff/A%20b.pdb".into(),
            canonical: "a b.pdb/keyffffffff/a b.pdb".into(),
        }),
    );
    assert_eq!(
        parse("/-/tools.json"),
        Ok(Route::Tools(Resource::ToolsList))
    );
    let tool = Route::Tools(Resource::Tool("0123".into()));
    assert_eq!(parse("/-/tools/0123/nuget.exe"), Ok(tool));
}

#[test]
fn paths_of_v2_are_told_apart_from_what_lies_nowhere() {
    for (path, first) in [
        ("/api/v2", "api"),
        ("/nuget/FindPackagesById()", "nuget"),
        ("/v3/Packages(Id='a',Version='1')", "v3"),
        ("/nuget/v3/$metadata", "nuget"),
        ("/nuget/api/v2/package/a/1.0.0", "nuget"),
    ] {
        assert_eq!(parse(path), Ok(Route::V2(first.into())), "{path}");
    }
    // What has a place is served, whatever it is called.
    check(
        "/v3/flatcontainer/v2/index.json",
        Resource::VersionList(id("v2")),
    );
}

#[test]
fn what_lies_nowhere_is_unknown() {
    for path in [
        "/v3",
        "/nuget",
        "/v3/flatcontainer",
        "/v3/flatcontainer/a",
        "/v3/flatcontainer/a/1.0/other.txt",
        "/v3/registration/h/a",
        "/v3/link/h/a/1.0",
        "/v3/package/a",
        "/-/metrics",
        "/-/tools",
        "/-/tools/0123456789abcdef",
        "/v3/repository-signatures/6.0.0/index.json",
        "/v3/repository-signatures/5.0.0",
        "/v3/repository-signatures/certificates/ab.crt",
        "/v3/symbols/a.pdb/k",
        "/v3/symbols/pingme.txt",
        "/favicon.ico",
        "/v3/vulnerabilities",
    ] {
        unknown(path);
    }
}
