//! The binary as a user starts it: exit codes, what it prints, signals. Loopback only; no upstream is ever asked.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::secure::{connector, write_pair};

/// The binary without the settings of whoever runs the tests.
pub(crate) fn sluice() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SLUICE_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    sluice().args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A running process; killed when the test ends early.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
    /// What it printed until the line that names the source.
    printed: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_as(sluice(), data_dir, arguments)
    }

    /// Starts it by a command that ends in the binary's name.
    pub(crate) fn start_as(mut command: Command, data_dir: &Path, arguments: &[&str]) -> Self {
        command
            .args([
                "--upstream",
                "http://127.0.0.1:9/v3/index.json",
                "--log",
                "off",
            ])
            .args(arguments);
        Self::launch(command, data_dir)
    }

    /// Starts it on ports of the system's choice, its upstream and log as the command says.
    pub(crate) fn launch(mut command: Command, data_dir: &Path) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        while !printed.contains("</packageSources>") {
            assert_ne!(
                out.read_line(&mut printed).unwrap(),
                0,
                "ended after {printed}"
            );
        }
        Self {
            child,
            out,
            printed,
        }
    }

    /// The address behind this mark in what was printed.
    pub(crate) fn address(&self, mark: &str) -> String {
        let after = self.printed.split(mark).nth(1).unwrap();
        let end = after.find([',', ';', '/', '\n']).unwrap();
        after[..end].to_owned()
    }

    pub(crate) fn signal(&self) {
        self.send(Signal::TERM);
    }

    pub(crate) fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

#[test]
fn a_private_member_without_a_rule_is_a_warning_at_the_start() {
    let warned = |lines: &str| {
        let toml = format!(
            "[[feed]]\nname = \"all\"\nmembers = [\"corp\", \"open\"]\n\
             [[feed]]\nname = \"open\"\nupstream = \"http://127.0.0.1:9/open.json\"\n\
             [[feed]]\nname = \"corp\"\nupstream = \"http://127.0.0.1:9/corp.json\"\n{lines}\n"
        );
        let data = tempfile::tempdir().unwrap();
        let mut command = sluice();
        command
            .env("SLUICE_CONFIG_TOML", toml)
            .stderr(Stdio::piped());
        let mut running = Running::launch(command, data.path());
        running.signal();
        let mut log = String::new();
        let mut errors = running.child.stderr.take().unwrap();
        errors.read_to_string(&mut log).unwrap();
        let lines = log.lines().filter(|line| line.contains("WARN"));
        let of_member = lines.filter(|line| line.contains("neither \"owns\" nor \"only\""));
        let of_member: Vec<&str> = of_member.collect();
        assert!(of_member.iter().all(|line| line.contains("corp")), "{log}");
        of_member.len()
    };
    let made = rcgen::generate_simple_self_signed(vec!["us".to_owned()]).unwrap();
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&pem, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    let certificate = format!(
        "client_cert_file = {0:?}\nclient_key_file = {0:?}",
        pem.path()
    );
    assert_eq!(warned(""), 0);
    for secret in ["token = \"t\"", &certificate] {
        assert_eq!(warned(secret), 1, "{secret}");
        assert_eq!(warned(&format!("{secret}\nowns = \"Corp.*\"")), 0);
        assert_eq!(warned(&format!("{secret}\nonly = \"Corp.*\"")), 0);
    }
}

pub(crate) fn get(address: &str, path: &str) -> String {
    exchange(address, &format!("GET {path}"), "")
}

/// Sends a request without a body and takes the whole answer. `headers` end their lines.
pub(crate) fn exchange(address: &str, what: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_prints_the_port_it_got_and_the_commands_and_ends_with_0_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&folder.path().join("data"), &[]);
    let clients = running.address("Listening on http://");
    assert!(!clients.ends_with(":0"), "{}", running.printed);
    let source = format!("http://{clients}/v3/index.json");
    for expected in [
        format!("dotnet nuget update source nuget.org --source {source} --configfile "),
        "dotnet nuget update source nuget.org --source https://api.nuget.org/v3/index.json"
            .to_owned(),
        format!("<add key=\"nuget.org\" value=\"{source}\" protocolVersion=\"3\""),
    ] {
        assert!(
            running.printed.contains(&expected),
            "{expected}\n{}",
            running.printed
        );
    }
    let admin = running.address("admin http://");
    assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200 OK"));
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 OK"));
    assert!(get(&admin, "/metrics").contains("sluice_connections_accepted_total"));
    let checked = run(&["healthcheck", "--admin", &format!("http://{admin}")]);
    assert!(checked.status.success(), "{checked:?}");
    running.signal();
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    running.out.read_to_string(&mut rest).unwrap();
    let checked = run(&["healthcheck", "--admin", &format!("http://{admin}")]);
    assert_eq!(checked.status.code(), Some(1));
}

#[test]
fn a_port_in_use_is_one_sentence_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [
        ("--listen", "--admin-listen"),
        ("--admin-listen", "--listen"),
    ] {
        let output = sluice()
            .args([flag, &address, other, "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(&data)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            text(&output.stderr),
            format!(
                "sluice: port {port} of 127.0.0.1 is in use by another process; choose another with {flag}\n"
            )
        );
        assert!(!data.exists());
    }
}

#[test]
fn every_mistake_is_reported_with_code_2_and_nothing_is_bound_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let output = sluice()
        .args(["--listen", "nowhere", "--max-store-bytes", "much"])
        .arg("--data-dir")
        .arg(&data)
        .env("SLUICE_MAX_HOLD", "5")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let problems: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert_eq!(output.stdout, b"");
    assert!(!data.exists());
}

