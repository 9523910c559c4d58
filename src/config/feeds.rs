//! Feeds: their table of settings, their names, and the secrets that a file or variable holds.
//!
//! It refuses to print a secret, and to guess which of two feeds a variable means.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::access::rules::{self as clients, PushKey};
use crate::proxy::{
    BlockRules, FeedSettings, Freshness, MemberSettings, Mode, ProofPolicy, PushLength, Scrutiny,
    Withdrawn,
};
use crate::upstream::WaySettings;
use crate::upstream::auth::Secret;

use super::changes::GivenToFeed;
use super::problem::{self, Problem, Problems};
use super::secrets::{Place, Secrets, credential, header_safe};
use super::sources::Environment;
use super::unions::{self, UnionDraft};
use super::value::Value;
use super::ways::{self, Choice, Wrong};

/// A feed while it is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    /// Where the feed was first named.
    pub(super) place: Option<problem::Place>,
    pub(super) upstream: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Place>,
    pub(super) token: Option<Place>,
    pub(super) header_name: Option<HeaderName>,
    pub(super) header_value: Option<Place>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    proofs: ProofPolicy,
    freshness: Freshness,
    audit_upstream: Option<String>,
    symbols_upstream: Option<String>,
    pub(super) member: MemberSettings,
    pub(super) union: UnionDraft,
    /// What was given, in words.
    pub(super) given: GivenToFeed,
    pub(super) access: clients::Mode,
    pushers: Vec<String>,
    push_key: Option<Place>,
    push_length: PushLength,
    readers: Option<Vec<String>>,
    ways: ways::Draft,
    block: BlockRules,
    mode: Mode,
    auto_offline_after: Option<Duration>,
    package_hashes: Scrutiny,
    seek_package_hashes: bool,
    repository_signatures: Option<Scrutiny>,
    withdrawn: Withdrawn,
    /// Settings whose value was wrong, which must not be called missing besides.
    pub(super) wrong: Vec<&'static str>,
}

impl Draft {
    pub(super) fn new(name: &str, place: problem::Place) -> Self {
        Self {
            name: name.to_owned(),
            place: Some(place),
            ..Self::default()
        }
    }

    /// The settings that were given, right or wrong, each once.
    pub(super) fn settings(&self) -> BTreeSet<&'static str> {
        self.given
            .names()
            .chain(self.wrong.iter().copied())
            .collect()
    }
}

/// Whether a report may repeat a setting's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    No,
    Yes,
}

