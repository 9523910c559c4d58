//! Protocol facts 1.1.3–1.1.10, 1.1.14, 1.1.20, 1.1.22, 1.2 and 1.4, and every service index of `tests/data`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::*;

const OURS: &str = "http://127.0.0.1:6850/nuget/v3/";

fn index(resources: &str) -> ServiceIndex {
    read(&format!(
        "{{\"version\":\"3.0.0\",\"resources\":[{resources}]}}"
    ))
    .expect("this is an index")
}

fn resource(url: &str, type_name: &str) -> String {
    format!(r#"{{"@id":"{url}","@type":"{type_name}"}}"#)
}

fn links() -> OurLinks {
    OurLinks { base: OURS.into() }
}

/// The rendered resources as (type, client version, URL).
fn rendered(index: &ServiceIndex) -> Vec<(String, String, String)> {
    let document: Value =
        serde_json::from_str(&index.render(&links(), Audit::OfUpstream)).expect("we hand out JSON");
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = document["resources"].as_array().expect("an array");
    entries
        .iter()
        .map(|entry| {
            (
                text(entry, "@type"),
                text(entry, "clientVersion"),
                text(entry, "@id"),
            )
        })
        .collect()
}

#[track_caller]
fn check_rendered(resources: &str, expected: &[(&str, &str, &str)]) {
    let found = rendered(&index(resources));
    let found: Vec<_> = found
        .iter()
        .map(|(a, b, c)| (&a[..], &b[..], &c[..]))
        .collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = read(text).map_err(|error| error.to_string());
    assert_eq!(error.map(|_| ()), Err(expected.to_owned()));
}

#[track_caller]
fn check_endpoints(service: Service, resources: &[(&str, &str)], expected: &[&str]) {
    let resources: Vec<_> = resources
        .iter()
        .map(|(url, name)| resource(url, name))
        .collect();
    assert_eq!(index(&resources.join(",")).endpoints(service), expected);
}

#[test]
fn refuses_what_the_client_refuses() {
    check_refused(
        "[]",
        "service index: at byte 0: expected an object, found '['",
    );
    check_refused(
        "\"x\"",
        "service index: at byte 0: expected an object, found '\"'",
    );
    let version = "service index: expected a property \"version\" that is a string";
    check_refused("{\"resources\":[]}", version);
    check_refused("{\"version\":3,\"resources\":[]}", version);
    for version in ["2.0.0", "30.0.0", "x", "", "3."] {
        let text = format!("{{\"version\":\"{version}\",\"resources\":[]}}");
        let problem = format!("expected a \"version\" of major number 3, found {version:?}");
        check_refused(&text, &format!("service index: {problem}"));
    }
    let resources = "service index: expected a property \"resources\" that is an array";
    check_refused("{\"version\":\"3.0.0\"}", resources);
    check_refused("{\"version\":\"3.0.0\",\"resources\":{}}", resources);
    let cut = "service index: at byte 19: expected a string, found the end of the text";
    check_refused("{\"version\":\"3.0.0\",", cut);
}

#[test]
fn takes_arrays_and_skips_what_the_client_skips() {
    let index = index(
        r#"{"@id":["https://h/a"],"@type":["A","B"],"clientVersion":["4.0.0","5.0.0"],"comment":"c","x":1},
        {"@id":["https://h/a","https://h/b"],"@type":"A"}, {"@id":[],"@type":"A"}, {"@type":"A"}, 7, null,
        {"@id":"https://h/c"}, {"@id":"https://h/c","@type":[]}, {"@id":"https://h/c","@type":4},
        {"@id":"https://h/d","@type":"A","clientVersion":[]}, {"@id":"https://h/d","@type":"A","clientVersion":4},
        {"@id":" https://h/e ","@type":"A","clientVersion":null,"comment":5},"#,
    );
    let expected = [
        Resource {
            url: "https://h/a".into(),
            types: vec!["A".into(), "B".into()],
            client_versions: vec!["4.0.0".into(), "5.0.0".into()],
            comment: Some("c".into()),
        },
        Resource {
            url: "https://h/e".into(),
            types: vec!["A".into()],
            client_versions: Vec::new(),
            comment: None,
        },
    ];
    assert_eq!(index.resources, expected);
}

#[test]
fn keeps_ids_that_are_no_urls_apart() {
    for (url, expected) in [
        ("https://h", true),
        ("HTTP://h/a b/{id}", true),
        ("null", false),
        ("urn:uuid:516521bf-6417-457e-9a9c-0a4bdfde03e7", false),
        ("com.visualstudio.feeds.feedview:516521bf", false),
        ("%1$s/query", false),
        ("/v3/query", false),
        ("ftp://h/", false),
        ("https:///a", false),
        ("https://h/\\u0007", false),
    ] {
        let index = index(&resource(url, "SearchQueryService"));
        assert_eq!(index.resources.len(), 1, "{url}");
        assert_eq!(index.resources[0].is_url(), expected, "{url}");
        assert_eq!(
            !index.endpoints(Service::Search).is_empty(),
            expected,
            "{url}"
        );
        assert_eq!(!rendered(&index).is_empty(), expected, "{url}");
    }
}

#[test]
fn endpoints_go_by_type_then_by_place() {
    check_endpoints(
        Service::Search,
        &[
            ("https://h/bare", "SearchQueryService"),
            ("https://h/versioned", "SearchQueryService/Versioned"),
            ("https://h/1", "SearchQueryService/3.0.0-beta"),
            ("https://h/2", "SearchQueryService/3.0.0-beta"),
            ("https://h/2/", "SearchQueryService/3.5.0"),
            ("https://h/lower", "searchqueryservice/3.5.0"),
        ],
        &[
            "https://h/2/",
            "https://h/versioned",
            "https://h/1",
            "https://h/bare",
        ],
    );
    check_endpoints(
        Service::Autocomplete,
        &[("https://h/2", "SearchQueryService")],
        &[],
    );
}

#[test]
fn endpoints_of_one_type_go_by_client_version() {
    let versioned = |url: &str, version: &str| {
        format!(
            r#"{{"@id":"https://h/{url}","@type":"PackagePublish/Versioned","clientVersion":{version}}}"#
        )
    };
    let resources = [
        resource("https://h/every", "PackagePublish/Versioned"),
        versioned("a", "\"4.3.0-alpha\""),
        versioned("b", "[\"4.0.0\",\"10.0.0\"]"),
        versioned("c", "\"4.3.0\""),
        versioned("d", "\"10.0.0\""),
    ];
    let index = index(&resources.join(","));
    assert_eq!(
        index.endpoints(Service::PackagePublish),
        [
            "https://h/b",
            "https://h/d",
            "https://h/c",
            "https://h/a",
            "https://h/every"
        ]
    );
}

#[test]
fn hands_out_one_entry_for_each_type_and_client_version() {
    check_rendered(
        r#"{"@id":"https://a/query","@type":["SearchQueryService","SearchQueryService/3.5.0"],"comment":"x"},
        {"@id":"https://b/query","@type":"SearchQueryService"},
        {"@id":"https://b/query","@type":"SearchQueryService/Versioned","clientVersion":["4.0.0","5.0.0"]},
        {"@id":"https://c/query","@type":"SearchQueryService/Versioned","clientVersion":"5.0.0"},
        {"@id":"https://a/complete","@type":"SearchAutocompleteService"},
        {"@id":"https://a/push/","@type":"PackagePublish/2.0.0"},
        {"@id":"https://a/symbols","@type":"SymbolPackagePublish/4.9.0"},
        {"@id":"https://a/v.json","@type":"VulnerabilityInfo/6.7.0"},
        {"@id":"https://a/catalog/index.json","@type":"Catalog/3.0.0"},
        {"@id":"https://a/unknown","@type":"Unknown/1.0.0"},
        {"@id":"http://a/{id}/{version}?x=%7B","@type":"PackageDetailsUriTemplate/5.1.0"}"#,
        &[
            ("SearchQueryService", "", &format!("{OURS}search")),
            ("SearchQueryService/3.5.0", "", &format!("{OURS}search")),
            (
                "SearchQueryService/Versioned",
                "4.0.0",
                &format!("{OURS}search"),
            ),
            (
                "SearchQueryService/Versioned",
                "5.0.0",
                &format!("{OURS}search"),
            ),
            (
                "SearchAutocompleteService",
                "",
                &format!("{OURS}autocomplete"),
            ),
            ("PackagePublish/2.0.0", "", &format!("{OURS}package")),
            (
                "SymbolPackagePublish/4.9.0",
                "",
                &format!("{OURS}symbolpackage"),
            ),
            (
                "VulnerabilityInfo/6.7.0",
                "",
                &format!("{OURS}vulnerabilities/index.json"),
            ),
            ("Catalog/3.0.0", "", &format!("{OURS}catalog/index.json")),
            (
                "PackageDetailsUriTemplate/5.1.0",
                "",
                "http://a/{id}/{version}?x=%7B",
            ),
        ],
    );
}

#[test]
fn keeps_hives_apart_and_joins_spellings_of_one() {
    let hives = index(
        &[
            resource("https://h/reg", "RegistrationsBaseUrl"),
            resource("https://h/reg/", "RegistrationsBaseUrl/3.4.0"),
            resource("https://h/reg-semver2", "RegistrationsBaseUrl/3.6.0"),
            resource("https://h/flat", "PackageBaseAddress/3.0.0"),
        ]
        .join(","),
    );
    let tokens: Vec<Hive> = hives.hives();
    let bases: Vec<&str> = tokens.iter().map(|hive| hive.base.as_str()).collect();
    assert_eq!(bases, ["https://h/reg-semver2/", "https://h/reg/"]);
    let url = |hive: &Hive| format!("{OURS}registration/{}/", hive.token);
    let urls: Vec<String> = rendered(&hives)
        .into_iter()
        .map(|(_, _, url)| url)
        .collect();
    let (semver2, plain) = (url(&tokens[0]), url(&tokens[1]));
    assert_eq!(
        urls,
        [
            plain.clone(),
            plain,
            semver2,
            format!("{OURS}flatcontainer/")
        ]
    );
}

#[test]
fn gives_a_flat_container_to_who_has_registrations_only() {
    let found = rendered(&index(&resource("https://h/reg", "RegistrationsBaseUrl")));
    let flat = (
        "PackageBaseAddress/3.0.0".into(),
        String::new(),
        format!("{OURS}flatcontainer/"),
    );
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], flat);
    check_rendered(
        &resource("https://h/v.json", "VulnerabilityInfo/6.7.0"),
        &[(
            "VulnerabilityInfo/6.7.0",
            "",
            &format!("{OURS}vulnerabilities/index.json"),
        )],
    );
}

