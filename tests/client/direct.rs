//! The same commands run straight against the upstream and through Sluice: their outputs must be
//! equal once URLs, folders and times are replaced. What may differ, each test names.

use crate::machine::{Machine, Outcome};
use crate::stage::{Stage, use_directly, without_place};
use crate::suite::Turn;
use std::path::{Path, PathBuf};

/// One of the two runs.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) machine: Machine,
    pub(crate) source: String,
    /// What was run, and what came of it, comparable.
    transcript: Vec<(String, String)>,
}

impl Side {
    /// Before any command.
    pub(crate) fn new(machine: Machine, source: String) -> Self {
        Self {
            machine,
            source,
            transcript: Vec::new(),
        }
    }

    /// Runs `dotnet` in a folder and notes what it said and how it ended.
    pub(crate) fn dotnet(&mut self, folder: &Path, arguments: &[&str]) -> Outcome {
        let outcome = self.machine.dotnet(folder, arguments);
        let text = format!("{}\nstatus {}", outcome.text, outcome.status);
        self.note(&format!("dotnet {}", arguments.join(" ")), &text);
        outcome
    }

    /// Notes a text.
    pub(crate) fn note(&mut self, what: &str, text: &str) {
        let text = without_place(text, &self.machine);
        self.transcript
            .push((without_place(what, &self.machine), text));
    }

    /// Notes a file that a command has written.
    pub(crate) fn note_file(&mut self, path: &Path) {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.note(&path.display().to_string(), &text);
    }

    /// A project that refers to these packages, restored.
    pub(crate) fn restored(&mut self, name: &str, references: &[(&str, &str)]) -> PathBuf {
        let folder = self.machine.project(name, references);
        self.dotnet(&folder, &["restore"]).succeeded();
        folder
    }
}

/// Plays `scenario` on both sides, each with an upstream as new, and fails at the first difference.
pub(crate) fn assert_equal_to_direct(turn: &Turn, scenario: impl Fn(&mut Side)) -> Stage {
    let stage = Stage::empty(turn);
    let machine = Machine::new(&turn.folder.join("direct"), &turn.sdk);
    use_directly(&machine, &stage.upstream.source());
    let mut direct = Side::new(machine, stage.upstream.source());
    scenario(&mut direct);
    stage.upstream.reset();

    let mut through = Side::new(stage.machine.clone(), stage.sluice.source());
    scenario(&mut through);
    stage.asked();
    assert_same(&direct, &through);
    stage
}

/// Fails at the first difference between what two sides noted.
pub(crate) fn assert_same(direct: &Side, through: &Side) {
    assert_eq!(through.transcript.len(), direct.transcript.len());
    for ((what, expected), (_, text)) in direct.transcript.iter().zip(&through.transcript) {
        assert!(
            text == expected,
            "{what}\nthrough Sluice:\n{text}\n\ndirectly:\n{expected}"
        );
    }
}
