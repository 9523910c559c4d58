//! Keeps up with the files: reads them again when they change, writes down when tokens were used.
//!
//! A file that cannot be obeyed changes nothing and is logged once: half a list of users, caught while somebody writes it,
//! must not lock everybody out. A reload of the configuration reads them at once, from where it says.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tokio::sync::MutexGuard;

use super::guard::Guard;
use super::ledger::{self, Ledger, Problems, Stamps};
use super::moment;
use super::settings::Settings;
use crate::store::SmallFile;

/// How often the files are looked at: a revoked token works no longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file written this lately may be written again without a difference that its time shows (ext4 counts time in
/// steps of 4 ms, FAT in steps of 2 s).
const YOUNG: Duration = Duration::from_secs(3);
/// How often the use of tokens is written down.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// What the files say under other settings, read and not obeyed yet. Nothing else is obeyed meanwhile.
#[derive(Debug)]
pub struct Prepared<'a> {
    guard: &'a Guard,
    known: MutexGuard<'a, Stamps>,
    stamps: Stamps,
    ledger: Ledger,
}

impl Prepared<'_> {
    /// Obeys them from the next request on.
    pub fn obey(mut self) {
        *self.known = self.stamps;
        self.guard.take(self.ledger);
    }
}

impl Guard {
    /// Reads the files again, where these settings say that they are.
    ///
    /// # Errors
    /// Everything that is wrong with the files; nothing has changed then.
    pub async fn prepare(&self, settings: Settings) -> Result<Prepared<'_>, Problems> {
        let known = self.shared.stamps.lock().await;
        let tokens = settings.tokens();
        let read = move || ledger::read(&settings);
        let (stamps, ledger) = match self.shared.tasks.blocking("access files", read).await {
            Ok(read) => read?,
            Err(error) => return Err(Problems::of(&tokens, error.to_string())),
        };
        Ok(Prepared {
            guard: self,
            known,
            stamps,
            ledger,
        })
    }

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
        let mut known = shared.stamps.lock().await;
        let (settings, now, before) = (self.ledger().settings.clone(), shared.clock.now(), *known);
        let read = move || {
            let stamps = Stamps::read(&settings);
            let changed = stamps != before || stamps.is_young(now);
            changed.then(|| ledger::read(&settings))
        };
        let Ok(Some(read)) = shared.tasks.blocking("access files", read).await else {
            return Ok(());
        };
        let (stamps, ledger) = read?;
        *known = stamps;
        self.take(ledger);
        Ok(())
    }

    /// Obeys what the files say, if that is something else.
    fn take(&self, ledger: Ledger) {
        let known = self.ledger();
        if ledger.source == known.source && ledger.settings == known.settings {
            return;
        }
        let (tokens, users) = (ledger.tokens.all().len(), ledger.users.len());
        tracing::info!(tokens, users, "users and tokens were read again");
        self.obey(ledger);
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
        let file = ledger.settings.uses();
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
