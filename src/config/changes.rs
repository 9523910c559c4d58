//! What another configuration changes in a running process, and what of it waits for a restart.
//!
//! Values are shown as the user wrote them. It refuses to show a secret, and to apply anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::{Value, json};

use super::feeds::{self, Shown};
use super::setting::{OnReload, Setting};
use super::unions::Mount;
use super::{Config, settings};

/// A difference between two configurations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A feed of this name is new.
    Added(String),
    /// A feed of this name is gone.
    Removed(String),
    /// A setting has another value.
    Setting {
        /// The feed that it is a setting of; `None` for one of the process.
        feed: Option<String>,
        /// Its name.
        name: &'static str,
        /// What it was and what it is, in words; `None` for a secret.
        values: Option<(String, String)>,
    },
}

impl Change {
    /// As one object, for an answer of the admin listener.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Added(feed) => json!({"feed": feed, "change": "added"}),
            Self::Removed(feed) => json!({"feed": feed, "change": "removed"}),
            Self::Setting { feed, name, values } => {
                let mut object = json!({"setting": name, "change": "changed"});
                if let Some(feed) = feed {
                    object["feed"] = feed.as_str().into();
                }
                if let Some((from, to)) = values {
                    object["from"] = from.as_str().into();
                    object["to"] = to.as_str().into();
                }
                object
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(feed) => write!(f, "feed {feed:?}: added"),
            Self::Removed(feed) => write!(f, "feed {feed:?}: removed"),
            Self::Setting { feed, name, values } => {
                if let Some(feed) = feed {
                    write!(f, "feed {feed:?}: ")?;
                }
                match values {
                    Some((from, to)) => write!(f, "{name}: {to:?}, before {from:?}"),
                    None => write!(f, "{name}: changed"),
                }
            }
        }
    }
}

/// Two configurations, compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What the process can obey now: the later one, with the earlier values of what waits for a restart.
    pub config: Config,
    /// What changes now.
    pub changed: Vec<Change>,
    /// What waits for a restart.
    pub needs_restart: Vec<Change>,
}

/// Compares what a process runs with to what was loaded since.
#[must_use]
pub fn compare(running: &Config, loaded: Config) -> Comparison {
    let mut comparison = Comparison {
        config: loaded,
        changed: Vec::new(),
        needs_restart: Vec::new(),
    };
    for setting in settings::all() {
        comparison.setting(running, setting);
    }
    comparison.feeds(running);
    comparison
}

impl Comparison {
    fn setting(&mut self, running: &Config, setting: &Setting) {
        let config = &mut self.config;
        if (setting.field.same)(running, config) {
            return;
        }
        let values = (setting.shown == Shown::Yes).then(|| {
            (
                running.given.words(running, setting),
                config.given.words(config, setting),
            )
        });
        let change = Change::Setting {
            feed: None,
            name: setting.name,
            values,
        };
        let waits = match setting.on_reload {
            OnReload::Obeyed => false,
            OnReload::ObeyedUnless(other) => self.needs_restart.iter().any(|change| {
                matches!(change, Change::Setting { feed: None, name, .. } if *name == other)
            }),
            OnReload::Restart => true,
        };
        if waits {
            (setting.field.take)(config, running);
            config.given.take(&running.given, setting.name);
            self.needs_restart.push(change);
        } else {
            self.changed.push(change);
        }
    }

    fn feeds(&mut self, running: &Config) {
        let (before, after) = (Mount::all(running), Mount::all(&self.config));
        let named =
            |mounts: &[Mount<'_>], name: &str| mounts.iter().any(|mount| mount.name() == name);
        let mut changes = Vec::new();
        for mount in &after {
            match before.iter().find(|known| known.name() == mount.name()) {
                None => changes.push(Change::Added(mount.name().to_owned())),
                Some(known) if known != mount => {
                    let given = (&running.given, &self.config.given);
                    feed_changes(known, mount, given, &mut changes);
                }
                Some(_) => {}
            }
        }
        for mount in before.iter().filter(|mount| !named(&after, mount.name())) {
            changes.push(Change::Removed(mount.name().to_owned()));
        }
        let first = |config: &Config| {
            let sources = config.proxy.sources();
            sources.first().map_or("", |(name, _)| name).to_owned()
        };
        let (first_before, first_after) = (first(running), first(&self.config));
        if first_before != first_after {
            changes.push(Change::Setting {
                feed: None,
                name: "first feed",
                values: Some((first_before, first_after)),
            });
        }
        self.changed.extend(changes);
    }
}

/// What differs between two states of a feed.
fn feed_changes(
    before: &Mount<'_>,
    after: &Mount<'_>,
    (given_before, given_after): (&Given, &Given),
    changes: &mut Vec<Change>,
) {
    let nothing = GivenToFeed::default();
    let of = |given: &'_ Given| given.feeds.get(after.name()).cloned();
    let old = of(given_before).unwrap_or_else(|| nothing.clone());
    let new = of(given_after).unwrap_or(nothing);
    let mut change = |name, values| {
        changes.push(Change::Setting {
            feed: Some(after.name().to_owned()),
            name,
            values,
        });
    };
    let (mut of_credential, mut of_push_key, mut of_way) = (0, 0, 0);
    for setting in feeds::SETTINGS {
        let (from, to) = (old.0.get(setting.name), new.0.get(setting.name));
        if from == to {
            continue;
        }
        let words = |text: Option<&String>| text.map_or("default", String::as_str).to_owned();
        let values = (setting.shown == Shown::Yes).then(|| (words(from), words(to)));
        change(setting.name, values);
        of_credential += usize::from(feeds::is_of_credential(setting.name));
        of_push_key += usize::from(setting.name.starts_with("push_key"));
        of_way += usize::from(feeds::is_of_way(setting.name));
    }
    let (Mount::Feed(before), Mount::Feed(after)) = (before, after) else {
        return;
    };
    // A file or variable that the settings name holds another secret.
    if before.credential != after.credential && of_credential == 0 {
        change("credential", None);
    }
    if before.clients.push_key != after.clients.push_key && of_push_key == 0 {
        change("push_key", None);
    }
    // The proxy of all feeds is another, or a file or variable holds another one or another certificate.
    if before.ways != after.ways && of_way == 0 {
        change("proxy or client certificate", None);
    }
}

/// The texts of the settings that were given.
#[derive(Clone, Default)]
pub(super) struct Given {
    settings: BTreeMap<&'static str, String>,
    feeds: HashMap<String, GivenToFeed>,
}

impl Given {
    pub(super) fn note(&mut self, name: &'static str, text: &str) {
        self.settings.insert(name, text.to_owned());
    }

