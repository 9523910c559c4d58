//! Every other command that reads a feed, compared with a direct run.

use crate::direct::assert_equal_to_direct;
use crate::suite::turn;
use std::fs::{read, write};

/// Outdated, vulnerable, deprecated and paged ones.
const REFERENCES: [(&str, &str); 4] = [
    ("Newtonsoft.Json", "12.0.1"),
    ("Sluice.Sample.Deprecated", "1.0.0"),
    ("Sluice.Sample.Many", "1.1.0"),
    ("Serilog", "3.1.1"),
];

#[test]
fn add_package() {
    let Some(turn) = turn("add_package") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.project("added", &[]);
        side.dotnet(&folder, &["add", "package", "Serilog"])
            .succeeded();
        side.dotnet(&folder, &["add", "package", "Polly", "--version", "8.5.2"])
            .succeeded();
        side.dotnet(
            &folder,
            &["add", "package", "Sluice.Sample.Odd", "--prerelease"],
        )
        .succeeded();
        side.dotnet(&folder, &["add", "package", "Nobody.Has.This"])
            .failed();
        side.note_file(&folder.join("added.csproj"));
    });
}

#[test]
fn floating_and_odd_versions() {
    let Some(turn) = turn("floating_and_odd_versions") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let references = [
            ("Newtonsoft.Json", "13.*"),
            ("Sluice.Sample.Many", "1.*-*"),
            ("Sluice.Sample.Odd", "1.2.3.4"),
            ("Sluice.Sample.Unlisted", "1.1.0"),
            ("Ünïcode.Påket", "1.0.0"),
        ];
        let folder = side.restored("floating", &references);
        side.note_file(&folder.join("obj/project.assets.json"));
    });
}

#[test]
fn list_package() {
    let Some(turn) = turn("list_package") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.restored("listed", &REFERENCES);
        for flag in ["--deprecated", "--outdated", "--vulnerable"] {
            let words = ["list", "package", flag, "--include-transitive"];
            let said = side.dotnet(&folder, &words).succeeded().text;
            assert!(said.contains("   > "), "{flag} found nothing:\n{said}");
            side.dotnet(&folder, &[&words[..], &["--format", "json"]].concat())
                .succeeded();
        }
        let prerelease = ["list", "package", "--outdated", "--include-prerelease"];
        side.dotnet(&folder, &prerelease).succeeded();
    });
}

#[test]
fn list_package_of_the_solution() {
    let Some(turn) = turn("list_package_of_the_solution") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.solution();
        side.dotnet(&folder, &["restore", "App.slnx"]).succeeded();
        let words = [
            "list",
            "App.slnx",
            "package",
            "--vulnerable",
            "--include-transitive",
        ];
        let said = side.dotnet(&folder, &words).succeeded().text;
        assert!(said.contains("System.Net.Http"), "{said}");
    });
}

#[test]
fn locked_mode() {
    let Some(turn) = turn("locked_mode") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.solution();
        side.dotnet(&folder, &["restore", "App.slnx", "--use-lock-file"])
            .succeeded();
        for project in ["Lib", "Tests", "Web"] {
            side.note_file(&folder.join(project).join("packages.lock.json"));
        }
        side.machine.forget();
        side.dotnet(&folder, &["restore", "App.slnx", "--locked-mode"])
            .succeeded();
        let props = folder.join("Directory.Packages.props");
        let text = std::fs::read_to_string(&props).expect("it is there");
        let text = text.replace(
            r#""Newtonsoft.Json" Version="13.0.3""#,
            r#""Newtonsoft.Json" Version="13.0.1""#,
        );
        write(&props, text).expect("it can be written");
        let refused = side
            .dotnet(&folder, &["restore", "App.slnx", "--locked-mode"])
            .failed();
        assert!(refused.text.contains("NU1004"), "{}", refused.text);
    });
}

#[test]
fn package_search() {
    let Some(turn) = turn("package_search") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.work();
        let searches: [&[&str]; 7] = [
            &["serilog"],
            &["microsoft", "--take", "5", "--skip", "3"],
            &["sluice", "--prerelease"],
            &["sluice.sample.many", "--exact-match", "--prerelease"],
            &["Serilog", "--format", "json", "--verbosity", "detailed"],
            &["Ünïcode"],
            &["nobody-has-this"],
        ];
        for search in searches {
            side.dotnet(&folder, &[&["package", "search"], search].concat())
                .succeeded();
        }
    });
}

#[test]
fn package_source_mapping() {
    let Some(turn) = turn("package_source_mapping") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side
            .machine
            .project("mapped", &[("Serilog.Sinks.Console", "5.0.0")]);
        let mapping = r#"<configuration><packageSourceMapping>
  <packageSource key="nuget.org"><package pattern="Serilog*" /></packageSource>
</packageSourceMapping></configuration>"#;
        write(folder.join("nuget.config"), mapping).expect("it can be written");
        side.dotnet(&folder, &["restore"]).succeeded();
        side.note_file(&folder.join("obj/project.assets.json"));
    });
}

#[test]
fn tool_install() {
    let Some(turn) = turn("tool_install") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.work();
        let tools = side.machine.root().join("tools").display().to_string();
        let id = "Sluice.Sample.Tool";
        side.dotnet(&folder, &["tool", "install", id, "--tool-path", &tools])
            .succeeded();
        let stored = format!(
            ".store/{0}/1.0.0/{0}/1.0.0/{0}.1.0.0.nupkg",
            id.to_lowercase()
        );
        let bytes = read(side.machine.root().join("tools").join(stored)).expect("it is installed");
        side.note(
            "its bytes",
            &format!("{} {:08x}", bytes.len(), crc32c::crc32c(&bytes)),
        );
    });
}