#[test]
fn gives_a_numbered_type_to_who_has_versioned_ones_only() {
    let versioned = |url: &str, version: &str| {
        let name = "RegistrationsBaseUrl/Versioned";
        format!(r#"{{"@id":"{url}","@type":"{name}","clientVersion":"{version}"}}"#)
    };
    let old = versioned("https://h/old", "4.0.0");
    let hives = [old.clone(), versioned("https://h/new", "10.0.0")].join(",");
    let found = rendered(&index(&hives));
    let (new, last) = (&found[1].2, &found[2]);
    assert_eq!(
        (&*last.0, &*last.1, &last.2),
        ("RegistrationsBaseUrl/3.6.0", "", new)
    );
    // Whoever has a numbered type keeps what it has.
    let numbered = resource("https://h/old", "RegistrationsBaseUrl/3.0.0-rc");
    let found = rendered(&index(&[old, numbered].join(",")));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|(name, ..)| !name.ends_with("/3.6.0")));
}

#[test]
fn moves_the_readme_template_with_the_flat_container_or_drops_it() {
    let flat = resource("https://h/flat", "PackageBaseAddress/3.0.0");
    let ours = (
        "PackageBaseAddress/3.0.0",
        "",
        &*format!("{OURS}flatcontainer/"),
    );
    let readme = format!("{OURS}flatcontainer/{{lower_id}}/{{lower_version}}/readme");
    let template = |url| format!("{flat},{}", resource(url, "ReadmeUriTemplate/6.13.0"));
    check_rendered(
        &template("https://h/flat/{lower_id}/{lower_version}/readme"),
        &[ours, ("ReadmeUriTemplate/6.13.0", "", &readme)],
    );
    for elsewhere in [
        "https://h/readme/{lower_id}/{lower_version}/readme",
        "https://h/flat/{lower_id}/{lower_version}/README.md",
        "https://h/flat-2/{lower_id}/{lower_version}/readme",
    ] {
        check_rendered(&template(elsewhere), &[ours]);
    }
}