    pub(super) fn note_feed(&mut self, feed: &str, given: GivenToFeed) {
        self.feeds.insert(feed.to_owned(), given);
    }

    fn take(&mut self, other: &Self, name: &'static str) {
        match other.settings.get(name) {
            Some(text) => self.settings.insert(name, text.clone()),
            None => self.settings.remove(name),
        };
    }

    /// A setting's value as the user wrote it, else what the default amounts to.
    fn words(&self, config: &Config, setting: &Setting) -> String {
        if let Some(text) = self.settings.get(setting.name) {
            return text.clone();
        }
        match (setting.field.text)(config).as_str() {
            "None" | "[]" => "default".to_owned(),
            text => format!("default ({})", text.trim_matches('"')),
        }
    }
}

/// Texts may be secrets.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

/// The texts of the settings that were given to a feed.
#[derive(Clone, Default)]
pub(super) struct GivenToFeed(BTreeMap<&'static str, String>);

impl GivenToFeed {
    pub(super) fn note(&mut self, name: &'static str, text: &str) {
        self.0.insert(name, text.to_owned());
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl fmt::Debug for GivenToFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenToFeed")
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::value::Value as Written;
    use super::*;
    use crate::config::{Arguments, Environment, load};

    fn loaded(text: &str, token: &str) -> Config {
        let variables = [("SLUICE_CONFIG_TOML", text), ("TOKEN", token)];
        let variables = variables.map(|(name, value)| (OsString::from(name), value.into()));
        load(&Arguments::default(), &Environment::new(variables)).unwrap()
    }

    /// Values of every kind; each setting takes one that is not its default.
    fn values(certificate: &str, users: &str) -> Vec<Written> {
        let texts = [
            "9KiB",
            "77ms",
            "7s",
            "3s",
            "9MiB",
            "7MiB",
            "/nowhere",
            "127.0.0.1:7",
            "10.0.0.0/8",
            "https://a.test",
            "forwarded",
            users,
            "allow",
            "json",
            "trace",
            "off",
            "a.test",
            certificate,
        ];
        let texts = texts.map(|text| Written::Text(text.to_owned()));
        let numbers = [77, 7].map(Written::Integer);
        texts.into_iter().chain(numbers).collect()
    }

    #[test]
    fn every_setting_is_obeyed_or_waits_and_takes_back_all_it_filled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        let certified = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        std::fs::write(&file, certified.cert.pem()).unwrap();
        let users = folder.path().join("users");
        std::fs::write(&users, "").unwrap();
        let before = Config::default();
        for setting in settings::all() {
            let other = values(file.to_str().unwrap(), users.to_str().unwrap())
                .into_iter()
                .find_map(|value| {
                    let mut config = Config::default();
                    (setting.field.put)(&mut config, &value).ok()?;
                    let is_other = !(setting.field.same)(&config, &before);
                    is_other.then_some(config)
                });
            let other = other.unwrap_or_else(|| panic!("no other value for {}", setting.name));
            let comparison = compare(&before, other.clone());
            let (named, none, expected) = match setting.on_reload {
                OnReload::Obeyed | OnReload::ObeyedUnless(_) => {
                    (comparison.changed, comparison.needs_restart, &other)
                }
                OnReload::Restart => (comparison.needs_restart, comparison.changed, &before),
            };
            let [
                Change::Setting {
                    feed: None, name, ..
                },
            ] = &named[..]
            else {
                panic!("{}: {named:?}", setting.name);
            };
            assert_eq!((*name, none), (setting.name, Vec::new()));
            // A field that `put` fills and `take` forgets would differ.
            let config = format!("{:?}", comparison.config);
            assert_eq!(config, format!("{expected:?}"), "{}", setting.name);
            let mut taken = other;
            (setting.field.take)(&mut taken, &before);
            assert_eq!(
                format!("{taken:?}"),
                format!("{before:?}"),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn every_setting_of_a_feed_is_told_and_no_secret_is() {
        let users = tempfile::NamedTempFile::new().unwrap();
        let users = format!("users_file = {:?}\n", users.path());
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("a.pem");
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        std::fs::write(&certificate, pem).unwrap();
        let certificate = certificate.to_str().unwrap().to_owned();
        let a = "[[feed]]\nname = \"a\"\nupstream = \"https://a/i\"\n";
        let b = "[[feed]]\nname = \"b\"\nupstream = \"https://b/i\"\n";
        let all = "[[feed]]\nname = \"all\"\nmembers = [\"a\"]\n";
        for setting in feeds::SETTINGS {
            let (feed, before) = match setting.name {
                "members" | "push_to" | "search_wait" => ("all", format!("{users}{b}{a}{all}")),
                _ => ("a", format!("{users}{b}{all}{a}")),
            };
            let partner = match setting.name {
                "username" => "password = \"x\"\n",
                "client_key_file" => &format!("client_cert_file = {certificate:?}\n"),
                name if name.starts_with("proxy_password") => {
                    "proxy = \"a.test\"\nproxy_username = \"x\"\n"
                }
                "proxy_username" => "proxy = \"a.test\"\nproxy_password = \"x\"\n",
                name if name.starts_with("password") => "username = \"x\"\n",
                "header_name" => "header_value = \"x\"\n",
                "readers" | "pushers" => "access = \"own\"\n",
                name if name.starts_with("header_value") => "header_name = \"x\"\n",
                _ => "",
            };
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&path, "hunter2").unwrap();
            let value = match setting.name {
                "client_cert_file" | "client_key_file" => &certificate,
                "members" => "[\"b\"]",
                "only" | "owns" => "A.*",
                "optional" => "true",
                "proxy" => "http://u:hunter2@proxy.test",
                "push_length" => "required",
                "push_to" => "a",
                "search_wait" => "7s",
                name if name.ends_with("upstream") => "https://c/i",
                name if name.ends_with("_file") => path.path().to_str().unwrap(),
                name if name.ends_with("_env") => "TOKEN",
                name if name.contains("fresh") || name.contains("outage") => "77s",
                name if name.starts_with("proof") => "77s",
                "access" => "own",
                "auto_offline_after" | "content_revalidated" => "77s",
                "block" => "Evil.*",
                "mode" => "offline",
                "package_hashes" | "repository_signatures" => "enforce",
                "seek_package_hashes" => "true",
                "withdrawn" => "block",
                "username" | "header_name" | "no_proxy" | "proxy_username" | "pushers"
                | "readers" => "y",
                _ => "hunter2",
            };
            let after = match setting.name {
                "members" => before.replace("[\"a\"]", value),
                "upstream" => before.replace("https://a/i", value),
                name => format!("{before}{partner}{name} = {value:?}\n"),
            };
            let comparison = compare(&loaded(&before, "x"), loaded(&after, "x"));
            let told = comparison.changed.iter().filter(|change| {
                matches!(change, Change::Setting { feed: Some(of), name, .. }
                    if of == feed && *name == setting.name)
            });
            assert_eq!(
                told.count(),
                1,
                "{}: {:?}",
                setting.name,
                comparison.changed
            );
            let mut shown = format!("{comparison:?}");
            for change in &comparison.changed {
                shown.push_str(&format!("{change} {}", change.to_json()));
            }
            assert!(!shown.contains("hunter2"), "{}: {shown}", setting.name);
        }
    }

    #[test]
    fn equal_values_in_other_words_are_no_change_and_another_secret_is_one() {
        let same = compare(
            &loaded("max_hold = \"60s\"", "x"),
            loaded("max_hold = \"1m\"", "x"),
        );
        assert_eq!((same.changed, same.needs_restart), (Vec::new(), Vec::new()));
        let feed = "[[feed]]\nname = \"a\"\nupstream = \"https://a/i\"\ntoken_env = \"TOKEN\"";
        let other = compare(&loaded(feed, "x"), loaded(feed, "y"));
        let [change] = &other.changed[..] else {
            panic!("{:?}", other.changed);
        };
        assert_eq!(change.to_string(), "feed \"a\": credential: changed");
    }

    #[test]
    fn feeds_come_go_and_change_places() {
        let feed =
            |name: &str| format!("[[feed]]\nname = \"{name}\"\nupstream = \"https://{name}/i\"\n");
        let before = loaded(&(feed("a") + &feed("b")), "x");
        let after = loaded(&(feed("c") + &feed("b")), "x");
        let told: Vec<String> = compare(&before, after)
            .changed
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "feed \"c\": added",
            "feed \"a\": removed",
            "first feed: \"c\", before \"a\"",
        ];
        assert_eq!(told, expected);
    }
}
