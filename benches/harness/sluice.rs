//! A running Sluice, known by its command line, what it prints, its access log and its answers.

use super::http::{Reply, Request, ask};
use super::process::{Process, Signal};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How Sluice is started; kept to start it again on the same data.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    arguments: Vec<String>,
    /// The one CPU that it may use, where a bench says so.
    cpu: Option<u32>,
    environment: Vec<(String, String)>,
    /// Holds `data`, `access.log` and what it wrote to stderr.
    folder: PathBuf,
    /// The home of the user whose NuGet.Config the printed commands name.
    home: PathBuf,
    listen: String,
}

impl Settings {
    /// Without any feed; `folder` gets all it writes, `home` is the user's.
    pub(crate) fn new(folder: &Path, home: &Path) -> Self {
        let pairs = [
            (
                "SLUICE_ACCESS_LOG",
                folder.join("access.log").display().to_string(),
            ),
            ("SLUICE_ACCESS_LOG_FORMAT", "json".to_owned()),
        ];
        Self {
            arguments: Vec::new(),
            cpu: None,
            environment: pairs.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            folder: folder.to_owned(),
            home: home.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
        }
    }

    /// With the flag `--upstream`: one feed, named `nuget`.
    pub(crate) fn upstream(self, url: &str) -> Self {
        self.argument("--upstream", url)
    }

    /// With a flag and its value.
    pub(crate) fn argument(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With a setting from the environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without an access log, as it is by default on a terminal.
    pub(crate) fn without_access_log(mut self) -> Self {
        self.environment
            .retain(|(name, _)| !name.starts_with("SLUICE_ACCESS_LOG"));
        self.variable("SLUICE_ACCESS_LOG", "off")
    }

    /// At this port of 127.0.0.1, so that it can be asked before it has said where it is.
    pub(crate) fn at_port(mut self, port: u16) -> Self {
        self.listen = format!("127.0.0.1:{port}");
        self
    }

    /// On one CPU.
    pub(crate) fn on_cpu(mut self, cpu: u32) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// With a configuration file of this content.
    pub(crate) fn config(self, text: &str) -> Self {
        let path = self.folder.join("sluice.toml");
        std::fs::write(&path, text).expect("the configuration can be written");
        self.argument("--config", &path.display().to_string())
    }

    /// Every freshness window of the feed `nuget` as long as `window`, `1h` or `1s` say.
    pub(crate) fn windows(mut self, window: &str) -> Self {
        for class in WINDOWS {
            self = self.variable(&format!("SLUICE_FEED_NUGET_{class}"), window);
        }
        self
    }

    /// Starts it and waits until it has printed its source and its command.
    pub(crate) fn start(&self) -> Sluice {
        let mut process = self.spawn();
        let address = process.wait_for("source URL", address_in);
        process.wait_for("command", |line| update_command_in(line, address));
        Sluice {
            address,
            process,
            settings: self.clone(),
        }
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(&self) -> Process {
        let mut command = match self.cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cpu.to_string()]).arg(program());
                command
            }
            None => Command::new(program()),
        };
        self.surround(&mut command)
            .args(["--listen", &self.listen])
            .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.folder.join("data"))
            .args(&self.arguments);
        Process::start(&mut command, &self.folder.join("sluice.stderr"))
    }

    /// Runs one of its commands on the same data folder, to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        self.surround(&mut command)
            .args(arguments)
            .arg("--data-dir")
            .arg(self.folder.join("data"));
        command.output().expect("the binary can be started")
    }

    /// Gives a command the environment of the settings and no other.
    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
    }
}

fn program() -> PathBuf {
    std::env::var_os("SLUICE_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_sluice")),
        PathBuf::from,
    )
}

/// The settings of the freshness windows that a restore depends on.
const WINDOWS: [&str; 5] = [
    "ABSENCE_FRESH",
    "REGISTRATION_FRESH",
    "SERVICE_INDEX_FRESH",
    "VERSION_LIST_FRESH",
    "VULNERABILITY_INDEX_FRESH",
];

/// One line of the access log.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) outcome: String,
    pub(crate) path: String,
    /// From its first byte here to its last.
    pub(crate) seconds: f64,
    /// When it came, in seconds of its day.
    pub(crate) start: f64,
    pub(crate) status: u64,
}

impl Access {
    /// Whether it asked for a version list.
    pub(crate) fn is_version_list(&self) -> bool {
        let rest = self
            .path
            .split_once("/flatcontainer/")
            .map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.ends_with("/index.json"))
    }
}

/// The running proxy.
#[derive(Debug)]
pub(crate) struct Sluice {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    settings: Settings,
}

impl Sluice {
    /// The default feed's service index.
    pub(crate) fn source(&self) -> String {
        format!("http://{}/v3/index.json", self.address)
    }

    /// The service index of a named feed.
    pub(crate) fn source_of(&self, feed: &str) -> String {
        format!("http://{}/{feed}/v3/index.json", self.address)
    }

