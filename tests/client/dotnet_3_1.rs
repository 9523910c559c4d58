//! SDK 3.1 (NuGet 5.4), which throws at signatures over http and knows no vulnerability data: at a feed whose server goes
//! away, and over https.

use crate::fetched::dotnet_3_1;
use crate::machine::Machine;
use crate::publish::pack;
use crate::servers::Server;
use crate::servers::packages::{RESTORED, find};
use crate::shapes::check_client;
use crate::stage::say;
use crate::suite::turn;
use crate::tls::Scene;
use std::path::PathBuf;

/// A project of its time.
fn project(machine: &Machine, name: &str, references: &[(&str, &str)]) -> PathBuf {
    let folder = machine.project(name, references);
    let file = folder.join(format!("{name}.csproj"));
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, text.replace("net10.0", "netcoreapp3.1")).expect("it can be written");
    folder
}

/// Has it use this source alone; it knows no attribute for insecure connections.
fn configure(machine: &Machine, source: &str) {
    let text = format!(
        "<configuration><packageSources><clear /><add key=\"nuget.org\" value=\"{source}\" protocolVersion=\"3\" />\
         </packageSources></configuration>"
    );
    std::fs::write(machine.config(), text).expect("it can be written");
}

#[test]
fn dotnet_3_1_outlives_its_server() {
    let Some(turn) = turn("dotnet_3_1_outlives_its_server") else {
        return;
    };
    let sdk = dotnet_3_1();
    check_client(&turn, Server::GitHub, |machine, source| {
        configure(machine, source);
        machine.forget();
        let references = [("Shape.App", "2.0.0"), ("Shape.Text", "22.1.0")];
        let folder = project(machine, "old", &references);
        sdk.run(machine, &folder, &["restore"]).succeeded();
        for (id, normal) in RESTORED {
            let package = find(id, normal);
            let bytes = std::fs::read(machine.packages().join(package.path()));
            assert!(bytes.expect("it was restored") == package.bytes(), "{id}");
        }
        let outdated = ["list", "package", "--outdated"];
        let said = sdk.run(machine, &folder, &outdated).succeeded().text;
        assert!(said.contains("23.1.0.4"), "{said}");
    });
}

#[test]
fn dotnet_3_1_over_https() {
    let Some(turn) = turn("dotnet_3_1_over_https") else {
        return;
    };
    let sdk = dotnet_3_1();
    let mut scene = Scene::new(&turn);
    scene.machine.trust(&scene.authority.file.clone());
    let (machine, sluice) = (&scene.machine, &scene.sluice);
    configure(machine, &sluice.secure_source());
    let folder = project(machine, "old", &[("Serilog.Sinks.Console", "5.0.0")]);
    for what in ["cold", "warm"] {
        machine.forget();
        let seen = sluice.access().len();
        let restored = sdk.run(machine, &folder, &["restore"]).succeeded();
        say(&format!("{what}: {:?}", restored.elapsed));
        let access = sluice.access_after(seen, 3);
        let signatures = |path: &str| path.contains("/repository-signatures/");
        assert!(
            access.iter().any(|line| signatures(&line.path)),
            "{access:#?}"
        );
        assert!(access.iter().all(|line| line.status == 200), "{access:#?}");
    }
    sdk.run(machine, &folder, &["add", "package", "Dapper"])
        .succeeded();
    // Over http Sluice tells it of no signatures; the upstream does, and it throws.
    for (source, words) in [
        (sluice.source(), "Restore completed"),
        (scene.upstream.source(), "must be served over HTTPS"),
    ] {
        configure(machine, &source);
        machine.forget();
        let said = sdk.run(machine, &folder, &["restore"]).text;
        assert!(said.contains(words), "{source}: {said}");
    }
    scene.upstream.reset();
    configure(machine, &sluice.secure_source());
    let work = machine.work();
    let package = pack(&work, "Sluice.Pushed.Old", "1.0.0", 1000);
    let package = package.display().to_string();
    let push = [
        "nuget",
        "push",
        &package,
        "-s",
        "nuget.org",
        "-k",
        "push-key",
    ];
    sdk.run(machine, &work, &push).succeeded();
    let again = sdk.run(machine, &work, &push).failed();
    assert!(again.text.contains("409"), "{}", again.text);
    scene.upstream.assert_no_leak();
}