/// One setting of a feed.
#[derive(Debug)]
pub(super) struct FeedSetting {
    pub(super) name: &'static str,
    pub(super) shown: Shown,
    /// Reads the value into its place; the error says what was expected. There is no setting that a reload would not
    /// obey: it mounts a changed feed anew.
    pub(super) put: fn(&mut Draft, &Value) -> Result<(), String>,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// A year: longer is no freshness but a copy for ever.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Declares rows of the table that read a field.
macro_rules! rows {
    ($($name:literal, $shown:ident, |$draft:ident, $value:ident| $put:expr;)*) => {
        &[$(FeedSetting {
            name: $name,
            shown: Shown::$shown,
            put: |$draft: &mut Draft, $value: &Value| {
                $put;
                Ok(())
            },
        }),*]
    };
}

fn fresh(value: &Value) -> Result<Duration, String> {
    value.duration(Duration::ZERO..=YEAR)
}

/// A duration, or `None` for "off".
fn off_or_duration(value: &Value) -> Result<Option<Duration>, String> {
    match value.text() {
        Ok("off") => Ok(None),
        Ok(_) | Err(_) => value
            .duration(SECOND..=YEAR)
            .map(Some)
            .map_err(|expected| format!("\"off\" or {expected}")),
    }
}

/// Every setting of a feed. A feed of the file has its `name` besides.
pub(super) const SETTINGS: &[FeedSetting] = rows! {
    "upstream", Yes, |draft, value| {
        draft.upstream = Some(value.url()?);
    };
    "audit_upstream", Yes, |draft, value| draft.audit_upstream = Some(value.url()?);
    "symbols_upstream", Yes, |draft, value| draft.symbols_upstream = Some(value.url()?);
    "username", Yes, |draft, value| draft.username = Some(ways::username(value)?);
    "password", No, |draft, value| draft.password = Place::value(value)?;
    "password_file", Yes, |draft, value| draft.password = Place::file(value)?;
    "password_env", Yes, |draft, value| draft.password = Place::environment(value)?;
    "password_command", No, |draft, value| draft.password = Place::command(value)?;
    "token", No, |draft, value| draft.token = Place::value(value)?;
    "token_file", Yes, |draft, value| draft.token = Place::file(value)?;
    "token_env", Yes, |draft, value| draft.token = Place::environment(value)?;
    "token_command", No, |draft, value| draft.token = Place::command(value)?;
    "header_name", Yes, |draft, value| draft.header_name = Some(header_name(value)?);
    "header_value", No, |draft, value| draft.header_value = Place::value(value)?;
    "header_value_file", Yes, |draft, value| draft.header_value = Place::file(value)?;
    "header_value_env", Yes, |draft, value| draft.header_value = Place::environment(value)?;
    "header_value_command", No, |draft, value| draft.header_value = Place::command(value)?;
    "access", Yes, |draft, value| draft.access = value.word(MODES)?;
    "readers", Yes, |draft, value| draft.readers = Some(super::users::names(value)?);
    "pushers", Yes, |draft, value| draft.pushers = super::users::names(value)?;
    "push_key", No, |draft, value| draft.push_key = Place::value(value)?;
    "push_key_file", Yes, |draft, value| draft.push_key = Place::file(value)?;
    "push_key_env", Yes, |draft, value| draft.push_key = Place::environment(value)?;
    "client_cert_file", Yes, |draft, value| draft.client_cert = Some(value.path()?);
    "client_key_file", Yes, |draft, value| draft.client_key = Some(value.path()?);
    "proxy", No, |draft, value| draft.ways.choice = Some(Choice::read(value)?);
    "proxy_username", Yes, |draft, value| draft.ways.username = Some(ways::username(value)?);
    "proxy_password", No, |draft, value| draft.ways.password = Place::value(value)?;
    "proxy_password_file", Yes, |draft, value| draft.ways.password = Place::file(value)?;
    "proxy_password_env", Yes, |draft, value| draft.ways.password = Place::environment(value)?;
    "no_proxy", Yes, |draft, value| draft.ways.except = Some(ways::exceptions(value)?);
    "push_length", Yes, |draft, value| draft.push_length = value.word(&[
        ("as-sent", PushLength::AsSent),
        ("required", PushLength::Required),
    ])?;
    "proof_ttl", Yes, |draft, value| draft.proofs.ttl = value.duration(SECOND..=DAY)?;
    "proof_grace", Yes, |draft, value| draft.proofs.grace =
        value.duration(Duration::ZERO..=30 * DAY)?;
    "version_list_fresh", Yes, |draft, value| draft.freshness.version_list = fresh(value)?;
    "registration_fresh", Yes, |draft, value| draft.freshness.registration = fresh(value)?;
    "page_named_fresh", Yes, |draft, value| draft.freshness.page_named = fresh(value)?;
    "catalog_fresh", Yes, |draft, value| draft.freshness.catalog = fresh(value)?;
    "search_fresh", Yes, |draft, value| draft.freshness.search = fresh(value)?;
    "service_index_fresh", Yes, |draft, value| draft.freshness.service_index =
        value.duration(SECOND..=YEAR)?;
    "signatures_fresh", Yes, |draft, value| draft.freshness.signatures = fresh(value)?;
    "vulnerability_index_fresh", Yes, |draft, value| draft.freshness.vulnerability_index =
        fresh(value)?;
    "content_revalidated", Yes, |draft, value| draft.freshness.content_revalidated =
        off_or_duration(value)?;
    "absence_fresh", Yes, |draft, value| draft.freshness.absence = fresh(value)?;
    "absence_in_outage", Yes, |draft, value| draft.freshness.absence_in_outage = fresh(value)?;
    "block", Yes, |draft, value| draft.block = value.rules()?;
    "mode", Yes, |draft, value| draft.mode =
        value.word(&[("offline", Mode::Offline), ("online", Mode::Online)])?;
    "auto_offline_after", Yes, |draft, value| draft.auto_offline_after =
        off_or_duration(value)?;
    "package_hashes", Yes, |draft, value| draft.package_hashes = value.word(SCRUTINY)?;
    "seek_package_hashes", Yes, |draft, value| draft.seek_package_hashes = value.truth()?;
    "repository_signatures", Yes, |draft, value| draft.repository_signatures =
        Some(value.word(SCRUTINY)?);
    "withdrawn", Yes, |draft, value| draft.withdrawn =
        value.word(&[("block", Withdrawn::Block), ("serve", Withdrawn::Serve)])?;
    "owns", Yes, |draft, value| draft.member.owns = unions::patterns(value)?;
    "only", Yes, |draft, value| draft.member.only = unions::patterns(value)?;
    "optional", Yes, |draft, value| draft.member.presence = unions::presence(value)?;
    "members", Yes, |draft, value| draft.union.members = Some(unions::members(value)?);
    "push_to", Yes, |draft, value| draft.union.push_to = Some(value.text()?.to_owned());
    "search_wait", Yes, |draft, value| draft.union.search_wait =
        Some(value.duration(Duration::from_millis(100)..=Duration::from_secs(60))?);
};

/// Whether a setting is a part of the credential.
pub(super) fn is_of_credential(name: &str) -> bool {
    ["username", "password", "token", "header_"]
        .iter()
        .any(|part| name.starts_with(part))
}

const SCRUTINY: &[(&str, Scrutiny)] = &[
    ("enforce", Scrutiny::Enforce),
    ("off", Scrutiny::Off),
    ("warn", Scrutiny::Warn),
];

const MODES: &[(&str, clients::Mode)] = &[
    ("open", clients::Mode::Open),
    ("own", clients::Mode::Own),
    ("passthrough", clients::Mode::Passthrough),
];

/// Whether a setting is a part of what lies between us and the upstream.
pub(super) fn is_of_way(name: &str) -> bool {
    ["client_", "no_proxy", "proxy"]
        .iter()
        .any(|part| name.starts_with(part))
}

/// Headers that the proxy sets or that frame a message; a credential in one of them would break requests.
const RESERVED_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

fn header_name(value: &Value) -> Result<HeaderName, String> {
    value
        .text()
        .ok()
        .and_then(|text| text.parse::<HeaderName>().ok())
        .filter(|name| !RESERVED_HEADERS.contains(&name.as_str()))
        .ok_or_else(|| "the name of a header that the proxy does not set itself".to_owned())
}

/// Longest name of a feed: it stands in every URL of ours and in every key.
const MAX_NAME: usize = 64;

/// What is expected of a feed's name, if `name` does not fulfil it.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let first = chars
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest =
        chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'));
    if first && rest && name.len() <= MAX_NAME && name != "v3" {
        Ok(())
    } else {
        Err(format!(
            "a name of at most {MAX_NAME} characters of a-z, 0-9, \".\", \"_\" and \"-\" that begins with a letter or \
             digit and is not \"v3\""
        ))
    }
}

