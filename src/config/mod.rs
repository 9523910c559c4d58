//! Raw settings → checked [`Config`], with all problems in one report.
//!
//! Precedence is flag, environment, file. Every source is read to its end and every value checked, whether or not
//! another source overrides it; nothing is bound or written before the whole is right. It refuses to obey a setting:
//! the structs it fills are declared by the modules that do, and only the process shell sees them together.

mod advice;
mod changes;
mod conflicts;
mod feeds;
mod fit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod problem;
mod proxies;
mod roots;
mod rules;
mod scrub;
mod secrets;
mod setting;
mod settings;
mod sources;
mod tls;
mod unions;
mod users;
mod value;
mod ways;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

pub use advice::advice;
pub use changes::{Change, Comparison, compare};
pub use fit::fit;
pub use problem::{Place, Problem, Problems};
pub use sources::Environment;

use rustls::pki_types::CertificateDer;

use crate::{access, proxy, server, store, telemetry, upstream};
use feeds::{Draft, Shown};
use setting::{Arity, Setting};
use settings::GROUPS;
use sources::{FileContent, Files, Given};
use value::Value;

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where users and tokens are kept, and who administers.
    pub access: access::Settings,
    /// How clients see us, and the feeds.
    pub proxy: proxy::Settings,
    /// Listeners, their limits and draining.
    pub server: server::Settings,
    /// Certificate authorities that are trusted besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// What is kept, where, and how much of it.
    pub store: store::Settings,
    /// Logs.
    pub telemetry: telemetry::Settings,
    /// Waits and limits of the way to the upstreams.
    pub upstream: upstream::Settings,
    /// What was given, for people who want to know what changed.
    given: changes::Given,
    /// Proxies of the feeds that have none of their own; resolved in those.
    ways: ways::Draft,
}

/// A flag of the command line, for whoever builds it.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The setting's name in the file; the flag has dashes for its underscores.
    pub name: &'static str,
    /// The heading that help shows it under.
    pub group: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Whether it may be repeated.
    pub repeats: Repeats,
}

/// Whether a flag may be repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeats {
    /// Each one adds to a list.
    Many,
    /// It is given once.
    Once,
}

/// Every flag that is a setting.
pub fn flags() -> impl Iterator<Item = Flag> {
    let upstream = Flag {
        name: UPSTREAM,
        group: "Feeds",
        help: "Service index of the first feed [default: nuget.org's]",
        repeats: Repeats::Once,
    };
    let settings = GROUPS.iter().flat_map(|(group, list)| {
        list.iter().map(|setting| Flag {
            name: setting.name,
            group,
            help: setting.help,
            repeats: match setting.arity {
                Arity::Many => Repeats::Many,
                Arity::One => Repeats::Once,
            },
        })
    });
    std::iter::once(upstream).chain(settings)
}

/// What the command line gave.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The configuration file.
    pub config: Option<String>,
    /// Setting flags: the setting's name and its values.
    pub settings: Vec<(String, Vec<String>)>,
}

const PREFIX: &str = "SLUICE_";
const FEED_PREFIX: &str = "SLUICE_FEED_";
/// Names the configuration file.
const CONFIG_FILE: &str = "SLUICE_CONFIG";
/// Holds a whole configuration file, for platforms that can give a process variables but no files.
const CONFIG_TOML: &str = "SLUICE_CONFIG_TOML";
/// Holds the token that `sluice reload` brings. A command's variable, no setting: a process that serves ignores it.
pub const ADMIN_TOKEN: &str = "SLUICE_ADMIN_TOKEN";
/// The setting that stands for the first feed's upstream.
const UPSTREAM: &str = "upstream";
/// Variables of our own test and bench suites; a process that they start inherits them.
const SUITES: &[&str] = &[
    "SLUICE_BENCH_SMOKE",
    "SLUICE_BINARY",
    "SLUICE_CLIENT_TESTS",
    "SLUICE_SHARED",
];
/// Longest configuration file: a thousand feeds take a tenth of it, and a wrong path must not be read whole.
const MAX_FILE_BYTES: usize = 4 << 20;

