//! Epochs in memory: of feeds, of ids that were raised, of versions that were deleted or purged.
//!
//! All of them are held in RAM, since every hit asks; their rows make them survive a restart. They are few: ids never
//! raised share the feed's. Refuses to know what an epoch gates.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use foldhash::fast::RandomState;

use super::record::GateRow;
use crate::cache::epoch::{Epoch, Gate};

/// What every gate stands at before anything was raised. An adopted entry has epoch 0 and so is below every gate: its
/// row was lost, and with it perhaps the news that it is stale.
const LOWEST: Epoch = Epoch(1);

/// Most ids and most versions with an epoch of their own, some 100 bytes each. Beyond, a feed's own epoch rises in
/// their place, which costs revalidations and nothing else.
const MAX_ROWS: usize = 100_000;

/// Why an epoch rises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Raise {
    /// Something of the id was pushed, deleted or relisted through us: its documents are short-lived for a while.
    Publish,
    /// What is stored turned out to be old.
    Refresh,
}

#[derive(Debug, Default)]
pub(super) struct Gates(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    feeds: HashMap<Box<str>, Feed, RandomState>,
    /// Ids and versions with an epoch, over all feeds.
    rows: usize,
}

#[derive(Debug, Default)]
struct Feed {
    gate: Gate,
    /// What every version stands at whose own epoch was given up for room.
    version_floor: Epoch,
    ids: HashMap<Box<str>, Id, RandomState>,
}

#[derive(Debug, Default)]
struct Id {
    gate: Gate,
    versions: HashMap<Box<str>, Epoch, RandomState>,
}

/// The rows that an epoch's rise changes.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) epoch: Epoch,
    pub(super) put: Vec<GateRow>,
    pub(super) deleted: Vec<GateRow>,
}

/// The version text of the row that keeps the floor of a feed's or an id's versions; no package version is spelled like
/// this.
const FLOOR: &str = "*";

impl Gates {
    pub(super) fn gate(&self, feed: &str, id: Option<&str>) -> Gate {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(feed) = state.feeds.get(feed) else {
            return lowest();
        };
        id.and_then(|id| feed.ids.get(id))
            .map_or(highest(feed.gate, lowest()), |id| {
                highest(highest(feed.gate, id.gate), lowest())
            })
    }

    pub(super) fn version(&self, feed: &str, id: &str, version: &str) -> Epoch {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(feed) = state.feeds.get(feed) else {
            return Epoch::default();
        };
        let Some(id) = feed.ids.get(id) else {
            return feed.version_floor;
        };
        let of = |version: &str| id.versions.get(version).copied().unwrap_or_default();
        of(version).max(of(FLOOR)).max(feed.version_floor)
    }

    pub(super) fn raise(
        &self,
        feed: &str,
        id: Option<&str>,
        cause: Raise,
        now: SystemTime,
    ) -> Raised {
        let published_at = match cause {
            Raise::Publish => Some(now),
            Raise::Refresh => None,
        };
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut deleted = Vec::new();
        if id.is_some_and(|id| state.lacks_room_for(feed, id)) {
            deleted = state.give_up_rows(feed, now);
        }
        let State { feeds, rows } = &mut *state;
        let of_feed = feeds.entry(feed.into()).or_default();
        let above = of_feed.gate.epoch.max(LOWEST);
        let gate = match id {
            Some(id) if deleted.is_empty() => {
                let of_id = of_feed.ids.entry(id.into()).or_insert_with(|| {
                    *rows += 1;
                    Id::default()
                });
                &mut of_id.gate
            }
            _ => &mut of_feed.gate,
        };
        gate.epoch = gate.epoch.max(above).next(now);
        gate.published_at = published_at.or(gate.published_at);
        let mut put = vec![GateRow {
            feed: feed.to_owned(),
            id: id.filter(|_| deleted.is_empty()).map(str::to_owned),
            version: None,
            epoch: gate.epoch,
            published_at: gate.published_at,
        }];
        let epoch = gate.epoch;
        if !deleted.is_empty() {
            put.push(floor_row(feed, of_feed.version_floor));
        }
        Raised {
            epoch,
            put,
            deleted,
        }
    }

