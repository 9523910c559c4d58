//! The classes of the matrix: where the upstream has a document or file of each, what is in it, how clients ask for it.

use serde_json::{Value, json};

use super::editions::{
    Edition, LARGE, SMALL, UPDATED, catalog_index, catalog_page, certificate, dated, filled,
    httpdate_of, index, marked, packed, page_url, sha256, signatures,
};
use crate::harness::fixture::{
    MANY, MANY_VERSIONS, ONE, ONE_VERSIONS, inlined_registration, leaf, manifest,
    paged_registration, version_list,
};
use crate::harness::{Origin, Reply};

/// What clients call the proxies of the matrix: https, without which there are no signatures.
pub(super) const US: &str = "https://us.example";

/// How a stored copy becomes one that is asked for again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ages {
    /// After so many seconds.
    After(u64),
    /// When a client demands it, by `no-cache`.
    Forced,
    /// Never: its URL names what it is.
    Never,
}

/// What an answer's body is compared by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Likeness {
    /// By every byte.
    Bytes,
    /// By a mark in it, since its links were pointed at us.
    Mark,
}

/// A class of the matrix.
pub(super) struct Kind {
    /// The product's word for it.
    pub(super) class: &'static str,
    /// What reason phrases call it.
    pub(super) what: &'static str,
    pub(super) ages: Ages,
    pub(super) likeness: Likeness,
    /// Where below its host the upstream has it.
    pub(super) at: &'static str,
    /// What it has there.
    text: fn(&str, Edition) -> Vec<u8>,
    /// How clients ask for it, below the service index's folder; `HIVE/…` lies in the registration hive.
    path: fn(&str) -> String,
}

const REGISTRATION: Ages = Ages::After(301);

