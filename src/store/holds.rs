//! Whether bodies are stored, many at once: from what is counted in memory, so that a list of thousands costs no disk.
//!
//! While the bodies of an earlier process are still being counted, those not counted yet are looked up by name, all in
//! one blocking call. Refuses to open a body: one that turns out to be damaged when it is read is a miss then.

use std::sync::Arc;
use std::time::Duration;

use super::settings::Step;
use super::{Count, Shared};
use crate::cache::key::Key;

/// How long looking names up may take: as long as a client with a copy waits for anything.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

impl Shared {
    pub(super) async fn holds(self: &Arc<Self>, keys: &[Key]) -> Vec<bool> {
        // Asked before the table: what is counted in between is then in it.
        let is_counted = *self.counted.borrow() == Count::Done;
        let mut held: Vec<bool> = self
            .quota
            .contain(keys.iter().map(Key::bytes))
            .into_iter()
            .zip(keys)
            .map(|(is_counted, key)| is_counted || self.held(key).is_some())
            .collect();
        if is_counted {
            return held;
        }
        let missing: Vec<(usize, [u8; 32])> = held
            .iter()
            .zip(keys)
            .enumerate()
            .filter(|(_, (is_held, _))| !**is_held)
            .map(|(at, (_, key))| (at, *key.bytes()))
            .collect();
        let layout = self.layout.clone();
        let look = move || {
            let exists = |(_, key): &(usize, [u8; 32])| layout.has_body(key);
            Ok(missing.into_iter().filter(exists).collect::<Vec<_>>())
        };
        let found = self.io.call(Step::Open, LOOK_DEADLINE, look).await;
        for (at, _) in found.unwrap_or_default() {
            if let Some(held) = held.get_mut(at) {
                *held = true;
            }
        }
        held
    }
}
