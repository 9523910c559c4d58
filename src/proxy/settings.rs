//! The settings that `proxy` obeys.

use std::time::Duration;

use super::base;
use super::mode::Mode;
use super::route::Class;
use super::union::{MemberSettings, UnionSettings};
use crate::access::rules::{self as clients, Rules};
use crate::cache::freshness::{FreshFor, OldAbsence, Policy};
use crate::cache::proof::ProofPolicy;
use crate::nuget::rule::BlockRules;
use crate::upstream::WaySettings;
use crate::upstream::auth::Credential;

/// How requests are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The feeds with an upstream of their own.
    pub feeds: Vec<FeedSettings>,
    /// The feeds that are made of others.
    pub unions: Vec<UnionSettings>,
    /// Name of the feed that lives below `/v3/` too; without it, the first with an upstream does.
    pub default_feed: Option<String>,
    /// How a request's base URL is found.
    pub base: base::Settings,
    /// Base URLs per feed whose answers are kept in memory; answers for further ones are rendered each time, so that a
    /// client that invents host names cannot flush the memory tier.
    pub max_base_urls: usize,
    /// Largest document, decoded; a larger one is a 502 with the reason.
    pub max_document_bytes: u64,
    /// Fetches that go on although every client has left.
    pub max_abandoned_flights: usize,
    /// With a copy of any age, the longest that a request waits for the upstream.
    pub stale_after: Duration,
    /// Without a copy, the longest that a request waits for the upstream.
    pub max_hold: Duration,
    /// Where client binaries come from.
    pub tools: ToolsSettings,
}

/// Where client binaries come from (protocol fact 2.9.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ToolsSettings {
    /// URL of the list that names them, `tools.json`; without one none are served.
    pub upstream: Option<String>,
    /// How long the list stays fresh. Binaries stay for ever.
    pub fresh: Duration,
    /// Through what it is reached.
    pub ways: WaySettings,
}

impl Default for ToolsSettings {
    fn default() -> Self {
        Self {
            upstream: None,
            fresh: Duration::from_secs(60 * 60),
            ways: WaySettings::default(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            feeds: vec![FeedSettings::new(
                "nuget",
                "https://api.nuget.org/v3/index.json",
            )],
            unions: Vec::new(),
            default_feed: None,
            base: base::Settings::default(),
            max_base_urls: 16,
            // The largest registration seen is 25 MB (protocol fact 6.3.2).
            max_document_bytes: 64 << 20,
            max_abandoned_flights: 8,
            stale_after: Duration::from_secs(2),
            max_hold: Duration::from_secs(15),
            tools: ToolsSettings::default(),
        }
    }
}

impl Settings {
    /// Name of every feed and what it stands in front of, for people; the default one first.
    #[must_use]
    pub fn sources(&self) -> Vec<(&str, String)> {
        let plain = self.feeds.iter();
        let mut all: Vec<(&str, String)> = plain
            .map(|feed| (feed.name.as_str(), feed.upstream.clone()))
            .collect();
        let unions = self.unions.iter();
        all.extend(unions.map(|union| (union.name.as_str(), union.members.join(" + "))));
        all.sort_by_key(|(name, _)| self.default_feed.as_deref() != Some(name));
        all
    }
}

/// One feed: a name, an upstream and a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedSettings {
    /// The first segment of its paths.
    pub name: String,
    /// URL of the upstream's service index, used as it is (protocol fact 1.1.21).
    pub upstream: String,
    /// What it asks of its clients.
    pub clients: Rules,
    /// What it is asked with.
    pub credential: Option<Credential>,
    /// URL of another service index whose vulnerability data is this feed's. It is asked without credentials.
    pub audit_upstream: Option<String>,
    /// URL of the symbol server behind this feed's. It is asked without credentials.
    pub symbols_upstream: Option<String>,
    /// How long proofs are good for, where clients' own credentials are passed on.
    pub proofs: ProofPolicy,
    /// How long its documents stay fresh.
    pub freshness: Freshness,
    /// What it does not show.
    pub block: BlockRules,
    /// Whether it asks its upstream.
    pub mode: Mode,
    /// How long its upstream must be away for it to go offline by itself; `None` is never.
    pub auto_offline_after: Option<Duration>,
    /// What becomes of a package with another hash than the one that its upstream publishes. It is the upstream's own edges
    /// and signers that differ for a while, so by default nobody's build fails for it.
    pub package_hashes: Scrutiny,
    /// Whether the hash of a package that came is looked for upstream, in up to three requests behind the answer; else only
    /// what was asked for anyway tells.
    pub seek_package_hashes: bool,
    /// What becomes of a package without a signature of its upstream's repository. To know that costs a second reading of
    /// each package, and clients look themselves, so by default it is not looked for.
    pub repository_signatures: Scrutiny,
    /// What becomes of a version held here that its upstream has no more.
    pub withdrawn: Withdrawn,
    /// What it is as a member of unions.
    pub member: MemberSettings,
    /// Whether its upstream takes uploads of unknown length.
    pub push_length: PushLength,
    /// Through what it is reached, and with which certificate.
    pub ways: WaySettings,
}

/// What is told of an upload's length.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PushLength {
    /// What the client tells; the real one tells none and sends chunks (protocol fact 4.1.4).
    #[default]
    AsSent,
    /// Always: an upload without a length lies on disk first, for upstreams that refuse chunks (protocol fact 4.1.5).
    Required,
}