/// Every class.
pub(super) const KINDS: [Kind; 22] = [
    Kind {
        class: "autocomplete",
        what: "autocomplete",
        ages: Ages::After(61),
        likeness: Likeness::Bytes,
        at: "autocomplete",
        text: |_, edition| {
            json!({"totalHits": 1, "data": [edition.mark()]})
                .to_string()
                .into()
        },
        path: |_| "autocomplete?q=sample".into(),
    },
    Kind {
        class: "catalog-index",
        what: "catalog document",
        ages: Ages::After(31),
        likeness: Likeness::Mark,
        at: "catalog/index.json",
        text: |host, edition| catalog_index(host, edition).into(),
        path: |_| "catalog/index.json".into(),
    },
    Kind {
        class: "catalog-leaf",
        what: "catalog document",
        ages: Ages::Forced,
        likeness: Likeness::Mark,
        at: "catalog/data/2026/sample.one.1.0.0.json",
        text: |host, edition| {
            let url = format!("https://{host}/catalog/data/2026/sample.one.1.0.0.json");
            marked(
                json!({"@id": url, "id": ONE, "version": "1.0.0", "commitTimeStamp": edition.time()}),
                edition,
            )
            .into()
        },
        path: |_| "catalog/data/2026/sample.one.1.0.0.json".into(),
    },
    Kind {
        class: "catalog-page",
        what: "catalog document",
        ages: Ages::After(31),
        likeness: Likeness::Mark,
        at: "catalog/page1.json",
        text: |host, edition| catalog_page(host, edition).into(),
        path: |_| "catalog/page1.json".into(),
    },
    Kind {
        class: "certificate",
        what: "certificate",
        ages: Ages::Never,
        likeness: Likeness::Bytes,
        at: "signatures/a.crt",
        text: certificate,
        path: |host| {
            let digest = sha256(&certificate(host, Edition::Stored));
            format!("repository-signatures/certificates/{digest}.crt")
        },
    },
    file("icon", "flat/sample.one/1.0.0/icon", |_| {
        "flatcontainer/sample.one/1.0.0/icon".into()
    }),
    file("license", "flat/sample.one/1.0.0/license", |_| {
        "flatcontainer/sample.one/1.0.0/license".into()
    }),
    Kind {
        class: "manifest",
        what: "sample.one 1.0.0",
        ages: Ages::Forced,
        likeness: Likeness::Bytes,
        at: "flat/sample.one/1.0.0/sample.one.nuspec",
        text: |_, edition| {
            let text = manifest(edition.id(ONE), "1.0.0");
            text.replace("A sample.", &edition.mark()).into()
        },
        path: |_| "flatcontainer/sample.one/1.0.0/sample.one.nuspec".into(),
    },
    Kind {
        class: "package",
        what: "sample.one 1.0.0",
        ages: Ages::Forced,
        likeness: Likeness::Bytes,
        at: "flat/sample.one/1.0.0/sample.one.1.0.0.nupkg",
        text: |_, edition| packed(edition),
        path: |_| "flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg".into(),
    },
    file("readme", "flat/sample.one/1.0.0/readme", |_| {
        "flatcontainer/sample.one/1.0.0/readme".into()
    }),
    Kind {
        class: "registration-index",
        what: "sample.one",
        ages: REGISTRATION,
        likeness: Likeness::Mark,
        at: "reg/sample.one/index.json",
        text: |host, edition| {
            let hive = format!("{host}/reg");
            let text = inlined_registration(&hive, edition.id(ONE), &ONE_VERSIONS);
            dated(&text, edition).into()
        },
        path: |_| "HIVE/sample.one/index.json".into(),
    },
    Kind {
        class: "registration-leaf",
        what: "sample.one",
        ages: REGISTRATION,
        likeness: Likeness::Mark,
        at: "reg/sample.one/1.0.0.json",
        text: |host, edition| {
            let leaf = leaf(&format!("{host}/reg"), edition.id(ONE), "1.0.0");
            dated(&leaf.to_string(), edition).into()
        },
        path: |_| "HIVE/sample.one/1.0.0.json".into(),
    },
    Kind {
        class: "registration-page",
        what: "sample.many",
        ages: REGISTRATION,
        likeness: Likeness::Mark,
        at: "reg/sample.many/page/1.0.0/1.2.0.json",
        text: |host, edition| {
            let hive = format!("{host}/reg");
            let (_, pages) = paged_registration(&hive, edition.id(MANY), &MANY_VERSIONS);
            dated(&pages[0].1, edition).into()
        },
        path: |_| "HIVE/sample.many/page/1.0.0/1.2.0.json".into(),
    },
    Kind {
        class: "repository-signatures",
        what: "repository signatures",
        ages: Ages::After(3601),
        likeness: Likeness::Mark,
        at: "signatures/index.json",
        text: |host, edition| signatures(host, edition).into(),
        path: |_| "repository-signatures/5.0.0/index.json".into(),
    },
    Kind {
        class: "search",
        what: "search",
        ages: Ages::After(61),
        likeness: Likeness::Mark,
        at: "query",
        text: |host, edition| {
            let url = format!("https://{host}/reg/sample.one/index.json");
            let hit = json!({
                "@id": url, "registration": url, "id": ONE, "version": "1.0.0",
                "versions": [{"version": "1.0.0", "@id": format!("https://{host}/reg/sample.one/1.0.0.json")}],
            });
            marked(json!({"totalHits": 1, "data": [hit]}), edition).into()
        },
        path: |_| "search?q=sample".into(),
    },
    Kind {
        class: "service-index",
        what: "service index",
        ages: Ages::After(901),
        likeness: Likeness::Mark,
        at: "index.json",
        text: |host, edition| index(host, edition).into(),
        path: |_| "index.json".into(),
    },
    Kind {
        class: "symbols",
        what: "symbols",
        ages: Ages::Forced,
        likeness: Likeness::Bytes,
        at: "symbols/a.pdb/1/a.pdb",
        text: |_, edition| filled("symbols", edition, LARGE),
        path: |_| "symbols/a.pdb/1/a.pdb".into(),
    },
    Kind {
        class: "tool",
        what: "tool",
        ages: Ages::Never,
        likeness: Likeness::Bytes,
        at: "tools/nuget.exe",
        text: |_, edition| filled("tool", edition, LARGE),
        path: |host| {
            let digest = sha256(format!("https://{host}/tools/nuget.exe").as_bytes());
            format!("/-/tools/{}/nuget.exe", &digest[..16])
        },
    },
    Kind {
        class: "tools-list",
        what: "tools list",
        ages: Ages::After(3601),
        likeness: Likeness::Mark,
        at: "tools.json",
        text: |host, edition| {
            let url = format!("https://{host}/tools/nuget.exe");
            let release = json!({"version": "7.0.0", "url": url, "stage": edition.mark()});
            json!({"nuget.exe": [release]}).to_string().into()
        },
        path: |_| "/-/tools.json".into(),
    },
    Kind {
        class: "version-list",
        what: "sample.one",
        ages: Ages::After(61),
        likeness: Likeness::Bytes,
        at: "flat/sample.one/index.json",
        text: |_, edition| version_list(&["1.0.0", &format!("1.0.0-{}", edition.mark())]).into(),
        path: |_| "flatcontainer/sample.one/index.json".into(),
    },
    Kind {
        class: "vulnerability-index",
        what: "vulnerability index",
        ages: Ages::After(3601),
        likeness: Likeness::Mark,
        at: "vulnerabilities/index.json",
        text: |host, edition| {
            json!([{
                "@name": "base", "@id": page_url(host), "@updated": UPDATED, "comment": edition.mark(),
            }])
            .to_string()
            .into()
        },
        path: |_| "vulnerabilities/index.json".into(),
    },
    Kind {
        class: "vulnerability-page",
        what: "vulnerability page",
        ages: Ages::Never,
        likeness: Likeness::Bytes,
        at: "vulnerabilities/base.json",
        text: |_, edition| {
            let url = format!("https://cve.test/{}", edition.mark());
            json!({"sample.one": [{"url": url, "severity": 2, "versions": "(, 1.0.0)"}]})
                .to_string()
                .into()
        },
        path: |host| {
            let digest = sha256(format!("{}\n{UPDATED}", page_url(host)).as_bytes());
            format!("vulnerabilities/base-{}", &digest[..12])
        },
    },
];

