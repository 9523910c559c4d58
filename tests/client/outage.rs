//! Restores from a full store while the upstream is gone or hangs, inside the freshness windows and
//! after them: each at most three seconds slower than with a healthy upstream, none without its
//! audit data; after the windows every list is labelled stale.

use crate::run::Run;
use crate::stage::{Stage, Windows, say};
use crate::suite::{Turn, turn_alone};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is wrong with the upstream.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its process is stopped; its kernel still accepts.
    Frozen(Pool),
    /// The same with its accept queues full on all addresses, so that connecting hangs too.
    FrozenAndFull(Pool),
    /// It reads requests and never answers.
    Silent,
    /// Its port refuses connections.
    Stopped,
}

/// What Sluice holds when the fault begins.
#[derive(Clone, Copy, Debug)]
enum Pool {
    /// No connection: it has started after the fault.
    Empty,
    /// Idle connections from a moment ago.
    Idle,
}

/// One test for each fault and each state of freshness.
macro_rules! outages {
    ($($name:ident: $fault:expr, $windows:expr;)*) => {$(
        #[test]
        fn $name() {
            let Some(turn) = turn_alone(stringify!($name)) else { return };
            outage(&turn, $fault, $windows);
        }
    )*};
}

outages! {
    frozen_with_idle_connections_after_the_windows: Fault::Frozen(Pool::Idle), Windows::Passed;
    frozen_with_idle_connections_inside_the_windows: Fault::Frozen(Pool::Idle), Windows::Inside;
    frozen_with_no_connections_after_the_windows: Fault::Frozen(Pool::Empty), Windows::Passed;
    frozen_with_no_connections_inside_the_windows: Fault::Frozen(Pool::Empty), Windows::Inside;
    full_queues_with_idle_connections_after_the_windows: Fault::FrozenAndFull(Pool::Idle), Windows::Passed;
    full_queues_with_idle_connections_inside_the_windows: Fault::FrozenAndFull(Pool::Idle), Windows::Inside;
    full_queues_with_no_connections_after_the_windows: Fault::FrozenAndFull(Pool::Empty), Windows::Passed;
    full_queues_with_no_connections_inside_the_windows: Fault::FrozenAndFull(Pool::Empty), Windows::Inside;
    silent_after_the_windows: Fault::Silent, Windows::Passed;
    silent_inside_the_windows: Fault::Silent, Windows::Inside;
    stopped_after_the_windows: Fault::Stopped, Windows::Passed;
    stopped_inside_the_windows: Fault::Stopped, Windows::Inside;
}

fn outage(turn: &Turn, fault: Fault, windows: Windows) {
    let mut stage = Stage::filled(turn, windows);
    pass(windows);
    let healthy = stage.restore();
    stage.asked();
    // Never asked before and stored for ever: a connection is in the pool after each.
    for id in [
        "dapper/2.1.66/dapper",
        "polly/8.5.2/polly",
        "autofac/7.0.1/autofac",
    ] {
        let reply = stage.sluice.get(&format!("/v3/flatcontainer/{id}.nuspec"));
        assert_eq!(reply.status, 200, "{id}: {}", reply.reason);
    }
    let _queues = begin(&mut stage, fault);
    pass(windows);
    let run = stage.restore();
    run.assert_as_fast_as(&healthy);
    assert_labels(&run, windows);
}

#[test]
fn a_package_that_nobody_has_fails_soon_while_connecting_hangs() {
    let name = "a_package_that_nobody_has_fails_soon_while_connecting_hangs";
    let Some(turn) = turn_alone(name) else { return };
    unheard_of(&turn, Fault::FrozenAndFull(Pool::Empty));
}

#[test]
fn a_package_that_nobody_has_fails_soon_while_the_upstream_is_dead() {
    let name = "a_package_that_nobody_has_fails_soon_while_the_upstream_is_dead";
    let Some(turn) = turn_alone(name) else { return };
    unheard_of(&turn, Fault::Stopped);
}