#[test]
fn the_catalog_base_is_its_index_directory() {
    for (url, expected) in [
        ("https://h/v3/catalog0/index.json", "https://h/v3/catalog0/"),
        ("https://h/v3/catalog0/", "https://h/v3/catalog0/"),
        ("https://h/c/index.json?a=/b/", "https://h/c/"),
        ("https://h", "https://h/"),
    ] {
        let index = index(&resource(url, "Catalog/3.0.0"));
        assert_eq!(index.catalog_base().as_deref(), Some(expected), "{url}");
    }
    assert_eq!(index("").catalog_base(), None);
}

#[test]
fn every_address_of_ours_lies_below_the_base() {
    let links = links();
    assert_eq!(links.index(), format!("{OURS}index.json"));
    assert_eq!(
        links.registration("a-1"),
        format!("{OURS}registration/a-1/")
    );
    assert_eq!(
        links.vulnerability_page("base-1"),
        format!("{OURS}vulnerabilities/base-1")
    );
    assert_eq!(links.service(Service::Registrations), None);
}

#[test]
fn every_type_has_one_row() {
    let names: BTreeSet<&str> = table::TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), table::TABLE.len());
    assert!(matches!(treatment("Unknown/9.9.9"), Treatment::Drop(_)));
    assert!(matches!(
        treatment("packagebaseaddress/3.0.0"),
        Treatment::Drop(_)
    ));
}

