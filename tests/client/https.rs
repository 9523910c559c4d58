//! The commands of a day over https: what they print is what they print straight at the upstream; a restore outlives the
//! upstream; users and tokens are asked for and let in.

use crate::access::command;
use crate::direct::{Side, assert_same};
use crate::fetched::dotnet_3_1;
use crate::harness::upstream;
use crate::machine::Machine;
use crate::nuget_exe;
use crate::publish::pack;
use crate::stage::{LEAST_REQUESTS, restore_solution, say, use_directly};
use crate::suite::turn;
use crate::tls::Scene;
use std::path::Path;

/// Outdated, vulnerable, deprecated and paged ones.
const REFERENCES: [(&str, &str); 4] = [
    ("Newtonsoft.Json", "12.0.1"),
    ("Sluice.Sample.Deprecated", "1.0.0"),
    ("Sluice.Sample.Many", "1.1.0"),
    ("Serilog", "3.1.1"),
];

/// What is run on both sides.
fn commands(side: &mut Side) {
    let folder = side.restored("listed", &REFERENCES);
    for flag in ["--deprecated", "--outdated", "--vulnerable"] {
        let words = ["list", "package", flag, "--include-transitive"];
        let said = side.dotnet(&folder, &words).succeeded().text;
        assert!(said.contains("   > "), "{flag} found nothing:\n{said}");
    }
    let search = [
        "package",
        "search",
        "sluice",
        "--prerelease",
        "--format",
        "json",
    ];
    side.dotnet(&folder, &search).succeeded();
    side.dotnet(&folder, &["add", "package", "Polly"])
        .succeeded();
    side.dotnet(&folder, &["add", "package", "Nobody.Has.This"])
        .failed();
    let package = pack(
        &side.machine.work(),
        "Sluice.Pushed.Secure",
        "1.0.0",
        3 << 20,
    );
    std::fs::copy(&package, package.with_extension("snupkg")).expect("it can be copied");
    let path = package.display().to_string();
    let push = |key| ["nuget", "push", &path, "--source", "nuget.org", "-k", key];
    side.dotnet(&folder, &push("another-key")).failed();
    side.dotnet(&folder, &push("push-key")).succeeded();
    side.dotnet(&folder, &push("push-key")).failed();
    side.machine.forget();
    side.dotnet(&folder, &["add", "package", "Sluice.Pushed.Secure"])
        .succeeded();
    side.note_file(&folder.join("listed.csproj"));
}

#[test]
fn every_command_says_the_same_over_https() {
    let Some(turn) = turn("every_command_says_the_same_over_https") else {
        return;
    };
    let mut scene = Scene::new(&turn);
    let machine = Machine::new(&turn.folder.join("direct"), &turn.sdk);
    use_directly(&machine, &scene.upstream.source());
    let mut direct = Side::new(machine, scene.upstream.source());
    commands(&mut direct);
    scene.upstream.reset();
    scene.machine.trust(&scene.authority.file.clone());
    let mut through = Side::new(scene.machine.clone(), scene.sluice.secure_source());
    commands(&mut through);
    scene.upstream.assert_no_leak();
    assert_same(&direct, &through);
}

#[test]
fn a_restore_over_https_outlives_the_upstream() {
    let Some(turn) = turn("a_restore_over_https_outlives_the_upstream") else {
        return;
    };
    let mut scene = Scene::build(&turn, upstream::Settings::default(), |settings| {
        settings.windows("1s")
    });
    scene.machine.trust(&scene.authority.file.clone());
    let solution = scene.machine.solution();
    for what in ["cold", "warm", "gone"] {
        if what == "gone" {
            scene.upstream.assert_no_leak();
            scene.upstream.stop();
            // Every window is over.
            std::thread::sleep(std::time::Duration::from_millis(1500));
        }
        scene.machine.forget();
        let seen = scene.sluice.access().len();
        let outcome = restore_solution(&scene.machine, &solution).succeeded();
        say(&format!("{what}: {:?}", outcome.elapsed));
        assert!(!outcome.text.contains("NU1900"), "{}", outcome.text);
        let access = scene.sluice.access_after(seen, LEAST_REQUESTS);
        assert!(access.iter().all(|line| line.status < 400), "{access:#?}");
        if what == "gone" {
            let lists = access.iter().filter(|line| line.is_version_list());
            let stale = lists.filter(|line| line.outcome == "stale").count();
            assert!(stale > 0, "{access:#?}");
        }
    }
}

const PASSWORD: &str = "pass word:1";

