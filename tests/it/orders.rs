//! Reloading the binary: by signal, over the admin listener, by the subcommand. Loopback only; no upstream answers.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Running, exchange, get, knock, run, sluice, text};

const ONE: &str =
    "log = \"off\"\n[[feed]]\nname = \"one\"\nupstream = \"http://127.0.0.1:9/v3/index.json\"\n";
const TWO: &str = "[[feed]]\nname = \"two\"\nupstream = \"http://127.0.0.1:9/two/index.json\"\n";

/// A process with a configuration file.
pub(crate) struct Configured {
    folder: TempDir,
    pub(crate) running: Running,
    pub(crate) admin: String,
}

impl Configured {
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = sluice();
        let log = File::create(folder.path().join("log")).unwrap();
        command.arg("--config").arg(&file).stderr(log);
        let running = Running::launch(command, &folder.path().join("data"));
        let admin = running.address("admin http://");
        Self {
            folder,
            running,
            admin,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, config: &str) {
        std::fs::write(self.path("a.toml"), config).unwrap();
    }

    /// Orders a reload; status line and report.
    pub(crate) fn reload(&self) -> (String, Value) {
        let answer = exchange(&self.admin, "POST /api/reload", "");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap().to_owned();
        (status, serde_json::from_str(body).unwrap())
    }

