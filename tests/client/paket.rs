//! Paket 12, a client of another make: compared with a direct run, and at a feed without a flat container whose server
//! goes away.

use crate::direct::assert_equal_to_direct;
use crate::harness::shared;
use crate::machine::Machine;
use crate::servers::Server;
use crate::servers::packages::find;
use crate::shapes::check_client;
use crate::suite::turn;
use std::fs::{create_dir_all, read, remove_dir_all, remove_file, write};
use std::path::{Path, PathBuf};

/// Installs it as the tool that it is; gives its program.
fn installed(machine: &Machine) -> String {
    let tools = machine.root().join("tools");
    let program = tools.join("paket").display().to_string();
    if tools.exists() {
        return program;
    }
    let client = shared().join("client").display().to_string();
    let tools = tools.display().to_string();
    let install = [
        "tool",
        "install",
        "paket",
        "--version",
        "12.0.0",
        "--tool-path",
        &tools,
    ];
    let from = ["--add-source", &client, "--ignore-failed-sources"];
    machine
        .dotnet(&machine.work(), &[&install[..], &from].concat())
        .succeeded();
    program
}

/// A folder whose `paket.dependencies` names this source and these packages.
fn folder(machine: &Machine, source: &str, wanted: &[&str]) -> PathBuf {
    let folder = machine.work().join("paket");
    create_dir_all(&folder).expect("a folder can be made");
    let wanted: String = wanted
        .iter()
        .map(|line| format!("nuget {line}\n"))
        .collect();
    let text = format!("source {source}\nframework: net8.0\n{wanted}");
    write(folder.join("paket.dependencies"), text).expect("it can be written");
    folder
}

fn install(machine: &Machine, folder: &Path) {
    let program = installed(machine);
    machine.run(folder, &[&program, "install"]).succeeded();
}

#[test]
fn paket_install() {
    let Some(turn) = turn("paket_install") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let wanted = [
            "Newtonsoft.Json 13.0.1",
            "Npgsql",
            "Serilog 3.1.1",
            "Sluice.Sample.Many",
            "Sluice.Sample.Odd",
        ];
        let folder = folder(&side.machine, &side.source, &wanted);
        install(&side.machine, &folder);
        side.note_file(&folder.join("paket.lock"));
    });
}

#[test]
fn paket_outlives_its_server() {
    let Some(turn) = turn("paket_outlives_its_server") else {
        return;
    };
    check_client(&turn, Server::Artifactory, |machine, source| {
        installed(machine);
        machine.forget_everything();
        let folder = folder(machine, source, &["Shape.App"]);
        for kept in ["packages", "paket-files"] {
            let _ = remove_dir_all(folder.join(kept));
        }
        let _ = remove_file(folder.join("paket.lock"));
        install(machine, &folder);
        // It takes the newest that fit, and unpacks them beside the project.
        for (id, normal) in [
            ("Shape.App", "2.0.0"),
            ("Shape.Lib", "1.1.0"),
            ("Shape.Many", "1.5.0"),
            ("Shape.Text", "23.1.0.4"),
        ] {
            let package = find(id, normal);
            let file = format!("{}.{}.nupkg", package.id, package.version);
            let bytes = read(folder.join("packages").join(id).join(&file))
                .or_else(|_| read(folder.join("packages").join(id).join(file.to_lowercase())));
            assert!(bytes.expect("it was installed") == package.bytes(), "{id}");
        }
    });
}
