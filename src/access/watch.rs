//! Keeps up with the files: reads them again when they change, writes down when tokens were used.
//!
//! A file that cannot be obeyed changes nothing and is logged once: half a list of users, caught while somebody writes it,
//! must not lock everybody out.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::guard::Guard;
use super::ledger::{Ledger, Problems, Stamps};
use super::moment;
use crate::store::SmallFile;

/// How often the files are looked at: a revoked token works no longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file written this lately may be written again without a difference that its time shows (ext4 counts time in
/// steps of 4 ms, FAT in steps of 2 s).
const YOUNG: Duration = Duration::from_secs(3);
/// How often the use of tokens is written down.
const WRITE_EVERY: Duration = Duration::from_secs(60);

impl Guard {
    /// Keeps up with the files until draining begins.
    pub fn keep_watch(&self) {
        let guard = self.clone();
        // Taken here: what is used before the task begins is to be written.
        let written = self.uses();
        let watching = guard.watch(written);
        self.shared.tasks.spawn("access files", watching);
    }

    async fn watch(self, mut written: HashMap<Arc<str>, SystemTime>) {
        let shared = &self.shared;
        let mut written_at = shared.clock.instant();
        let mut told = None;
        loop {
            tokio::select! {
                () = shared.tasks.draining() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let problems = self.look().await.err();
            if let Some(problems) = problems.as_ref().filter(|_| problems != told) {
                tracing::error!(%problems, "users and tokens stay as they were");
            }
            told = problems;
            if shared.clock.instant().saturating_duration_since(written_at) >= WRITE_EVERY {
                self.write_uses(&mut written).await;
                written_at = shared.clock.instant();
            }
        }
        self.write_uses(&mut written).await;
    }

    /// Reads the files again if they have changed.
    async fn look(&self) -> Result<(), Problems> {
        let shared = &self.shared;
        let known = *shared.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let (settings, now) = (shared.settings.clone(), shared.clock.now());
        let read = move || {
            let stamps = Stamps::read(&settings);
            let changed = stamps != known || stamps.is_young(now);
            (stamps, changed.then(|| Ledger::read(&settings)))
        };
        let Ok((stamps, read)) = shared.tasks.blocking("access files", read).await else {
            return Ok(());
        };
        let Some(read) = read else { return Ok(()) };
        let ledger = read?;
        *shared.stamps.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
        if ledger.source != self.ledger().source {
            let tokens = ledger.tokens.all().len();
            tracing::info!(
                tokens,
                users = ledger.users.len(),
                "users and tokens were read again"
            );
            self.obey(ledger);
        }
        Ok(())
    }

    /// When each token was last used.
    fn uses(&self) -> HashMap<Arc<str>, SystemTime> {
        self.shared
            .uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes down when each token was last used, if that has changed.
    async fn write_uses(&self, written: &mut HashMap<Arc<str>, SystemTime>) {
        let uses = self.uses();
        if uses == *written {
            return;
        }
        let ledger = self.ledger();
        let known = uses
            .iter()
            .filter(|(name, _)| ledger.tokens.named(name).is_some());
        let members: Map<String, Value> = known
            .map(|(name, at)| (name.to_string(), moment::show(*at).into()))
            .collect();
        let text = format!("{:#}\n", json!({ "uses": members }));
        let file = self.shared.settings.uses();
        let path = file.path().to_owned();
        let done = self
            .shared
            .tasks
            .blocking("access files", move || file.replace(&text))
            .await;
        match done {
            Ok(Ok(())) => *written = uses,
            Ok(Err(error)) => {
                tracing::warn!(%error, path = %path.display(), "the use of tokens is not written down")
            }
            Err(error) => tracing::warn!(%error, "the use of tokens is not written down"),
        }
    }
}

impl Stamps {
    fn is_young(&self, now: SystemTime) -> bool {
        let is_young = |modified: SystemTime| {
            // A time to come is a clock that was set back: it tells nothing.
            now.duration_since(modified).map_or(true, |age| age < YOUNG)
        };
        [self.tokens, self.users]
            .into_iter()
            .flatten()
            .any(|stamp| stamp.modified.is_none_or(is_young))
    }
}

/// When each token was last used, as it was written down. A file that cannot be read says nothing: it is only told to
/// people.
pub(super) fn read_uses(file: &SmallFile) -> HashMap<Arc<str>, SystemTime> {
    let text = file.read().ok().flatten().unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let members = value["uses"].as_object().into_iter().flatten();
    members
        .filter_map(|(name, at)| Some((name.as_str().into(), moment::read(at.as_str()?)?)))
        .collect()
}
