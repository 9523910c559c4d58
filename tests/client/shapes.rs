//! Whole restores through feeds of every shape: the server's answers over loopback sockets, Sluice before them, `dotnet`
//! on a machine that knows Sluice alone. Then Sluice in front of Sluice.

use crate::harness::sluice;
use crate::machine::Machine;
use crate::servers::Server;
use crate::servers::packages::{ALL, RESTORED, find};
use crate::site::Site;
use crate::stage::{say, use_directly};
use crate::suite::{Turn, turn};
use std::sync::atomic::Ordering;

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

/// Another client's installation before a server: with nothing stored, with all of it stored and fresh, and with the server
/// gone and every window passed. `install` is given the machine and its source, and forgets what the client has kept.
pub(crate) fn check_client(turn: &Turn, server: Server, install: impl Fn(&Machine, &str)) {
    let site = Site::start(server);
    let settings = sluice::Settings::new(&turn.folder, &turn.folder).config(&site.config());
    let mut sluice = settings.start();
    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    install(&machine, &sluice.source());
    assert!(site.asked().len() >= RESTORED.len());
    let seen = sluice.access_after(0, RESTORED.len()).len();
    install(&machine, &sluice.source());
    assert_eq!(site.asked(), Vec::<String>::new());
    let warm = sluice.access_after(seen, RESTORED.len());
    assert!(warm.iter().all(|line| line.outcome == "hit"), "{warm:#?}");

    sluice.terminate();
    let seen = sluice.access().len();
    site.is_gone.store(true, Ordering::SeqCst);
    let sluice = settings.windows("1s").start();
    install(&machine, &sluice.source());
    let gone = sluice.access_after(seen, RESTORED.len());
    let is_kept = |outcome: &str| matches!(outcome, "hit" | "stale");
    assert!(gone.iter().all(|line| is_kept(&line.outcome)), "{gone:#?}");
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
