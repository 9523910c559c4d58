//! Proofs that clients' credentials were let in: a bounded table in RAM whose rows make it survive a restart.
//!
//! A credential is known here by a hash under a key of this folder, and no other trace of it is kept. Refuses to judge
//! how long a proof is good for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ring::hmac;
use tokio::sync::watch;

use super::index::row;
use super::layout::{Layout, hex, unhex};
use super::record::{encode_proof, from_micros, micros};
use super::recover::ignore_full_disk;
use super::{Shared, Store};
use crate::cache::proof::{Holder, ProofKey};
use crate::platform;

/// A proof that is renewed is written again once its row is this much older: it is renewed with every answer of the
/// upstream, and after a restart it may well seem this much older than it is.
const ROW_AGE: Duration = Duration::from_secs(5 * 60);

/// Ends that are remembered until the rows of an earlier process are loaded. With more, those rows are not believed.
const MAX_EARLY_ENDS: usize = 4096;

/// The key under which credentials are hashed. Random, kept in the folder, readable by its owner alone.
#[derive(Clone)]
pub(super) struct HashKey(Arc<hmac::Key>);

impl HashKey {
    /// The folder's key; made anew where it is missing or unreadable, which costs the proofs.
    pub(super) fn of_folder(layout: &Layout) -> io::Result<Self> {
        let path = layout.in_root("PROOFKEY");
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let bytes = match unhex(kept.trim()) {
            Some(bytes) => bytes,
            None => {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
                platform::write_private(&path, format!("{}\n", hex(&bytes)).as_bytes())
                    .or_else(ignore_full_disk)?;
                bytes
            }
        };
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// Who holds proofs of a feed with this credential, or without one.
    fn holder(&self, feed: &str, credential: Option<&[u8]>) -> Holder {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(feed.as_bytes());
        // No feed's name has these bytes, so what follows cannot be taken for a part of it.
        context.update(if credential.is_some() { b"\x1f" } else { b"\0" });
        context.update(credential.unwrap_or_default());
        let tag = context.sign();
        let mut hash = [0; 32];
        hash.copy_from_slice(tag.as_ref());
        Holder::of_hash(&hash)
    }
}

/// Nothing of the key.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}

#[derive(Debug)]
pub(super) struct Proofs {
    max: usize,
    table: Mutex<Table>,
    /// Whether the rows of an earlier process are in the table.
    loading: watch::Sender<Loading>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Loading {
    Ended,
    UnderWay,
}

#[derive(Debug, Default)]
struct Table {
    /// In order, so that all of one holder lie together.
    slots: BTreeMap<ProofKey, Slot>,
    /// When which was proven; a stamp that is not its slot's is old news and skipped.
    order: VecDeque<(ProofKey, u64)>,
    /// What was ended before the rows were loaded: they must not bring it back.
    early_ends: Vec<End>,
}

/// Times in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Slot {
    proven_at: u64,
    /// What its row says.
    written: u64,
}

/// Which proofs end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    AllOf(Holder),
    One(ProofKey),
}

impl End {
    fn covers(self, key: &ProofKey) -> bool {
        match self {
            Self::AllOf(holder) => key.holder() == holder,
            Self::One(one) => one == *key,
        }
    }
}

/// What a proof changes in the index.
#[derive(Debug, Default, Eq, PartialEq)]
struct Changed {
    /// Whether its own row is to be written.
    is_due: bool,
    /// Whose rows went to make room.
    gone: Vec<ProofKey>,
}

