//! Pins: packages that are never evicted, kept in a small file of the data folder.
//!
//! The file is changed by whoever pins, under its own lock, and read again within a minute; so pins outlive restarts
//! and the index. A feed may be kept as a whole, too. A pin keeps the files of a package and what is kept of its id as a whole: its lists and registrations.
//! Refuses to know which versions there are.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::layout::Layout;
use super::quota::Keep;
use super::settings::OpenError;
use super::small_file::{SmallFile, Stamp};
use super::{Shared, Store};
use crate::cache::key::{Key, feed_prefix, id_hash};

/// Name of the file in the data folder.
const FILE: &str = "pins.json";
/// How often it is said that pins leave no room: each request that passes the store by would say it else.
const WARNING_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Longest reading of the trailers of pinned packages: some hundred thousand of them on a slow disk.
const APPLY_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// A package that is never evicted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pin {
    /// Its id in canonical form.
    pub id: String,
    /// Its version in canonical form; `None` for all of them.
    pub version: Option<String>,
    /// The feed that has it; `None` for every feed.
    pub feed: Option<String>,
}

impl Pin {
    /// Whether it keeps a stored response. What has no version in its name, or a path there, is of the id as a whole.
    fn keeps(&self, key: &Key) -> bool {
        let is_of_version = |version: &String| {
            let rest = key.rest();
            rest.is_empty() || rest.contains('/') || rest == version
        };
        key.id() == Some(&self.id)
            && self.feed.as_ref().is_none_or(|feed| key.feed() == feed)
            && self.version.as_ref().is_none_or(is_of_version)
    }

    fn to_json(&self) -> Value {
        let mut object = json!({ "id": self.id });
        for (name, value) in [("version", &self.version), ("feed", &self.feed)] {
            if let Some(value) = value {
                object[name] = value.as_str().into();
            }
        }
        object
    }

    fn of_json(object: &Value) -> Option<Self> {
        let text = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value.as_str().map(|text| Some(text.to_owned())),
        };
        Some(Self {
            id: text("id")??,
            version: text("version")?,
            feed: text("feed")?,
        })
    }
}

/// The pins of one data folder.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pins(BTreeSet<Pin>);

impl Pins {
    /// The file that holds the pins of a data folder.
    #[must_use]
    pub fn file(data_dir: &Path) -> SmallFile {
        SmallFile::new(data_dir.join(FILE))
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let expected = || "{\"pins\": [{\"id\": …, \"version\": …, \"feed\": …}]}".to_owned();
        let document: Value = serde_json::from_str(text).map_err(|_| expected())?;
        let list = document.get("pins").and_then(Value::as_array);
        let pins = list.ok_or_else(expected)?.iter().map(Pin::of_json);
        pins.collect::<Option<BTreeSet<Pin>>>()
            .map(Self)
            .ok_or_else(expected)
    }

    /// What such a file holds.
    #[must_use]
    pub fn write(&self) -> String {
        let pins: Vec<Value> = self.0.iter().map(Pin::to_json).collect();
        format!("{:#}\n", json!({ "pins": pins }))
    }

    /// Adds a pin; says whether it was missing.
    pub fn add(&mut self, pin: Pin) -> bool {
        self.0.insert(pin)
    }

    /// Removes a pin; says whether there was one.
    pub fn remove(&mut self, pin: &Pin) -> bool {
        self.0.remove(pin)
    }

    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = &Pin> {
        self.0.iter()
    }

    fn keep(&self, key: &Key) -> Keep {
        if self.0.iter().any(|pin| pin.keeps(key)) {
            Keep::Pinned
        } else {
            Keep::WhileUsed
        }
    }
}

/// The pins in force.
#[derive(Debug, Default)]
pub(super) struct InForce {
    pins: RwLock<Arc<Pins>>,
    /// What the keys of feeds begin with of which everything stays.
    feeds: RwLock<Arc<HashSet<[u8; 8]>>>,
    /// Of the file as it was last read, good or bad.
    stamp: Mutex<Option<Stamp>>,
    warned: Mutex<Option<tokio::time::Instant>>,
}

