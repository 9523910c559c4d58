//! One source that is made of two feeds, each with half of the packages.

use crate::harness::sluice;
use crate::harness::upstream::{self, Upstream, counts};
use crate::machine::Machine;
use crate::sources::halves;
use crate::stage::{clean_restore, say};
use crate::suite::turn_alone;

#[test]
fn one_source_over_two_feeds_restores_cold_and_with_both_down() {
    let Some(turn) = turn_alone("one_source_over_two_feeds_restores_cold_and_with_both_down")
    else {
        return;
    };
    let (left, right) = halves(&turn);
    let mut upstreams = [left, right].map(|packages| {
        let settings = upstream::Settings {
            packages: vec![packages],
            signed_only: true,
            ..upstream::Settings::default()
        };
        Upstream::start(settings, &turn.folder)
    });
    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    let solution = machine.solution();
    let config = format!(
        "[[feed]]\nname = \"all\"\nmembers = [\"left\", \"right\"]\n\
         [[feed]]\nname = \"left\"\nupstream = \"{}\"\n[[feed]]\nname = \"right\"\nupstream = \"{}\"\n",
        upstreams[0].source(),
        upstreams[1].source(),
    );
    let sluice = sluice::Settings::new(&turn.folder, &machine.home())
        .config(&config)
        .start();
    machine
        .shell(&machine.work(), &sluice.update_command())
        .succeeded();

    let restore = |what: &str| {
        let run = clean_restore(&sluice, &machine, &solution);
        say(&format!("{what}: {:?}", run.outcome.elapsed));
        run
    };
    let cold = restore("cold");
    let asked = upstreams.each_ref().map(Upstream::assert_no_leak);
    for (number, asked) in asked.iter().enumerate() {
        let counts = counts(asked);
        let packages = counts.keys().filter(|key| key.ends_with(".nupkg")).count();
        assert!(packages > 20, "feed {number} gave {packages} packages");
        for (key, times) in counts {
            // That one of the two has no such list is fresh for ten seconds.
            let most = match key.ends_with("/index.json") {
                true => 1 + cold.outcome.elapsed.as_secs() / 10,
                false => 1,
            };
            let times = u64::try_from(times).expect("a count");
            assert!(
                times <= most,
                "{key} was asked {times} times for one client"
            );
        }
    }
    let healthy = restore("warm");
    upstreams[0].stop();
    upstreams[1].stop();
    restore("both down").assert_as_fast_as(&healthy);
}
