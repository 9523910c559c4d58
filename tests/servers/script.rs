//! What a server answers, URL by URL.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use super::packages::Package;

/// A credential that a server demands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Login {
    Basic {
        user: &'static str,
        password: &'static str,
    },
    Bearer(&'static str),
}

impl Login {
    /// The value of `Authorization`.
    pub(crate) fn header(self) -> String {
        match self {
            Self::Basic { user, password } => {
                let pair = format!("{user}:{password}");
                let coded = base64::engine::general_purpose::STANDARD.encode(pair);
                format!("Basic {coded}")
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        }
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// Who may have an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Guard {
    /// Everybody.
    Open,
    /// Who has the server's credential.
    Private,
    /// Who has a signed link, and sends no credential with it (protocol fact 5.2.3).
    Signed,
}

/// A whole server.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The address of its service index, as its users have it.
    pub(crate) upstream: String,
    pub(crate) login: Option<Login>,
    challenge: &'static str,
    answers: BTreeMap<String, (Guard, Answer)>,
}

impl Shape {
    /// Every address that it answers, a query only where it matters.
    #[allow(
        dead_code,
        reason = "over sockets an answer is looked up as it is asked for"
    )]
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.answers.keys().map(String::as_str)
    }

    /// What is answered to a URL.
    pub(crate) fn answer(&self, url: &str, authorization: Option<&str>) -> Answer {
        let (bare, query) = url.split_once('?').unwrap_or((url, ""));
        let found = self.answers.get(url).or_else(|| self.answers.get(bare));
        let Some((guard, answer)) = found else {
            return Answer::new(404, "nothing here");
        };
        let expected = self.login.map(Login::header);
        match guard {
            Guard::Private if authorization != expected.as_deref() => {
                Answer::new(401, "who are you?").with("WWW-Authenticate", self.challenge)
            }
            Guard::Signed if authorization.is_some() || !query.contains(SIGNATURE) => {
                Answer::new(403, "InvalidAuthenticationInfo")
            }
            Guard::Open | Guard::Private | Guard::Signed => answer.clone(),
        }
    }
}

/// What makes a link a signed one: bytes that must come back as they are (protocol fact 2.1.20).
const SIGNATURE: &str = "sig=a%2Fb%2Bc+d%3D&se=2026-11-11T00%3A00%3A00Z";

/// A server that is being written.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) home: String,
    pub(crate) far: String,
    login: Option<Login>,
    challenge: &'static str,
    answers: BTreeMap<String, (Guard, Answer)>,
}

impl Script {
    pub(super) fn new(home: &str, far: &str) -> Self {
        Self {
            home: home.to_owned(),
            far: far.to_owned(),
            login: None,
            challenge: "",
            answers: BTreeMap::new(),
        }
    }

    /// Has what comes from here on answered to this credential alone.
    pub(super) fn demand(&mut self, login: Login, challenge: &'static str) {
        (self.login, self.challenge) = (Some(login), challenge);
    }

    /// The server, its service index at `upstream`.
    pub(super) fn shape(self, upstream: &str) -> Shape {
        assert!(self.answers.contains_key(upstream), "{upstream}");
        Shape {
            upstream: upstream.to_owned(),
            login: self.login,
            challenge: self.challenge,
            answers: self.answers,
        }
    }

    fn put(&mut self, url: &str, guard: Guard, answer: Answer) {
        let old = self.answers.insert(url.to_owned(), (guard, answer));
        assert!(old.is_none(), "{url} twice");
    }

    fn guard(&self) -> Guard {
        if self.login.is_some() {
            Guard::Private
        } else {
            Guard::Open
        }
    }

    /// A document as text.
    pub(super) fn text(&mut self, url: &str, content_type: &str, text: &str) {
        let answer = Answer::new(200, text).with("Content-Type", content_type);
        self.put(url, self.guard(), tagged(answer));
    }

    /// A document.
    pub(super) fn json(&mut self, url: &str, document: &Value) {
        self.text(url, "application/json", &document.to_string());
    }

    /// A document that is always gzip-coded, whoever asks.
    pub(super) fn gzip(&mut self, url: &str, text: &str) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory");
        let coded = encoder.finish().expect("memory");
        let answer = Answer::new(200, coded)
            .with("Content-Type", "application/json")
            .with("Content-Encoding", "gzip");
        self.put(url, self.guard(), tagged(answer));
    }

    /// A document of another host, which knows nothing of the credential and needs none.
    pub(super) fn foreign_json(&mut self, url: &str, document: &Value) {
        let answer =
            Answer::new(200, document.to_string()).with("Content-Type", "application/json");
        self.put(url, Guard::Open, tagged(answer));
    }

    /// A file.
    pub(super) fn file(&mut self, url: &str, bytes: Vec<u8>) {
        let answer = Answer::new(200, bytes).with("Content-Type", "application/octet-stream");
        self.put(url, self.guard(), tagged(answer));
    }

    /// A file that is kept by a storage service: the server sends who may have it there, with a signature.
    pub(super) fn stored(&mut self, url: &str, status: u16, place: &str, bytes: Vec<u8>) {
        let at = format!("{}/{place}", self.far);
        let redirect = Answer::new(status, "").with("Location", &format!("{at}?{SIGNATURE}"));
        self.put(url, self.guard(), redirect);
        if !self.answers.contains_key(&at) {
            let answer = Answer::new(200, bytes).with("Content-Type", "application/octet-stream");
            self.put(&at, Guard::Signed, tagged(answer));
        }
    }

    /// The version lists of a flat container at `base`, with its final slash.
    pub(super) fn version_lists(&mut self, base: &str, spelling: impl Fn(&Package) -> String) {
        for packages in super::packages::by_id() {
            let versions: Vec<String> = packages.iter().map(&spelling).collect();
            let url = format!("{base}{}/index.json", packages[0].lower_id());
            self.json(&url, &json!({"versions": versions}));
        }
    }
}

/// With a validator.
fn tagged(answer: Answer) -> Answer {
    let tag = format!("\"{:08x}\"", crc32c::crc32c(&answer.body));
    answer.with("ETag", &tag)
}