impl Proofs {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            table: Mutex::default(),
            loading: watch::Sender::new(Loading::UnderWay),
        }
    }

    fn find(&self, key: &ProofKey) -> Option<SystemTime> {
        let table = self.lock();
        table.slots.get(key).map(|slot| from_micros(slot.proven_at))
    }

    fn put(&self, key: ProofKey, proven_at: SystemTime) -> Changed {
        if self.max == 0 {
            return Changed::default();
        }
        let proven_at = micros(proven_at);
        let mut table = self.lock();
        let before = table.slots.get(&key).copied();
        if before.is_some_and(|before| before.proven_at >= proven_at) {
            return Changed::default();
        }
        let row_age = u64::try_from(ROW_AGE.as_micros()).unwrap_or(u64::MAX);
        let fresh_row = before
            .map(|before| before.written)
            .filter(|written| proven_at.saturating_sub(*written) < row_age);
        let slot = Slot {
            proven_at,
            written: fresh_row.unwrap_or(proven_at),
        };
        table.slots.insert(key, slot);
        table.order.push_back((key, proven_at));
        Changed {
            is_due: fresh_row.is_none(),
            gone: table.make_room(self.max),
        }
    }

    /// Takes in a row of the index, unless something newer is known; says whose rows are to go.
    pub(super) fn load(&self, key: ProofKey, proven_at: SystemTime) -> Vec<ProofKey> {
        let mut table = self.lock();
        if table.slots.contains_key(&key) {
            return Vec::new();
        }
        let is_ended = table.early_ends.len() >= MAX_EARLY_ENDS
            || table.early_ends.iter().any(|end| end.covers(&key));
        if is_ended || self.max == 0 {
            return vec![key];
        }
        let proven_at = micros(proven_at);
        let slot = Slot {
            proven_at,
            written: proven_at,
        };
        table.slots.insert(key, slot);
        table.order.push_back((key, proven_at));
        table.make_room(self.max)
    }

    /// Every row of an earlier process was loaded, or none ever will be.
    pub(super) fn end_loading(&self) {
        self.lock().early_ends = Vec::new();
        self.loading.send_replace(Loading::Ended);
    }

    /// Forgets; says whose rows are to go.
    fn end(&self, end: End) -> Vec<ProofKey> {
        let mut table = self.lock();
        let is_loading = *self.loading.borrow() == Loading::UnderWay;
        if is_loading && table.early_ends.len() < MAX_EARLY_ENDS {
            table.early_ends.push(end);
        }
        let gone: Vec<ProofKey> = match end {
            End::AllOf(holder) => {
                let mut first = [0; 32];
                first[..holder.bytes().len()].copy_from_slice(holder.bytes());
                let all = table.slots.range(ProofKey::from_bytes(first)..);
                all.map(|(key, _)| *key)
                    .take_while(|key| end.covers(key))
                    .collect()
            }
            End::One(key) => table.slots.get(&key).map(|_| key).into_iter().collect(),
        };
        for key in &gone {
            table.slots.remove(key);
        }
        gone
    }

    /// Every proof, for a new index.
    fn rows(&self) -> Vec<(ProofKey, SystemTime)> {
        let table = self.lock();
        let slots = table.slots.iter();
        slots
            .map(|(key, slot)| (*key, from_micros(slot.written)))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets the oldest beyond `max` and says which.
    fn make_room(&mut self, max: usize) -> Vec<ProofKey> {
        let mut gone = Vec::new();
        while self.slots.len() > max {
            let Some((oldest, stamp)) = self.order.pop_front() else {
                break;
            };
            if self.is_current(&oldest, stamp) {
                self.slots.remove(&oldest);
                gone.push(oldest);
            }
        }
        // One that is renewed again and again leaves old stamps behind; swept when they outnumber the slots.
        if self.order.len() > self.slots.len().saturating_mul(2).max(64) {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(key, stamp)| self.is_current(key, *stamp));
            self.order = order;
        }
        gone
    }

    fn is_current(&self, key: &ProofKey, stamp: u64) -> bool {
        self.slots
            .get(key)
            .is_some_and(|slot| slot.proven_at == stamp)
    }
}

impl Shared {
    /// Writes every proof, for a new index.
    pub(super) fn put_proofs(&self) {
        for (key, proven_at) in self.proofs.rows() {
            self.change(row::proof(&key), Some(encode_proof(proven_at)), None);
        }
    }

    fn end_proofs(&self, end: End) {
        for key in self.proofs.end(end) {
            self.change(row::proof(&key), None, None);
        }
    }
}

impl Store {
    /// Who holds proofs of a feed with this credential, or without one: a hash under this folder's own key.
    #[must_use]
    pub fn holder(&self, feed: &str, credential: Option<&[u8]>) -> Holder {
        self.shared.proof_key.holder(feed, credential)
    }

    /// When something was last proven. While the proofs of an earlier process are not loaded yet, one that is not known
    /// is waited for, as long as a lookup waits for the index.
    pub async fn proof(&self, key: &ProofKey) -> Option<SystemTime> {
        let shared = &self.shared;
        if let Some(found) = shared.proofs.find(key) {
            return Some(found);
        }
        let mut loading = shared.proofs.loading.subscribe();
        let loaded = loading.wait_for(|loading| *loading == Loading::Ended);
        let _ = tokio::time::timeout(shared.settings.read_deadline, loaded).await;
        shared.proofs.find(key)
    }

    /// The same, as far as it is known at once.
    #[must_use]
    pub fn proof_at_hand(&self, key: &ProofKey) -> Option<SystemTime> {
        self.shared.proofs.find(key)
    }

