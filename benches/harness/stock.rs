//! What a scripted upstream has: packages and documents whose every byte follows from their name and generation.
//!
//! So whoever meets some bytes later, in an answer or in a file, can tell whether they are what was made, without a
//! record of what was sent when. It refuses to know who asks.

use super::random::Random;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Versions of each package: `1.0.0`, `1.0.1` and so on.
const VERSIONS: usize = 3;

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Thing {
    List(usize),
    Package(usize, usize),
    Registration(usize),
    Search(usize),
    ServiceIndex,
}

/// All that there is.
#[derive(Debug)]
pub(crate) struct Stock {
    /// How often the documents of each id have changed.
    generations: Vec<AtomicU64>,
    packages: HashMap<(usize, usize), Vec<u8>>,
    /// `http://127.0.0.1:PORT`.
    base: String,
}

impl Stock {
    /// Makes the packages of `ids` ids, of a few hundred bytes to two megabytes, for an upstream at `base`.
    pub(crate) fn new(ids: usize, base: &str) -> Self {
        let all = (0..ids).flat_map(|id| (0..VERSIONS).map(move |version| (id, version)));
        let packages = all.map(|(id, version)| ((id, version), made(id, version)));
        Self {
            generations: (0..ids).map(|_| AtomicU64::new(1)).collect(),
            packages: packages.collect(),
            base: base.to_owned(),
        }
    }

    /// The same, but that each version of the first id has so many bytes.
    pub(crate) fn with_large(mut self, length: usize) -> Self {
        for version in 0..VERSIONS {
            let noise = Random::new(version as u64).bytes(length);
            let large = package(&name(0), &format!("1.0.{version}"), &noise);
            self.packages.insert((0, version), large);
        }
        self
    }

    pub(crate) fn ids(&self) -> usize {
        self.generations.len()
    }

    /// Each thing that there is.
    pub(crate) fn things(&self) -> Vec<Thing> {
        let mut things: Vec<Thing> = self
            .packages
            .keys()
            .map(|(id, version)| Thing::Package(*id, *version))
            .collect();
        for id in 0..self.ids() {
            things.extend([Thing::List(id), Thing::Registration(id)]);
        }
        things.sort_unstable();
        things
    }

    /// One of them: packages in two cases of three.
    pub(crate) fn pick(&self, random: &mut Random) -> Thing {
        let id = random.place(self.ids());
        match random.below(9) {
            0..6 => Thing::Package(id, random.place(VERSIONS)),
            6 | 7 => Thing::List(id),
            _ => Thing::Registration(id),
        }
    }

    /// How often a thing has changed; a package never does.
    pub(crate) fn generation(&self, thing: Thing) -> u64 {
        match thing {
            Thing::List(id) | Thing::Registration(id) | Thing::Search(id) => {
                self.generations[id].load(Ordering::SeqCst)
            }
            Thing::Package(..) | Thing::ServiceIndex => 0,
        }
    }

    /// Something was published or unlisted: the documents of this id change.
    pub(crate) fn publish(&self, id: usize) {
        self.generations[id].fetch_add(1, Ordering::SeqCst);
    }

    /// The bytes of a thing in a generation of it.
    pub(crate) fn bytes(&self, thing: Thing, generation: u64) -> Vec<u8> {
        match thing {
            Thing::List(id) => list(id, generation).to_string().into_bytes(),
            Thing::Package(id, version) => self.packages[&(id, version)].clone(),
            Thing::Registration(id) => self.registration(id, generation).to_string().into_bytes(),
            Thing::Search(id) => self.search(id, generation).to_string().into_bytes(),
            Thing::ServiceIndex => self.service_index().to_string().into_bytes(),
        }
    }

    /// The generation of a thing of which these are the bytes; `None` if they are of none so far.
    pub(crate) fn recognise(&self, thing: Thing, bytes: &[u8]) -> Option<u64> {
        let generation = match thing {
            Thing::List(_) | Thing::Registration(_) | Thing::Search(_) => {
                let document: Value = serde_json::from_slice(bytes).ok()?;
                document["generation"].as_u64()?
            }
            Thing::Package(..) | Thing::ServiceIndex => 0,
        };
        let known = generation <= self.generation(thing);
        (known && self.bytes(thing, generation) == bytes).then_some(generation)
    }

    /// The path of a thing at the upstream.
    pub(crate) fn path(thing: Thing) -> String {
        match thing {
            Thing::List(id) => format!("/flat/{}/index.json", name(id)),
            Thing::Package(id, version) => format!("/flat/{}", content(id, version)),
            Thing::Registration(id) => format!("/reg/{}/index.json", name(id)),
            Thing::Search(id) => format!("/search?q={}", name(id)),
            Thing::ServiceIndex => "/v3/index.json".to_owned(),
        }
    }

    /// The thing at a path of the upstream.
    pub(crate) fn thing_at(&self, path: &str) -> Option<Thing> {
        if path == "/v3/index.json" {
            return Some(Thing::ServiceIndex);
        }
        if let Some(query) = path.strip_prefix("/search?") {
            let named = query.split('&').find_map(|pair| pair.strip_prefix("q="));
            return self.id_of(named?).map(Thing::Search);
        }
        let path = path.split('?').next()?;
        let (place, rest) = path.strip_prefix('/')?.split_once('/')?;
        let (name, rest) = rest.split_once('/')?;
        let id = self.id_of(name)?;
        match (place, rest) {
            ("flat", "index.json") => Some(Thing::List(id)),
            ("reg", "index.json") => Some(Thing::Registration(id)),
            ("flat", rest) => {
                let version = rest.split_once('/')?.0.strip_prefix("1.0.")?;
                let version = version.parse().ok().filter(|version| *version < VERSIONS)?;
                Some(Thing::Package(id, version))
            }
            _ => None,
        }
    }

