//! Feeds that pass clients' own credentials on: nothing stored is given without a proof of the upstream.

mod beside;
mod crowd;
mod elsewhere;
mod outage;
mod reads;
mod resumed;
mod secrets;
mod switch;
mod unsigned;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sluice::access::rules::Mode;
use sluice::proxy::FeedSettings;

use crate::harness::fixture::{
    MODIFIED, ONE, ONE_VERSIONS, content_path, document, inlined_registration, package,
    service_index, version_list,
};
use crate::harness::{Act, Answered, Ask, Origin, Reply, TestProxy};

/// Credentials: `user:word` in base64.
const ANN: &str = "Basic YW5uOnNlY3JldC1hbm4=";
const BOB: &str = "Basic Ym9iOnNlY3JldC1ib2I=";
const CARL: &str = "Basic Y2FybDpzZWNyZXQtY2FybA==";

const LIST: &str = "/v3/flatcontainer/sample.one/index.json";
const LIST_ASKED: &str = "GET corp.test/flat/sample.one/index.json";
const CONTENT: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const CONTENT_ASKED: &str = "GET corp.test/flat/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const CONTENT_PLACE: &str = "corp.test/flat/sample.one/1.0.0/sample.one.1.0.0.nupkg";
const OTHER_LIST: &str = "/v3/flatcontainer/sample.other/index.json";
const HIVE: &str = "corp.test/registration";

/// What the upstream says to whom: credentials with the ids that each may see, `*` for all. The empty one is that of
/// requests without any.
#[derive(Clone, Default)]
struct Rights(Arc<Mutex<HashMap<String, Vec<String>>>>);

impl Rights {
    fn grant(&self, credential: &str, ids: &[&str]) {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let mut all = self.0.lock().expect("nobody panics with it");
        all.insert(credential.to_owned(), ids);
    }

    fn revoke(&self, credential: &str) {
        let mut all = self.0.lock().expect("nobody panics with it");
        all.remove(credential);
    }

    /// The refusal of a request for `id`, or for something about every id; `None` if it may have it.
    fn refusal(&self, credential: &str, id: &str) -> Option<Reply> {
        let all = self.0.lock().expect("nobody panics with it");
        let Some(ids) = all.get(credential) else {
            let refusal = Reply::new(401, "sign in")
                .phrase("Corp wants a name")
                .header("Content-Type", "text/plain")
                .header("WWW-Authenticate", "Negotiate")
                .header("WWW-Authenticate", "NTLM, Basic realm=\"corp\"");
            return Some(refusal);
        };
        let may = id.is_empty() || ids.iter().any(|own| own == "*" || own == id);
        (!may).then(|| Reply::new(403, "not yours").phrase("Corp says no"))
    }
}

/// The private upstream: two packages, of which each credential sees its own.
struct Corp {
    origin: Origin,
    rights: Rights,
}

impl Corp {
    fn new() -> Self {
        let corp = Self {
            origin: Origin::new(),
            rights: Rights::default(),
        };
        let index = service_index(&[
            ("PackageBaseAddress/3.0.0", "https://corp.test/flat/"),
            (
                "RegistrationsBaseUrl/3.6.0",
                "https://corp.test/registration/",
            ),
            ("SearchQueryService", "https://corp.test/query"),
            ("PackagePublish/2.0.0", "https://corp.test/push"),
        ]);
        corp.on("corp.test/index.json", "", document(&index));
        for id in [ONE, "Sample.Other"] {
            let lower = id.to_lowercase();
            let list = document(&version_list(&ONE_VERSIONS));
            corp.on(&format!("corp.test/flat/{lower}/index.json"), &lower, list);
            let registration = document(&inlined_registration(HIVE, id, &ONE_VERSIONS));
            corp.on(&format!("{HIVE}/{lower}/index.json"), &lower, registration);
            let place = format!("corp.test/flat/{}", content_path(id, "1.0.0"));
            corp.on(&place, &lower, file(&package(id, "1.0.0", 40_000)));
        }
        let results = Reply::json(r#"{"totalHits":0,"data":[]}"#);
        corp.on("corp.test/query", "", results);
        corp.rights.grant(ANN, &["*"]);
        corp.rights.grant(BOB, &["sample.one"]);
        corp.rights.grant(CARL, &["sample.other"]);
        corp
    }

    /// Has a place that belongs to `id` answered so to whom may see it.
    fn on(&self, place: &str, id: &str, reply: Reply) {
        let (rights, id) = (self.rights.clone(), id.to_owned());
        let act = Act::make(move |seen| {
            let credential = seen.header("authorization").unwrap_or_default();
            let refusal = rights.refusal(credential, &id);
            refusal.unwrap_or_else(|| reply.clone())
        });
        self.origin.on(place, act);
    }

    /// Hides a place: who may not see it gets a 404, as GitHub does it.
    fn hide(&self, place: &str, id: &str, reply: Reply) {
        let (rights, id) = (self.rights.clone(), id.to_owned());
        let act = Act::make(move |seen| {
            let credential = seen.header("authorization").unwrap_or_default();
            match rights.refusal(credential, &id) {
                Some(_) => Reply::new(404, ""),
                None => reply.clone(),
            }
        });
        self.origin.on(place, act);
    }

    async fn proxy(&self) -> TestProxy {
        TestProxy::with(self.origin.clone(), |setup| {
            let mut feed = FeedSettings::new("corp", "https://corp.test/index.json");
            feed.clients.mode = Mode::Passthrough;
            setup.proxy.feeds = vec![feed];
        })
        .await
    }

    /// A proxy of which each of these has asked for the service index.
    async fn known_to(&self, credentials: &[&str]) -> TestProxy {
        let proxy = self.proxy().await;
        for credential in credentials {
            get(&proxy, credential, "/v3/index.json")
                .await
                .expect("miss");
        }
        proxy
    }
}

/// A file with validators, ranges and a length.
fn file(bytes: &[u8]) -> Reply {
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(bytes));
    Reply::file(bytes.to_vec())
        .header("ETag", &etag)
        .header("Last-Modified", MODIFIED)
        .ranges()
}

fn ask(credential: &str, path: &str) -> Ask {
    let ask = Ask::get(path);
    if credential.is_empty() {
        ask
    } else {
        ask.header("authorization", credential)
    }
}

/// A GET with a credential; the empty one is none.
async fn get(proxy: &TestProxy, credential: &str, path: &str) -> Answered {
    proxy.send(ask(credential, path)).await
}

/// Whether somebody told this host a credential.
fn has_heard(proxy: &TestProxy, host: &str) -> bool {
    let mut asked = proxy.origin.all();
    asked.retain(|seen| *seen.host == *host);
    assert!(!asked.is_empty(), "{host} was not asked");
    asked
        .iter()
        .any(|seen| seen.header("authorization").is_some())
}

fn whole() -> Vec<u8> {
    package(ONE, "1.0.0", 40_000)
}
