//! Restores of the real solution while the upstream is well: what they bring, what they cost.

use crate::harness;
use crate::harness::upstream::counts;
use crate::machine::Machine;
use crate::stage::{Stage, restore_solution, say, use_directly, without_place};
use crate::suite::{turn, turn_alone};
use std::path::Path;

/// Packages that the solution needs.
const PACKAGES: usize = 175;

const PROJECTS: [&str; 3] = ["Lib", "Tests", "Web"];

#[test]
fn a_cold_restore_equals_a_direct_one() {
    let Some(turn) = turn_alone("a_cold_restore_equals_a_direct_one") else {
        return;
    };
    let stage = Stage::empty(&turn);
    let direct = Machine::new(&turn.folder.join("direct"), &turn.sdk);
    let solution = direct.solution();
    use_directly(&direct, &stage.upstream.source());
    let expected = restore_solution(&direct, &solution).succeeded();
    stage.upstream.reset();

    let run = stage.restore();
    let asked = stage.asked();
    say(&format!(
        "{:.1} s, {:.1} s direct",
        run.seconds(),
        expected.elapsed.as_secs_f64()
    ));

    assert_eq!(
        without_place(&run.outcome.text, &stage.machine),
        without_place(&expected.text, &direct),
    );
    for project in PROJECTS {
        let file = format!("{project}/obj/project.assets.json");
        let read =
            |folder: &Path| std::fs::read_to_string(folder.join(&file)).expect("it is there");
        assert_eq!(
            without_place(&read(&stage.solution), &stage.machine),
            without_place(&read(&solution), &direct),
            "{file}",
        );
    }
    assert_packages(&stage.machine);
    for (key, times) in counts(&asked) {
        assert_eq!(times, 1, "{key} was asked {times} times for one client");
    }
}

#[test]
fn every_package_passes_verification() {
    let Some(turn) = turn("every_package_passes_verification") else {
        return;
    };
    let stage = Stage::empty(&turn);
    stage.restore();
    let all = "dotnet nuget verify --all \"$NUGET_PACKAGES\"/*/*/*.nupkg";
    let verified = stage.machine.shell(&stage.machine.work(), all).succeeded();
    let lines = verified.text.lines();
    let count = lines.filter(|line| line.starts_with("Verifying ")).count();
    assert_eq!(count, PACKAGES, "{}", verified.text);
}

#[test]
fn a_warm_restore_inside_the_windows_asks_the_upstream_nothing() {
    let Some(turn) = turn_alone("a_warm_restore_inside_the_windows_asks_the_upstream_nothing")
    else {
        return;
    };
    let stage = Stage::empty(&turn);
    let cold = stage.restore();
    stage.asked();
    stage.upstream.reset();
    let warm = stage.restore();
    let asked = stage.asked();
    assert!(asked.is_empty(), "asked for {:?}", counts(&asked));
    warm.assert_as_fast_as(&cold);
    assert_packages(&stage.machine);
}

#[test]
fn a_warm_restore_after_a_restart_is_as_fast() {
    let Some(turn) = turn_alone("a_warm_restore_after_a_restart_is_as_fast") else {
        return;
    };
    let mut stage = Stage::empty(&turn);
    stage.restore();
    let warm = stage.restore();
    stage.upstream.assert_no_leak();
    stage.upstream.reset();
    stage.restart_sluice();
    let again = stage.restore();
    again.assert_as_fast_as(&warm);
    assert_no_package_asked(&stage);
    assert_packages(&stage.machine);
}

#[test]
fn a_second_cold_client_costs_no_package_fetch() {
    let Some(turn) = turn("a_second_cold_client_costs_no_package_fetch") else {
        return;
    };
    let stage = Stage::empty(&turn);
    stage.restore();
    stage.asked();
    stage.upstream.reset();
    let second = stage.second_machine(&turn);
    let solution = second.solution();
    stage.restore_on(&second, &solution);
    assert_no_package_asked(&stage);
    assert_packages(&second);
}

#[test]
fn the_printed_commands_undo_each_other() {
    let Some(turn) = turn("the_printed_commands_undo_each_other") else {
        return;
    };
    let stage = Stage::empty(&turn);
    let undo = stage.sluice.undo_command();
    stage
        .machine
        .shell(&stage.machine.work(), &undo)
        .succeeded();
    let sources = stage
        .machine
        .dotnet(&stage.machine.work(), &["nuget", "list", "source"]);
    let sources = sources.succeeded().text;
    assert!(sources.contains("nuget.org [Enabled]"), "{sources}");
    assert!(
        sources.contains("https://api.nuget.org/v3/index.json"),
        "{sources}"
    );
    assert!(!sources.contains(&stage.sluice.source()), "{sources}");
    // Run where a repository has its own file, as developers do, both leave that file alone.
    let own = "<configuration><packageSources><clear /></packageSources></configuration>";
    let file = stage.solution.join("nuget.config");
    std::fs::write(&file, own).expect("it can be written");
    for command in [stage.sluice.update_command(), undo] {
        stage.machine.shell(&stage.solution, &command).succeeded();
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), own);
    }
}

/// Fails unless the machine has every package of the solution, each byte as the upstream has it.
fn assert_packages(machine: &Machine) {
    let originals = harness::shared().join("feed/packages");
    let mut count = 0;
    for id in std::fs::read_dir(machine.packages())
        .expect("it was restored")
        .flatten()
    {
        for version in std::fs::read_dir(id.path()).expect("a folder").flatten() {
            let (id, version) = (id.file_name(), version.file_name());
            let (id, version) = (id.to_string_lossy(), version.to_string_lossy());
            let name = format!("{id}.{version}.nupkg");
            let got = std::fs::read(machine.packages().join(format!("{id}/{version}/{name}")));
            let original = std::fs::read(originals.join(&name));
            let same = got.is_ok_and(|got| original.is_ok_and(|original| got == original));
            assert!(same, "{name} is not the upstream's");
            count += 1;
        }
    }
    assert_eq!(count, PACKAGES);
}

/// Fails if the upstream was asked for a package since its log was forgotten.
fn assert_no_package_asked(stage: &Stage) {
    let asked = stage.asked();
    let packages: Vec<_> = asked
        .iter()
        .filter(|asked| asked.path.ends_with(".nupkg"))
        .collect();
    assert!(packages.is_empty(), "{packages:?}");
}
