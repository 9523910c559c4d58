//! The scrub: every stored body is read once within `scrub_every`, behind all requests, so that what rotted is found while
//! the upstream still has it.
//!
//! One folder of bodies after the other, each at its time, so that the reading is spread evenly and a restart repeats at
//! most one folder. What is damaged is set aside; the next request asks for it again. Refuses to hurry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::check::{Damage, Haste, Verdict};
use super::layout::hex;
use super::record::{from_micros, micros};
use super::small_file::SmallFile;
use super::walk::Progress;
use super::{Count, Shared, recover};

/// Where the scrub has come to, in the data folder.
const FILE: &str = "scrub.json";
/// Pause after each piece of 1 MiB: 8 MiB a second, a twentieth of what a disk without a head to move gives.
const PAUSE: Duration = Duration::from_millis(125);
/// Longest sleep between two folders: so long a setting that was changed is not obeyed.
const MAX_SLEEP: Duration = Duration::from_secs(60 * 60);
/// Sleep while it is off.
const OFF_SLEEP: Duration = Duration::from_secs(60);
const FOLDERS: u32 = 256;

/// What the scrub has done.
#[derive(Debug, Default)]
pub(super) struct Scrubbed {
    progress: Progress,
    damaged: AtomicU64,
    /// End of the last complete pass, in µs since 1970; zero if there was none.
    completed: AtomicU64,
}

impl Scrubbed {
    /// Bytes read since the start.
    pub(super) fn bytes(&self) -> u64 {
        self.progress.now().1
    }

    /// Damaged bodies found since the start.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// When the last pass over everything ended.
    pub(super) fn completed(&self) -> Option<SystemTime> {
        let completed = self.completed.load(Ordering::Relaxed);
        (completed > 0).then(|| from_micros(completed))
    }
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pass {
    began: SystemTime,
    /// The next folder.
    folder: u32,
    completed: Option<SystemTime>,
}

impl Pass {
    fn beginning(now: SystemTime) -> Self {
        Self {
            began: now,
            folder: 0,
            completed: None,
        }
    }

    fn read(text: &str, now: SystemTime) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        let number = |name: &str| document.get(name).and_then(Value::as_u64);
        let pass = Self {
            began: from_micros(number("began_us")?),
            folder: u32::try_from(number("folder")?).ok()?,
            completed: number("completed_us").map(from_micros),
        };
        // After a clock that went back, its times would be waited for.
        (pass.began <= now && pass.folder < FOLDERS).then_some(pass)
    }

    fn write(&self) -> String {
        let document = json!({
            "began_us": micros(self.began),
            "folder": self.folder,
            "completed_us": self.completed.map(micros),
        });
        format!("{document}\n")
    }

    /// When the next folder is due: they share the time of a pass evenly.
    fn due(&self, every: Duration) -> SystemTime {
        self.began + every / FOLDERS * (self.folder + 1)
    }

    /// A folder is done. The next pass begins when this one was to end, or now if that was long ago.
    fn advance(&mut self, every: Duration, now: SystemTime) {
        self.folder += 1;
        if self.folder == FOLDERS {
            let end = self.began + every;
            let is_late = now
                .duration_since(end)
                .is_ok_and(|late| late > every / FOLDERS);
            self.began = if is_late { now } else { end };
            self.folder = 0;
            self.completed = Some(now);
        }
    }
}

/// Scrubs until the store ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut counted = shared.counted.subscribe();
    let _ = counted.wait_for(|count| *count == Count::Done).await;
    let file = SmallFile::new(shared.layout.in_root(FILE));
    let read = file.clone();
    let text = shared.quiet(move || read.read()).await.ok().flatten();
    let now = shared.clock.now();
    let known = text.and_then(|text| Pass::read(&text, now));
    let mut pass = known.unwrap_or_else(|| Pass::beginning(now));
    shared.scrubbed.note_completed(&pass);
    loop {
        let Some(every) = shared.limits.scrub_every() else {
            // Once it is on again, it has its whole time.
            (pass.began, pass.folder) = (shared.clock.now(), 0);
            if shared.pause(OFF_SLEEP).await {
                return;
            }
            continue;
        };
        let now = shared.clock.now();
        // After a clock that went back, its times would be waited for.
        pass.began = pass.began.min(now);
        if let Ok(left) = pass.due(every).duration_since(now)
            && !left.is_zero()
        {
            if shared.pause(left.min(MAX_SLEEP)).await {
                return;
            }
            continue;
        }
        if !shared.scrub_folder(pass.folder).await {
            return;
        }
        pass.advance(every, shared.clock.now());
        shared.scrubbed.note_completed(&pass);
        let (file, text) = (file.clone(), pass.write());
        if shared.quiet(move || file.replace(&text)).await.is_err() {
            tracing::debug!("where the scrub has come to could not be kept");
        }
    }
}

impl Scrubbed {
    fn note_completed(&self, pass: &Pass) {
        let completed = pass.completed.map_or(0, micros);
        self.completed.store(completed, Ordering::Relaxed);
    }
}

impl Shared {
    /// Reads the bodies of one folder; `false` if the store ended meanwhile.
    async fn scrub_folder(self: &Arc<Self>, folder: u32) -> bool {
        let Ok(folder) = u8::try_from(folder) else {
            return true;
        };
        for key in recover::list(self, folder).await {
            let haste = Haste::Pausing(PAUSE);
            match self.check_body(key, haste, &self.scrubbed.progress).await {
                Verdict::Ending => return false,
                Verdict::Gone => {}
                Verdict::Good(_) => self.quota.set_checked(&key),
                // The disk failed, not the body: the next pass tries again.
                Verdict::Bad(Damage::Unreadable, _) => {
                    tracing::warn!(file = hex(&key), "the scrub could not read a body");
                }
                Verdict::Bad(damage, known) => {
                    self.scrubbed.damaged.fetch_add(1, Ordering::Relaxed);
                    self.set_rotten_aside(key, known.as_ref(), damage).await;
                }
            }
        }
        !self.is_ending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_pass_is_spread_over_its_time_and_followed_by_the_next() {
        let every = Duration::from_secs(2560);
        let mut pass = Pass::beginning(at(1000));
        assert_eq!(pass.due(every), at(1010));
        for folder in 1..256 {
            pass.advance(every, at(1000));
            assert_eq!(pass.folder, folder);
        }
        assert_eq!(pass.due(every), at(3560));
        pass.advance(every, at(3561));
        assert_eq!((pass.began, pass.folder), (at(3560), 0));
        assert_eq!(pass.completed, Some(at(3561)));
        // After a year off the next pass is not as late as this one was.
        pass.folder = 255;
        pass.advance(every, at(1_000_000));
        assert_eq!(pass.began, at(1_000_000));
    }

    #[test]
    fn where_it_has_come_to_is_read_again_and_nonsense_is_not() {
        let pass = Pass {
            began: at(5),
            folder: 7,
            completed: Some(at(4)),
        };
        assert_eq!(Pass::read(&pass.write(), at(6)), Some(pass));
        let first = Pass::beginning(at(5));
        assert_eq!(Pass::read(&first.write(), at(6)), Some(first));
        assert_eq!(Pass::read(&pass.write(), at(4)), None);
        for text in ["", "{}", "{\"began_us\":1,\"folder\":256}"] {
            assert_eq!(Pass::read(text, at(6)), None, "{text}");
        }
    }
}