/// A nuget.config with one source and, where there is one, a credential for it.
fn configure(file: &Path, source: &str, password: Option<&str>) {
    let credential = password.map_or_else(String::new, |password| {
        format!(
            "<packageSourceCredentials><corp><add key=\"Username\" value=\"alice\" />\
             <add key=\"ClearTextPassword\" value=\"{password}\" /></corp></packageSourceCredentials>"
        )
    });
    let text = format!(
        "<configuration><packageSources><clear /><add key=\"corp\" value=\"{source}\" protocolVersion=\"3\" />\
         </packageSources>{credential}</configuration>"
    );
    std::fs::write(file, text).expect("it can be written");
}

#[test]
fn clients_of_every_age_bring_their_credentials_in_both_ways() {
    let Some(turn) = turn("clients_of_every_age_bring_their_credentials_in_both_ways") else {
        return;
    };
    let users = turn.folder.join("users");
    let line = command(&["password", "alice"], &format!("{PASSWORD}\n"));
    std::fs::write(&users, line).expect("it can be written");
    let mut scene = Scene::build(&turn, upstream::Settings::default(), |settings| {
        settings
            .variable("SLUICE_USERS_FILE", &users.display().to_string())
            .variable("SLUICE_FEED_NUGET_ACCESS", "own")
            .variable("SLUICE_FEED_NUGET_PUSHERS", "alice")
            .variable("SLUICE_FEED_NUGET_PUSH_KEY", "push-key")
    });
    scene.machine.trust(&scene.authority.file.clone());
    let (machine, source) = (&scene.machine, scene.sluice.secure_source());
    let folder = machine.project("secure", &[("Serilog.Sinks.Console", "5.0.0")]);
    let old = machine.project("old", &[("Serilog.Sinks.Console", "5.0.0")]);
    let text = std::fs::read_to_string(old.join("old.csproj")).expect("it was written");
    let text = text.replace("net10.0", "netcoreapp3.1");
    std::fs::write(old.join("old.csproj"), text).expect("it can be written");
    let variable = |password: &str| {
        let name = "NuGetPackageSourceCredentials_corp";
        format!("{name}=Username=alice;Password={password}")
    };
    let sdk = dotnet_3_1();
    let restore = |password: Option<&str>, variable: &str| {
        configure(&machine.config(), &source, password);
        [(&folder, "dotnet"), (&old, "dotnet 3.1")].map(|(folder, what)| {
            machine.forget();
            let outcome = if what == "dotnet" {
                machine.run(folder, &["env", variable, "dotnet", "restore"])
            } else {
                sdk.run_with(machine, folder, variable, &["restore"])
            };
            say(&format!("{what}: {:?}", outcome.elapsed));
            outcome
        })
    };
    for outcome in restore(Some(PASSWORD), "NOTHING=") {
        outcome.succeeded();
    }
    for outcome in restore(None, &variable(PASSWORD)) {
        outcome.succeeded();
    }
    for outcome in restore(None, &variable("wrong")) {
        let said = outcome.failed().text;
        assert!(said.contains("401"), "{said}");
    }
    // Every other request of the new one goes by the same way.
    let run = |words: &[&str]| {
        let variable = variable(PASSWORD);
        let words = [&["env", variable.as_str(), "dotnet"], words].concat();
        machine.run(&folder, &words)
    };
    run(&["restore"]).succeeded();
    run(&["list", "package", "--outdated"]).succeeded();
    let found = run(&["package", "search", "serilog"]).succeeded().text;
    assert!(found.contains("Serilog.Sinks.Console"), "{found}");
    let package = pack(&machine.work(), "Sluice.Pushed.Mine", "1.0.0", 3 << 20);
    let package = package.display().to_string();
    run(&["nuget", "push", &package, "--source", "corp"]).succeeded();
    let pushed = scene.upstream.pushed();
    assert!(pushed["sluice.pushed.mine/1.0.0"].is_number(), "{pushed}");

    // nuget.exe knows its configuration alone, and mono no authority of ours.
    let work = machine.work();
    let file = work.join("NuGet.Config");
    for (password, ends_well) in [(PASSWORD, true), ("wrong", false)] {
        configure(&file, &scene.sluice.source(), Some(password));
        machine.forget_everything();
        let _ = std::fs::remove_dir_all(work.join("out"));
        let words = ["install", "Serilog", "-OutputDirectory", "out"];
        let outcome = nuget_exe::run(machine, &words);
        assert_eq!(outcome.status == 0, ends_well, "{}", outcome.text);
    }
    let log = std::fs::read_to_string(turn.folder.join("access.log")).expect("it is there");
    assert!(log.contains("\"user\":\"user alice\""));
    scene.upstream.assert_no_leak();
    assert!(!log.contains(PASSWORD) && !scene.sluice.process.errors().contains(PASSWORD));
}