/// The form in which a feed's name stands in an environment name, which has neither `.` nor `-`.
pub(super) fn environment_name(name: &str) -> String {
    name.to_ascii_uppercase().replace(['.', '-'], "_")
}

/// The default feed: nuget.org's public index under the name that the real client's own configuration implies.
pub(super) fn default_draft() -> Draft {
    Draft {
        name: "nuget".to_owned(),
        upstream: Some("https://api.nuget.org/v3/index.json".to_owned()),
        ..Draft::default()
    }
}

/// Checks the feeds as wholes, reads their secrets and makes settings of them.
pub(super) fn finish(
    drafts: Vec<Draft>,
    environment: &Environment,
    global: &ways::Draft,
    problems: &mut Problems,
) -> Vec<FeedSettings> {
    let mut feeds: Vec<FeedSettings> = Vec::new();
    let mut of_ways = Vec::new();
    for draft in drafts {
        let place = draft.place.clone().unwrap_or(problem::Place::Nowhere);
        let mut problem = |setting: &str, found: Option<String>, expected: String| {
            problems.push(Problem {
                place: place.clone(),
                setting: format!("feed {:?}: {setting}", draft.name),
                found,
                expected,
            });
        };
        if feeds.iter().any(|feed| feed.name == draft.name) {
            problem("name", None, "each feed's name once".to_owned());
            continue;
        }
        if draft.upstream.is_none() && !draft.wrong.contains(&"upstream") {
            problem("upstream", None, "the URL of a V3 service index".to_owned());
        }
        let mut resolve = |name: &str, secret: &Option<Place>| {
            let secret = secret.as_ref()?;
            match secret.read(environment) {
                Ok(value) => Some(value),
                Err((found, expected)) => {
                    problem(name, found, expected);
                    None
                }
            }
        };
        let secrets = Secrets {
            password: resolve("password", &draft.password),
            token: resolve("token", &draft.token),
            header_value: resolve("header_value", &draft.header_value),
        };
        let push_key = resolve("push_key", &draft.push_key);
        let credential = match credential(&draft, secrets) {
            Ok(Some(_)) if draft.access == clients::Mode::Passthrough => {
                let expected = "no credential of the feed's own beside access = \"passthrough\", which passes the clients' on";
                problem("credential", None, expected.to_owned());
                None
            }
            Ok(credential) => credential,
            Err(_) if draft.wrong.iter().any(|name| *name != "upstream") => None,
            Err((setting, expected)) => {
                problem(setting, None, expected.to_owned());
                None
            }
        };
        if let Err((setting, expected)) = check_clients(&draft, push_key.as_ref()) {
            problem(setting, None, expected.to_owned());
        }
        let identity = ways::identity(draft.client_cert.as_ref(), draft.client_key.as_ref());
        let identity = identity.map_err(|wrong| vec![wrong]);
        let proxies = ways::proxies(&draft.ways, global, environment);
        let mut tell = |wrong: Vec<Wrong>| {
            let whose = format!("feed {:?}", draft.name);
            of_ways.extend(wrong.into_iter().map(|wrong| wrong.told(&place, &whose)));
        };
        let ways = WaySettings {
            identity: identity.map_err(&mut tell).unwrap_or_default(),
            proxies: proxies.map_err(&mut tell).unwrap_or_default(),
        };
        feeds.push(FeedSettings {
            clients: clients_of(&draft, push_key.as_ref()),
            name: draft.name,
            upstream: draft.upstream.unwrap_or_default(),
            credential,
            audit_upstream: draft.audit_upstream,
            symbols_upstream: draft.symbols_upstream,
            proofs: draft.proofs,
            freshness: draft.freshness,
            member: draft.member,
            push_length: draft.push_length,
            ways,
            block: draft.block,
            mode: draft.mode,
            auto_offline_after: draft.auto_offline_after,
            package_hashes: draft.package_hashes,
            seek_package_hashes: draft.seek_package_hashes,
            repository_signatures: draft.repository_signatures.unwrap_or(Scrutiny::Off),
            withdrawn: draft.withdrawn,
        });
    }
    for problem in of_ways {
        problems.push(problem);
    }
    feeds
}