/// Reads, joins and checks all sources.
///
/// # Errors
/// Every problem found, at once.
pub fn load(arguments: &Arguments, environment: &Environment) -> Result<Config, Problems> {
    let (mut reading, drafts) = read(arguments, environment);
    for problem in conflicts::find(&mut reading.config, &reading.places) {
        reading.problems.push(problem);
    }
    let Reading {
        config,
        places,
        problems,
        ..
    } = &mut reading;
    tls::check(config, places, environment, problems);
    for draft in &drafts {
        let config = &mut reading.config;
        config.given.note_feed(&draft.name, draft.given.clone());
    }
    let drafts = unions::finish(drafts, &mut reading.config.proxy, &mut reading.problems);
    let (global, problems) = (&reading.config.ways, &mut reading.problems);
    let feeds = feeds::finish(drafts, environment, global, problems);
    if reading.config.proxy.tools.upstream.is_some() {
        match ways::proxies(&ways::Draft::default(), global, environment) {
            Ok(proxies) => reading.config.proxy.tools.ways.proxies = proxies,
            Err(wrong) => wrong
                .into_iter()
                .for_each(|wrong| problems.push(wrong.told(&Place::Nowhere, "tools"))),
        }
    }
    reading.config.proxy.feeds = feeds;
    for problem in conflicts::find_users(&reading.config, &reading.places) {
        reading.problems.push(problem);
    }
    if reading.problems.is_empty() {
        Ok(reading.config)
    } else {
        Err(reading.problems)
    }
}

/// Where operators ask a process that runs with this configuration; `None` if nowhere.
///
/// A file that was good when the process began may be wrong by now, a certificate that is over above all. That concerns
/// nobody who wants to know whether the process is alive.
///
/// # Errors
/// What is wrong with the address itself, or keeps the configuration from being read at all.
pub fn admin_listen(
    arguments: &Arguments,
    environment: &Environment,
) -> Result<Option<SocketAddr>, Problems> {
    let (reading, _) = read(arguments, environment);
    let mut problems = Problems::default();
    for problem in reading.problems.list() {
        if ["admin_listen", "config", "syntax"].contains(&&*problem.setting) {
            problems.push(problem.clone());
        }
    }
    if problems.is_empty() {
        Ok(reading.config.server.admin_listen)
    } else {
        Err(problems)
    }
}

/// Reads all sources; what concerns several settings or other files is left to be checked.
fn read(arguments: &Arguments, environment: &Environment) -> (Reading, Vec<Draft>) {
    let mut reading = Reading {
        config: Config::default(),
        places: HashMap::new(),
        first_upstream: None,
        problems: Problems::default(),
    };
    let content = reading.file(arguments, environment);
    for given in &content.settings {
        reading.put(given);
    }
    let mut drafts = reading.feeds_of_file(content.feeds);
    reading.environment(environment, &mut drafts);
    for (name, values) in &arguments.settings {
        reading.flag(name, values);
    }
    if let (Some((url, place)), Some(first)) = (reading.first_upstream.take(), drafts.first_mut()) {
        first.given.note(UPSTREAM, &url);
        first.upstream = Some(url);
        first.place.get_or_insert(place);
    }
    (reading, drafts)
}

/// A configuration while it is being read.
struct Reading {
    config: Config,
    /// Where each setting that holds was given, for problems between settings.
    places: HashMap<&'static str, Place>,
    first_upstream: Option<(String, Place)>,
    problems: Problems,
}

impl Reading {
    fn problem(&mut self, place: Place, setting: &str, found: Option<String>, expected: String) {
        self.problems.push(Problem {
            place,
            setting: setting.to_owned(),
            found,
            expected,
        });
    }

