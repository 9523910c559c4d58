//! The reference upstream as a process: start, faults on demand, what it was asked, its end.
//!
//! It listens on 127.0.0.1 to 127.0.0.5 with one port. What leaks past the proxy is seen here:
//! every request that Sluice makes carries its `Via`.

use super::Pair;
use super::http::{Reply, Request, ask};
use super::process::{Process, Signal};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How the upstream is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Adds `Sluice.Sample.Big` of so many MiB.
    pub(crate) big: Option<u32>,
    /// Milliseconds before each answer.
    pub(crate) latency: Option<u32>,
    /// Folders of packages instead of its own.
    pub(crate) packages: Vec<PathBuf>,
    /// Bytes a second of each connection.
    pub(crate) rate: Option<u32>,
    /// Real, repository-signed packages only.
    pub(crate) signed_only: bool,
    /// What it serves https with. What it was asked is then not to be had, for this asks it in plain HTTP.
    pub(crate) tls: Option<Pair>,
}

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) host: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Seconds since the Unix epoch.
    pub(crate) time: f64,
    pub(crate) via: Option<String>,
}

/// The running upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    folder: PathBuf,
    pub(crate) port: u16,
    process: Process,
    settings: Settings,
}

impl Upstream {
    /// Starts on a port that is free on all its addresses; `folder` gets its stderr.
    pub(crate) fn start(settings: Settings, folder: &Path) -> Self {
        Self::start_at(free_port(), settings, folder)
    }

    /// Starts on a given port, as after a restart.
    pub(crate) fn start_at(port: u16, settings: Settings, folder: &Path) -> Self {
        let process = spawn(port, &settings, folder);
        Self {
            folder: folder.to_owned(),
            port,
            process,
            settings,
        }
    }

    /// Its service index.
    pub(crate) fn source(&self) -> String {
        let scheme = self.settings.tls.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}/v3/index.json", self.address())
    }

    /// The index of its feed that is shaped like Artifactory.
    pub(crate) fn private_source(&self) -> String {
        format!("http://{}/artifactory/api/nuget/v3/private", self.address())
    }

    /// Its first address.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Kills it; its port refuses connections from here on.
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::Kill);
        self.process.end(Duration::from_secs(5));
    }

    /// Starts it again on its port, with an empty log and without faults.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.port, &self.settings, &self.folder);
    }

    /// Stops the process without ending it: its connections and its port stay, nothing answers.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::Stop);
    }

    /// What was asked since the start or the last `reset`, by anybody.
    pub(crate) fn log(&self) -> Vec<Asked> {
        let reply = self.control("GET", "/_/log", b"");
        let text = String::from_utf8(reply.body).expect("the log is UTF-8");
        text.lines().map(asked).collect()
    }

    /// Forgets the log, the faults and what was pushed, unlisted or removed.
    pub(crate) fn reset(&self) {
        self.control("POST", "/_/reset", b"");
    }

    /// Replaces the faults by `(regular expression on "METHOD //host/path", action)`.
    pub(crate) fn faults(&self, faults: &[(&str, &str)]) {
        let faults = faults
            .iter()
            .map(|(expression, action)| serde_json::json!({ "match": expression, "do": action }));
        let faults = serde_json::Value::from_iter(faults).to_string();
        self.control("POST", "/_/faults", faults.as_bytes());
    }

    /// Lets it compute the digests of a large body, which takes seconds once, and forgets the log.
    pub(crate) fn prepare(&self, path: &str) {
        let request = Request {
            method: "HEAD",
            ..Request::get(path, &[])
        };
        let reply = ask(self.address(), &request).expect("the upstream answers");
        assert_eq!(reply.status, 200, "{path}");
        self.reset();
    }

    /// What was pushed since the last `reset`, `id/version` with its bytes.
    pub(crate) fn pushed(&self) -> serde_json::Value {
        self.control("GET", "/_/pushed", b"").json()
    }

    /// Fails if anybody but Sluice asked: a URL of the upstream had leaked to a client.
    pub(crate) fn assert_no_leak(&self) -> Vec<Asked> {
        let log = self.log();
        for asked in &log {
            let ours = asked
                .via
                .as_deref()
                .is_some_and(|via| via.contains("sluice-"));
            assert!(
                ours,
                "a leaked link: {} http://{}{} came without Sluice's Via",
                asked.method, asked.host, asked.path
            );
        }
        log
    }

    fn control(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let request = Request {
            body,
            headers: &[],
            method,
            path,
        };
        let reply = ask(self.address(), &request).unwrap_or_else(|error| {
            panic!("the upstream did not answer {method} {path}: {error}");
        });
        assert!(reply.status < 300, "{method} {path}: {}", reply.status);
        reply
    }
}

/// How often each `METHOD /path` was asked.
pub(crate) fn counts(log: &[Asked]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for asked in log {
        *counts
            .entry(format!("{} {}", asked.method, asked.path))
            .or_default() += 1;
    }
    counts
}

fn asked(line: &str) -> Asked {
    let value: serde_json::Value = serde_json::from_str(line).expect("a line of the log is JSON");
    let text = |key: &str| value[key].as_str().expect("it is text").to_owned();
    let headers = value["headers"].as_array().expect("headers are a list");
    let via = headers.iter().find(|pair| {
        pair[0]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case("via"))
    });
    Asked {
        host: text("host"),
        method: text("method"),
        path: text("path"),
        time: value["t"].as_f64().expect("it has a time"),
        via: via.and_then(|pair| pair[1].as_str()).map(str::to_owned),
    }
}

fn spawn(port: u16, settings: &Settings, folder: &Path) -> Process {
    let mut command = Command::new("python3");
    command
        .arg(super::shared().join("feed/upstream.py"))
        .arg("--port")
        .arg(port.to_string());
    for packages in &settings.packages {
        command.arg("--packages").arg(packages);
    }
    let numbers = [
        ("--big", settings.big),
        ("--latency", settings.latency),
        ("--rate", settings.rate),
    ];
    for (flag, number) in numbers {
        if let Some(number) = number {
            command.arg(flag).arg(number.to_string());
        }
    }
    if settings.signed_only {
        command.arg("--signed-only");
    }
    if let Some(pair) = &settings.tls {
        command.arg("--tls").arg(&pair.certificate).arg(&pair.key);
    }
    let mut process = Process::start(
        &mut command,
        &folder.join(format!("upstream-{port}.stderr")),
    );
    process.wait_for("line of the upstream", |line| {
        line.contains("packages at").then_some(())
    });
    process
}

/// A port that nobody has on 127.0.0.1 to 127.0.0.5.
pub(crate) fn free_port() -> u16 {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = first.local_addr().expect("it is bound").port();
        let taken =
            (2..=5).any(|last| TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port)).is_err());
        if !taken {
            return port;
        }
        assert!(
            Instant::now() < until,
            "no port is free on 127.0.0.1 to 127.0.0.5"
        );
    }
}
