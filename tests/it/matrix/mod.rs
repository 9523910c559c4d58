//! The fault matrix: every class × every fault × every state of what is stored.
//!
//! `table.md` says of each cell, by a word, what the client gets and what is left in the store; `legend.md` says what each
//! word means, to the reason phrase, the seconds and the number of questions. Both are written by people, from the
//! design: no function of the product computes an expectation, and a cell without a word is an error. What cannot be is
//! listed at the end of the table, with its reason.
//!
//! A cell runs so: what is stored is brought into its state, the fault begins, one client asks on a connection of its
//! own and hears the answer to its last byte. Then a request that allows the store alone tells what is stored (`store`);
//! eleven seconds later, with the upstream down altogether, another tells what an outage would find (`outage`); a minute
//! after everything is well again, a client must get what the upstream has. Some things are looked at in every cell:
//! no header of the upstream's refusals, no `hit` past freshness, no bytes of what is held back before the verdict.
//!
//! To change or add: write the word into the table and, if it is new, its row into the legend, then run
//! `cargo test --test it matrix`. A cell that differs is told with what was seen, as a row of the legend, and with the
//! word that fits, if there is one; whether that is right the design says, not the run. A class of the product that is
//! not in the table fails [`every_class_of_the_product_is_in_it`].

mod classes;
mod editions;
mod faults;
mod runner;
mod table;
mod wire;

use self::classes::{KINDS, Kind};
use self::faults::{FAULTS, Fault};
use self::runner::{STATES, State, World};
use self::table::{Cell, Table};

/// Cells that are run.
const CELLS: usize = 3349;

/// Runs these cells of one class and state; gives those that differ, each with what is wrong.
async fn differing(table: &Table, cells: &[Cell]) -> Vec<(Cell, String)> {
    let Some(first) = cells.first() else {
        return Vec::new();
    };
    let (kind, state) = (Kind::of(&first.class), State::of(&first.state));
    let share = if kind.is_of_tools() { 1 } else { cells.len() };
    let mut differing = Vec::new();
    for some in cells.chunks(share) {
        let world = World::open(kind, state, some.len()).await;
        for (at, cell) in some.iter().enumerate() {
            let (seen, wrong) = world.run(at, Fault::of(&cell.fault)).await;
            let wrong = wrong.into_iter().map(|wrong| format!("{cell:?}: {wrong}"));
            let all = wrong.chain(table.complaints(cell, &seen));
            differing.extend(all.map(|complaint| (cell.clone(), complaint)));
        }
        world.close().await;
    }
    differing
}

/// Runs every cell of a class.
async fn run_class(class: &str) {
    let table = Table::read();
    let mut run = 0;
    let mut complaints = Vec::new();
    for state in STATES {
        let own = table.cells.keys();
        let own = own.filter(|cell| cell.class == class && cell.state == state.word());
        let own: Vec<Cell> = own.cloned().collect();
        run += own.len();
        complaints.extend(differing(&table, &own).await);
    }
    let impossible = table.impossible.keys().filter(|cell| cell.class == class);
    assert_eq!(run, FAULTS.len() * STATES.len() - impossible.count());
    let text: Vec<String> = complaints.into_iter().map(|(_, text)| text).collect();
    assert!(
        text.is_empty(),
        "{} differ:\n{}",
        text.len(),
        text.join("\n")
    );
}

/// One test for each class, so that they run side by side.
macro_rules! classes {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                run_class(&stringify!($name).replace('_', "-")).await;
            }
        )*
    };
}

classes! {
    autocomplete
    catalog_index
    catalog_leaf
    catalog_page
    certificate
    icon
    license
    manifest
    package
    readme
    registration_index
    registration_leaf
    registration_page
    repository_signatures
    search
    service_index
    symbols
    tool
    tools_list
    version_list
    vulnerability_index
    vulnerability_page
}

#[test]
fn every_class_of_the_product_is_in_it() {
    let source = include_str!("../../../src/proxy/route/class.rs");
    let arms = source.lines().filter_map(|line| line.split_once("=> \""));
    let product: Vec<&str> = arms.map(|(_, word)| word.trim_end_matches("\",")).collect();
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.class).collect();
    assert_eq!(kinds, product);
    let tested: Vec<String> = TESTED.iter().map(|name| name.replace('_', "-")).collect();
    assert_eq!(kinds, tested);
}

#[test]
fn every_cell_is_written_or_impossible() {
    let table = Table::read();
    let mut wrong = Vec::new();
    for kind in &KINDS {
        for fault in &FAULTS {
            for state in STATES {
                let cell = Cell {
                    class: kind.class.to_owned(),
                    fault: fault.name.to_owned(),
                    state: state.word().to_owned(),
                };
                if table.cells.contains_key(&cell) == table.impossible.contains_key(&cell) {
                    wrong.push(cell);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "neither or both: {wrong:?}");
    let all = KINDS.len() * FAULTS.len() * STATES.len();
    assert_eq!(
        table.cells.len() + table.impossible.len(),
        all,
        "cells of nothing"
    );
    assert_eq!(table.cells.len(), CELLS);
}

#[test]
fn every_word_of_the_legend_is_used_and_means_something_else() {
    let table = Table::read();
    let words: Vec<_> = table.legend.iter().collect();
    for (at, (word, one)) in words.iter().enumerate() {
        for (other_word, other) in &words[..at] {
            assert_ne!(one, other, "{word} and {other_word}");
        }
    }
    assert_eq!(table::unused(&table), std::collections::BTreeSet::new());
    for word in table.cells.values() {
        assert!(table.legend.contains_key(word), "{word:?} has no meaning");
    }
}

/// Numbers that look random, the same in every run.
fn draws(seed: u64) -> impl Iterator<Item = usize> {
    let next = |state: &u64| {
        Some(
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1),
        )
    };
    std::iter::successors(Some(seed), next).map(|state| (state >> 33) as usize)
}

#[tokio::test(start_paused = true)]
async fn fifty_cells_changed_at_random_are_each_reported() {
    let table = Table::read();
    let (cells, words): (Vec<_>, Vec<_>) =
        (table.cells.keys().collect(), table.legend.keys().collect());
    let mut draws = draws(20_261_110);
    let mut changed = table.clone();
    let mut drawn = std::collections::BTreeSet::new();
    while drawn.len() < 50 {
        let cell = cells[draws.next().expect("endless") % cells.len()];
        let word = words[draws.next().expect("endless") % words.len()];
        let (before, after) = (&table.legend[&table.cells[cell]], &table.legend[word]);
        if !before.overlaps(after) && drawn.insert(cell.clone()) {
            changed.cells.insert(cell.clone(), word.clone());
        }
    }
    for cell in &drawn {
        let own = std::slice::from_ref(cell);
        assert_eq!(differing(&table, own).await, Vec::new());
        let reported = differing(&changed, own).await;
        assert_eq!(reported.len(), 1, "{cell:?} is now {}", changed.cells[cell]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_column_of_the_legend_is_compared() {
    let table = Table::read();
    let world = World::open(Kind::of("version-list"), State::Nothing, 1).await;
    let (seen, wrong) = world.run(0, Fault::of("401")).await;
    assert_eq!(wrong, Vec::<String>::new());
    let cell = Cell {
        class: "version-list".into(),
        fault: "401".into(),
        state: "nothing".into(),
    };
    let expected = &table.legend[&table.cells[&cell]];
    assert_eq!(expected.wrong(&seen), Vec::<&str>::new());
    for (column, other) in expected.changed() {
        assert_eq!(other.wrong(&seen), [column]);
    }
}