    /// The configuration file, from wherever it is.
    fn file(&mut self, arguments: &Arguments, environment: &Environment) -> FileContent {
        let inline = environment.lookup(CONFIG_TOML);
        let named = match (&arguments.config, environment.lookup(CONFIG_FILE)) {
            (Some(path), _) => Some((path.clone(), Place::Flag("--config".to_owned()))),
            (None, Some(path)) => Some((path, Place::Environment(CONFIG_FILE.to_owned()))),
            (None, None) => None,
        };
        let Some((path, place)) = named else {
            let text = inline.unwrap_or_default();
            return sources::parse_file(CONFIG_TOML, &text, &mut self.problems);
        };
        if inline.is_some() {
            let expected = format!("no file besides the one in {CONFIG_TOML}");
            self.problem(place, "config", Some(path), expected);
            return FileContent::default();
        }
        match Files.read(Path::new(&path), MAX_FILE_BYTES) {
            Ok(text) => sources::parse_file(&path, &text, &mut self.problems),
            Err(error) => {
                let expected = format!("a readable file ({error})");
                self.problem(place, "config", Some(path), expected);
                FileContent::default()
            }
        }
    }

    fn feeds_of_file(&mut self, given: Vec<(Place, Vec<Given>)>) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (place, settings) in given {
            let mut draft = Draft::new("", place.clone());
            let mut named = false;
            for given in settings {
                if given.name == "name" {
                    named = true;
                    let found = given.value.shown();
                    if let Err(expected) = feeds::check_name(&found) {
                        self.problem(given.place, "feed name", Some(found.clone()), expected);
                    }
                    draft.name = found;
                } else {
                    self.put_feed(&mut draft, &given);
                }
            }
            if !named {
                self.problem(place, "feed name", None, "a name".to_owned());
            }
            drafts.push(draft);
        }
        drafts
    }

    fn put_feed(&mut self, draft: &mut Draft, given: &Given) {
        let Some(setting) = feeds::SETTINGS.iter().find(|s| s.name == given.name) else {
            let known = feeds::SETTINGS.iter().map(|setting| setting.name);
            let expected = problem::known_setting(&given.name, known.chain(["name"]));
            // A misspelt key may hold a secret, so its value is not shown.
            self.problem(given.place.clone(), &given.name, None, expected);
            return;
        };
        if let Err(expected) = (setting.put)(draft, &given.value) {
            draft.wrong.push(setting.name);
            let found = (setting.shown == Shown::Yes).then(|| given.value.shown());
            self.problem(given.place.clone(), &given.name, found, expected);
            return;
        }
        let text = given.value.shown();
        draft.given.note(setting.name, &text);
    }

    fn put(&mut self, given: &Given) {
        if given.name == UPSTREAM {
            match given.value.url() {
                Ok(url) => self.first_upstream = Some((url, given.place.clone())),
                Err(expected) => {
                    let found = Some(given.value.shown());
                    self.problem(given.place.clone(), UPSTREAM, found, expected);
                }
            }
            return;
        }
        let Some(setting) = settings::find(&given.name) else {
            let expected = problem::known_setting(&given.name, names());
            self.problem(given.place.clone(), &given.name, None, expected);
            return;
        };
        match (setting.field.put)(&mut self.config, &given.value) {
            Ok(()) => {
                self.places.insert(setting.name, given.place.clone());
                let text = given.value.shown();
                self.config.given.note(setting.name, &text);
            }
            Err(expected) => {
                let found = (setting.shown == Shown::Yes).then(|| given.value.shown());
                self.problem(given.place.clone(), setting.name, found, expected);
            }
        }
    }

    fn flag(&mut self, name: &str, values: &[String]) {
        let many = settings::find(name).is_some_and(|setting| setting.arity == Arity::Many);
        let value = match values {
            [single] if !many => Value::Text(single.clone()),
            _ => Value::List(
                values
                    .iter()
                    .flat_map(|value| value.split(','))
                    .map(str::to_owned)
                    .collect(),
            ),
        };
        self.put(&Given {
            name: name.to_owned(),
            value,
            place: Place::Flag(format!("--{}", name.replace('_', "-"))),
        });
    }

    /// Every variable that begins with our prefix; feeds that only they name are added by name.
    fn environment(&mut self, environment: &Environment, drafts: &mut Vec<Draft>) {
        let mut of_feeds = Vec::new();
        for (name, value) in environment.starting(PREFIX) {
            let place = Place::Environment(name.to_owned());
            if [ADMIN_TOKEN, CONFIG_FILE, CONFIG_TOML].contains(&name)
                || SUITES.contains(&name)
                || linked(name)
            {
                continue;
            }
            let Some(value) = value else {
                self.problem(place, "value", None, "text in UTF-8".to_owned());
                continue;
            };
            let value = Value::Text(value.to_owned());
            if let Some(rest) = name.strip_prefix(FEED_PREFIX) {
                match split_feed(rest) {
                    Some((feed, setting)) => of_feeds.push((feed, setting, value, place)),
                    None => {
                        let expected = format!("{FEED_PREFIX}<NAME>_<KEY> with a key of a feed");
                        self.problem(place, rest, None, expected);
                    }
                }
                continue;
            }
            let setting = name.strip_prefix(PREFIX).unwrap_or(name);
            self.put(&Given {
                name: setting.to_ascii_lowercase(),
                value,
                place,
            });
        }
        if drafts.is_empty() && of_feeds.iter().all(|(feed, ..)| *feed == "NUGET") {
            drafts.push(feeds::default_draft());
        }
        for (feed, setting, value, place) in of_feeds {
            self.feed_of_environment(drafts, feed, setting, value, place);
        }
    }

    fn feed_of_environment(
        &mut self,
        drafts: &mut Vec<Draft>,
        feed: &str,
        setting: &'static str,
        value: Value,
        place: Place,
    ) {
        let mut named = (0..drafts.len()).filter(|i| {
            drafts
                .get(*i)
                .is_some_and(|draft| feeds::environment_name(&draft.name) == feed)
        });
        let index = match (named.next(), named.next()) {
            (Some(index), None) => index,
            (Some(_), Some(_)) => {
                let expected =
                    "a name that only one feed of the file has once \".\" and \"-\" are \"_\"";
                self.problem(place, feed, None, expected.to_owned());
                return;
            }
            (None, _) => {
                let name = feed.to_ascii_lowercase();
                if let Err(expected) = feeds::check_name(&name) {
                    self.problem(place, "feed name", Some(name), expected);
                    return;
                }
                drafts.push(Draft::new(&name, place.clone()));
                drafts.len() - 1
            }
        };
        let given = Given {
            name: setting.to_owned(),
            value,
            place,
        };
        if let Some(mut draft) = drafts.get(index).cloned() {
            self.put_feed(&mut draft, &given);
            drafts[index] = draft;
        }
    }
}

/// Every name that `put` knows, and the list of feeds.
fn names() -> impl Iterator<Item = &'static str> {
    let known = settings::all().map(|setting: &Setting| setting.name);
    known.chain([UPSTREAM, "feed"])
}

/// The feed and the setting in `<NAME>_<KEY>`; of several keys that fit, the longest.
fn split_feed(rest: &str) -> Option<(&str, &'static str)> {
    feeds::SETTINGS
        .iter()
        .filter_map(|setting| {
            let key = setting.name.to_ascii_uppercase();
            let feed = rest.strip_suffix(key.as_str())?.strip_suffix('_')?;
            (!feed.is_empty()).then_some((feed, setting.name))
        })
        .max_by_key(|(_, name)| name.len())
}

/// Whether this is a variable that Kubernetes puts into every container beside a Service named `sluice` or `sluice-…`
/// ("Accessing the Service: environment variables"); to take it for a mistake would keep us from starting there.
fn linked(name: &str) -> bool {
    let after = |mark: &str| name.split_once(mark).map(|(_, rest)| rest);
    after("_SERVICE_HOST") == Some("")
        || after("_SERVICE_PORT").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        || name.ends_with("_PORT")
        || after("_PORT_").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod upstream_tests;
