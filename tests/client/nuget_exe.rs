//! nuget.exe 3.4.4 under mono, the client of packages.config: compared with a direct run, and at a feed of another shape
//! whose server goes away.

use crate::direct::{Side, assert_equal_to_direct};
use crate::fetched::nuget_exe;
use crate::machine::{Machine, Outcome};
use crate::publish::pack;
use crate::servers::Server;
use crate::servers::packages::{RESTORED, find};
use crate::shapes::check_client;
use crate::suite::turn;
use std::fs::{read, write};

/// Runs it in the machine's work folder, where [`configure`] has put its configuration.
pub(crate) fn run(machine: &Machine, words: &[&str]) -> Outcome {
    let program = nuget_exe().display().to_string();
    let more = ["-NonInteractive", "-ConfigFile", "NuGet.Config"];
    let words = [&["mono", &program], words, &more].concat();
    machine.run(&machine.work(), &words)
}

/// Has it use this source alone.
fn configure(machine: &Machine, source: &str) {
    let text = format!(
        "<configuration><packageSources><clear /><add key=\"nuget.org\" value=\"{source}\" protocolVersion=\"3\" />\
         </packageSources></configuration>"
    );
    write(machine.work().join("NuGet.Config"), text).expect("it can be written");
}

/// The same, noted.
fn note(side: &mut Side, words: &[&str]) -> Outcome {
    let outcome = run(&side.machine, words);
    let text = format!("{}\nstatus {}", outcome.text, outcome.status);
    side.note(&format!("nuget.exe {}", words.join(" ")), &text);
    outcome
}

#[test]
fn nuget_exe_installs_restores_pushes_and_deletes() {
    let Some(turn) = turn("nuget_exe_installs_restores_pushes_and_deletes") else {
        return;
    };
    let stage = assert_equal_to_direct(&turn, |side| {
        configure(&side.machine, &side.source);
        let work = side.machine.work();
        note(side, &["install", "Serilog", "-OutputDirectory", "out"]).succeeded();
        let many = [
            "install",
            "Sluice.Sample.Many",
            "-Prerelease",
            "-OutputDirectory",
            "out",
        ];
        note(side, &many).succeeded();
        let wanted = r#"<packages><package id="Dapper" version="2.1.66" targetFramework="net472" />
<package id="Newtonsoft.Json" version="13.0.3" targetFramework="net472" /></packages>"#;
        write(work.join("packages.config"), wanted).expect("it can be written");
        note(
            side,
            &["restore", "packages.config", "-PackagesDirectory", "kept"],
        )
        .succeeded();
        for path in [
            "out/Serilog.3.1.1/Serilog.3.1.1.nupkg",
            "out/Sluice.Sample.Many.1.200.0-RC200b/Sluice.Sample.Many.1.200.0-RC200b.nupkg",
            "kept/Dapper.2.1.66/Dapper.2.1.66.nupkg",
            "kept/Newtonsoft.Json.13.0.3/Newtonsoft.Json.13.0.3.nupkg",
        ] {
            let bytes = read(work.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            side.note(
                path,
                &format!("{} {:08x}", bytes.len(), crc32c::crc32c(&bytes)),
            );
        }
        let id = "Sluice.Pushed.Old";
        pack(&work, id, "1.0.0", 1000);
        let source = side.source.clone();
        let push = |key| {
            [
                "push",
                "Sluice.Pushed.Old.1.0.0.nupkg",
                key,
                "-Source",
                &source,
            ]
        };
        let refused = note(side, &push("another-key")).failed();
        assert!(refused.text.contains("403"), "{}", refused.text);
        note(side, &push("push-key")).succeeded();
        let refused = note(side, &push("push-key")).failed();
        assert!(refused.text.contains("409"), "{}", refused.text);
        note(side, &["install", id, "-OutputDirectory", "out"]).succeeded();
        note(
            side,
            &["delete", id, "1.0.0", "push-key", "-Source", &source],
        )
        .succeeded();
    });
    // Not compared: this client lists by V2 alone, and fails where that is named and not answered, as at the upstream.
    // Sluice does not name it, and the client says that it cannot list there.
    let source = stage.sluice.source();
    let listed = run(&stage.machine, &["list", "serilog", "-Source", &source]).succeeded();
    let said = "does not support listing packages";
    assert!(listed.text.contains(said), "{}", listed.text);
    stage.asked();
}

#[test]
fn nuget_exe_outlives_its_server() {
    let Some(turn) = turn("nuget_exe_outlives_its_server") else {
        return;
    };
    check_client(&turn, Server::ProGet, |machine, source| {
        configure(machine, source);
        machine.forget_everything();
        let out = machine.work().join("out");
        let _ = std::fs::remove_dir_all(&out);
        let install = ["install", "Shape.App", "-OutputDirectory", "out"];
        run(machine, &install).succeeded();
        for (id, normal) in RESTORED {
            let package = find(id, normal);
            // Folders are named by the version as its author wrote it.
            let name = format!("{id}.{}", package.version);
            let bytes = read(out.join(&name).join(format!("{name}.nupkg")));
            assert!(bytes.expect("it was installed") == package.bytes(), "{id}");
        }
    });
}