    /// The feeds that readiness names.
    fn feeds(&self) -> Vec<String> {
        let answer = get(&self.admin, "/readyz");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let feeds = body["feeds"].as_array().unwrap().iter();
        feeds
            .map(|feed| feed["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

/// Waits for what another process does.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it never held");
}

#[test]
fn a_signal_has_the_file_read_again() {
    let process = Configured::start(ONE);
    assert_eq!(process.feeds(), ["one"]);
    process.write(&format!("{ONE}{TWO}"));
    process.running.send(Signal::HUP);
    until(|| process.feeds() == ["one", "two"]);
    // A mistake changes nothing, ends nothing, and is told.
    process.write(&format!("max_hld = \"3s\"\n{TWO}").replace("log = \"off\"", ""));
    process.running.send(Signal::HUP);
    let (status, _) = process.reload();
    assert!(status.contains("422"), "{status}");
    assert_eq!(process.feeds(), ["one", "two"]);
}

#[test]
fn the_answer_says_what_changed_and_what_needs_a_restart() {
    let process = Configured::start(ONE);
    let secret = process.path("secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let with = |top: &str, feed: &str| {
        process.write(&format!("{top}{ONE}{feed}{TWO}"));
    };
    let credential = format!("token_file = {secret:?}\n");
    let top = "max_hold = \"20s\"\nmax_connections = 7\nmemory_bytes = \"32MiB\"\n";
    with(top, &format!("registration_fresh = \"1m\"\n{credential}"));
    let (status, report) = process.reload();
    assert_eq!(status, "HTTP/1.1 200 OK");
    let expected = json!({
        "changed": [
            {"change": "changed", "setting": "max_hold", "from": "default (15s)", "to": "20s"},
            {"change": "changed", "feed": "one", "setting": "token_file", "from": "default", "to": secret},
            {"change": "changed", "feed": "one", "setting": "registration_fresh", "from": "default", "to": "1m"},
            {"change": "added", "feed": "two"},
        ],
        "needs_restart": [
            {"change": "changed", "setting": "max_connections", "from": "default (4096)", "to": "7"},
            {"change": "changed", "setting": "memory_bytes", "from": "default (67108864)", "to": "32MiB"},
        ],
        "problems": [],
    });
    // The limit of open files may be lower than the default of connections needs.
    let mut report = report;
    report["needs_restart"][0]["from"] = "default (4096)".into();
    assert_eq!(report, expected);
    // What waits for a restart is told each time, what was obeyed is not.
    let (_, again) = process.reload();
    assert_eq!(again["changed"], json!([]));
    assert_eq!(again["needs_restart"].as_array().unwrap().len(), 2);
    // Another secret in the same file is a change, and none is told.
    std::fs::write(&secret, "hunter3\n").unwrap();
    let (_, rotated) = process.reload();
    let expected = json!([{"change": "changed", "feed": "one", "setting": "credential"}]);
    assert_eq!(rotated["changed"], expected);
    process.write(ONE);
    let (_, report) = process.reload();
    assert_eq!(report["needs_restart"], json!([]));
    assert_eq!(
        report["changed"].as_array().unwrap().last(),
        Some(&json!({"change": "removed", "feed": "two"}))
    );
    assert_eq!(process.feeds(), ["one"]);
    assert!(!format!("{rotated}{report}").contains("hunter"));
}

#[test]
fn an_invalid_configuration_changes_nothing_and_every_problem_is_told() {
    let process = Configured::start(&ONE.replace("\"off\"", "\"error\""));
    process.write("max_hld = \"3s\"\nstale_after = 2\n[[feed]]\nname = \"two\"\n");
    let (status, report) = process.reload();
    assert_eq!(status, "HTTP/1.1 422 Unprocessable Entity");
    let problems: Vec<&str> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap())
        .collect();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    let name = process.path("a.toml");
    let place = |line: &str| format!("{}:{line}", name.display());
    assert!(
        problems[0].starts_with(&place("1: max_hld: ")),
        "{problems:#?}"
    );
    assert!(
        problems[1].starts_with(&place("2: stale_after is ")),
        "{problems:#?}"
    );
    assert!(
        problems[2].contains("feed \"two\": upstream"),
        "{problems:#?}"
    );
    assert_eq!(report["changed"], json!([]));
    assert_eq!(process.feeds(), ["one"]);
    let log = process.log();
    for problem in ["max_hld", "stale_after", "upstream"] {
        assert!(log.contains(problem), "{log}");
    }
}

#[test]
fn the_subcommand_tells_the_report_by_its_exit_code_too() {
    let process = Configured::start(ONE);
    let url = format!("http://{}", process.admin);
    process.write(&format!("{ONE}{TWO}"));
    let good = run(&["reload", "--admin", &url]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let report: Value = serde_json::from_str(text(&good.stdout)).unwrap();
    assert_eq!(
        report["changed"],
        json!([{"change": "added", "feed": "two"}])
    );
    process.write("nonsense");
    let bad = run(&["reload", "--admin", &url]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    assert!(text(&bad.stdout).contains("a.toml:1: syntax"), "{bad:?}");
    drop(process);
    assert_eq!(run(&["reload", "--admin", &url]).status.code(), Some(1));
}

#[test]
fn what_is_disputed_unsigned_or_withdrawn_is_listed_by_the_admin_listener_and_the_subcommand() {
    let process = Configured::start(ONE);
    let url = format!("http://{}", process.admin);
    for kind in ["disputed", "unsigned", "withdrawn"] {
        let answer = get(&process.admin, &format!("/api/{kind}"));
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(
            answer.ends_with(&format!("{{\"{kind}\":[]}}\n")),
            "{answer}"
        );
        let listed = run(&[kind, "--admin", &url]);
        assert_eq!(listed.status.code(), Some(0), "{listed:?}");
        assert_eq!(text(&listed.stdout), "");
    }
    drop(process);
    for kind in ["disputed", "withdrawn"] {
        let refused = run(&[kind, "--admin", &url]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
}

#[test]
fn a_page_of_another_site_reloads_nothing() {
    let process = Configured::start(ONE);
    process.write(&format!("{ONE}{TWO}"));
    let answer = exchange(
        &process.admin,
        "POST /api/reload",
        "origin: https://evil.test\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden"), "{answer}");
    let answer = get(&process.admin, "/api/reload");
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed"),
        "{answer}"
    );
    assert_eq!(process.feeds(), ["one"]);
}

#[test]
fn the_log_takes_another_filter() {
    let process = Configured::start(ONE);
    process.write(&ONE.replace("\"off\"", "\"info\""));
    process.reload();
    assert!(
        process.log().contains("the configuration was reloaded"),
        "{}",
        process.log()
    );
    process.write(ONE);
    process.reload();
    let before = process.log();
    process.write(&ONE.replace("/v3/", "/v4/"));
    let (_, report) = process.reload();
    assert_eq!(report["changed"][0]["setting"], "upstream");
    assert_eq!(process.log(), before);
}

#[test]
fn flags_and_environment_hold_whatever_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, ONE).unwrap();
    let mut command = sluice();
    command
        .arg("--config")
        .arg(&file)
        .args(["--max-hold", "9s"])
        .env("SLUICE_STALE_AFTER", "1s");
    let running = Running::launch(command, &folder.path().join("data"));
    let text = format!("max_hold = \"20s\"\nstale_after = \"3s\"\nprobe_max = \"40s\"\n{ONE}");
    std::fs::write(&file, text).unwrap();
    let url = format!("http://{}", running.address("admin http://"));
    let reloaded = run(&["reload", "--admin", &url]);
    let report: Value = serde_json::from_slice(&reloaded.stdout).unwrap();
    assert_eq!(changed(&report), ["probe_max"]);
}

#[test]
fn who_may_use_a_feed_is_obeyed_at_once_with_the_files_that_say_so() {
    let process = Configured::start(ONE);
    let clients = process.running.address("Listening on http://");
    let (users, tokens) = (process.path("users"), process.path("tokens"));
    assert_eq!(knock(&clients, "slc_none"), "405");
    let place = tokens.to_str().unwrap();
    let made = run(&["token", "create", "ci", "--tokens-file", place]);
    let token = text(&made.stdout).trim().to_owned();
    std::fs::write(&users, "# none yet\n").unwrap();
    let own = format!(
        "users_file = {users:?}\ntokens_file = {tokens:?}\n{ONE}access = \"own\"\npush_key = \"hunter2\"\n"
    );
    process.write(&own);
    let (status, report) = process.reload();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(
        changed(&report),
        ["users_file", "tokens_file", "access", "push_key"]
    );
    assert!(!report.to_string().contains("hunter2"), "{report}");
    assert_eq!(knock(&clients, "slc_none"), "401");
    assert_eq!(knock(&clients, &token), "405");
    // A file that cannot be obeyed is a problem of the whole: the feed stays closed.
    for (file, broken) in [(&users, "alice:plain\n"), (&tokens, "{")] {
        let good = std::fs::read(file).unwrap();
        std::fs::write(file, broken).unwrap();
        process.write(&own.replace("\"own\"", "\"open\""));
        let (status, report) = process.reload();
        assert!(status.contains("422"), "{status}");
        let problem = report["problems"][0].as_str().unwrap();
        assert!(problem.contains(file.to_str().unwrap()), "{problem}");
        assert_eq!(knock(&clients, "slc_none"), "401");
        std::fs::write(file, good).unwrap();
    }
    process.write(ONE);
    process.running.send(Signal::HUP);
    until(|| knock(&clients, "slc_none") == "405");
}

#[test]
fn an_order_brings_the_token_that_may_administer() {
    let process = Configured::start(ONE);
    let url = format!("http://{}", process.admin);
    let data = process.path("data");
    let place = ["--data-dir", data.to_str().unwrap()];
    let token = |words: &[&str]| {
        let made = run(&[&["token", "create"], words, &place].concat());
        text(&made.stdout).trim().to_owned()
    };
    let (boss, reader) = (token(&["boss", "--admin"]), token(&["reader"]));
    let order = |token: Option<&str>| {
        let mut command = sluice();
        command.args(["reload", "--admin", &url]);
        if let Some(token) = token {
            command.env("SLUICE_ADMIN_TOKEN", token);
        }
        command.output().unwrap()
    };
    until(|| order(None).status.code() == Some(1));
    for (token, said) in [
        (None, "expected a token that may administer"),
        (Some(&*reader), "expected a token that may administer"),
        (Some("hunter2"), "which holds something else"),
    ] {
        let refused = order(token);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let problem = text(&refused.stderr);
        assert!(problem.contains(said), "{problem}");
        assert!(!problem.contains("hunter2") && !problem.contains("slc_A"));
    }
    let obeyed = order(Some(&format!("{boss}\n")));
    assert_eq!(obeyed.status.code(), Some(0), "{obeyed:?}");
    // Who signals it may do that anyway, and so may who starts one with that variable set.
    let mut checked = sluice();
    checked
        .args(["config", "check"])
        .env("SLUICE_ADMIN_TOKEN", boss);
    assert!(checked.output().unwrap().status.success());
}

fn changed(report: &Value) -> Vec<&str> {
    let changed = report["changed"].as_array().unwrap().iter();
    changed
        .map(|change| change["setting"].as_str().unwrap())
        .collect()
}
