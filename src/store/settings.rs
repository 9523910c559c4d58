//! What the operator may set, why an open is refused, and the seam that tests use to break things.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::platform::Portability;

/// What the store obeys.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that holds everything; created if it is missing.
    pub data_dir: PathBuf,
    /// Most bytes that bodies, reservations and the index may take; `None`: the lesser of 10 GiB and half of the free
    /// space plus what the store holds already, so that a restart never evicts.
    pub max_store_bytes: Option<u64>,
    /// Room that is left free on the file system; however low this is, what the index needs.
    pub min_free_bytes: u64,
    /// Most bytes of finished answers in memory, all together. Halved and halved again until it is at most an eighth
    /// of the control group's limit.
    pub memory_bytes: u64,
    /// Longest body of an answer that is kept in memory.
    pub max_answer_bytes: u64,
    /// Most stored bodies that are held open between requests; `None`: the lesser of 1024 and a quarter of the
    /// process's limit of open files.
    pub max_open_bodies: Option<usize>,
    /// Most remembered 404s.
    pub max_absences: usize,
    /// Most proofs that clients' credentials were let in.
    pub max_proofs: usize,
    /// How long opening waits for another process to let go of the folder.
    pub lock_wait: Duration,
    /// Whether a network file system is accepted.
    pub network_fs: NetworkFs,
    /// How long a call to the index, its opening included, may take before the index counts as dead; likewise a call
    /// that writes a body.
    pub index_deadline: Duration,
    /// How long a lookup waits for the index before it probes for the file by name.
    pub read_deadline: Duration,
    /// How long one read of a body may take.
    pub body_deadline: Duration,
    /// Size of the file that is given up when the disk is full, so that the index can be opened; at most 1 % of the
    /// disk. Zero: none.
    pub ballast_bytes: u64,
    /// Each stored body is read and checked once within this time; `None`: only when it is first asked for after a
    /// start.
    pub scrub_every: Option<Duration>,
    /// Which path calls to the operating system take.
    pub portability: Portability,
    /// For tests: sees every step and may break it.
    pub probe: Option<Probe>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "./sluice-data".into(),
            max_store_bytes: None,
            // Room for the index to be written and for other programs to notice a full disk before it is full.
            min_free_bytes: 256 << 20,
            memory_bytes: 64 << 20,
            max_answer_bytes: 16 << 20,
            max_open_bodies: None,
            max_absences: 100_000,
            // A thousand clients with a hundred private packages each.
            max_proofs: 100_000,
            lock_wait: Duration::from_secs(30),
            network_fs: NetworkFs::Refuse,
            index_deadline: Duration::from_secs(10),
            read_deadline: Duration::from_millis(250),
            body_deadline: Duration::from_secs(10),
            ballast_bytes: 64 << 20,
            // Disks lose a bit now and then, and twelve readings a year wear nothing out.
            scrub_every: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            portability: Portability::Native,
            probe: None,
        }
    }
}

/// What to do with a data folder on a network file system, where neither locks nor syncs can be relied upon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NetworkFs {
    /// Use it: the operator knows better.
    Allow,
    /// Refuse to start.
    #[default]
    Refuse,
}

/// Why the store could not be opened. Each is for the operator to mend, so start-up stops.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses the folder.
    Locked {
        /// The folder.
        path: PathBuf,
        /// What that process wrote about itself: its process id.
        holder: String,
    },
    /// The folder lies on a network file system.
    NetworkFileSystem {
        /// The folder.
        path: PathBuf,
        /// The file system's name.
        name: &'static str,
    },
    /// A later release wrote the folder.
    NewerFormat {
        /// The folder's format.
        found: u32,
        /// The latest format that this release knows.
        known: u32,
    },
    /// The path names something else than a folder.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The file of pins cannot be read.
    Pins {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder, or a file of ours in it, cannot be created, read or written.
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path, holder } => write!(
                f,
                "the data folder {} is in use by process {holder}",
                path.display()
            ),
            Self::NetworkFileSystem { path, name } => write!(
                f,
                "the data folder {} lies on a network file system ({name}), which loses data; use a local disk",
                path.display()
            ),
            Self::NewerFormat { found, known } => write!(
                f,
                "the data folder has format {found}, written by a later release; this one knows formats up to {known}"
            ),
            Self::NotADirectory { path } => {
                write!(f, "the data folder {} is not a folder", path.display())
            }
            Self::Pins { path, problem } => {
                write!(
                    f,
                    "the pins in {} cannot be read: {problem}",
                    path.display()
                )
            }
            Self::Unwritable { path, source } => write!(
                f,
                "the data folder {} cannot be used: {source}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unwritable { source, .. } => Some(source),
            Self::Locked { .. }
            | Self::NetworkFileSystem { .. }
            | Self::NewerFormat { .. }
            | Self::NotADirectory { .. }
            | Self::Pins { .. } => None,
        }
    }
}

/// Sees every step of the store before it is done, and may break it. A test puts crashes there (it copies the folder
/// when it is called), errors, panics and hangs; production has none.
#[derive(Clone)]
pub struct Probe {
    decide: Arc<dyn Fn(Step) -> Option<Fault> + Send + Sync>,
    free: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

impl Probe {
    /// A probe that asks `decide` before each step.
    pub fn new(decide: impl Fn(Step) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self {
            decide: Arc::new(decide),
            free: None,
        }
    }

    /// The same on a disk with so many bytes free, which `free` says whenever it is asked.
    #[must_use]
    pub fn with_free_space(mut self, free: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.free = Some(Arc::new(free));
        self
    }

    /// Bytes that are free on the disk of a test.
    pub(super) fn free_space(&self) -> Option<u64> {
        self.free.as_ref().map(|free| free())
    }

    /// What shall happen at this step.
    pub(super) fn ask(&self, step: Step) -> Option<Fault> {
        (self.decide)(step)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

/// A step that a [`Probe`] sees.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// The index is opened.
    IndexOpen,
    /// A row is looked up in the index.
    IndexRead,
    /// A stored body is opened by name.
    Open,
    /// Bytes of a body are read.
    Read,
    /// A finished body gets its final name.
    Rename,
    /// Room for a new body is found and its temporary file created.
    Reserve,
    /// A batch of rows is written to the index.
    Row,
    /// A finished body is synced.
    Sync,
    /// The trailer is written.
    Trailer,
    /// A stored body or a temporary file is deleted.
    Unlink,
    /// Bytes are written to a new body.
    Write,
}

/// What a [`Probe`] makes of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It never returns.
    Hang,
    /// It fails with this error.
    Io(io::ErrorKind),
    /// It panics.
    Panic,
}
