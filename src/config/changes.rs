//! What another configuration changes in a running process, and what of it waits for a restart.
//!
//! Values are shown as the user wrote them. It refuses to show a secret, and to apply anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::{Value, json};

use super::feeds::{self, Shown};
use super::setting::{OnReload, Setting};
use super::{Config, settings};
use crate::proxy::FeedSettings;

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
        if (setting.field.text)(running) == (setting.field.text)(config) {
            return;
        }
        let values = (
            running.given.words(running, setting),
            config.given.words(config, setting),
        );
        let change = Change::Setting {
            feed: None,
            name: setting.name,
            values: Some(values),
        };
        match setting.on_reload {
            OnReload::Obeyed => self.changed.push(change),
            OnReload::Restart => {
                (setting.field.take)(config, running);
                config.given.take(&running.given, setting.name);
                self.needs_restart.push(change);
            }
        }
    }

    fn feeds(&mut self, running: &Config) {
        let (before, after) = (&running.proxy.feeds, &self.config.proxy.feeds);
        let named = |feeds: &[FeedSettings], name: &str| feeds.iter().any(|feed| feed.name == name);
        let mut changes = Vec::new();
        for feed in after {
            match before.iter().find(|known| known.name == feed.name) {
                None => changes.push(Change::Added(feed.name.clone())),
                Some(known) if known != feed => {
                    let given = (&running.given, &self.config.given);
                    feed_changes(known, feed, given, &mut changes);
                }
                Some(_) => {}
            }
        }
        for feed in before.iter().filter(|feed| !named(after, &feed.name)) {
            changes.push(Change::Removed(feed.name.clone()));
        }
        let first = |feeds: &[FeedSettings]| {
            feeds
                .first()
                .map_or_else(String::new, |feed| feed.name.clone())
        };
        if first(before) != first(after) {
            changes.push(Change::Setting {
                feed: None,
                name: "first feed",
                values: Some((first(before), first(after))),
            });
        }
        self.changed.extend(changes);
    }
}

/// What differs between two states of a feed.
fn feed_changes(
    before: &FeedSettings,
    after: &FeedSettings,
    (given_before, given_after): (&Given, &Given),
    changes: &mut Vec<Change>,
) {
    let nothing = GivenToFeed::default();
    let of = |given: &'_ Given| given.feeds.get(&after.name).cloned();
    let old = of(given_before).unwrap_or_else(|| nothing.clone());
    let new = of(given_after).unwrap_or(nothing);
    let mut change = |name, values| {
        changes.push(Change::Setting {
            feed: Some(after.name.clone()),
            name,
            values,
        });
    };
    let mut of_credential = 0;
    for setting in feeds::SETTINGS {
        let (from, to) = (old.0.get(setting.name), new.0.get(setting.name));
        if from == to {
            continue;
        }
        let words = |text: Option<&String>| text.map_or("default", String::as_str).to_owned();
        let values = (setting.shown == Shown::Yes).then(|| (words(from), words(to)));
        change(setting.name, values);
        of_credential += usize::from(feeds::is_of_credential(setting.name));
    }
    // A file or variable that the settings name holds another secret.
    if before.credential != after.credential && of_credential == 0 {
        change("credential", None);
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
}

impl fmt::Debug for GivenToFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenToFeed")
    }
}
