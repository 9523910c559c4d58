//! Whole restores through feeds of every shape: the server's answers over loopback sockets, Sluice before them, `dotnet`
//! on a machine that knows Sluice alone. Then Sluice in front of Sluice.

use crate::harness::sluice;
use crate::harness::upstream::free_port;
use crate::machine::Machine;
use crate::servers::packages::{ALL, RESTORED, find};
use crate::servers::{Login, Server, Shape};
use crate::stage::{say, use_directly};
use crate::suite::turn;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A shape that listens on 127.0.0.1, its storage on 127.0.0.2. It lives as long as the process.
#[derive(Debug)]
struct Site {
    shape: Shape,
    /// What was asked, as `URL` and whether Sluice asked.
    asked: Mutex<Vec<(String, bool)>>,
    /// Whether connections end without an answer.
    is_gone: AtomicBool,
}

impl Site {
    fn start(server: Server) -> Arc<Self> {
        let port = free_port();
        let [home, far] = [1, 2].map(|last| format!("http://127.0.0.{last}:{port}"));
        let site = Arc::new(Self {
            shape: server.shape(&home, &far),
            asked: Mutex::default(),
            is_gone: AtomicBool::new(false),
        });
        for base in [home, far] {
            let address = base.strip_prefix("http://").expect("it was put there");
            let listener = TcpListener::bind(address).expect("the port was free a moment ago");
            let site = Arc::clone(&site);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (site, base) = (Arc::clone(&site), base.clone());
                    // A peer that goes away in the middle ends its own thread.
                    std::thread::spawn(move || site.serve(&base, stream));
                }
            });
        }
        site
    }

    /// Answers the requests of one connection.
    fn serve(&self, base: &str, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if self.is_gone.load(Ordering::SeqCst) {
                return Ok(());
            }
            let target = line.split(' ').nth(1).unwrap_or_default();
            let url = format!("{base}{target}");
            let is_head = line.starts_with("HEAD ");
            let (mut authorization, mut is_sluice) = (None, false);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    break;
                };
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => authorization = Some(value.to_owned()),
                    "via" => is_sluice = value.contains("sluice-"),
                    _ => {}
                }
            }
            let answer = self.shape.answer(&url, authorization.as_deref());
            let mut head = format!(
                "HTTP/1.1 {} Answer\r\nContent-Length: {}\r\n",
                answer.status,
                answer.body.len()
            );
            for (name, value) in &answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            self.lock().push((url, is_sluice));
            stream.write_all(head.as_bytes())?;
            if !is_head {
                stream.write_all(&answer.body)?;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, bool)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since the last time, once it is sure that only Sluice asked.
    fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.lock());
        for (url, is_sluice) in &asked {
            assert!(is_sluice, "a leaked link: {url} came without Sluice's Via");
        }
        asked.into_iter().map(|(url, _)| url).collect()
    }

    /// A configuration with one feed of this server.
    fn config(&self) -> String {
        let credential = match self.shape.login {
            None => String::new(),
            Some(Login::Basic { user, password }) => {
                format!("username = \"{user}\"\npassword = \"{password}\"\n")
            }
            Some(Login::Bearer(token)) => format!("token = \"{token}\"\n"),
        };
        let upstream = &self.shape.upstream;
        format!("[[feed]]\nname = \"nuget\"\nupstream = \"{upstream}\"\n{credential}")
    }
}

/// A restore of a project that needs four packages, checked byte for byte.
fn restore(machine: &Machine) {
    machine.forget();
    let folder = machine.project("shaped", &[("Shape.App", "2.0.0")]);
    machine.dotnet(&folder, &["restore"]).succeeded();
    for (id, version) in RESTORED {
        let package = find(id, version);
        let bytes = std::fs::read(machine.packages().join(package.path()));
        assert!(bytes.expect("it was restored") == package.bytes(), "{id}");
    }
    let ids = std::fs::read_dir(machine.packages()).expect("it was restored");
    assert_eq!(ids.count(), RESTORED.len());
}

/// What reads registrations and search.
fn look_around(machine: &Machine) {
    let folder = machine.work().join("shaped");
    let outdated = ["list", "package", "--outdated", "--include-transitive"];
    let said = machine.dotnet(&folder, &outdated).succeeded().text;
    for newer in ["1.5.0", "23.1.0.4"] {
        assert!(said.contains(newer), "{newer}:\n{said}");
    }
    let search = [
        "package",
        "search",
        "shape",
        "--format",
        "json",
        "--prerelease",
    ];
    let said = machine.dotnet(&folder, &search).succeeded().text;
    for package in ALL {
        assert!(said.contains(package.id), "{}:\n{said}", package.id);
    }
}

/// Cold, warm, then with the server gone and every window passed.
fn check(name: &str, server: Server) {
    let Some(turn) = turn(name) else {
        return;
    };
    let site = Site::start(server);
    let settings = sluice::Settings::new(&turn.folder, &turn.folder).config(&site.config());
    let mut sluice = settings.start();
    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    use_directly(&machine, &sluice.source());
    restore(&machine);
    look_around(&machine);
    let asked = site.asked();
    assert!(asked.len() >= 9, "{asked:?}");
    restore(&machine);
    assert_eq!(site.asked(), Vec::<String>::new());
    say(&format!("{} requests at the server", asked.len()));

    sluice.terminate();
    site.is_gone.store(true, Ordering::SeqCst);
    let sluice = settings.windows("1s").start();
    use_directly(&machine, &sluice.source());
    restore(&machine);
    let access = sluice.access();
    let lists = access.iter().filter(|access| access.is_version_list());
    assert!(lists.clone().count() >= RESTORED.len(), "{access:#?}");
    let labels: Vec<&str> = lists.map(|access| access.outcome.as_str()).collect();
    assert!(labels.ends_with(&["stale"; 4]), "{labels:?}");
}

#[test]
fn two_in_a_row() {
    let Some(turn) = turn("shape_two_in_a_row") else {
        return;
    };
    let site = Site::start(Server::AzureArtifacts);
    let start = |name: &str, config: &str| {
        let folder = turn.folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let settings = sluice::Settings::new(&folder, &turn.folder);
        settings.config(config).start()
    };
    let inner = start("inner", &site.config());
    let upstream = inner.source();
    let config = format!("[[feed]]\nname = \"nuget\"\nupstream = \"{upstream}\"\n");
    let outer = start("outer", &config);
    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    use_directly(&machine, &outer.source());
    restore(&machine);
    look_around(&machine);
    let asked = site.asked();
    assert!(asked.len() >= 13, "{asked:?}");
    let seen = inner.access().len();
    restore(&machine);
    assert_eq!((inner.access().len(), site.asked()), (seen, Vec::new()));
}

#[test]
fn artifactory() {
    check("shape_artifactory", Server::Artifactory);
}

#[test]
fn azure_artifacts() {
    check("shape_azure_artifacts", Server::AzureArtifacts);
}

#[test]
fn bagetter() {
    check("shape_bagetter", Server::BaGetter);
}

#[test]
fn github() {
    check("shape_github", Server::GitHub);
}

#[test]
fn gitlab() {
    check("shape_gitlab", Server::GitLab);
}

#[test]
fn nexus() {
    check("shape_nexus", Server::Nexus);
}

#[test]
fn proget() {
    check("shape_proget", Server::ProGet);
}

#[test]
fn sleet() {
    check("shape_sleet", Server::Sleet);
}