    pub(super) fn raise_version(
        &self,
        feed: &str,
        id: &str,
        version: &str,
        now: SystemTime,
    ) -> Raised {
        let gate = self.gate(feed, Some(id));
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut deleted = Vec::new();
        if state.lacks_room_for(feed, id) {
            deleted = state.give_up_rows(feed, now);
        }
        let State { feeds, rows } = &mut *state;
        let of_feed = feeds.entry(feed.into()).or_default();
        let mut put = Vec::new();
        if !deleted.is_empty() {
            put.push(floor_row(feed, of_feed.version_floor));
            put.push(feed_row(feed, of_feed.gate));
        }
        let floor = of_feed.version_floor;
        let of_id = of_feed.ids.entry(id.into()).or_default();
        let own = of_id.versions.entry(version.into()).or_insert_with(|| {
            *rows += 1;
            Epoch::default()
        });
        *own = (*own).max(floor).max(gate.epoch).next(now);
        let epoch = *own;
        put.push(GateRow {
            feed: feed.to_owned(),
            id: Some(id.to_owned()),
            version: Some(version.to_owned()),
            epoch,
            published_at: None,
        });
        Raised {
            epoch,
            put,
            deleted,
        }
    }

    /// Raises what every version of an id, or of a feed, stands at.
    pub(super) fn raise_content(&self, feed: &str, id: Option<&str>, now: SystemTime) -> Raised {
        if let Some(id) = id {
            return self.raise_version(feed, id, FLOOR, now);
        }
        let gate = self.gate(feed, None);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let of_feed = state.feeds.entry(feed.into()).or_default();
        let own = of_feed.ids.values().flat_map(|id| id.versions.values());
        let highest = own.copied().max().unwrap_or_default().max(gate.epoch);
        of_feed.version_floor = of_feed.version_floor.max(highest).next(now);
        Raised {
            epoch: of_feed.version_floor,
            put: vec![floor_row(feed, of_feed.version_floor)],
            deleted: Vec::new(),
        }
    }

    /// Takes in a row of the index. What was raised since the start stays above what the row says, and the answer is
    /// then the row to be written.
    pub(super) fn load(&self, row: &GateRow, now: SystemTime) -> Option<GateRow> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let State { feeds, rows } = &mut *state;
        let feed = feeds.entry(row.feed.as_str().into()).or_default();
        let (epoch, mut published) = match (&row.id, &row.version) {
            (None, Some(_)) => (&mut feed.version_floor, None),
            (None, None) => (&mut feed.gate.epoch, Some(&mut feed.gate.published_at)),
            (Some(id), None) => {
                let id = feed.ids.entry(id.as_str().into()).or_insert_with(|| {
                    *rows += 1;
                    Id::default()
                });
                (&mut id.gate.epoch, Some(&mut id.gate.published_at))
            }
            (Some(id), Some(version)) => {
                let id = feed.ids.entry(id.as_str().into()).or_default();
                let version = id
                    .versions
                    .entry(version.as_str().into())
                    .or_insert_with(|| {
                        *rows += 1;
                        Epoch::default()
                    });
                (version, None)
            }
        };
        if let Some(published) = published.as_deref_mut() {
            *published = (*published).max(row.published_at);
        }
        let raised_since = *epoch > Epoch::default() && *epoch != row.epoch;
        *epoch = match raised_since {
            false => row.epoch,
            true if *epoch > row.epoch => return None,
            // The clock went back over a restart: a rise must still be one.
            true => row.epoch.next(now),
        };
        raised_since.then(|| GateRow {
            epoch: *epoch,
            published_at: published.and_then(|at| *at),
            ..row.clone()
        })
    }

    /// Every row, for a new index.
    pub(super) fn rows(&self) -> Vec<GateRow> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::with_capacity(state.rows + state.feeds.len());
        for (name, feed) in &state.feeds {
            rows.push(feed_row(name, feed.gate));
            rows.push(floor_row(name, feed.version_floor));
            rows.extend(feed.rows(name));
        }
        rows.retain(|row| row.epoch > Epoch::default());
        rows
    }
}

