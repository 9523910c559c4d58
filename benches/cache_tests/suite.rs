//! The suite: where it comes from, how it runs, what it makes of the results.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process::Process;

/// Names a folder with the suite's repository.
const FOLDER: &str = "SLUICE_CACHE_TESTS";
const REPOSITORY: &str = "https://github.com/http-tests/cache-tests.git";
/// What the table was written for; other revisions have other tests.
const REVISION: &str = "b55b8bda3dbb8c927c04e85bd8d496a8caa3e4ba";
/// What the suite's client imports.
const UNDICI: &str = "undici@7";
/// The oldest node that it runs on.
const MIN_NODE: (u32, u32) = (20, 18);
/// The suite's last release, where its repository cannot be reached: fewer tests, and none of interim responses or
/// targeted fields.
const RELEASE: &str = "http-cache-tests@0.4.5";
/// Seconds that fetching one thing, or a run, may take: a few times what it does.
const PATIENCE: &str = "300";

/// Where the suite is from: the two have other layouts, and not the same tests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Edition {
    Release,
    Repository,
}

/// The suite, ready to run.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) edition: Edition,
    folder: PathBuf,
}

/// What the suite says of one of its tests.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// What the suite says was wrong.
    pub(crate) detail: String,
    pub(crate) id: String,
    /// `check`, `optimal` or `required`.
    pub(crate) kind: String,
    /// `pass`, `fail`, `setup`, `dependency` …; of a check, `yes` or `no`.
    pub(crate) word: String,
}

impl Suite {
    /// Finds the suite in the folder that the environment names, else among what an earlier run fetched, else fetches it:
    /// by git with an npm package beside it, or the older release by npm alone.
    ///
    /// # Errors
    /// Says why it cannot be had.
    ///
    /// # Panics
    /// If the named folder does not hold it: whoever names one wants it run.
    pub(crate) fn find(kept: &Path) -> Result<Self, String> {
        run(Command::new("node").arg("--version")).map_err(|why| format!("no node: {why}"))?;
        if let Some(named) = std::env::var_os(FOLDER) {
            let named = PathBuf::from(named);
            let folder = with_undici(&named, kept);
            let folder = folder.unwrap_or_else(|why| panic!("{FOLDER}={}: {why}", named.display()));
            return Ok(Self {
                edition: Edition::Repository,
                folder,
            });
        }
        repository(kept).or_else(|no_git| {
            println!("the suite's repository cannot be had: {no_git}");
            release(kept).map_err(|no_npm| format!("{no_git}; {no_npm}"))
        })
    }

