//! What becomes of every known resource type, and why: the one table.
//!
//! A type that is not in the table is dropped: passing it would leak an upstream URL, rewriting it would advertise what
//! nobody serves (protocol fact 1.2.3). Types compare with case, as the client does (1.1.8).

/// What Sluice serves. One service stands behind several types, and has one place below our base.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Service {
    /// Ids and versions by prefix.
    Autocomplete,
    /// Every change to the feed, in order.
    Catalog,
    /// The flat container: version lists, packages, nuspecs.
    PackageBase,
    /// Push, delete, relist.
    PackagePublish,
    /// Package metadata, one hive for each base URL.
    Registrations,
    /// The certificates of the repository's signatures, one document for each version of the resource.
    RepositorySignatures(SignaturesVersion),
    /// Packages by text.
    Search,
    /// Push of symbol packages.
    SymbolPublish,
    /// The index of known vulnerabilities.
    VulnerabilityInfo,
}

/// A version of the repository signatures resource. Each has a document of its own: only the newest may claim that every
/// package is signed (protocol fact 2.6.10).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SignaturesVersion {
    /// 4.7.0.
    V4_7_0,
    /// 4.9.0.
    V4_9_0,
    /// 5.0.0.
    V5_0_0,
}

impl SignaturesVersion {
    /// Every version.
    pub const ALL: [Self; 3] = [Self::V4_7_0, Self::V4_9_0, Self::V5_0_0];

    /// As it stands in the resource's type and in our URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4_7_0 => "4.7.0",
            Self::V4_9_0 => "4.9.0",
            Self::V5_0_0 => "5.0.0",
        }
    }
}