/// A restore that cannot succeed: it must fail soon, and its error line must say why.
fn unheard_of(turn: &Turn, fault: Fault) {
    let mut stage = Stage::filled(turn, Windows::Inside);
    let _queues = begin(&mut stage, fault);
    let project = stage
        .machine
        .project("wanting", &[("Nobody.Has.This", "1.0.0")]);
    // By the second time the breaker is open.
    for seconds in [30, 12] {
        stage.machine.forget();
        let failed = stage.machine.dotnet(&project, &["restore"]).failed();
        say(&format!("failed after {:?}", failed.elapsed));
        assert!(
            failed.elapsed < Duration::from_secs(seconds),
            "{:?}",
            failed.elapsed
        );
        let reason = failed.text.split_once("(Sluice: ").map(|(_, rest)| rest);
        let reason = reason.and_then(|rest| rest.split(')').next());
        let reason = reason.unwrap_or_else(|| panic!("no reason of ours in\n{}", failed.text));
        assert!(reason.contains("127.0.0.1"), "no upstream in {reason:?}");
        assert!(has_time_after_since(reason), "no time in {reason:?}");
        assert!(
            reason.to_lowercase().contains("nobody.has.this"),
            "no package in {reason:?}"
        );
    }
}

/// Whether the text says `since HH:MM`.
fn has_time_after_since(text: &str) -> bool {
    let time = text.split_once("since ").map(|(_, rest)| rest.as_bytes());
    time.and_then(|time| time.get(..5)).is_some_and(|time| {
        time.iter().enumerate().all(|(place, byte)| match place {
            2 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
    })
}

/// Lets the windows of a second pass; an hour does not.
fn pass(windows: Windows) {
    match windows {
        Windows::Inside => {}
        Windows::Passed => std::thread::sleep(Duration::from_millis(1500)),
    }
}

/// Makes the fault true; what it returns must live as long as the fault.
fn begin(stage: &mut Stage, fault: Fault) -> Option<FullQueues> {
    let (pool, full) = match fault {
        Fault::Frozen(pool) => (pool, None),
        Fault::FrozenAndFull(pool) => (pool, Some(stage.upstream.port)),
        Fault::Silent => {
            stage.upstream.faults(&[(".", "hang")]);
            return None;
        }
        Fault::Stopped => {
            stage.upstream.stop();
            return None;
        }
    };
    stage.upstream.freeze();
    let queues = full.map(FullQueues::fill);
    match pool {
        Pool::Empty => stage.restart_sluice(),
        Pool::Idle => {}
    }
    queues
}

/// Fails unless every list is labelled as it should be: stale exactly where its window has passed.
fn assert_labels(run: &Run, windows: Windows) {
    let lists: Vec<_> = run
        .access
        .iter()
        .filter(|access| access.is_version_list())
        .collect();
    assert!(lists.len() >= 140, "only {} lists were asked", lists.len());
    for list in lists {
        let stale = list.outcome == "stale";
        assert_eq!(stale, matches!(windows, Windows::Passed), "{list:?}");
    }
}

/// Connections that fill the accept queues of a stopped upstream, held by processes of their own,
/// since each queue takes some four thousand and a process may open few files.
#[derive(Debug)]
struct FullQueues {
    holders: Vec<Child>,
}

/// Connects until a connection does not come about within half a second, says how many did, and
/// holds them until stdin ends.
const HOLDER: &str = "
import socket, sys
held = []
while True:
    s = socket.socket()
    s.settimeout(0.5)
    try:
        s.connect((sys.argv[1], int(sys.argv[2])))
    except TimeoutError:
        break
    held.append(s)
print(len(held), flush=True)
sys.stdin.read()
";

impl FullQueues {
    fn fill(port: u16) -> Self {
        let holders = (1..=5).map(|last| {
            Command::new("python3")
                .args(["-c", HOLDER, &Ipv4Addr::new(127, 0, 0, last).to_string()])
                .arg(port.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3 can be run")
        });
        let mut queues = Self {
            holders: holders.collect(),
        };
        for holder in &mut queues.holders {
            let out = holder.stdout.take().expect("stdout is a pipe");
            let mut line = String::new();
            BufReader::new(out)
                .read_line(&mut line)
                .expect("a holder says when it is done");
            say(&format!("a queue holds {} connections", line.trim()));
            assert!(
                line.trim().parse::<u32>().is_ok_and(|held| held > 0),
                "{line:?}"
            );
        }
        queues
    }
}

impl Drop for FullQueues {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