    /// The number of an id by its name.
    pub(crate) fn id_of(&self, name: &str) -> Option<usize> {
        let id = name.strip_prefix("stock.p")?.parse().ok()?;
        (id < self.ids()).then_some(id)
    }

    fn service_index(&self) -> Value {
        let base = &self.base;
        let resources = [
            ("PackageBaseAddress/3.0.0", "flat/"),
            ("PackagePublish/2.0.0", "push"),
            ("RegistrationsBaseUrl/3.6.0", "reg/"),
            ("SearchQueryService/3.0.0-rc", "search"),
        ];
        let resources =
            resources.map(|(kind, path)| json!({"@id": format!("{base}/{path}"), "@type": kind}));
        json!({"version": "3.0.0", "resources": resources})
    }

    fn search(&self, id: usize, generation: u64) -> Value {
        let (base, name) = (&self.base, name(id));
        let index = format!("{base}/reg/{name}/index.json");
        let version = |version: usize| {
            json!({
                "@id": format!("{base}/reg/{name}/1.0.{version}.json"), "downloads": 0,
                "version": format!("1.0.{version}"),
            })
        };
        let versions: Vec<Value> = (0..VERSIONS).map(version).collect();
        json!({
            "totalHits": 1, "generation": generation, "filler": filler(id, generation),
            "data": [{
                "@id": index, "@type": "Package", "registration": index, "id": name,
                "version": format!("1.0.{}", VERSIONS - 1), "versions": versions,
            }],
        })
    }

    fn registration(&self, id: usize, generation: u64) -> Value {
        let (base, name) = (&self.base, name(id));
        // One second later with each generation.
        let commit = format!(
            "2026-01-{:02}T{:02}:{:02}:{:02}.0000000+00:00",
            1 + generation / 86_400,
            generation / 3600 % 24,
            generation / 60 % 60,
            generation % 60
        );
        let index = format!("{base}/reg/{name}/index.json");
        let leaf = |version: usize| {
            let path = format!("{base}/flat/{}", content(id, version));
            json!({
                "@id": format!("{base}/reg/{name}/1.0.{version}.json"), "@type": "Package",
                "commitTimeStamp": commit, "packageContent": path, "registration": index,
                "catalogEntry": {
                    "@type": "PackageDetails", "id": name, "version": format!("1.0.{version}"),
                    "listed": true, "packageContent": path,
                },
            })
        };
        let leaves: Vec<Value> = (0..VERSIONS).map(leaf).collect();
        let last = VERSIONS - 1;
        json!({
            "@id": index, "@type": ["catalog:CatalogRoot", "PackageRegistration"],
            "commitTimeStamp": commit, "count": 1, "generation": generation,
            "filler": filler(id, generation),
            "items": [{
                "@id": format!("{index}#page/1.0.0/1.0.{last}"), "@type": "catalog:CatalogPage",
                "commitTimeStamp": commit, "count": leaves.len(), "items": leaves,
                "lower": "1.0.0", "upper": format!("1.0.{last}"), "parent": index,
            }],
        })
    }
}

/// The name of an id.
pub(crate) fn name(id: usize) -> String {
    format!("stock.p{id}")
}

/// Where a package lies below a flat container.
pub(crate) fn content(id: usize, version: usize) -> String {
    let name = name(id);
    format!("{name}/1.0.{version}/{name}.1.0.{version}.nupkg")
}

fn list(id: usize, generation: u64) -> Value {
    let versions: Vec<String> = (0..VERSIONS)
        .map(|version| format!("1.0.{version}"))
        .collect();
    json!({"versions": versions, "generation": generation, "filler": filler(id, generation)})
}

/// So that documents take one block of the disk or several.
fn filler(id: usize, generation: u64) -> String {
    let mut random = Random::new((id as u64) << 32 ^ generation);
    let length = random.place(6000);
    let letters = random.bytes(length);
    letters
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}

fn made(id: usize, version: usize) -> Vec<u8> {
    let mut random = Random::new((id as u64) << 32 ^ version as u64 ^ 0x0a11);
    // Half of them are small; a few pass every buffer and reservation step of a store.
    let length = match random.below(20) {
        0..10 => random.size(100, 4_000),
        10..16 => random.size(4_000, 64_000),
        16..19 => random.size(64_000, 400_000),
        _ => random.size(400_000, 2_000_000),
    };
    let noise = random.bytes(length);
    package(&name(id), &format!("1.0.{version}"), &noise)
}

/// A package with this content.
pub(crate) fn package(id: &str, version: &str, content: &[u8]) -> Vec<u8> {
    let stored = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let nuspec = format!(
        "<?xml version=\"1.0\"?><package><metadata><id>{id}</id><version>{version}</version>\
         <description>A sample.</description></metadata></package>"
    );
    let files: [(String, &[u8]); 2] = [
        (format!("{id}.nuspec"), nuspec.as_bytes()),
        (format!("lib/net8.0/{id}.dll"), content),
    ];
    for (name, content) in files {
        writer.start_file(name, stored).expect("a name");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}
