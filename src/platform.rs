//! What differs between operating systems: syncing, room on the disk, locks, `sendfile`, limits of the process.
//!
//! Each call that differs takes a [`Portability`], so that a test on Linux can force the path that other systems take.
//! All calls block, but `send_file`, which takes a non-blocking socket. It refuses to know what the files hold.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::path::Path;

/// Which of two paths a call takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Portability {
    /// What this operating system does best.
    #[default]
    Native,
    /// What every operating system can do.
    Portable,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// Bytes that an unprivileged process may still write.
    pub free: u64,
    /// Files and folders that it may still make; `u64::MAX` where there is no limit.
    pub names: u64,
    /// Bytes of the whole file system.
    pub total: u64,
}

/// Makes a file's data durable.
///
/// # Errors
/// What the operating system reports.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Makes the names in a directory durable. Where a directory cannot be opened (Windows) its journal does that.
///
/// # Errors
/// What the operating system reports.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(path)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}

/// Writes a file that its owner alone may read. Where a file has no such mode (Windows) its folder's rights decide.
///
/// # Errors
/// What the operating system reports.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(path)?, bytes)
}

/// Keeps this process from being given huge pages: an allocator's arenas would otherwise take them whole for the few
/// kilobytes in use, which doubles what a proxy of many connections holds (measured with the
/// allocator's own switch: 117 against 50 MiB for 20 clients of one large package). Where there is no such switch, nothing happens.
pub fn avoid_huge_pages(portability: Portability) {
    #[cfg(target_os = "linux")]
    if portability == Portability::Native {
        // A kernel without them has nothing to switch off.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = portability;
    }
}

/// Reserves blocks for the first `length` bytes, growing the file to it. Where that cannot be asked for, nothing
/// happens: the reservation then is accounting only.
///
/// # Errors
/// No room, chiefly.
pub fn allocate(file: &File, length: u64, portability: Portability) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if portability == Portability::Native && length > 0 {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        return match fallocate(file, FallocateFlags::empty(), 0, length) {
            // File systems without extents say so; writing still works there.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
    }
    let _ = (file, length, portability);
    Ok(())
}

/// Room on the file system that holds `path`; `None` where that is not known.
#[must_use]
pub fn space(path: &Path, portability: Portability) -> Option<Space> {
    #[cfg(unix)]
    if portability == Portability::Native {
        let stat = rustix::fs::statvfs(path).ok()?;
        return Some(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            // File systems without a limit tell none.
            names: match stat.f_files {
                0 => u64::MAX,
                _ => stat.f_favail,
            },
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        });
    }
    let _ = (path, portability);
    None
}

/// The name of the network file system that holds `path`, or `None` for a local or unknown one. FUSE counts as local:
/// most containers without privileges stand on it.
#[must_use]
pub fn network_file_system(path: &Path, portability: Portability) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    if portability == Portability::Native {
        // The kernel's magic numbers (statfs(2)) are 32 bits wide, whatever the field is.
        let magic = rustix::fs::statfs(path).ok()?.f_type & 0xffff_ffff;
        return network_name(u64::try_from(magic).ok()?);
    }
    let _ = (path, portability);
    None
}

#[cfg(target_os = "linux")]
fn network_name(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x0102_1997 => "9p",
        0x5346_414f => "afs",
        0x00c3_6400 => "ceph",
        0xff53_4d42 => "cifs",
        0x7375_7245 => "coda",
        0x0bd0_0bd0 => "lustre",
        0x6969 => "nfs",
        0x517b => "smb",
        0xfe53_4d42 => "smb2",
        _ => return None,
    })
}

/// Bytes that a file takes on the disk. The portable answer rounds its length up to 4 KiB, the block of nearly every
/// file system.
#[must_use]
pub fn disk_bytes(metadata: &Metadata, portability: Portability) -> u64 {
    #[cfg(unix)]
    if portability == Portability::Native {
        use std::os::unix::fs::MetadataExt as _;
        // POSIX: st_blocks counts 512 bytes, whatever the block of the file system is.
        return metadata.blocks().saturating_mul(512);
    }
    let _ = portability;
    metadata.len().next_multiple_of(4096)
}

/// How an attempt to lock a file ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Locking {
    /// Another process (or handle) has it.
    Held,
    /// It is ours until the handle is closed.
    Ours,
}

/// Tries to lock a file for this process, without waiting.
///
/// # Errors
/// What the operating system reports, other than that somebody has it.
pub fn try_lock(file: &File) -> io::Result<Locking> {
    match file.try_lock() {
        Ok(()) => Ok(Locking::Ours),
        Err(TryLockError::WouldBlock) => Ok(Locking::Held),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Fills `buffer` with the bytes at `offset`, without moving the handle's position.
///
/// # Errors
/// `UnexpectedEof` if the file ends before, else what the operating system reports.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
    }
    #[cfg(windows)]
    {
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, rest, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    rest = &mut rest[n..];
                    at += n as u64;
                }
            }
        }
        Ok(())
    }
}

/// Writes all of `bytes` at `offset`, without moving the handle's position.
///
/// # Errors
/// What the operating system reports.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }
    #[cfg(windows)]
    {
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(file, rest, at)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => {
                    rest = &rest[n..];
                    at += n as u64;
                }
            }
        }
        Ok(())
    }
}