fn clients_of(draft: &Draft, push_key: Option<&Secret>) -> clients::Rules {
    let push_key = push_key.and_then(Secret::known);
    clients::Rules {
        mode: draft.access,
        push_key: push_key.map(|key| PushKey::new(key.to_owned())),
        pushers: draft.pushers.clone(),
        readers: draft.readers.clone(),
    }
}

/// Whether what is said of clients makes sense together: a list of users that nobody would look at is a mistake that
/// leaves a feed open.
fn check_clients(
    draft: &Draft,
    push_key: Option<&Secret>,
) -> Result<(), (&'static str, &'static str)> {
    if let Some(key) = push_key {
        header_safe(key, "push_key")?;
    }
    // A wrong value of `access` is reported already.
    if draft.access == clients::Mode::Passthrough && push_key.is_some() {
        return Err((
            "push_key",
            "another access beside it: whoever the upstream lets in pushes with a key of its own",
        ));
    }
    if draft.access == clients::Mode::Own || draft.wrong.contains(&"access") {
        return Ok(());
    }
    if draft.readers.is_some() {
        return Err(("readers", "access = \"own\" beside it"));
    }
    if !draft.pushers.is_empty() && draft.push_key.is_none() {
        return Err(("pushers", "access = \"own\" or push_key beside it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{Arguments, CONFIG_TOML, Config, Environment, Problems, load};

    const FEED: &str = "[[feed]]\nname = \"corp\"\nupstream = \"https://corp.test/index.json\"\n";

    fn with(settings: &str) -> Result<Config, Problems> {
        let text = OsString::from(format!("{FEED}{settings}\n"));
        let variables = [(OsString::from(CONFIG_TOML), text)];
        load(&Arguments::default(), &Environment::new(variables))
    }

    #[track_caller]
    fn check_problem(settings: &str, expected: &str) {
        let problems = with(settings).expect_err("a problem");
        let found: Vec<String> = problems.list().iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }

    #[test]
    fn a_feed_passes_credentials_on_or_has_one() {
        let config = with("access = \"passthrough\"\nproof_ttl = \"1m\"").expect("no problems");
        let feed = &config.proxy.feeds[0];
        assert!(feed.passes_credentials_on());
        assert_eq!(feed.proofs.ttl, Duration::from_secs(60));
        assert_eq!(feed.proofs.grace, Duration::from_secs(12 * 3600));
        check_problem(
            "access = \"passthrough\"\ntoken = \"t0k\"",
            "feed \"corp\": credential: expected no credential of the feed's own",
        );
        check_problem("access = \"closed\"", "\"passthrough\"");
        check_problem(
            "access = \"passthrough\"\npush_key = \"k\"",
            "push_key: expected another access beside it",
        );
        check_problem("proof_ttl = \"0s\"", "proof_ttl");
    }
}
