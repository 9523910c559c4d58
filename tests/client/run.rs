//! One restore, and how its time compares with another's.

use crate::harness::sluice::Access;
use crate::machine::Outcome;
use crate::stage::say;

/// How much slower than with a healthy upstream a restore may be.
pub(crate) const MARGIN_SECONDS: f64 = 3.0;

/// One restore as the machine and as Sluice saw it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) access: Vec<Access>,
    /// Seconds in which the CPUs had nothing to do.
    pub(crate) idle: f64,
    pub(crate) outcome: Outcome,
}

impl Run {
    /// Seconds that the command took.
    pub(crate) fn seconds(&self) -> f64 {
        self.outcome.elapsed.as_secs_f64()
    }

    /// Fails if it took more than the margin longer than a healthy one.
    ///
    /// On a machine that others keep busy the command's own work takes any time. So two more things
    /// are compared: how long requests were waiting for Sluice, which must be within the margin
    /// whatever the machine does, and how long the CPUs had nothing to do: a command that is held
    /// up by anything but a busy machine leaves them idle. Only where both are within the margin is
    /// a longer time forgiven.
    #[track_caller]
    pub(crate) fn assert_as_fast_as(&self, healthy: &Self) {
        let figures = |run: &Self| [run.seconds(), waited(&run.access), run.idle];
        let (run, healthy) = (figures(self), figures(healthy));
        let [took, waited, idle] = [0, 1, 2].map(|place| run[place] - healthy[place]);
        say(&format!(
            "{:.1} s, of which {:.1} s waiting for Sluice; {:.1} s and {:.1} s when healthy",
            run[0], run[1], healthy[0], healthy[1]
        ));
        assert!(
            waited <= MARGIN_SECONDS,
            "waited {waited:.1} s longer for Sluice:\n{}",
            self.outcome.text
        );
        if took > MARGIN_SECONDS {
            assert!(
                idle <= MARGIN_SECONDS,
                "took {took:.1} s longer, {idle:.1} s of them idle:\n{}",
                self.outcome.text
            );
            say(&format!(
                "{took:.1} s longer on a busy machine: judged by the waiting alone"
            ));
        }
    }
}

/// Seconds in which at least one request was waiting for its answer's end.
fn waited(access: &[Access]) -> f64 {
    let first = access.first().map_or(0.0, |access| access.start);
    let mut spans: Vec<(f64, f64)> = access
        .iter()
        .map(|access| {
            // Midnight may lie between.
            let day = if access.start < first - 43_200.0 {
                86_400.0
            } else {
                0.0
            };
            (access.start + day, access.start + day + access.seconds)
        })
        .collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut total, mut until) = (0.0, f64::NEG_INFINITY);
    for (start, end) in spans {
        total += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    total
}

/// Counts the time in which the machine has nothing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    idle_at_start: f64,
}

impl Stopwatch {
    /// From now on.
    pub(crate) fn start() -> Self {
        Self {
            idle_at_start: idle_seconds(),
        }
    }

    /// Seconds until now, as if one CPU's idleness counted for its share of the machine.
    pub(crate) fn idle(self) -> f64 {
        idle_seconds() - self.idle_at_start
    }
}

/// Idle seconds of a CPU since the start of the machine, waiting for disks included.
fn idle_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("Linux counts its time");
    let cpus = text
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("cpu"))
        .count();
    let all = text.lines().next().unwrap_or_default().split_whitespace();
    let ticks: f64 = all
        .skip(4)
        .take(2)
        .filter_map(|word| word.parse::<f64>().ok())
        .sum();
    // A tick is a hundredth of a second for every program, whatever the kernel counts in.
    ticks / 100.0 / cpus.max(1) as f64
}

#[test]
fn waiting_is_counted_once_where_requests_overlap_and_across_midnight() {
    #[track_caller]
    fn check(spans: &[(f64, f64)], expected: f64) {
        let access = spans.iter().map(|&(start, seconds)| Access {
            outcome: String::new(),
            path: String::new(),
            seconds,
            start,
            status: 200,
        });
        let waited = waited(&access.collect::<Vec<_>>());
        assert!((waited - expected).abs() < 1e-9, "{waited}");
    }
    check(&[], 0.0);
    check(&[(10.0, 2.0)], 2.0);
    check(&[(10.0, 2.0), (11.0, 2.0), (11.5, 0.5)], 3.0);
    check(&[(11.0, 2.0), (10.0, 0.5)], 2.5);
    check(&[(86_399.0, 2.0), (0.5, 1.0)], 2.5);
}
