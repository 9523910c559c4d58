//! A file system in a file, mounted over a loop device, and copies of what had reached that device at some moment.
//!
//! What a process wrote and nobody synced is in the kernel's memory and not in the copy: to the copy, the power was cut.
//! It needs the rights to mount; without them the error says so.

use super::measure::is_smoke;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How long a device may go on being written to before a copy of one moment is given up.
const STILL_LIMIT: Duration = Duration::from_secs(20);

/// What a bench, or a part of one, that cannot run here ends with: it says why, and fails unless it is the short form and
/// `SLUICE_BENCH_MOUNT` says `where-allowed`.
#[allow(clippy::print_stdout, reason = "benches print")]
pub(crate) fn skipped(what: &str, reason: &str) -> ExitCode {
    println!("SKIPPED {what}: {reason}");
    let named = std::env::var_os("SLUICE_BENCH_MOUNT");
    if is_smoke() && named.is_some_and(|value| value == "where-allowed") {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// The same of a bench for which no file system can be mounted.
pub(crate) fn unmountable(what: &str, reason: &str) -> ExitCode {
    skipped(
        what,
        &format!("no file system can be mounted here: {reason}"),
    )
}

/// Makes an empty ext4 of `mebibytes`, all of whose tables are written, so that the kernel has nothing to do behind our
/// back.
///
/// # Errors
/// What the tools say.
pub(crate) fn make(image: &Path, mebibytes: u64) -> Result<(), String> {
    let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
    file.set_len(mebibytes << 20)
        .map_err(|error| error.to_string())?;
    let eager = "lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q", "-F", "-E", eager, &text(image)]).map(|_| ())
}

/// Copies an image without its holes.
///
/// # Errors
/// What the tool says.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run("cp", &["--sparse=always", &text(from), &text(to)]).map(|_| ())
}

/// A mounted image; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    image: PathBuf,
    point: PathBuf,
    /// What the kernel counts of the loop device.
    statistics: PathBuf,
}

impl Mounted {
    /// Mounts `image` at `point` with these options beside `loop`.
    ///
    /// # Errors
    /// What the tools say.
    pub(crate) fn mount(image: &Path, point: &Path, options: &str) -> Result<Self, String> {
        std::fs::create_dir_all(point).map_err(|error| error.to_string())?;
        let options = format!("loop,{options}");
        run(
            "mount",
            &["-t", "ext4", "-o", &options, &text(image), &text(point)],
        )?;
        let mut mounted = Self {
            image: image.to_owned(),
            point: point.to_owned(),
            statistics: PathBuf::new(),
        };
        let device = run(
            "losetup",
            &["--noheadings", "-O", "NAME", "-j", &text(image)],
        )?;
        let name = device.trim().trim_start_matches("/dev/");
        mounted.statistics = Path::new("/sys/block").join(name).join("stat");
        mounted.written()?;
        Ok(mounted)
    }

    /// Copies what has reached the device, at a moment when nothing is reaching it.
    ///
    /// # Errors
    /// If there is no such moment, or what the tools say.
    pub(crate) fn cut(&self, to: &Path) -> Result<(), String> {
        let until = Instant::now() + STILL_LIMIT;
        loop {
            let before = self.written()?;
            copy(&self.image, to)?;
            if before.1 == 0 && self.written()? == before {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("the device never rests".to_owned());
            }
        }
    }

    /// Sectors written so far, and requests under way.
    fn written(&self) -> Result<(u64, u64), String> {
        let path = &self.statistics;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        match (numbers.get(6), numbers.get(8)) {
            (Some(sectors), Some(under_way)) => Ok((*sectors, *under_way)),
            _ => Err(format!("{}: {text}", path.display())),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.point);
    }
}

/// A small file system in memory; gone when dropped.
#[derive(Debug)]
pub(crate) struct InMemory {
    point: PathBuf,
}

impl InMemory {
    /// Mounts one at `point` that holds so many MiB in so many files and folders.
    ///
    /// # Errors
    /// What the tools say.
    pub(crate) fn mount(point: &Path, mebibytes: u64, names: u64) -> Result<Self, String> {
        std::fs::create_dir_all(point).map_err(|error| error.to_string())?;
        let options = format!("size={mebibytes}m,nr_inodes={names}");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs", &text(point)],
        )?;
        Ok(Self {
            point: point.to_owned(),
        })
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        unmount(&self.point);
    }
}

fn unmount(point: &Path) {
    // A process that was killed a moment ago may still hold files open.
    for _ in 0..50 {
        match run("umount", &[&text(point)]) {
            Ok(_) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    let _ = run("umount", &["-l", &text(point)]);
}

/// A library that makes every barrier do nothing in the process that is started with it.
///
/// # Errors
/// If there is no C compiler, or what it says.
pub(crate) fn without_barrier(folder: &Path) -> Result<PathBuf, String> {
    let source = "#include <stddef.h>\n\
        int fsync(int fd) { (void)fd; return 0; }\n\
        int fdatasync(int fd) { (void)fd; return 0; }\n\
        int msync(void *at, size_t length, int flags) { (void)at; (void)length; (void)flags; return 0; }\n\
        int syncfs(int fd) { (void)fd; return 0; }\n\
        int sync_file_range(int fd, long long from, long long length, unsigned flags)\n\
        { (void)fd; (void)from; (void)length; (void)flags; return 0; }\n\
        void sync(void) {}\n";
    let (c, library) = (folder.join("nosync.c"), folder.join("nosync.so"));
    std::fs::write(&c, source).map_err(|error| error.to_string())?;
    run(
        "cc",
        &["-shared", "-fPIC", "-o", &text(&library), &text(&c)],
    )?;
    Ok(library)
}

/// Runs a tool; its words on standard output, or on standard error if it fails.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    // mkfs and losetup are where not every user looks for them.
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