/// A file of the flat container that may hold anything.
const fn file(class: &'static str, at: &'static str, path: fn(&str) -> String) -> Kind {
    Kind {
        class,
        what: "sample.one 1.0.0",
        ages: Ages::Forced,
        likeness: Likeness::Bytes,
        at,
        text: |_, edition| filled("file", edition, SMALL),
        path,
    }
}

impl Kind {
    #[track_caller]
    pub(super) fn of(class: &str) -> &'static Self {
        let found = KINDS.iter().find(|kind| kind.class == class);
        found.unwrap_or_else(|| panic!("no class {class:?}"))
    }

    /// Whether it comes from the tools upstream, of which a proxy has one.
    pub(super) fn is_of_tools(&self) -> bool {
        self.class.starts_with("tool")
    }

    /// The bytes that the upstream at `host` has of it.
    pub(super) fn bytes(&self, host: &str, edition: Edition) -> Vec<u8> {
        (self.text)(host, edition)
    }

    /// How the upstream at `host` answers for it.
    pub(super) fn reply(&self, host: &str, edition: Edition) -> Reply {
        self.reply_of(self.bytes(host, edition), edition)
    }

    /// The same with these bytes.
    pub(super) fn reply_of(&self, bytes: Vec<u8>, edition: Edition) -> Reply {
        let etag = format!("\"0x{:08X}\"", crc32c::crc32c(&bytes));
        let modified = httpdate_of(edition.day());
        let is_json = self.at.ends_with(".json") || matches!(self.class, "autocomplete" | "search");
        let reply = if is_json {
            Reply::json(bytes)
        } else {
            Reply::file(bytes).ranges()
        };
        reply
            .header("ETag", &etag)
            .header("Last-Modified", &modified)
    }

    /// Which edition a body is, if it is one, whole: the wanted one first where several are alike.
    pub(super) fn edition(&self, host: &str, body: &[u8], first: Edition) -> Option<Edition> {
        let all = [
            first,
            Edition::New,
            Edition::Stored,
            Edition::Older,
            Edition::Other,
        ];
        let text = String::from_utf8_lossy(body);
        all.into_iter().find(|edition| match self.likeness {
            Likeness::Bytes => body == self.bytes(host, *edition),
            Likeness::Mark => {
                text.contains(&edition.mark()) && serde_json::from_slice::<Value>(body).is_ok()
            }
        })
    }

    /// The path of it for clients of this feed.
    pub(super) fn path(&self, feed: &str, hive: &str, host: &str) -> String {
        let path = (self.path)(host);
        if path.starts_with('/') {
            return path;
        }
        match path.strip_prefix("HIVE/") {
            Some(rest) => format!("{hive}{rest}"),
            None => format!("/{feed}/v3/{path}"),
        }
    }

    pub(super) fn is_in_hive(&self) -> bool {
        (self.path)("").starts_with("HIVE/")
    }
}

/// Has the upstream at `host` answer for all that a class needs beside itself, and for its service index at `at`.
pub(super) fn mount(origin: &Origin, host: &str, at: &str) {
    let companions = [
        "catalog-index",
        "repository-signatures",
        "tools-list",
        "vulnerability-index",
        "vulnerability-page",
    ];
    for class in companions {
        let kind = Kind::of(class);
        let place = format!("{host}/{}", kind.at);
        origin.on(&place, kind.reply(host, Edition::Stored));
    }
    let (index_of_many, _) = paged_registration(&format!("{host}/reg"), MANY, &MANY_VERSIONS);
    origin.on(
        &format!("{host}/reg/sample.many/index.json"),
        Reply::json(index_of_many),
    );
    origin.on(at, Reply::json(index(host, Edition::Stored)));
}