    /// Starts the suite's origin.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn serve(&self, folder: &Path) -> (Process, SocketAddr) {
        let mut command = Command::new("node");
        command
            .arg(self.file("server/server.mjs"))
            .current_dir(&self.folder)
            .env("npm_config_protocol", "http")
            .env("npm_config_port", "0")
            .env("npm_config_pidfile", folder.join("origin.pid"));
        let mut process = Process::start(&mut command, &folder.join("origin.stderr"));
        let port = process.wait_for("port", |line| {
            let (_, port) = line.strip_prefix("Listening on ")?.rsplit_once(':')?;
            port.trim_end_matches('/').parse::<u16>().ok()
        });
        (process, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Runs every test against the proxy at this address, and gives what the suite makes of it.
    ///
    /// # Panics
    /// If the suite does not come to an end.
    pub(crate) fn run(&self, proxy: SocketAddr, folder: &Path) -> Vec<Verdict> {
        let mut client = Command::new("timeout");
        client
            .args([PATIENCE, "node", "--no-warnings"])
            .arg(self.file("cli.mjs"))
            .current_dir(&self.folder)
            .env("npm_config_base", format!("http://{proxy}"))
            .env("npm_config_id", "")
            .env("npm_package_config_id", "");
        let printed = run(&mut client).unwrap_or_else(|why| panic!("{why}"));
        let start = printed.find("{\n").expect("the client prints JSON");
        let results = folder.join("results.json");
        fs::write(&results, &printed[start..]).expect("a file can be written");
        let engine = match self.edition {
            Edition::Release => "lib/display.mjs",
            Edition::Repository => "lib/results.mjs",
        };
        let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/cache_tests/judge.mjs");
        let mut judged = Command::new("node");
        judged
            .arg(judge)
            .arg(self.file(engine))
            .arg(self.folder.join("tests/index.mjs"))
            .arg(results);
        let judged = run(&mut judged).unwrap_or_else(|why| panic!("{why}"));
        judged.lines().map(Verdict::read).collect()
    }

    /// A file of the suite's engine.
    fn file(&self, name: &str) -> PathBuf {
        match self.edition {
            Edition::Release => self.folder.join(name),
            Edition::Repository => self.folder.join("test-engine").join(name),
        }
    }
}

impl Verdict {
    fn read(line: &str) -> Self {
        let mut parts = line.splitn(4, '\t').map(ToOwned::to_owned);
        let mut part = || parts.next().unwrap_or_else(|| panic!("{line:?}"));
        Self {
            id: part(),
            kind: part(),
            word: part(),
            detail: part(),
        }
    }
}

/// Whether node is recent enough for undici.
fn check_node() -> Result<(), String> {
    let version = run(Command::new("node").arg("--version"))?;
    let mut numbers = version.trim().trim_start_matches('v').split('.');
    let mut number = || numbers.next().and_then(|text| text.parse().ok());
    match number().zip(number()) {
        Some(found) if found >= MIN_NODE => Ok(()),
        Some(_) | None => Err(format!(
            "node {} is older than {MIN_NODE:?}",
            version.trim()
        )),
    }
}

/// A folder with the suite's repository, or a copy of it that has undici too.
fn with_undici(named: &Path, kept: &Path) -> Result<PathBuf, String> {
    check_node()?;
    if named.join("node_modules/undici").is_dir() {
        return Ok(named.to_owned());
    }
    let (folder, copy) = (kept.join("named"), kept.join("named/suite"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&copy).map_err(|error| error.to_string())?;
    let mut cp = Command::new("cp");
    cp.arg("-r")
        .args(["test-engine", "tests"].map(|part| named.join(part)));
    run(cp.arg(&copy))?;
    install(&folder, UNDICI)?;
    Ok(copy)
}

/// The suite's repository at the revision that the table was written for.
fn repository(kept: &Path) -> Result<Suite, String> {
    check_node()?;
    let folder = fetched(&kept.join("repository"), |folder| {
        let suite = folder.join("suite");
        run(Command::new("git").args(["init", "-q"]).arg(&suite))?;
        let fetch = ["fetch", "-q", "--depth", "1", REPOSITORY, REVISION];
        run(patient("git").arg("-C").arg(&suite).args(fetch))?;
        let checkout = ["checkout", "-q", "FETCH_HEAD"];
        run(Command::new("git").arg("-C").arg(&suite).args(checkout))?;
        install(folder, UNDICI)
    })?;
    Ok(Suite {
        edition: Edition::Repository,
        folder: folder.join("suite"),
    })
}

/// The suite's last release.
fn release(kept: &Path) -> Result<Suite, String> {
    let folder = fetched(&kept.join("release"), |folder| install(folder, RELEASE))?;
    Ok(Suite {
        edition: Edition::Release,
        folder: folder.join("node_modules/http-cache-tests"),
    })
}

fn install(folder: &Path, package: &str) -> Result<(), String> {
    let quiet = [
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel=error",
    ];
    let mut npm = patient("npm");
    npm.args(["install", "--prefix"]).arg(folder).args(quiet);
    run(npm.arg(package)).map(drop)
}

/// What was fetched whole into a folder, by this run or an earlier one.
fn fetched(
    folder: &Path,
    fetch: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let whole = folder.join("whole");
    if !whole.exists() {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        fetch(folder)?;
        fs::write(whole, REVISION).map_err(|error| error.to_string())?;
    }
    Ok(folder.to_owned())
}

/// A command that ends after a while whatever happens.
fn patient(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([PATIENCE, program]);
    // A host that wants a name and a password is as good as none.
    command.env("GIT_TERMINAL_PROMPT", "0");
    command
}

/// What a command prints, once it has succeeded.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {}", output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