/// Sends at most `length` bytes of `file` from `offset` to a socket and says how many went out; zero means that the
/// file has ended.
///
/// # Errors
/// `WouldBlock` when the socket is full, `Unsupported` where there is no such call, else what the system reports.
#[cfg(unix)]
pub fn send_file(
    socket: std::os::fd::BorrowedFd<'_>,
    file: &File,
    offset: u64,
    length: usize,
) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        let mut offset = offset;
        Ok(rustix::fs::sendfile(
            socket,
            file,
            Some(&mut offset),
            length,
        )?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (socket, file, offset, length);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Whether an error of `send_file` is the file's and not the socket's: `EIO` while reading (sendfile(2)), damage that a file
/// system finds in itself (`EBADMSG` and `EUCLEAN` of ext4 and XFS), a file that its server has no more (`ESTALE`, NFS).
#[must_use]
pub fn is_of_disk(error: &io::Error) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        let of_disk = [Errno::BADMSG, Errno::IO, Errno::STALE, Errno::UCLEAN];
        let code = error.raw_os_error();
        of_disk.iter().any(|one| code == Some(one.raw_os_error()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = error;
        false
    }
}

/// Raises the soft limit of open files to the hard one and says what it is now; `None` where there is none.
#[must_use]
pub fn raise_open_files(portability: Portability) -> Option<u64> {
    #[cfg(unix)]
    if portability == Portability::Native {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // macOS refuses "unlimited"; what was there before stays then.
        return match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
    }
    let _ = portability;
    None
}

/// The memory that this process's control group may use, in bytes; `None` if there is no such limit.
#[must_use]
pub fn memory_limit(portability: Portability) -> Option<u64> {
    #[cfg(target_os = "linux")]
    if portability == Portability::Native {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        return memory_limit_in(Path::new("/sys/fs/cgroup"), &groups);
    }
    let _ = portability;
    None
}

/// The lowest limit of the groups that `/proc/self/cgroup` names, and of their parents, below `root`.
#[cfg(target_os = "linux")]
fn memory_limit_in(root: &Path, groups: &str) -> Option<u64> {
    let mut lowest = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (base, file) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        for ancestor in Path::new(group.trim_start_matches('/')).ancestors() {
            let text = std::fs::read_to_string(base.join(ancestor).join(file));
            // "max" of version 2 is no number; version 1 says "none" by a number near 2^63.
            let limit = text.ok().and_then(|text| text.trim().parse::<u64>().ok());
            lowest = match (lowest, limit.filter(|limit| *limit < 1 << 60)) {
                (Some(one), Some(other)) => Some(u64::min(one, other)),
                (one, other) => one.or(other),
            };
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    const BOTH: [Portability; 2] = [Portability::Native, Portability::Portable];

    #[test]
    fn allocates_and_counts_blocks_on_both_paths() {
        for portability in BOTH {
            let mut file = tempfile::tempfile().unwrap();
            allocate(&file, 100_000, portability).unwrap();
            file.write_all(&[7; 5000]).unwrap();
            file.set_len(5000).unwrap();
            sync_data(&file).unwrap();
            let bytes = disk_bytes(&file.metadata().unwrap(), portability);
            assert!((5000..=100_000).contains(&bytes), "{portability:?} {bytes}");
        }
    }

    #[test]
    fn reads_and_writes_at_offsets() {
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, b"hello", 3).unwrap();
        let mut buffer = [0; 4];
        read_exact_at(&file, &mut buffer, 4).unwrap();
        assert_eq!(&buffer, b"ello");
        let short = read_exact_at(&file, &mut buffer, 5).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_lock_is_held_against_a_second_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = File::create(&path).unwrap();
        let second = File::open(&path).unwrap();
        assert_eq!(try_lock(&first).unwrap(), Locking::Ours);
        assert_eq!(try_lock(&second).unwrap(), Locking::Held);
        drop(first);
        assert_eq!(try_lock(&second).unwrap(), Locking::Ours);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn knows_network_file_systems_by_their_magic() {
        assert_eq!(network_name(0x6969), Some("nfs"));
        assert_eq!(network_name(0xff53_4d42), Some("cifs"));
        assert_eq!(network_name(0xef53), None, "ext4");
        assert_eq!(network_name(0x6573_5546), None, "FUSE");
        let here = Path::new("/");
        assert_eq!(network_file_system(here, Portability::Portable), None);
    }

    #[cfg(unix)]
    #[test]
    fn knows_the_room_natively_only() {
        let here = Path::new("/");
        let space_here = space(here, Portability::Native).unwrap();
        assert!(space_here.total >= space_here.free);
        assert_eq!(space(here, Portability::Portable), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finds_the_lowest_memory_limit_of_the_group_and_its_parents() {
        #[track_caller]
        fn check(files: &[(&str, &str)], groups: &str, expected: Option<u64>) {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            assert_eq!(memory_limit_in(root.path(), groups), expected);
        }
        check(&[("memory.max", "max\n")], "0::/\n", None);
        check(&[("a/memory.max", "1000\n")], "0::/a\n", Some(1000));
        check(
            &[("a/b/memory.max", "max\n"), ("a/memory.max", "500\n")],
            "0::/a/b\n",
            Some(500),
        );
        check(
            &[("memory/x/memory.limit_in_bytes", "70\n")],
            "4:cpu:/x\n3:memory:/x\n",
            Some(70),
        );
        check(
            &[("memory/memory.limit_in_bytes", "9223372036854771712\n")],
            "3:memory:/\n",
            None,
        );
        check(&[], "", None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sends_a_file_to_a_socket() {
        use std::io::Read as _;
        use std::os::fd::AsFd as _;
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, b"0123456789", 0).unwrap();
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(send_file(ours.as_fd(), &file, 2, 5).unwrap(), 5);
        assert_eq!(send_file(ours.as_fd(), &file, 10, 5).unwrap(), 0);
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "23456");
    }
}