impl State {
    fn lacks_room_for(&self, feed: &str, id: &str) -> bool {
        self.rows >= MAX_ROWS
            && !self
                .feeds
                .get(feed)
                .is_some_and(|feed| feed.ids.contains_key(id))
    }

    /// Gives up the rows of the feed's ids and versions and raises the feed over them all; says which rows went.
    fn give_up_rows(&mut self, name: &str, now: SystemTime) -> Vec<GateRow> {
        let feed = self.feeds.entry(name.into()).or_default();
        let given_up = feed.rows(name);
        for row in &given_up {
            match row.version {
                Some(_) => feed.version_floor = feed.version_floor.max(row.epoch),
                None => feed.gate = highest(feed.gate, gate_of(row)),
            }
        }
        feed.gate.epoch = feed.gate.epoch.next(now);
        feed.ids.clear();
        self.rows -= given_up.len().min(self.rows);
        given_up
    }
}

impl Feed {
    fn rows(&self, name: &str) -> Vec<GateRow> {
        let mut rows = Vec::new();
        for (id, state) in &self.ids {
            rows.push(GateRow {
                id: Some(id.to_string()),
                ..feed_row(name, state.gate)
            });
            rows.extend(state.versions.iter().map(|(version, epoch)| GateRow {
                id: Some(id.to_string()),
                version: Some(version.to_string()),
                ..feed_row(
                    name,
                    Gate {
                        epoch: *epoch,
                        published_at: None,
                    },
                )
            }));
        }
        rows.retain(|row| row.epoch > Epoch::default());
        rows
    }
}

fn lowest() -> Gate {
    Gate {
        epoch: LOWEST,
        published_at: None,
    }
}

fn highest(one: Gate, other: Gate) -> Gate {
    Gate {
        epoch: one.epoch.max(other.epoch),
        published_at: one.published_at.max(other.published_at),
    }
}

fn gate_of(row: &GateRow) -> Gate {
    Gate {
        epoch: row.epoch,
        published_at: row.published_at,
    }
}

fn feed_row(name: &str, gate: Gate) -> GateRow {
    GateRow {
        feed: name.to_owned(),
        id: None,
        version: None,
        epoch: gate.epoch,
        published_at: gate.published_at,
    }
}

