//! What the upstream of the matrix has of each class: texts and files, in four editions.

use std::sync::OnceLock;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::harness::fixture::{COMMIT, ONE, package, service_index};

/// Bytes of a file that is given before its verdict: more than what is held back.
pub(super) const LARGE: usize = 40_000;
/// Bytes of a file that is not.
pub(super) const SMALL: usize = 3_000;

/// One state of what the upstream has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Edition {
    /// What it has when the fault begins.
    New,
    /// From before what is stored.
    Older,
    /// Of another package.
    Other,
    /// What is stored.
    Stored,
}

impl Edition {
    /// The word for it in the legend, and the mark in its text.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Older => "older",
            Self::Other => "other",
            Self::Stored => "stored",
        }
    }

    pub(super) fn mark(self) -> String {
        format!("edition-{}", self.word())
    }

    /// When it was committed.
    pub(super) fn time(self) -> String {
        format!("2026-11-0{}T10:00:00.0000000Z", self.day())
    }

    pub(super) fn day(self) -> u32 {
        match self {
            Self::Older => 3,
            Self::Other | Self::Stored => 4,
            Self::New => 5,
        }
    }

    pub(super) fn id(self, id: &'static str) -> &'static str {
        if self == Self::Other {
            "Sample.Other"
        } else {
            id
        }
    }
}

/// `@updated` of the vulnerability page.
pub(super) const UPDATED: &str = "2026-11-04T10:00:00Z";

pub(super) fn index(host: &str, edition: Edition) -> String {
    let at = |path: &str| format!("https://{host}/{path}");
    let template = format!("https://www.test/{}/{{id}}/{{version}}", edition.mark());
    let resources = [
        ("PackageBaseAddress/3.0.0", at("flat/")),
        ("RegistrationsBaseUrl/3.6.0", at("reg/")),
        ("SearchQueryService", at("query")),
        ("SearchAutocompleteService", at("autocomplete")),
        ("VulnerabilityInfo/6.7.0", at("vulnerabilities/index.json")),
        ("Catalog/3.0.0", at("catalog/index.json")),
        ("RepositorySignatures/5.0.0", at("signatures/index.json")),
        ("PackageDetailsUriTemplate/5.1.0", template),
    ];
    service_index(&resources.each_ref().map(|(name, url)| (*name, &**url)))
}

pub(super) fn page_url(host: &str) -> String {
    format!("https://{host}/vulnerabilities/base.json")
}

pub(super) fn catalog_index(host: &str, edition: Edition) -> String {
    let page = |at: usize, time: &str| {
        json!({
            "@id": format!("https://{host}/catalog/page{at}.json"), "@type": "CatalogPage",
            "commitId": format!("commit {at}"), "commitTimeStamp": time, "count": 1,
        })
    };
    let items = [
        page(0, "2026-11-01T10:00:00Z"),
        page(1, "2026-11-04T10:00:00Z"),
    ];
    let index = json!({
        "@id": format!("https://{host}/catalog/index.json"), "@type": ["CatalogRoot"],
        "commitTimeStamp": edition.time(), "count": 2, "items": items,
    });
    marked(index, edition)
}

/// The newest page. Its commit has one name, as the index has it, whatever its time.
pub(super) fn catalog_page(host: &str, edition: Edition) -> String {
    let leaf = json!({
        "@id": format!("https://{host}/catalog/data/2026/sample.one.1.0.0.json"),
        "@type": "nuget:PackageDetails", "commitTimeStamp": "2026-11-04T10:00:00Z",
        "nuget:id": ONE, "nuget:version": "1.0.0",
    });
    let page = json!({
        "@id": format!("https://{host}/catalog/page1.json"), "@type": "CatalogPage",
        "commitId": "commit 1", "commitTimeStamp": edition.time(), "count": 1,
        "parent": format!("https://{host}/catalog/index.json"), "items": [leaf],
    });
    marked(page, edition)
}

/// Its digest is its name, so of one certificate there is one edition.
pub(super) fn certificate(host: &str, edition: Edition) -> Vec<u8> {
    match edition {
        Edition::Other => b"another certificate".to_vec(),
        Edition::New | Edition::Older | Edition::Stored => {
            format!("a certificate of {host}, as far as its fingerprint goes").into()
        }
    }
}

pub(super) fn signatures(host: &str, edition: Edition) -> String {
    let digest = sha256(&certificate(host, Edition::Stored));
    let certificate = json!({
        "fingerprints": {"2.16.840.1.101.3.4.2.1": digest},
        "subject": "CN=a", "issuer": "CN=b", "notBefore": "2024-01-01", "notAfter": "2027-01-01",
        "contentUrl": format!("https://{host}/signatures/a.crt"),
    });
    marked(
        json!({"allRepositorySigned": true, "signingCertificates": [certificate]}),
        edition,
    )
}

/// The package, made once: a matrix compares it thousands of times.
pub(super) fn packed(edition: Edition) -> Vec<u8> {
    static MADE: [OnceLock<Vec<u8>>; 4] = [const { OnceLock::new() }; 4];
    let bytes = LARGE + 100 * edition.day() as usize;
    let make = || package(edition.id(ONE), "1.0.0", bytes);
    MADE[edition as usize].get_or_init(make).clone()
}

/// A document with the edition's mark as a property of its own.
pub(super) fn marked(mut document: Value, edition: Edition) -> String {
    document["edition"] = edition.mark().into();
    document.to_string()
}

/// The text of a registration with the edition's mark and time in it.
pub(super) fn dated(text: &str, edition: Edition) -> String {
    let document = serde_json::from_str(text).expect("JSON");
    marked(document, edition).replace(COMMIT, &edition.time())
}

pub(super) fn filled(name: &str, edition: Edition, bytes: usize) -> Vec<u8> {
    let line = format!("{name} {}\n", edition.mark());
    let mut text = line.repeat(bytes / line.len()).into_bytes();
    text.resize(bytes + 10 * edition.day() as usize, b'.');
    text
}

pub(super) fn httpdate_of(day: u32) -> String {
    let name = ["Sun", "Mon", "Tue", "Wed", "Thu"][day as usize - 1];
    format!("{name}, 0{day} Nov 2026 10:00:00 GMT")
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    digest(&SHA256, bytes).as_ref().iter().map(hex).collect()
}
