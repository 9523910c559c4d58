//! Feeds: their table of settings, their names, and the secrets that a file or variable holds.
//!
//! It refuses to print a secret, and to guess which of two feeds a variable means.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::access::rules::{Mode, PushKey, Rules};
use crate::proxy::{FeedSettings, Freshness};
use crate::upstream::auth::Credential;

use super::changes::GivenToFeed;
use super::problem::{Place, Problem, Problems};
use super::sources::{Environment, Files};
use super::value::Value;

/// A feed while it is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    /// Where the feed was first named.
    pub(super) place: Option<Place>,
    pub(super) upstream: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    header_name: Option<HeaderName>,
    header_value: Option<Secret>,
    freshness: Freshness,
    /// What was given, in words.
    pub(super) given: GivenToFeed,
    mode: Mode,
    pushers: Vec<String>,
    push_key: Option<Secret>,
    readers: Option<Vec<String>>,
    /// Settings whose value was wrong, which must not be called missing besides.
    pub(super) wrong: Vec<&'static str>,
}

impl Draft {
    pub(super) fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            place: Some(place),
            ..Self::default()
        }
    }
}

/// Where a secret is. The later of two sources replaces the earlier, whatever its form.
#[derive(Clone)]
enum Secret {
    /// In an environment variable of this name.
    Environment(String),
    /// In a file, without the line break at its end.
    File(std::path::PathBuf),
    Value(String),
}

/// Names the place of the secret and never the secret.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "Environment({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(…)"),
        }
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

fn secret(value: &Value) -> Result<Option<Secret>, String> {
    Ok(Some(Secret::Value(value.text()?.to_owned())))
}

fn secret_file(value: &Value) -> Result<Option<Secret>, String> {
    Ok(Some(Secret::File(value.path()?)))
}

fn secret_env(value: &Value) -> Result<Option<Secret>, String> {
    let name = value
        .text()
        .map_err(|_| "the name of an environment variable".to_owned())?;
    Ok(Some(Secret::Environment(name.to_owned())))
}

/// Every setting of a feed. A feed of the file has its `name` besides.
pub(super) const SETTINGS: &[FeedSetting] = rows! {
    "upstream", Yes, |draft, value| {
        draft.upstream = Some(value.url()?);
    };
    "username", Yes, |draft, value| draft.username = Some(username(value)?);
    "password", No, |draft, value| draft.password = secret(value)?;
    "password_file", Yes, |draft, value| draft.password = secret_file(value)?;
    "password_env", Yes, |draft, value| draft.password = secret_env(value)?;
    "token", No, |draft, value| draft.token = secret(value)?;
    "token_file", Yes, |draft, value| draft.token = secret_file(value)?;
    "token_env", Yes, |draft, value| draft.token = secret_env(value)?;
    "header_name", Yes, |draft, value| draft.header_name = Some(header_name(value)?);
    "header_value", No, |draft, value| draft.header_value = secret(value)?;
    "header_value_file", Yes, |draft, value| draft.header_value = secret_file(value)?;
    "header_value_env", Yes, |draft, value| draft.header_value = secret_env(value)?;
    "access", Yes, |draft, value| draft.mode = value.word(MODES)?;
    "readers", Yes, |draft, value| draft.readers = Some(super::users::names(value)?);
    "pushers", Yes, |draft, value| draft.pushers = super::users::names(value)?;
    "push_key", No, |draft, value| draft.push_key = secret(value)?;
    "push_key_file", Yes, |draft, value| draft.push_key = secret_file(value)?;
    "push_key_env", Yes, |draft, value| draft.push_key = secret_env(value)?;
    "version_list_fresh", Yes, |draft, value| draft.freshness.version_list = fresh(value)?;
    "registration_fresh", Yes, |draft, value| draft.freshness.registration = fresh(value)?;
    "page_named_fresh", Yes, |draft, value| draft.freshness.page_named = fresh(value)?;
    "search_fresh", Yes, |draft, value| draft.freshness.search = fresh(value)?;
    "service_index_fresh", Yes, |draft, value| draft.freshness.service_index =
        value.duration(SECOND..=YEAR)?;
    "vulnerability_index_fresh", Yes, |draft, value| draft.freshness.vulnerability_index =
        fresh(value)?;
    "absence_fresh", Yes, |draft, value| draft.freshness.absence = fresh(value)?;
    "absence_in_outage", Yes, |draft, value| draft.freshness.absence_in_outage = fresh(value)?;
};

/// Whether a setting is a part of the credential.
pub(super) fn is_of_credential(name: &str) -> bool {
    ["username", "password", "token", "header_"]
        .iter()
        .any(|part| name.starts_with(part))
}

const MODES: &[(&str, Mode)] = &[("open", Mode::Open), ("own", Mode::Own)];

