//! Somebody else on the same disk: takes all of its room, or all of its names, gives a little back, and all.
//!
//! It refuses to touch what it did not make.

use super::random::Random;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a little is given back and taken again while the disk is full.
const TURNS: usize = 12;

/// What runs out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scarcity {
    Names,
    Room,
}

/// What somebody else has on the disk.
#[derive(Debug)]
pub(crate) struct Filler {
    folder: PathBuf,
    /// Bytes of the one large file.
    length: u64,
    /// Empty files.
    names: u64,
}

impl Filler {
    /// Nothing yet, in this folder of the disk, which is made now: later there may be no name for it.
    ///
    /// # Panics
    /// If there is no name for it even now.
    pub(crate) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("an empty disk takes a folder");
        let filler = Self {
            folder: folder.to_owned(),
            length: 0,
            names: 0,
        };
        File::create(filler.large()).expect("an empty disk takes a file");
        filler
    }

    fn large(&self) -> PathBuf {
        self.folder.join("large")
    }

    fn named(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Takes all of it, to the last block or name.
    ///
    /// # Panics
    /// If what was made cannot be opened.
    pub(crate) fn take(&mut self, scarcity: Scarcity) {
        match scarcity {
            Scarcity::Names => {
                while File::create_new(self.named(self.names)).is_ok() {
                    self.names += 1;
                }
            }
            Scarcity::Room => {
                let opened = File::options().write(true).open(self.large());
                let mut file = opened.expect("it was made at the beginning");
                // The larger pieces for speed: between two looks at the free room, all of it goes.
                for piece in [8 << 20, 1 << 20, 4096] {
                    let bytes = vec![0xa5; piece];
                    let _ = file.seek(SeekFrom::Start(self.length));
                    // It ends with what it wants: no room.
                    while file.write_all(&bytes).is_ok() {
                        self.length += piece as u64;
                    }
                    let _ = file.set_len(self.length);
                }
            }
        }
    }

    /// Gives so many blocks or names back.
    ///
    /// # Panics
    /// If what was made cannot be made smaller.
    pub(crate) fn give_back(&mut self, scarcity: Scarcity, count: u64) {
        match scarcity {
            Scarcity::Names => {
                for _ in 0..count.min(self.names) {
                    self.names -= 1;
                    fs::remove_file(self.named(self.names)).expect("it was made before");
                }
            }
            Scarcity::Room => {
                self.length = self.length.saturating_sub(count * 4096);
                let opened = File::options().write(true).open(self.large());
                let shortened = opened.and_then(|file| file.set_len(self.length));
                shortened.expect("a file can be made shorter");
            }
        }
    }

    /// Takes all and gives a little of it back, or everything, again and again; at the end everything.
    pub(crate) fn ebb_and_flow(&mut self, scarcity: Scarcity, random: &mut Random) {
        self.take(scarcity);
        std::thread::sleep(Duration::from_millis(random.between(20, 150)));
        for _ in 0..TURNS {
            if random.chance(70) {
                self.leave();
                // Long enough that much is begun, which the next turn catches in the middle.
                std::thread::sleep(Duration::from_millis(random.between(5, 60)));
            } else {
                self.give_back(scarcity, random.below(100));
                std::thread::sleep(Duration::from_millis(random.below(8)));
            }
            self.take(scarcity);
            std::thread::sleep(Duration::from_millis(random.below(4)));
        }
        self.leave();
    }

    /// Gives back everything.
    pub(crate) fn leave(&mut self) {
        self.give_back(Scarcity::Names, u64::MAX);
        self.give_back(Scarcity::Room, u64::MAX >> 12);
    }
}
