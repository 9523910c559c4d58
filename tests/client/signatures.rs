//! Repository signatures, verified by the client against the certificates that Sluice names, over https end to end.

use crate::authority::Authority;
use crate::harness::shared;
use crate::harness::upstream;
use crate::publish::pack;
use crate::stage::{LEAST_REQUESTS, restore_solution};
use crate::suite::turn;
use crate::tls::Scene;

/// A package without a signature, among those of an upstream that claims to have signed all.
const UNSIGNED: &str = "sluice.sample.unsigned";

#[test]
fn every_signature_is_verified_and_a_package_without_one_refused() {
    let test = "every_signature_is_verified_and_a_package_without_one_refused";
    let Some(turn) = turn(test) else { return };
    // Not the authority that the client trusts: a link that leads it past Sluice leads to a broken connection.
    let theirs = Authority::new(&turn.folder.join("theirs"));
    let unsigned = turn.folder.join("unsigned");
    std::fs::create_dir_all(&unsigned).expect("a folder can be made");
    pack(&unsigned, UNSIGNED, "1.0.0", 1000);
    let pair = theirs.certify(&[
        "127.0.0.1",
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
        "127.0.0.5",
    ]);
    let upstream = upstream::Settings {
        packages: vec![shared().join("feed/packages"), unsigned],
        signed_only: true,
        tls: Some(pair),
        ..upstream::Settings::default()
    };
    let mut scene = Scene::build(&turn, upstream, |settings| {
        settings.argument("--ca-files", &theirs.file.display().to_string())
    });
    scene.machine.trust(&scene.authority.file);
    scene
        .machine
        .set("DOTNET_NUGET_SIGNATURE_VERIFICATION", "true");
    let (machine, sluice) = (&scene.machine, &scene.sluice);
    let restored = restore_solution(machine, &machine.solution()).succeeded();
    for warning in ["NU1900", "NU30"] {
        assert!(!restored.text.contains(warning), "{}", restored.text);
    }
    let access = sluice.access_after(0, LEAST_REQUESTS);
    let signatures = access.iter().find(|line| {
        let path = line.path.as_str();
        path == "/v3/repository-signatures/5.0.0/index.json"
    });
    assert_eq!(signatures.expect("the client asked").status, 200);

    let project = machine.project("unsigned", &[(UNSIGNED, "1.0.0")]);
    let refused = machine.dotnet(&project, &["restore"]).failed();
    assert!(refused.text.contains("NU3004"), "{}", refused.text);
    // Over http it is not told of them, and takes what comes.
    machine.forget();
    machine
        .shell(&machine.work(), &sluice.update_command())
        .succeeded();
    machine.dotnet(&project, &["restore"]).succeeded();
}