#[test]
fn config_check_says_what_is_wrong_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "max_hold = \"20s\"\n").unwrap();
    let good = run(&["config", "check", name]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert_eq!(text(&good.stdout), format!("{name}: no problems\n"));
    std::fs::write(&file, "max_hld = \"20s\"\nstale_after = 2\n").unwrap();
    let bad = run(&["config", "check", name]);
    assert_eq!(bad.status.code(), Some(2));
    let problems: Vec<&str> = text(&bad.stderr).lines().collect();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(
        problems[0].starts_with(&format!("{name}:1: max_hld: ")),
        "{problems:#?}"
    );
    assert!(problems[0].contains("max_hold"), "{problems:#?}");
    assert!(
        problems[1].starts_with(&format!("{name}:2: stale_after is \"2\"")),
        "{problems:#?}"
    );
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let output = run(&["--lisen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--listen"));
}

/// The status of a request that asks for nothing but whether it is let in.
pub(crate) fn knock(address: &str, token: &str) -> String {
    let header = format!("authorization: Bearer {token}\r\n");
    let answer = exchange(address, "POST /v3/index.json", &header);
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn tokens_are_made_listed_and_revoked_beside_a_running_process() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("a.toml"));
    let log = folder.path().join("access.log");
    let feed = "[[feed]]\nname = \"nuget\"\nupstream = \"http://127.0.0.1:9/\"\naccess = \"own\"\n";
    std::fs::write(&config, feed).unwrap();
    let (config, log_path) = (config.to_str().unwrap(), log.to_str().unwrap());
    let arguments = ["--config", config, "--access-log", log_path];
    let running = Running::start(&data, &arguments);
    let clients = running.address("Listening on http://");
    let token = |words: &[&str]| {
        let place = ["--config", config, "--data-dir", data.to_str().unwrap()];
        run(&[&["token"], words, &place].concat())
    };
    let wait_for = |secret: &str, status: &str| {
        for _ in 0..200 {
            if knock(&clients, secret) == status {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{} instead of {status}", knock(&clients, secret));
    };
    assert_eq!(knock(&clients, "slc_none"), "401");
    let made = token(&["create", "ci", "--expires", "90d"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let secret = text(&made.stdout).trim();
    assert!(secret.starts_with("slc_") && !secret.contains(char::is_whitespace));
    let note = text(&made.stderr);
    assert!(
        note.starts_with("token ci may read (every feed); it ends "),
        "{note}"
    );
    // Let in: what it asks for is no method of an index.
    wait_for(secret, "405");
    let again = token(&["create", "ci"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).contains("there is a token \"ci\" already"),
        "{again:?}"
    );
    let listed = token(&["list"]);
    assert!(
        text(&listed.stdout).contains("\nci    read  every feed  "),
        "{listed:?}"
    );
    let revoked = token(&["revoke", "ci"]);
    assert_eq!(text(&revoked.stderr), "token ci is revoked\n");
    wait_for(secret, "401");
    assert_eq!(token(&["revoke", "ci"]).status.code(), Some(1));
    let bad = token(&["create", "b", "--feed", "crop"]);
    assert!(
        text(&bad.stderr).contains("expected one of nuget"),
        "{bad:?}"
    );
    running.signal();
    drop(running);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(" user=\"token ci\" feed=\"nuget\""), "{log}");
    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        let kept = std::fs::read(entry.path()).unwrap_or_default();
        assert!(
            memchr::memmem::find(&kept, secret.as_bytes()).is_none(),
            "{entry:?}"
        );
    }
    assert!(!log.contains(secret));
}

#[test]
fn a_password_becomes_a_line_of_a_users_file() {
    let mut child = sluice()
        .args(["password", "alice"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"s3cret\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        text(&output.stdout).starts_with("alice:$argon2id$v=19$"),
        "{output:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, &output.stdout).unwrap();
    let checked = sluice()
        .args(["config", "check"])
        .env("SLUICE_USERS_FILE", &users)
        .output();
    assert!(checked.unwrap().status.success());
    std::fs::write(&users, "alice:plain\n").unwrap();
    let checked = sluice()
        .args(["config", "check"])
        .env("SLUICE_USERS_FILE", &users)
        .output();
    let problems = checked.unwrap();
    assert_eq!(problems.status.code(), Some(2));
    assert!(text(&problems.stderr).contains("line 1: expected for \"alice\" a bcrypt hash"));
}

/// Asks over TLS, as somebody who trusts `root`.
pub(crate) async fn ask_secure(
    root: &CertificateDer<'static>,
    address: &str,
    path: &str,
) -> io::Result<String> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = connector(root.clone(), &[]);
    let mut stream = connector.connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn a_key_of_another_certificate_is_reported_with_code_2_and_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_pair(folder.path(), &["a.example"]);
    std::fs::rename(
        folder.path().join("key.pem"),
        folder.path().join("other.pem"),
    )
    .unwrap();
    write_pair(folder.path(), &["a.example"]);
    let output = sluice()
        .args(["--tls-listen", "127.0.0.1:0", "--max-streams", "0"])
        .arg("--tls-certificate")
        .arg(folder.path().join("chain.pem"))
        .arg("--tls-key")
        .arg(folder.path().join("other.pem"))
        .arg("--data-dir")
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let problems: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(
        problems[0].starts_with("flag --max-streams: "),
        "{problems:#?}"
    );
    assert!(
        problems[1].starts_with("flag --tls-certificate: tls_certificate is "),
        "{problems:#?}"
    );
    assert!(
        problems[1].ends_with("expected a certificate that the private key belongs to"),
        "{problems:#?}"
    );
    assert!(!data.exists());
}