/// The documents of `tests/data/service-index`, with their names.
fn samples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/service-index");
    let files = std::fs::read_dir(folder).expect("the samples are there");
    let mut samples: Vec<(String, String)> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read_to_string(path).expect("a text"))
        })
        .collect();
    samples.sort();
    samples
}

#[test]
fn mirrors_the_types_of_every_real_index_and_leaks_none_of_its_urls() {
    let samples = samples();
    assert_eq!(samples.len(), 29);
    for (name, text) in samples {
        let index = read(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut expected = BTreeSet::new();
        for resource in index.resources.iter().filter(|resource| resource.is_url()) {
            for type_name in &resource.types {
                match treatment(type_name) {
                    Treatment::Drop(_) => continue,
                    // Our own address here is http.
                    Treatment::Serve(Service::RepositorySignatures(_), _) => continue,
                    Treatment::Keep(_) | Treatment::Rebase(..) | Treatment::Serve(..) => {}
                }
                let version = resource
                    .client_versions
                    .first()
                    .cloned()
                    .unwrap_or_default();
                expected.insert((type_name.clone(), version));
            }
        }
        if !index.hives().is_empty() {
            expected.insert((table::PACKAGE_BASE.into(), String::new()));
        }
        let found = rendered(&index);
        for (type_name, _, url) in &found {
            let is_kept = matches!(treatment(type_name), Treatment::Keep(_));
            assert!(
                is_kept || url.starts_with(OURS),
                "{name}: {type_name} at {url}"
            );
        }
        let pairs: BTreeSet<(String, String)> = found
            .iter()
            .map(|(type_name, version, _)| (type_name.clone(), version.clone()))
            .collect();
        assert_eq!(pairs.len(), found.len(), "{name}: an entry is there twice");
        assert_eq!(pairs, expected, "{name}");
        let ours = read(&index.render(&links(), Audit::OfUpstream))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ours.version, index.version, "{name}");
        assert_eq!(
            ours.hives().len(),
            index.hives().len(),
            "{name}: proxy behind proxy"
        );
    }
}

#[test]
fn knows_every_type_of_the_real_indexes() {
    for (name, text) in samples() {
        let index = read(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for type_name in index.resources.iter().flat_map(|resource| &resource.types) {
            assert!(
                table::TABLE.iter().any(|(known, _)| known == type_name),
                "{name}: {type_name} has no row"
            );
        }
    }
}
