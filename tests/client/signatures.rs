//! Repository signatures, verified by the client against the certificates that Sluice names, over https end to end.

use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::harness::shared;
use crate::harness::sluice::{Access, Sluice};
use crate::harness::upstream;
use crate::publish::pack;
use crate::stage::{LEAST_REQUESTS, restore_solution};
use crate::suite::turn;
use crate::tls::Scene;

/// A package without a signature, among those of an upstream that claims to have signed all.
const UNSIGNED: &str = "sluice.sample.unsigned";

/// What the admin listener lists when nothing is unsigned.
const NONE: &str = "{\"unsigned\":[]}\n";

/// Waits until so many packages, or more, were looked at with this result.
fn until_judged(sluice: &Sluice, result: &str, packages: usize) {
    let series = format!("sluice_package_signatures_total{{feed=\"nuget\",result=\"{result}\"}}");
    let judged = || {
        let metrics = sluice.metrics().expect("the admin listener answers");
        metrics.get(&series).copied().unwrap_or(0)
    };
    let packages = u64::try_from(packages).expect("a number");
    let until = Instant::now() + Duration::from_secs(60);
    while judged() < packages {
        let late = Instant::now() > until;
        assert!(!late, "{} of {packages} are {result}", judged());
        std::thread::sleep(Duration::from_millis(50));
    }
}

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
        settings
            .argument("--ca-files", &theirs.file.display().to_string())
            .variable("SLUICE_FEED_NUGET_REPOSITORY_SIGNATURES", "warn")
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
    // Sluice finds the same of each, behind its answers.
    let is_package = |line: &&Access| line.status == 200 && line.path.ends_with(".nupkg");
    let delivered = access.iter().filter(is_package).count();
    until_judged(sluice, "signed", delivered);
    assert_eq!(sluice.admin("/api/unsigned").expect("it answers"), NONE);

    let project = machine.project("unsigned", &[(UNSIGNED, "1.0.0")]);
    let refused = machine.dotnet(&project, &["restore"]).failed();
    assert!(refused.text.contains("NU3004"), "{}", refused.text);
    until_judged(sluice, "unsigned", 1);
    let listed = sluice.admin("/api/unsigned").expect("it answers");
    let is_listed = listed.contains(UNSIGNED) && listed.contains("it has no signature");
    assert!(is_listed, "{listed}");
    // Over http it is not told of them, and takes what comes.
    machine.forget();
    machine
        .shell(&machine.work(), &sluice.update_command())
        .succeeded();
    machine.dotnet(&project, &["restore"]).succeeded();
}
