//! The usual scene: a reference upstream, a Sluice before it, a developer's machine that uses it.

use crate::harness::sluice::{self, Sluice};
use crate::harness::upstream::{self, Asked, Upstream};
use crate::harness::{self};
use crate::machine::{self, Machine, Outcome};
use crate::run::{Run, Stopwatch};
use crate::suite::Turn;
use crate::transcript::comparable;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Requests that a restore of the solution makes of an http source: an index, 144 lists, 175
/// packages, 3 audit documents. Fewer mean that something else answered.
pub(crate) const LEAST_REQUESTS: usize = 300;

/// Where freshness stands when the client comes again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Windows {
    /// All windows are an hour long.
    Inside,
    /// All windows are a second long, and over.
    Passed,
}

impl Windows {
    fn setting(self) -> &'static str {
        match self {
            Self::Inside => "1h",
            Self::Passed => "1s",
        }
    }
}

/// The scene.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) machine: Machine,
    pub(crate) sluice: Sluice,
    pub(crate) solution: PathBuf,
    pub(crate) upstream: Upstream,
}

/// A line for whoever watches, past the test harness, which would hide it.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("client").to_owned();
    let _ = std::io::stderr().write_all(format!("{test}: {line}\n").as_bytes());
}

impl Stage {
    /// With an empty store and settings as they are without any.
    pub(crate) fn empty(turn: &Turn) -> Self {
        Self::build(turn, upstream::Settings::default(), |settings| settings)
    }

    /// With an empty store, this upstream, and more settings of Sluice.
    pub(crate) fn build(
        turn: &Turn,
        upstream: upstream::Settings,
        more: impl FnOnce(sluice::Settings) -> sluice::Settings,
    ) -> Self {
        let upstream = Upstream::start(upstream, &turn.folder);
        Self::around(turn, upstream, more)
    }

    /// With the store as a cold restore has left it.
    pub(crate) fn filled(turn: &Turn, windows: Windows) -> Self {
        let filled = Filled::with(turn, windows);
        machine::copy(&filled.data, &turn.folder.join("data"));
        // Stored documents name the upstream that they came from, its port included.
        let settings = upstream::Settings::default();
        let upstream = Upstream::start_at(filled.port, settings, &turn.folder);
        Self::around(turn, upstream, |settings| {
            settings.windows(windows.setting())
        })
    }

    fn around(
        turn: &Turn,
        upstream: Upstream,
        more: impl FnOnce(sluice::Settings) -> sluice::Settings,
    ) -> Self {
        let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
        let solution = machine.solution();
        let settings = sluice::Settings::new(&turn.folder, &machine.home());
        let sluice = more(settings.upstream(&upstream.source())).start();
        let stage = Self {
            machine,
            sluice,
            solution,
            upstream,
        };
        stage.use_printed_command();
        stage
    }

    /// Points the machine at Sluice by the very command that it prints.
    pub(crate) fn use_printed_command(&self) {
        let command = self.sluice.update_command();
        self.machine
            .shell(&self.machine.work(), &command)
            .succeeded();
        let config = std::fs::read_to_string(self.machine.config()).expect("it can be read");
        assert!(
            config.contains(&self.sluice.source()),
            "{command} wrote\n{config}"
        );
    }

    /// Starts Sluice again on its data and points the machine at its new port.
    pub(crate) fn restart_sluice(&mut self) {
        self.sluice.restart();
        self.use_printed_command();
    }

    /// Restores the solution with nothing cached at the client, as it must be: a success without a
    /// warning about audit data, every request answered by Sluice.
    pub(crate) fn restore(&self) -> Run {
        self.restore_on(&self.machine, &self.solution)
    }

    /// The same on another machine.
    pub(crate) fn restore_on(&self, machine: &Machine, solution: &Path) -> Run {
        clean_restore(&self.sluice, machine, solution)
    }

    /// A second machine that uses the same Sluice.
    pub(crate) fn second_machine(&self, turn: &Turn) -> Machine {
        let machine = Machine::new(&turn.folder.join("second"), &turn.sdk);
        std::fs::copy(self.machine.config(), machine.config()).expect("it can be copied");
        machine
    }

    /// What the upstream was asked, once it is sure that only Sluice asked it.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.upstream.assert_no_leak()
    }
}

/// Restores the solution through Sluice with nothing cached at the client, as it must be: a success without a warning
/// about audit data.
pub(crate) fn clean_restore(sluice: &Sluice, machine: &Machine, solution: &Path) -> Run {
    machine.forget();
    let seen = sluice.access().len();
    let clock = Stopwatch::start();
    let outcome = restore_solution(machine, solution).succeeded();
    let idle = clock.idle();
    assert!(!outcome.text.contains("NU1900"), "{}", outcome.text);
    let access = sluice.access_after(seen, LEAST_REQUESTS);
    Run {
        access,
        idle,
        outcome,
    }
}

/// Runs the restore itself.
pub(crate) fn restore_solution(machine: &Machine, solution: &Path) -> Outcome {
    machine.dotnet(solution, &["restore", "App.slnx"])
}

/// Points a machine straight at an upstream.
pub(crate) fn use_directly(machine: &Machine, source: &str) {
    let config = machine.config().display().to_string();
    let words = ["nuget", "update", "source", "nuget.org", "--source", source];
    let more = ["--configfile", &config, "--allow-insecure-connections"];
    machine
        .dotnet(&machine.work(), &[&words[..], &more].concat())
        .succeeded();
}

/// What is comparable in a text that a machine printed or wrote.
pub(crate) fn without_place(text: &str, machine: &Machine) -> String {
    comparable(text, &machine.root().display().to_string())
}

/// A store that one cold restore has filled, kept for every test that begins with one.
#[derive(Debug)]
struct Filled {
    data: PathBuf,
    port: u16,
}

impl Filled {
    fn with(turn: &Turn, windows: Windows) -> &'static Self {
        static INSIDE: OnceLock<Filled> = OnceLock::new();
        static PASSED: OnceLock<Filled> = OnceLock::new();
        let (cell, name) = match windows {
            Windows::Inside => (&INSIDE, "client/filled-inside"),
            Windows::Passed => (&PASSED, "client/filled-passed"),
        };
        cell.get_or_init(|| {
            let folder = harness::fresh_folder(name);
            let turn = Turn::elsewhere(turn, folder);
            let mut stage = Stage::build(&turn, upstream::Settings::default(), |settings| {
                settings.windows(windows.setting())
            });
            stage.restore();
            stage.asked();
            stage.sluice.terminate();
            Self {
                data: turn.folder.join("data"),
                port: stage.upstream.port,
            }
        })
    }
}