/// What becomes of a resource type in the index that we hand out, with the reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Treatment {
    /// Left out.
    Drop(&'static str),
    /// Handed out as the upstream has it.
    Keep(&'static str),
    /// A template below the base of this service: handed out below ours, or left out where it lies elsewhere.
    Rebase(Service, &'static str),
    /// Pointed at us.
    Serve(Service, &'static str),
}

/// The type that an index of ours adds for an upstream that lacks it (protocol fact 7.1.15).
pub(super) const PACKAGE_BASE: &str = "PackageBaseAddress/3.0.0";

/// The type that an index of ours adds where vulnerability data comes from another upstream.
pub(super) const VULNERABILITY_INFO: &str = "VulnerabilityInfo/6.7.0";
/// Types that depend on the client's version, each with the numbered type that clients know which do not read those: an
/// index that offers the first alone gets the second too, or such clients find nothing (protocol fact 7.1.22).
pub(super) const NUMBERED: &[(&str, &str)] = &[
    ("PackageBaseAddress/Versioned", PACKAGE_BASE),
    ("PackagePublish/Versioned", "PackagePublish/2.0.0"),
    (
        "RegistrationsBaseUrl/Versioned",
        "RegistrationsBaseUrl/3.6.0",
    ),
    (
        "SearchAutocompleteService/Versioned",
        "SearchAutocompleteService/3.0.0-beta",
    ),
    (
        "SearchQueryService/Versioned",
        "SearchQueryService/3.0.0-beta",
    ),
];

/// The type whose URL tells where the catalog lies.
pub(super) const CATALOG: &str = "Catalog/3.0.0";

const UNKNOWN: &str =
    "not known here: kept, it would leak an upstream URL; pointed at us, it would answer 404";

const BROWSER: &str = "opened by people in a browser, never fetched by a client";
const GALLERY: &str = "internal to the gallery site";
const HISTORIC: &str = "historic, no client reads it";
const METADATA_TEMPLATE: &str =
    "no released client reads it, and it names an upstream registration in one hive out of several";
const CHANGES: &str = "mirrors and scanners follow it; no client of a restore reads it";
const SIGNATURES: &str = "read by every restore, and its certificates are ours to serve; over http, where the client \
                          refuses it, it is left out";
const V2: &str =
    "a V2 address: that protocol is not served, and its paths answer with the address of V3";
const VENDOR: &str = "an identifier of the vendor's own tools, often no URL";

const AUTOCOMPLETE: &str = "completion while typing an id";
const FLAT: &str = "version lists and packages, the whole of a restore";
const PUBLISH: &str = "passed through, so that we learn which id has changed";
const REGISTRATIONS: &str = "every upstream type is kept, since clients choose a hive by it";
const SEARCH: &str = "`package search` and the search of IDEs";
const SYMBOLS: &str = "passed through; its presence alone makes clients push symbols";
const VULNERABILITIES: &str = "the audit of every restore asks for it";

/// Every known type. Those of one service stand in the order in which we ask their endpoints: the newest number first,
/// then the type that depends on a client's version, mostly the same endpoint, then the older numbers.
pub(super) const TABLE: &[(&str, Treatment)] = {
    use Service::*;
    use Treatment::*;
    &[
        (PACKAGE_BASE, Serve(PackageBase, FLAT)),
        ("PackageBaseAddress/Versioned", Serve(PackageBase, FLAT)),
        (
            "RegistrationsBaseUrl/3.6.0",
            Serve(Registrations, REGISTRATIONS),
        ),
        (
            "RegistrationsBaseUrl/Versioned",
            Serve(Registrations, REGISTRATIONS),
        ),
        (
            "RegistrationsBaseUrl/3.4.0",
            Serve(Registrations, REGISTRATIONS),
        ),
        (
            "RegistrationsBaseUrl/3.0.0-rc",
            Serve(Registrations, REGISTRATIONS),
        ),
        (
            "RegistrationsBaseUrl/3.0.0-beta",
            Serve(Registrations, REGISTRATIONS),
        ),
        ("RegistrationsBaseUrl", Serve(Registrations, REGISTRATIONS)),
        ("SearchQueryService/3.5.0", Serve(Search, SEARCH)),
        ("SearchQueryService/Versioned", Serve(Search, SEARCH)),
        ("SearchQueryService/3.4.0", Serve(Search, SEARCH)),
        ("SearchQueryService/3.0.0-rc", Serve(Search, SEARCH)),
        ("SearchQueryService/3.0.0-beta", Serve(Search, SEARCH)),
        ("SearchQueryService", Serve(Search, SEARCH)),
        (
            "SearchAutocompleteService/3.5.0",
            Serve(Autocomplete, AUTOCOMPLETE),
        ),
        (
            "SearchAutocompleteService/Versioned",
            Serve(Autocomplete, AUTOCOMPLETE),
        ),
        (
            "SearchAutocompleteService/3.0.0-rc",
            Serve(Autocomplete, AUTOCOMPLETE),
        ),
        (
            "SearchAutocompleteService/3.0.0-beta",
            Serve(Autocomplete, AUTOCOMPLETE),
        ),
        (
            "SearchAutocompleteService",
            Serve(Autocomplete, AUTOCOMPLETE),
        ),
        ("PackagePublish/2.0.0", Serve(PackagePublish, PUBLISH)),
        ("PackagePublish/Versioned", Serve(PackagePublish, PUBLISH)),
        ("SymbolPackagePublish/4.9.0", Serve(SymbolPublish, SYMBOLS)),
        (CATALOG, Serve(Catalog, CHANGES)),
        (
            "RepositorySignatures/5.0.0",
            Serve(RepositorySignatures(SignaturesVersion::V5_0_0), SIGNATURES),
        ),
        (
            "RepositorySignatures/4.9.0",
            Serve(RepositorySignatures(SignaturesVersion::V4_9_0), SIGNATURES),
        ),
        (
            "RepositorySignatures/4.7.0",
            Serve(RepositorySignatures(SignaturesVersion::V4_7_0), SIGNATURES),
        ),
        (
            VULNERABILITY_INFO,
            Serve(VulnerabilityInfo, VULNERABILITIES),
        ),
        (
            "ReadmeUriTemplate/6.13.0",
            Rebase(PackageBase, "fetched by IDEs from the flat container"),
        ),
        (
            "ReadmeUriTemplate/Versioned",
            Rebase(PackageBase, "fetched by IDEs from the flat container"),
        ),
        ("OwnerDetailsUriTemplate/6.11.0", Keep(BROWSER)),
        ("PackageDetailsUriTemplate/5.1.0", Keep(BROWSER)),
        ("ReportAbuseUriTemplate", Keep(BROWSER)),
        ("ReportAbuseUriTemplate/3.0.0", Keep(BROWSER)),
        ("ReportAbuseUriTemplate/3.0.0-beta", Keep(BROWSER)),
        ("ReportAbuseUriTemplate/3.0.0-rc", Keep(BROWSER)),
        ("ReportAbuseUriTemplate/Versioned", Keep(BROWSER)),
        ("AzureDevOpsProjectId", Drop(VENDOR)),
        ("LegacyGallery", Drop(V2)),
        ("LegacyGallery/2.0.0", Drop(V2)),
        ("LegacyGallery/Versioned", Drop(V2)),
        ("MetricsService", Drop(HISTORIC)),
        ("MetricsService/3.0.0-beta", Drop(HISTORIC)),
        ("MetricsService/3.0.0-rc", Drop(HISTORIC)),
        ("PackageDisplayMetadataUriTemplate", Drop(METADATA_TEMPLATE)),
        (
            "PackageDisplayMetadataUriTemplate/3.0.0-beta",
            Drop(METADATA_TEMPLATE),
        ),
        (
            "PackageDisplayMetadataUriTemplate/3.0.0-rc",
            Drop(METADATA_TEMPLATE),
        ),
        (
            "PackageStaging/1.0.0",
            Drop(
                "its pushes name a group and not a package, so that nobody could tell what changed here",
            ),
        ),
        (
            "PackageVersionDisplayMetadataUriTemplate",
            Drop(METADATA_TEMPLATE),
        ),
        (
            "PackageVersionDisplayMetadataUriTemplate/3.0.0-beta",
            Drop(METADATA_TEMPLATE),
        ),
        (
            "PackageVersionDisplayMetadataUriTemplate/3.0.0-rc",
            Drop(METADATA_TEMPLATE),
        ),
        ("SearchGalleryQueryService", Drop(GALLERY)),
        ("SearchGalleryQueryService/3.0.0-beta", Drop(GALLERY)),
        ("SearchGalleryQueryService/3.0.0-rc", Drop(GALLERY)),
        ("TotalStats/3.0.0-rc", Drop(HISTORIC)),
        ("VssBaseUrl", Drop(VENDOR)),
        ("VssFeedId", Drop(VENDOR)),
        ("VssQualifiedFeedViewId", Drop(VENDOR)),
        (
            "http://schema.emgarten.com/sleet#PackageIndex/1.0.0",
            Drop("read by the tool that writes the feed"),
        ),
        (
            "http://schema.emgarten.com/sleet#SettingsFile/1.0.0",
            Drop("read by the tool that writes the feed"),
        ),
    ]
};

/// What becomes of resources of this type.
#[must_use]
pub fn treatment(type_name: &str) -> Treatment {
    TABLE
        .iter()
        .find(|(name, _)| *name == type_name)
        .map_or(Treatment::Drop(UNKNOWN), |(_, treatment)| *treatment)
}

/// The types of this service, in the order in which we ask their endpoints.
pub(super) fn types(service: Service) -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(move |(name, treatment)| {
        matches!(treatment, Treatment::Serve(served, _) if *served == service).then_some(*name)
    })
}
