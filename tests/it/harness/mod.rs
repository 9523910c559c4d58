//! A whole proxy in memory: store on a temporary folder, upstream on pipes, a clock that a test moves.

mod answer;
pub(crate) mod catalog;
pub(crate) mod client;
pub(crate) mod fixture;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod origin;
mod pipes;
pub(crate) mod reply;
pub(crate) mod secure;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sluice::access::{self, Guard};
use sluice::clock::Clock;
use sluice::proxy::{Doors, FeedSettings, Proxy, Settings};
use sluice::store::{self, Store};
use sluice::tasks::Tasks;
use sluice::telemetry::Telemetry;
use sluice::upstream::{self, Product, Upstream};
use tempfile::TempDir;

pub(crate) use self::client::{Ask, Opened, Reply as Answered, Wire};
pub(crate) use self::origin::{Door, Origin, Seen};
pub(crate) use self::reply::{Act, Ending, Framing, Gate, Reply};

/// When every test begins: 2026-11-10T12:00:00Z.
const START: u64 = 1_794_312_000;

/// How a proxy is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) access: access::Settings,
    pub(crate) proxy: Settings,
    pub(crate) store: store::Settings,
    pub(crate) upstream: upstream::Settings,
    /// The hex digits in our `Via`.
    pub(crate) via_token: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            access: access::Settings::default(),
            proxy: Settings {
                feeds: vec![FeedSettings::new("nuget", fixture::INDEX)],
                ..Settings::default()
            },
            store: store::Settings {
                min_free_bytes: 0,
                max_store_bytes: Some(1 << 30),
                ballast_bytes: 0,
                ..store::Settings::default()
            },
            upstream: upstream::Settings::default(),
            via_token: "0badcafe".into(),
        }
    }
}

/// A proxy, its store and its upstream.
pub(crate) struct TestProxy {
    pub(crate) proxy: Proxy,
    pub(crate) origin: Origin,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) telemetry: Telemetry,
    setup: Setup,
    folder: Arc<TempDir>,
}

impl TestProxy {
    /// A proxy in front of [`fixture::nuget_like`].
    pub(crate) async fn new() -> Self {
        Self::with(fixture::nuget_like(), |_| {}).await
    }

    /// A proxy in front of `origin`, its settings changed by `change`.
    pub(crate) async fn with(origin: Origin, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(START));
        Self::open(origin, setup, clock, folder()).await
    }

    async fn open(origin: Origin, mut setup: Setup, clock: Clock, folder: Arc<TempDir>) -> Self {
        setup.store.data_dir = folder.path().join("data");
        setup.access.data_dir.clone_from(&setup.store.data_dir);
        let tasks = Tasks::new();
        let telemetry = Telemetry::new();
        let store = Store::open(setup.store.clone(), clock.clone(), tasks.clone())
            .await
            .expect("a store");
        let product = Product {
            user_agent: "sluice/test".into(),
            via_token: setup.via_token.clone(),
        };
        let upstream = Upstream::new(
            setup.upstream.clone(),
            origin.connector(&tasks),
            clock.clone(),
            tasks.clone(),
            product,
        );
        let guard = Guard::open(
            setup.access.clone(),
            clock.clone(),
            tasks.clone(),
            telemetry.clone(),
        )
        .await
        .expect("users and tokens");
        let doors = Doors {
            guard,
            store: store.clone(),
            upstream,
        };
        let proxy = Proxy::new(
            setup.proxy.clone(),
            doors,
            clock.clone(),
            tasks.clone(),
            telemetry.clone(),
            &setup.via_token,
        )
        .expect("feeds");
        Self {
            proxy,
            origin,
            store,
            clock,
            tasks,
            telemetry,
            setup,
            folder,
        }
    }

    /// Closes everything and opens it again on the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same; `touch` gets the data folder in between.
    pub(crate) async fn restart_with(self, touch: impl FnOnce(PathBuf)) -> Self {
        self.check();
        self.close().await;
        touch(self.folder.path().join("data"));
        let (origin, setup) = (self.origin.clone(), self.setup.clone());
        Self::open(origin, setup, self.clock.clone(), Arc::clone(&self.folder)).await
    }

    /// Ends everything: what goes on by itself costs those who move time.
    pub(crate) async fn close(&self) {
        self.store.close(Duration::from_secs(10)).await;
        self.tasks.drain(Duration::from_secs(60)).await;
    }

    /// Closes everything and opens it again on the same folder, its settings changed by `change`.
    pub(crate) async fn restart_as(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        change(&mut self.setup);
        self.restart().await
    }

    /// Closes everything and opens it again with an empty store.
    pub(crate) async fn reopen_empty(self) -> Self {
        self.restart_with(|data| std::fs::remove_dir_all(data).expect("a folder"))
            .await
    }

    /// Another instance with the same configuration and upstream, its store empty.
    pub(crate) async fn second(&self) -> Self {
        let setup = Setup {
            via_token: "5ec0d1e5".into(),
            ..self.setup.clone()
        };
        Self::open(self.origin.clone(), setup, self.clock.clone(), folder()).await
    }

    /// Has the proxy obey settings that `change` has changed; a restart goes on with them.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.setup.proxy);
        self.proxy
            .reload(self.setup.proxy.clone())
            .expect("settings");
    }

    /// Where the store keeps its files.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Sends a GET and takes the whole answer.
    pub(crate) async fn get(&self, path: &str) -> Answered {
        Ask::get(path).send(&self.proxy).await
    }

    /// Sends a request and takes the whole answer.
    pub(crate) async fn send(&self, ask: Ask) -> Answered {
        ask.send(&self.proxy).await
    }

    /// Sends a request in a task of its own.
    pub(crate) fn spawn(&self, ask: Ask) -> tokio::task::JoinHandle<Answered> {
        let proxy = self.proxy.clone();
        self.tasks
            .spawn("client", async move { ask.send(&proxy).await })
    }

    /// The path below which the resource of this type lies.
    pub(crate) async fn path_of(&self, kind: &str) -> String {
        let index = self.get("/v3/index.json").await.json();
        let resources = index["resources"].as_array().expect("resources");
        let found = resources.iter().find(|entry| entry["@type"] == kind);
        let url = found.expect("it is advertised")["@id"].as_str();
        let ours = format!("http://{}", client::HOST);
        url.and_then(|url| url.strip_prefix(&ours))
            .expect("an address below ours")
            .to_owned()
    }

    /// Sends a GET and says how long the answer took.
    pub(crate) async fn timed(&self, path: &str) -> (Answered, Duration) {
        let began = self.clock.instant();
        let answer = self.get(path).await;
        (answer, began.elapsed())
    }

    /// A connection over which hyper serves the proxy.
    pub(crate) fn wire(&self) -> Wire {
        Wire::open(&self.proxy, &self.tasks)
    }

    fn check(&self) {
        assert_eq!(self.origin.violations(), Vec::<String>::new());
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().expect("a folder"))
}

/// Moves time.
pub(crate) async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