/// What becomes of a package that is not what its upstream says it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scrutiny {
    /// It is refused, with the reason, unless the upstream delivers another one by now.
    Enforce,
    /// It is not looked for.
    Off,
    /// It is served, with a warning in the log.
    #[default]
    Warn,
}

/// What becomes of a version held here that its upstream has no more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Withdrawn {
    /// Its files are refused, with the reason.
    Block,
    /// They are served, with a warning in the log.
    #[default]
    Serve,
}

impl FeedSettings {
    /// Whether it is asked with each client's own credential.
    #[must_use]
    pub fn passes_credentials_on(&self) -> bool {
        self.clients.mode == clients::Mode::Passthrough
    }

    /// A feed without credentials and with the default policy.
    #[must_use]
    pub fn new(name: &str, upstream: &str) -> Self {
        Self {
            name: name.to_owned(),
            upstream: upstream.to_owned(),
            clients: Rules::default(),
            credential: None,
            audit_upstream: None,
            symbols_upstream: None,
            proofs: ProofPolicy::default(),
            freshness: Freshness::default(),
            block: BlockRules::default(),
            mode: Mode::Online,
            auto_offline_after: None,
            package_hashes: Scrutiny::default(),
            seek_package_hashes: false,
            repository_signatures: Scrutiny::Off,
            withdrawn: Withdrawn::default(),
            member: MemberSettings::default(),
            push_length: PushLength::default(),
            ways: WaySettings::default(),
        }
    }
}

/// How long each kind of document stays fresh after the upstream confirmed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Freshness {
    /// Version lists: a list that is a minute old is what nuget.org's own edges serve (protocol fact 2.1.13).
    pub version_list: Duration,
    /// Registration indexes, pages and leaves.
    pub registration: Duration,
    /// How long a page stays available after the last answer that named it (protocol fact 2.2.15): longer than the
    /// client's own 40 minutes (protocol fact 1.1.17).
    pub page_named: Duration,
    /// The catalog's index and its newest page.
    pub catalog: Duration,
    /// Search and autocomplete results.
    pub search: Duration,
    /// The service index.
    pub service_index: Duration,
    /// The repository signatures: certificates can be withdrawn (protocol fact 2.6.11).
    pub signatures: Duration,
    /// The list of client binaries, of the tools upstream alone.
    pub tools_list: Duration,
    /// The vulnerability index.
    pub vulnerability_index: Duration,
    /// How often the upstream is asked about a stored file of a package, behind a hit; `None` is never.
    pub content_revalidated: Option<Duration>,
    /// The memory of a 404.
    pub absence: Duration,
    /// How long an old 404 of a list or registration index answers while the upstream cannot be reached.
    pub absence_in_outage: Duration,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            version_list: Duration::from_secs(60),
            registration: Duration::from_secs(5 * 60),
            page_named: Duration::from_secs(45 * 60),
            catalog: Duration::from_secs(30),
            search: Duration::from_secs(60),
            service_index: Duration::from_secs(15 * 60),
            signatures: Duration::from_secs(60 * 60),
            tools_list: Duration::from_secs(60 * 60),
            vulnerability_index: Duration::from_secs(60 * 60),
            content_revalidated: Some(Duration::from_secs(7 * 24 * 60 * 60)),
            absence: Duration::from_secs(10),
            absence_in_outage: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl Freshness {
    /// The policy for one cache class.
    #[must_use]
    pub fn policy(&self, class: Class) -> Policy {
        let fresh_for = match class {
            Class::Autocomplete | Class::Search => FreshFor::Time(self.search),
            Class::CatalogLeaf
            | Class::Certificate
            | Class::Icon
            | Class::License
            | Class::Manifest
            | Class::Package
            | Class::Readme
            | Class::Symbols
            | Class::Tool
            | Class::VulnerabilityPage => FreshFor::Ever,
            // A page that a newer one has followed stays for ever: the index tells which (`view::catalog`).
            Class::CatalogIndex | Class::CatalogPage => FreshFor::Time(self.catalog),
            Class::RegistrationIndex | Class::RegistrationLeaf | Class::RegistrationPage => {
                FreshFor::Time(self.registration)
            }
            Class::RepositorySignatures => FreshFor::Time(self.signatures),
            Class::ServiceIndex => FreshFor::Time(self.service_index),
            Class::ToolsList => FreshFor::Time(self.tools_list),
            Class::VersionList => FreshFor::Time(self.version_list),
            Class::VulnerabilityIndex => FreshFor::Time(self.vulnerability_index),
        };
        let old_absence = match class {
            Class::RegistrationIndex | Class::VersionList => {
                OldAbsence::AnswersInOutage(self.absence_in_outage)
            }
            Class::Autocomplete
            | Class::CatalogIndex
            | Class::CatalogLeaf
            | Class::CatalogPage
            | Class::Certificate
            | Class::Icon
            | Class::License
            | Class::Manifest
            | Class::Package
            | Class::Readme
            | Class::RegistrationLeaf
            | Class::RegistrationPage
            | Class::RepositorySignatures
            | Class::Search
            | Class::ServiceIndex
            | Class::Symbols
            | Class::Tool
            | Class::ToolsList
            | Class::VulnerabilityIndex
            | Class::VulnerabilityPage => OldAbsence::Nothing,
        };
        Policy {
            fresh_for,
            absence_fresh_for: self.absence,
            old_absence,
        }
    }
}