fn floor_row(name: &str, epoch: Epoch) -> GateRow {
    GateRow {
        version: Some(FLOOR.to_owned()),
        ..feed_row(
            name,
            Gate {
                epoch,
                published_at: None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(micros: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
    }

    #[test]
    fn an_id_is_gated_by_the_higher_of_its_own_and_the_feeds_epoch() {
        let gates = Gates::default();
        assert_eq!(gates.gate("f", Some("a")).epoch, LOWEST);
        let id = gates.raise("f", Some("a"), Raise::Publish, at(50)).epoch;
        assert_eq!(id, Epoch(50));
        assert_eq!(gates.gate("f", Some("a")).published_at, Some(at(50)));
        assert_eq!(gates.gate("f", Some("b")), lowest());
        assert_eq!(gates.gate("g", Some("a")), lowest());
        let feed = gates.raise("f", None, Raise::Refresh, at(20)).epoch;
        assert_eq!(feed, Epoch(20));
        assert_eq!(gates.gate("f", Some("a")).epoch, Epoch(50));
        assert_eq!(gates.gate("f", Some("b")).epoch, Epoch(20));
        assert_eq!(gates.gate("f", None).published_at, None);
    }

    #[test]
    fn an_epoch_rises_above_the_feeds_even_if_the_clock_does_not() {
        let gates = Gates::default();
        gates.raise("f", None, Raise::Refresh, at(90));
        let id = gates.raise("f", Some("a"), Raise::Refresh, at(10)).epoch;
        assert_eq!(id, Epoch(91));
        let version = gates.raise_version("f", "a", "1.0", at(10)).epoch;
        assert_eq!(version, Epoch(92));
        assert_eq!(gates.version("f", "a", "1.0"), Epoch(92));
        assert_eq!(gates.version("f", "a", "2.0"), Epoch(0));
        assert_eq!(gates.gate("f", Some("a")).epoch, Epoch(91));
    }

    #[test]
    fn all_content_of_an_id_or_of_a_feed_rises_above_every_version() {
        let gates = Gates::default();
        let version = gates.raise_version("f", "a", "1.0", at(50)).epoch;
        let id = gates.raise_content("f", Some("a"), at(5)).epoch;
        assert!(id > LOWEST);
        let later = gates.raise_content("f", Some("a"), at(60)).epoch;
        assert_eq!(gates.version("f", "a", "1.0"), later);
        assert_eq!(gates.version("f", "a", "2.0"), later);
        assert_eq!(gates.version("f", "b", "1.0"), Epoch(0));
        let feed = gates.raise_content("f", None, at(5)).epoch;
        assert!(feed > later && later > version);
        assert_eq!(gates.version("f", "b", "1.0"), feed);
        assert_eq!(gates.version("g", "b", "1.0"), Epoch(0));
        let restored = Gates::default();
        for row in gates.rows() {
            assert_eq!(restored.load(&row, at(5)), None);
        }
        assert_eq!(restored.version("f", "b", "1.0"), feed);
        assert_eq!(restored.version("f", "a", "3.0"), feed);
    }

    #[test]
    fn rows_restore_every_gate_and_a_rise_before_loading_stays_a_rise() {
        let gates = Gates::default();
        gates.raise("f", None, Raise::Refresh, at(10));
        gates.raise("f", Some("a"), Raise::Publish, at(20));
        gates.raise_version("f", "a", "1.0", at(30));
        let restored = Gates::default();
        let early = restored.raise("f", Some("a"), Raise::Refresh, at(5)).epoch;
        assert!(early < Epoch(20));
        for row in gates.rows() {
            let rewritten = restored.load(&row, at(5));
            assert_eq!(
                rewritten.is_some(),
                row.id.is_some() && row.version.is_none()
            );
        }
        assert_eq!(restored.gate("f", Some("a")).epoch, Epoch(21));
        assert_eq!(restored.gate("f", Some("a")).published_at, Some(at(20)));
        assert_eq!(restored.gate("f", Some("b")).epoch, Epoch(10));
        assert_eq!(restored.version("f", "a", "1.0"), Epoch(30));
    }

    #[test]
    fn rows_beyond_the_limit_are_given_up_for_a_higher_epoch_of_the_feed() {
        let gates = Gates::default();
        let deleted = gates.raise_version("f", "old", "1.0", at(5)).epoch;
        for n in 1..MAX_ROWS {
            gates.raise("f", Some(&n.to_string()), Raise::Refresh, at(10));
        }
        assert_eq!(gates.gate("f", Some("new")).epoch, LOWEST);
        let raised = gates.raise("f", Some("new"), Raise::Refresh, at(10));
        assert_eq!(raised.deleted.len(), MAX_ROWS);
        assert!(raised.put.iter().all(|row| row.id.is_none()));
        assert_eq!(gates.gate("f", Some("new")).epoch, raised.epoch);
        assert_eq!(gates.gate("f", Some("7")).epoch, raised.epoch);
        assert!(gates.version("f", "old", "1.0") >= deleted);
        assert!(gates.rows().len() <= 2);
    }
}
