//! Small files beside the stored bodies: read whole, replaced in one step.
//!
//! Tokens and their use are kept so, and the lists of users that somebody else writes are read so. A reader sees the old
//! content or the new one and never a part, a power cut included. Every call blocks. Refuses to know what is in them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::platform::{self, Locking};

/// Longest small file: a hundred thousand tokens take a third of it, and a wrong path must not be read whole.
const MAX_BYTES: u64 = 64 << 20;

/// A small file, by its path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SmallFile {
    path: PathBuf,
}

/// What tells one content of a file from the next, without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// When it was written; not known on every file system.
    pub modified: Option<SystemTime>,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why a small file was not changed.
#[derive(Debug)]
pub enum ChangeError<E> {
    /// Another process is changing it.
    Busy,
    /// It cannot be read or written.
    Io(io::Error),
    /// Whoever changes it refused.
    Refused(E),
}

impl<E: fmt::Display> fmt::Display for ChangeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another process is changing it; try again"),
            Self::Io(error) => error.fmt(f),
            Self::Refused(why) => why.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for ChangeError<E> {}

impl SmallFile {
    /// The file at this path, whether or not it is there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells its content from the next; `None` if there is no file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn stamp(&self) -> io::Result<Option<Stamp>> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        Ok(Some(Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        }))
    }

    /// Its text; `None` if there is no file.
    ///
    /// # Errors
    /// As the operating system says; `InvalidData` for one that is too long or no UTF-8.
    pub fn read(&self) -> io::Result<Option<String>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = String::new();
        let read = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if u64::try_from(read).unwrap_or(u64::MAX) > MAX_BYTES {
            let why = format!("longer than {MAX_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(text))
    }

    /// Gives it this content, in one step that outlives a power cut.
    ///
    /// # Errors
    /// As the operating system says; the old content is then still there.
    pub fn replace(&self, text: &str) -> io::Result<()> {
        let temporary = self.beside("new");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            platform::sync_data(&file)
        });
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, &self.path)) {
            // What is left of it is in nobody's way.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        match self.path.parent().filter(|parent| *parent != Path::new("")) {
            Some(parent) => platform::sync_directory(parent),
            None => platform::sync_directory(Path::new(".")),
        }
    }

    /// Changes its content, which no other process changes meanwhile: `change` gets the old text and gives the new one,
    /// and something for the caller.
    ///
    /// # Errors
    /// [`ChangeError`]; the old content is then still there.
    pub fn change<T, E>(
        &self,
        change: impl FnOnce(Option<String>) -> Result<(String, T), E>,
    ) -> Result<T, ChangeError<E>> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.beside("lock"))
            .map_err(ChangeError::Io)?;
        match platform::try_lock(&lock).map_err(ChangeError::Io)? {
            Locking::Held => return Err(ChangeError::Busy),
            Locking::Ours => {}
        }
        let old = self.read().map_err(ChangeError::Io)?;
        let (text, told) = change(old).map_err(ChangeError::Refused)?;
        self.replace(&text).map_err(ChangeError::Io)?;
        Ok(told)
    }

    /// A path of this name with another ending.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, SmallFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = SmallFile::new(folder.path().join("tokens.json"));
        (folder, file)
    }

    #[test]
    fn a_file_is_read_whole_and_replaced_in_one_step() {
        let (folder, file) = file();
        assert_eq!(file.read().expect("no file is none"), None);
        assert_eq!(file.stamp().expect("no file is none"), None);
        file.replace("one").expect("a folder that takes files");
        let stamp = file.stamp().expect("it is there");
        assert_eq!(stamp.map(|stamp| stamp.bytes), Some(3));
        file.replace("other").expect("a folder that takes files");
        assert_eq!(file.read().expect("it is there").as_deref(), Some("other"));
        let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_refused_change_and_a_failed_one_leave_the_old_content() {
        let (folder, file) = file();
        file.replace("old").expect("a folder that takes files");
        let refused = file.change(|old| {
            assert_eq!(old.as_deref(), Some("old"));
            Err::<(String, ()), _>("no")
        });
        assert!(matches!(refused, Err(ChangeError::Refused("no"))));
        assert_eq!(file.read().expect("it is there").as_deref(), Some("old"));
        // A folder where the new content would be written.
        fs::create_dir(folder.path().join("tokens.json.new")).expect("a folder");
        assert!(file.replace("new").is_err());
        assert_eq!(file.read().expect("it is there").as_deref(), Some("old"));
    }

    #[test]
    fn of_two_changes_at_once_one_is_told_to_try_again() {
        let (_folder, file) = file();
        let told = file.change(|_| {
            let other = file.change(|_| Ok::<_, &str>((String::new(), ())));
            assert!(matches!(other, Err(ChangeError::Busy)), "{other:?}");
            Ok::<_, &str>(("text".into(), 7))
        });
        assert_eq!(told.expect("nothing is in the way"), 7);
        assert_eq!(file.read().expect("it is there").as_deref(), Some("text"));
    }
}