    /// The default feed's service index over TLS, where it says that it serves that.
    ///
    /// # Panics
    /// If it says nothing of the kind.
    pub(crate) fn secure_source(&self) -> String {
        let lines = self.process.lines();
        let found = lines.iter().find_map(|line| {
            let (_, rest) = line.split_once("https://127.0.0.1:")?;
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            Some(&rest[..end])
        });
        let port = found.unwrap_or_else(|| panic!("no address for TLS in {lines:#?}"));
        format!("https://127.0.0.1:{port}/v3/index.json")
    }

    /// The printed command that makes a machine use it.
    pub(crate) fn update_command(&self) -> String {
        let lines = self.process.lines();
        let found = lines
            .iter()
            .find_map(|line| update_command_in(line, self.address));
        found.expect("start waited for it")
    }

    /// The printed command that undoes the other.
    ///
    /// # Panics
    /// If none is printed.
    pub(crate) fn undo_command(&self) -> String {
        let lines = self.process.lines();
        let found = lines.iter().find_map(|line| {
            let command = command_in(line)?;
            command
                .contains("https://api.nuget.org/v3/index.json")
                .then_some(command)
        });
        found.unwrap_or_else(|| panic!("no undoing command in {lines:#?}"))
    }

    /// Asks it for a path.
    ///
    /// # Panics
    /// If it does not answer.
    pub(crate) fn get(&self, path: &str) -> Reply {
        let request = Request::get(path, &[]);
        ask(self.address, &request).unwrap_or_else(|error| {
            panic!(
                "Sluice did not answer {path}: {error}\n{}",
                self.process.errors()
            );
        })
    }

    /// What its admin listener answers to a path.
    ///
    /// # Errors
    /// If it does not answer, as when it was ended.
    ///
    /// # Panics
    /// If it has printed no address of its admin listener.
    pub(crate) fn admin(&self, path: &str) -> io::Result<String> {
        let reply = self.ask_admin(&Request::get(path, &[]))?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    /// The answer of its admin listener to a request.
    ///
    /// # Errors
    /// As [`Self::admin`].
    ///
    /// # Panics
    /// As [`Self::admin`].
    pub(crate) fn ask_admin(&self, request: &Request<'_>) -> io::Result<Reply> {
        let lines = self.process.lines();
        let admin = lines.iter().find_map(|line| {
            let (_, rest) = line.split_once("admin http://")?;
            rest.trim().parse().ok()
        });
        let admin = admin.unwrap_or_else(|| panic!("no admin listener in {lines:#?}"));
        ask(admin, request)
    }

    /// Its metrics that have no labels, by name.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub(crate) fn metrics(&self) -> io::Result<HashMap<String, u64>> {
        let text = self.admin("/metrics")?;
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(values.collect())
    }

    /// The access log so far.
    pub(crate) fn access(&self) -> Vec<Access> {
        let text = std::fs::read_to_string(self.settings.folder.join("access.log"));
        text.unwrap_or_default().lines().map(access).collect()
    }

    /// The lines of the access log after the first `seen`, once `least` of them are there.
    ///
    /// # Panics
    /// If they do not come: a client was not served by this process.
    pub(crate) fn access_after(&self, seen: usize, least: usize) -> Vec<Access> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let lines = self.access().split_off(seen);
            if lines.len() >= least {
                return lines;
            }
            assert!(
                Instant::now() < until,
                "{} requests, not {least}, in the log",
                lines.len()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it as a service manager does and starts it again on the same data, on another port.
    pub(crate) fn restart(&mut self) {
        self.terminate();
        *self = self.settings.start();
    }

    /// SIGTERM; it must drain and end well.
    pub(crate) fn terminate(&mut self) {
        self.process.signal(Signal::Terminate);
        let status = self.process.end(Duration::from_secs(35));
        assert!(
            status.success(),
            "SIGTERM ended it with {status}: {}",
            self.process.errors()
        );
    }
}

fn access(line: &str) -> Access {
    let value: serde_json::Value = serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("a line of the access log is no JSON ({error}): {line}"));
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let status = value["status"].as_u64().unwrap_or_default();
    let seconds = value["ms"].as_f64().unwrap_or_default() / 1000.0;
    let start = second_of_day(value["time"].as_str().unwrap_or_default())
        .unwrap_or_else(|| panic!("a line of the access log has no time: {line}"));
    Access {
        seconds,
        start,
        outcome: text("outcome"),
        path: text("path"),
        status,
    }
}

/// `2026-11-21T10:35:55.456Z` is 38155.456.
fn second_of_day(time: &str) -> Option<f64> {
    let (_, time) = time.trim_end_matches('Z').split_once('T')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

/// The address in `http://ADDRESS/v3/index.json`, wherever in the line it stands.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.match_indices("http://").find_map(|(at, scheme)| {
        let rest = &line[at + scheme.len()..];
        let (address, rest) = rest.split_once('/')?;
        rest.starts_with("v3/index.json")
            .then(|| address.parse().ok())
            .flatten()
    })
}

fn command_in(line: &str) -> Option<String> {
    let at = line.find("dotnet nuget update source")?;
    Some(line[at..].trim().to_owned())
}

fn update_command_in(line: &str, address: SocketAddr) -> Option<String> {
    command_in(line).filter(|command| command.contains(&format!("http://{address}/v3/index.json")))
}