impl InForce {
    /// Those that were read at the start.
    pub(super) fn new(pins: Pins, stamp: Option<Stamp>) -> Self {
        Self {
            pins: RwLock::new(Arc::new(pins)),
            stamp: Mutex::new(stamp),
            ..Self::default()
        }
    }

    /// Whether a stored response may be evicted.
    pub(super) fn keep(&self, key: &Key) -> Keep {
        if is_of(&self.feeds(), key.bytes()) {
            return Keep::Pinned;
        }
        self.now().keep(key)
    }

    fn feeds(&self) -> Arc<HashSet<[u8; 8]>> {
        Arc::clone(&self.feeds.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Arc<Pins> {
        Arc::clone(&self.pins.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a key is of one of these feeds.
fn is_of(feeds: &HashSet<[u8; 8]>, key: &[u8; 32]) -> bool {
    key.first_chunk::<8>()
        .is_some_and(|prefix| feeds.contains(prefix))
}

impl Store {
    /// Never evicts what is stored of these feeds, for nobody could bring it again; what was named so before may go.
    pub fn keep_feeds<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let shared = &self.shared;
        let feeds: HashSet<[u8; 8]> = names.map(feed_prefix).collect();
        if *shared.pins.feeds() == feeds {
            return;
        }
        *shared
            .pins
            .feeds
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(feeds);
        let own = Arc::clone(shared);
        shared
            .io
            .tasks
            .spawn("pins", async move { apply(&own).await });
    }
}

/// The pins of the data folder. Without them something pinned could go, so what cannot be read keeps the store shut.
pub(super) fn at_start(layout: &Layout) -> Result<InForce, OpenError> {
    let file = Pins::file(layout.root());
    let bad = |problem: String| OpenError::Pins {
        path: file.path().to_path_buf(),
        problem,
    };
    let stamp = file.stamp().map_err(|error| bad(error.to_string()))?;
    let text = file.read().map_err(|error| bad(error.to_string()))?;
    let pins = text.map(|text| Pins::read(&text)).transpose();
    let pins = pins.map_err(|expected| bad(format!("expected {expected}")))?;
    Ok(InForce::new(pins.unwrap_or_default(), stamp))
}

/// Reads the file of pins anew if it has changed, and obeys it. One that cannot be read changes nothing.
pub(super) async fn watch(shared: &Arc<Shared>) {
    let file = Pins::file(shared.layout.root());
    let looked = file.clone();
    let Ok(stamp) = shared.quiet(move || looked.stamp()).await else {
        return;
    };
    {
        let mut known = shared
            .pins
            .stamp
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known == stamp {
            return;
        }
        *known = stamp;
    }
    let read = match shared.quiet(move || file.read()).await {
        Ok(text) => text.map_or_else(|| Ok(Pins::default()), |text| Pins::read(&text)),
        Err(fault) => Err(fault.to_string()),
    };
    match read {
        Ok(pins) => {
            let count = pins.0.len();
            *shared
                .pins
                .pins
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(pins);
            apply(shared).await;
            tracing::info!(pins = count, "the pins changed");
        }
        Err(problem) => {
            tracing::warn!(file = FILE, %problem, "the pins cannot be read; those of before hold");
        }
    }
}

/// Has exactly what the pins and the kept feeds keep pinned. Names tell the id, and only of those the trailer is read.
pub(super) async fn apply(shared: &Arc<Shared>) {
    let (pins, feeds) = (shared.pins.now(), shared.pins.feeds());
    let ids: HashSet<[u8; 8]> = pins.0.iter().map(|pin| id_hash(&pin.id)).collect();
    let is_of_pin = |key: &[u8; 32]| {
        let id = key.get(8..16).and_then(|id| id.first_chunk::<8>());
        id.is_some_and(|id| ids.contains(id))
    };
    let candidates = match ids.is_empty() && feeds.is_empty() {
        true => Vec::new(),
        false => shared
            .quota
            .keys(|key| is_of_pin(key) || is_of(&feeds, key)),
    };
    let mut judged: HashSet<[u8; 32]> = shared.quota.pinned().into_iter().collect();
    judged.extend(&candidates);
    if judged.is_empty() {
        return;
    }
    let layout = shared.layout.clone();
    let read = move || {
        let mut pinned = HashSet::new();
        for key in candidates {
            if is_of(&feeds, &key) {
                pinned.insert(key);
                continue;
            }
            // One that cannot be read is somebody else's to find.
            if let Ok(Some(opened)) = layout.open(&key)
                && pins.keep(&opened.trailer.entry.key) == Keep::Pinned
            {
                pinned.insert(key);
            }
        }
        Ok(pinned)
    };
    if let Ok(pinned) = shared.io.unseen(APPLY_DEADLINE, read).await {
        shared.quota.pin_only(&pinned, &judged);
    }
}

impl Shared {
    /// Says, now and then, that pins are why a body of `wanted` bytes has no room.
    pub(super) fn warn_of_pins(&self, wanted: u64) {
        let sums = self.quota.sums();
        if sums.pinned == 0 || sums.pinned.saturating_add(wanted) <= sums.cap {
            return;
        }
        let now = self.clock.instant();
        let mut warned = self
            .pins
            .warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|then| now.saturating_duration_since(then) < WARNING_INTERVAL) {
            return;
        }
        *warned = Some(now);
        drop(warned);
        tracing::warn!(
            pinned_bytes = sums.pinned,
            max_store_bytes = sums.cap,
            wanted_bytes = wanted,
            "pinned packages leave no room: what is asked for passes the store by until max_store_bytes is higher or \
             something is unpinned"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Parts;

    fn pin(id: &str, version: Option<&str>, feed: Option<&str>) -> Pin {
        Pin {
            id: id.to_owned(),
            version: version.map(str::to_owned),
            feed: feed.map(str::to_owned),
        }
    }

    fn key(feed: &str, id: &str, class: &str, rest: &str) -> Key {
        Key::new(&Parts {
            feed,
            id: Some(id),
            class,
            rest,
            ..Parts::default()
        })
    }

    #[test]
    fn a_file_gives_its_pins_back_and_says_what_it_expects() {
        let mut pins = Pins::default();
        assert!(pins.add(pin("b", None, None)));
        assert!(pins.add(pin("a", Some("1.0.0"), Some("nuget"))));
        assert!(!pins.add(pin("b", None, None)));
        assert_eq!(Pins::read(&pins.write()), Ok(pins.clone()));
        assert!(pins.remove(&pin("b", None, None)) && !pins.remove(&pin("b", None, None)));
        for text in ["", "[]", "{}", "{\"pins\":[{}]}", "{\"pins\":[{\"id\":7}]}"] {
            assert!(Pins::read(text).is_err(), "{text}");
        }
        assert_eq!(Pins::read("{\"pins\":[],\"later\":1}"), Ok(Pins::default()));
    }

    #[test]
    fn a_pin_keeps_its_version_and_what_is_of_the_id_as_a_whole() {
        let whole = pin("a", None, None);
        let version = pin("a", Some("1.0.0"), None);
        let feed = pin("a", None, Some("corp"));
        let package = key("nuget", "a", "package", "1.0.0");
        assert!(whole.keeps(&package) && version.keeps(&package) && !feed.keeps(&package));
        let other = key("nuget", "a", "package", "2.0.0");
        assert!(whole.keeps(&other) && !version.keeps(&other));
        let list = key("corp", "a", "version-list", "");
        assert!(whole.keeps(&list) && version.keeps(&list) && feed.keeps(&list));
        let page = key("nuget", "a", "registration-index", "hive/index.json");
        assert!(version.keeps(&page));
        assert!(!whole.keeps(&key("nuget", "b", "package", "1.0.0")));
    }
}
