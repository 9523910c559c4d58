//! Feeds with users and tokens of their own: who is let in, what it costs, and how long it lasts.

mod beside;
mod push;
mod reading;
mod reloading;
mod watching;

use std::path::PathBuf;
use std::time::SystemTime;

use sluice::access::Settings;
use sluice::access::command::{self, Scene};
use sluice::access::rules::Mode;
use sluice::proxy::FeedSettings;
use tempfile::TempDir;

use crate::harness::TestProxy;
use crate::harness::client::Ask;
use crate::harness::fixture::{INDEX, nuget_like};

/// A user of the file, her bcrypt hash (crypt_blowfish's own test vector) and its password.
pub(crate) const ALICE: &str =
    "alice:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
pub(crate) const RIGHT: &str = "U*U";

/// Where the files of users and tokens lie.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self { folder };
        files.users(ALICE);
        files
    }

    fn users(&self, text: &str) {
        std::fs::write(self.folder.path().join("users"), text).unwrap();
    }

    fn tokens_file(&self) -> PathBuf {
        self.folder.path().join("tokens.json")
    }

    /// The settings that name them.
    fn settings(&self) -> Settings {
        Settings {
            tokens_file: Some(self.tokens_file()),
            users_file: Some(self.folder.path().join("users")),
            ..Settings::default()
        }
    }

    /// `sluice token` with these words; gives what it prints.
    fn token(&self, words: &[&str], now: SystemTime) -> String {
        let settings = self.settings();
        let words = [&["token"], words].concat();
        let matches = command::token().try_get_matches_from(words).unwrap();
        let scene = Scene {
            settings: &settings,
            feeds: &[("nuget", true), ("open", false)],
            now,
        };
        command::run(&matches, &scene)
            .unwrap()
            .out
            .trim()
            .to_owned()
    }

    /// A new token.
    fn create(&self, words: &[&str]) -> String {
        self.token(&[&["create"], words].concat(), start())
    }

    /// A proxy of a feed that asks for users and tokens and of an open one, both before the same upstream.
    pub(crate) async fn proxy(&self) -> TestProxy {
        self.proxy_with(|_| {}).await
    }

    /// The same, the feed changed.
    async fn proxy_with(&self, change: impl FnOnce(&mut FeedSettings)) -> TestProxy {
        TestProxy::with(nuget_like(), |setup| {
            setup.access = self.settings();
            let feed = &mut setup.proxy.feeds[0];
            feed.clients.mode = Mode::Own;
            change(feed);
            setup.proxy.feeds.push(FeedSettings::new("open", INDEX));
        })
        .await
    }
}

/// When every test begins.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_794_312_000)
}

/// The header of a user and password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{user}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(crate) fn get(path: &str, authorization: &str) -> Ask {
    Ask::get(path).header("authorization", authorization)
}

/// The value of a metric with these labels; zero if it was never counted.
fn metric(proxy: &TestProxy, series: &str) -> u64 {
    let text = proxy.telemetry.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

fn hashes(proxy: &TestProxy) -> u64 {
    metric(proxy, "sluice_password_hashes_total ")
}
