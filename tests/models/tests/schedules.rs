//! Runs each scenario in many schedules: at random, and by priorities that change seldom, which finds what needs few
//! but certain switches. The same seeds every time; a failure prints its schedule, by which shuttle replays it.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use sluice_models::{commits, flights};

/// Schedules of each kind.
const SCHEDULES: usize = 5_000;
/// How often the priorities change in one.
const SWITCHES: usize = 3;
const SEED: u64 = 20_261_122;

fn check(scenario: fn()) {
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    Runner::new(random, Config::default()).run(scenario);
    let seldom = PctScheduler::new_from_seed(SEED, SWITCHES, SCHEDULES);
    Runner::new(seldom, Config::default()).run(scenario);
}

macro_rules! schedules {
    ($($of:ident::$name:ident)*) => {$(
        #[test]
        fn $name() {
            check($of::$name);
        }
    )*};
}

schedules! {
    commits::a_publish_is_found_from_then_on
    commits::an_older_one_comes_too_late
    commits::failures_leave_accounts_that_agree
    commits::late_calls_leave_accounts_that_agree
    commits::the_latest_is_what_is_kept
    commits::what_was_deleted_stays_deleted
    commits::who_waits_for_rows_is_woken
    flights::a_lost_leader_is_noticed
    flights::at_the_end_nothing_is_left
    flights::everybody_hears_the_verdict
    flights::no_change_is_slept_through
    flights::who_reads_keeps_it_going
}