    /// Remembers that something was proven. Its row is written if there is none or it has grown old.
    pub fn put_proof(&self, key: ProofKey, proven_at: SystemTime) {
        let shared = &self.shared;
        let changed = shared.proofs.put(key, proven_at);
        if changed.is_due {
            shared.change(row::proof(&key), Some(encode_proof(proven_at)), None);
        }
        for gone in changed.gone {
            shared.change(row::proof(&gone), None, None);
        }
    }

    /// Forgets a proof: the upstream refused what it was for.
    pub fn end_proof(&self, key: &ProofKey) {
        self.shared.end_proofs(End::One(*key));
    }

    /// Forgets every proof of a holder: the upstream refused its credential.
    pub fn end_proofs_of(&self, holder: &Holder) {
        self.shared.end_proofs(End::AllOf(*holder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn key(holder: u8, scope: &str) -> ProofKey {
        ProofKey::new(&Holder::of_hash(&[holder; 32]), scope)
    }

    #[test]
    fn a_renewed_proof_is_written_only_when_its_row_is_old() {
        let proofs = Proofs::new(10);
        let due = |seconds| proofs.put(key(1, "a"), at(seconds)).is_due;
        assert!(due(1000));
        assert!(!due(1001));
        assert!(!due(1299));
        assert!(due(1300));
        assert!(!due(1301));
        assert_eq!(proofs.find(&key(1, "a")), Some(at(1301)));
        assert!(!due(1200), "an older answer is no news");
        assert_eq!(proofs.find(&key(1, "a")), Some(at(1301)));
    }

    #[test]
    fn the_oldest_goes_first_and_renewing_takes_no_more_room() {
        let proofs = Proofs::new(2);
        for seconds in 0..1000 {
            proofs.put(key(1, "a"), at(seconds));
        }
        proofs.put(key(1, "b"), at(500));
        assert_eq!(proofs.put(key(1, "c"), at(2000)).gone, [key(1, "a")]);
        assert_eq!(
            (proofs.len(), proofs.find(&key(1, "b"))),
            (2, Some(at(500)))
        );
        assert!(proofs.lock().order.len() <= 64);
    }

    #[test]
    fn one_ends_or_all_of_a_holder() {
        let proofs = Proofs::new(10);
        let holders = [(0, "a"), (1, "a"), (1, "b"), (1, "c"), (2, "a"), (255, "a")];
        for (holder, scope) in holders {
            proofs.put(key(holder, scope), at(1));
        }
        assert_eq!(proofs.end(End::One(key(1, "b"))), [key(1, "b")]);
        assert_eq!(proofs.end(End::One(key(1, "b"))), []);
        let mut gone = proofs.end(End::AllOf(key(1, "").holder()));
        gone.sort_unstable();
        let mut expected = [key(1, "a"), key(1, "c")];
        expected.sort_unstable();
        assert_eq!(gone, expected);
        assert_eq!(proofs.len(), 3);
    }

    #[test]
    fn what_ended_before_loading_is_not_brought_back() {
        let proofs = Proofs::new(10);
        proofs.end(End::One(key(1, "a")));
        proofs.end(End::AllOf(key(2, "").holder()));
        assert_eq!(proofs.load(key(1, "a"), at(1)), [key(1, "a")]);
        assert_eq!(proofs.load(key(2, "b"), at(1)), [key(2, "b")]);
        assert_eq!(proofs.load(key(1, "b"), at(1)), []);
        proofs.put(key(3, "a"), at(9));
        proofs.load(key(3, "a"), at(1));
        assert_eq!(proofs.find(&key(3, "a")), Some(at(9)));
        assert_eq!(proofs.len(), 2);
    }

    #[test]
    fn more_ends_than_are_remembered_mean_that_no_row_is_believed() {
        let proofs = Proofs::new(10);
        for n in 0..MAX_EARLY_ENDS {
            proofs.end(End::One(key(1, &n.to_string())));
        }
        assert_eq!(proofs.load(key(7, "a"), at(1)), [key(7, "a")]);
        proofs.end_loading();
        assert_eq!(proofs.lock().early_ends, []);
    }

    #[test]
    fn feeds_credentials_and_none_are_told_apart() {
        let raw = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let key = HashKey(Arc::new(raw));
        let all = [
            key.holder("a", Some(b"x")),
            key.holder("a", Some(b"y")),
            key.holder("a", Some(b"")),
            key.holder("a", None),
            key.holder("b", Some(b"x")),
            key.holder("b", None),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
        assert_eq!(format!("{key:?}"), "HashKey(redacted)");
    }
}