fn username(value: &Value) -> Result<String, String> {
    // RFC 7617 section 2: the first colon ends the user's name.
    match value.text() {
        Ok(text) if !text.contains(':') => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("a user name without \":\"".to_owned()),
    }
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
    files: Files,
    problems: &mut Problems,
) -> Vec<FeedSettings> {
    let mut feeds: Vec<FeedSettings> = Vec::new();
    for draft in drafts {
        let place = draft.place.clone().unwrap_or(Place::Nowhere);
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
        let mut resolve = |name: &str, secret: &Option<Secret>| {
            let secret = secret.as_ref()?;
            match read_secret(secret, environment, files) {
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
            Ok(credential) => credential,
            Err(_) if draft.wrong.iter().any(|name| *name != "upstream") => None,
            Err((setting, expected)) => {
                problem(setting, None, expected.to_owned());
                None
            }
        };
        if let Err((setting, expected)) = check_clients(&draft, push_key.as_deref()) {
            problem(setting, None, expected.to_owned());
        }
        feeds.push(FeedSettings {
            name: draft.name,
            upstream: draft.upstream.unwrap_or_default(),
            clients: Rules {
                mode: draft.mode,
                push_key: push_key.map(PushKey::new),
                pushers: draft.pushers,
                readers: draft.readers,
            },
            credential,
            freshness: draft.freshness,
        });
    }
    feeds
}

/// Longest secret, so that a wrong path such as a device or a log is refused and not read whole.
const MAX_SECRET_BYTES: usize = 64 << 10;

fn read_secret(
    secret: &Secret,
    environment: &Environment,
    files: Files,
) -> Result<String, (Option<String>, String)> {
    let (value, from) = match secret {
        Secret::Environment(name) => (
            environment
                .lookup(name)
                .ok_or_else(|| (Some(name.clone()), "an environment variable that is set"))
                .map_err(|(found, expected)| (found, expected.to_owned()))?,
            name.clone(),
        ),
        Secret::File(path) => (
            files.read(path, MAX_SECRET_BYTES).map_err(|error| {
                (
                    Some(path.display().to_string()),
                    format!("a readable file ({error})"),
                )
            })?,
            path.display().to_string(),
        ),
        Secret::Value(value) => (value.clone(), String::new()),
    };
    let value = value.trim_end_matches(['\r', '\n']).to_owned();
    if value.is_empty() || value.chars().any(char::is_control) {
        let found = (!from.is_empty()).then_some(from);
        return Err((found, "a secret on one line that is not empty".to_owned()));
    }
    Ok(value)
}

struct Secrets {
    password: Option<String>,
    token: Option<String>,
    header_value: Option<String>,
}

/// The one credential of a feed, or the setting that is in the way and what was expected of it.
fn credential(
    draft: &Draft,
    secrets: Secrets,
) -> Result<Option<Credential>, (&'static str, &'static str)> {
    let basic = draft.username.is_some() || draft.password.is_some();
    let header = draft.header_name.is_some() || draft.header_value.is_some();
    let kinds = [basic, draft.token.is_some(), header];
    if kinds.iter().filter(|given| **given).count() > 1 {
        return Err((
            "credential",
            "only one of username and password, token, header_name and header_value",
        ));
    }
    if basic && (draft.username.is_none() || draft.password.is_none()) {
        return Err(("username", "username and password, both"));
    }
    if header && (draft.header_name.is_none() || draft.header_value.is_none()) {
        return Err(("header_name", "header_name and header_value, both"));
    }
    if let (Some(user), Some(password)) = (&draft.username, secrets.password) {
        return Ok(Some(Credential::Basic {
            user: user.clone(),
            password,
        }));
    }
    if let Some(token) = secrets.token {
        return header_safe(&token, "token").map(|()| Some(Credential::Bearer(token)));
    }
    if let (Some(name), Some(value)) = (&draft.header_name, secrets.header_value) {
        header_safe(&value, "header_value")?;
        return Ok(Some(Credential::Header {
            name: name.to_string(),
            value,
        }));
    }
    Ok(None)
}

/// Whether what is said of clients makes sense together: a list of users that nobody would look at is a mistake that
/// leaves a feed open.
fn check_clients(
    draft: &Draft,
    push_key: Option<&str>,
) -> Result<(), (&'static str, &'static str)> {
    if let Some(key) = push_key {
        header_safe(key, "push_key")?;
    }
    // A wrong value of `access` is reported already.
    if draft.mode != Mode::Open || draft.wrong.contains(&"access") {
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

fn header_safe(value: &str, setting: &'static str) -> Result<(), (&'static str, &'static str)> {
    match HeaderValue::from_str(value) {
        Ok(_) => Ok(()),
        Err(_) => Err((setting, "characters that a header can carry")),
    }
}
