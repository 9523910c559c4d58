//! What the machine allows: open files, memory of the control group, a full disk. The binary itself, on loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::process::{Running, get, sluice};

/// Longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The value of a metric without labels.
fn metric(running: &Running, name: &str) -> u64 {
    let text = get(&running.address("admin http://"), "/metrics");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// A connection that has sent a request and waits for its answer.
fn ask(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /-/healthz HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    stream
}

fn is_answered(stream: &mut TcpStream) -> bool {
    let mut start = [0; 15];
    stream.read_exact(&mut start).is_ok() && &start == b"HTTP/1.1 200 OK"
}

fn is_silent(stream: &mut TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    let read = stream.read(&mut [0; 1]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read.is_err()
}

/// Says loudly that the machine does not allow a test.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A shell that runs `script` and then, in its place, the binary.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    let binary = sluice();
    command
        .args(["-c", &format!("{script}; exec \"$0\" \"$@\"")])
        .arg(binary.get_program());
    for (name, _) in binary.get_envs() {
        command.env_remove(name);
    }
    command
}

#[test]
fn out_of_files_connections_wait_and_are_accepted_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&folder.path().join("data"), &[]);
    let clients = running.address("Listening on http://");
    let mut first = ask(&clients);
    assert!(is_answered(&mut first));
    let pid = Some(Pid::from_child(&running.child));
    let open = std::fs::read_dir(format!("/proc/{}/fd", running.child.id()))
        .unwrap()
        .count();
    let limit = |files: u64| Rlimit {
        current: Some(files),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(pid, Resource::Nofile, limit(64.max(open as u64))).unwrap();
    // More than there are files for: some get in, the rest wait and break nothing.
    let mut crowd: Vec<_> = (0..100).map(|_| ask(&clients)).collect();
    assert!(is_answered(&mut crowd[0]));
    assert!(is_silent(&mut crowd[99], Duration::from_millis(500)));
    // Who is connected is served on.
    write!(first, "GET /-/healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut rest = vec![0; 4096];
    assert_ne!(first.read(&mut rest).unwrap(), 0);
    prlimit(pid, Resource::Nofile, before).unwrap();
    for stream in &mut crowd[1..] {
        assert!(is_answered(stream));
    }
    let failures = "sluice_accept_failures_total{listener=\"clients\"}";
    let failed = metric(&running, failures);
    // Tried again with growing pauses and not in a tight loop.
    assert!((1..100).contains(&failed), "{failed}");
}

#[test]
fn connections_are_no_more_than_a_quarter_of_the_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_as(
        shell("ulimit -n 120"),
        &folder.path().join("data"),
        &["--header-timeout", "1h"],
    );
    let clients = running.address("Listening on http://");
    let mut crowd: Vec<_> = (0..60).map(|_| ask(&clients)).collect();
    // For the others, those that have waited longest make room.
    for stream in &mut crowd {
        assert!(is_answered(stream));
    }
    assert!(metric(&running, "sluice_connections_open{listener=\"clients\"}") <= 30);
    let ended = "sluice_connections_ended_for_others_total{listener=\"clients\"}";
    assert_ne!(metric(&running, ended), 0);
}

/// A control group of this process's own, below the one it is in; removed at the end.
struct Group {
    path: std::path::PathBuf,
}

impl Group {
    /// `None`, with a word on why, where this process may not make one.
    fn with_memory(bytes: u64) -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("sluice-test-{}", std::process::id());
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?.trim_start_matches('/'));
            let (base, file) = match controllers {
                "" => (root.to_path_buf(), "memory.max"),
                "memory" => (root.join("memory"), "memory.limit_in_bytes"),
                _ => continue,
            };
            // A group whose path is that of the host is not seen from inside a container.
            for parent in [base.join(group), base] {
                let path = parent.join(&name);
                if std::fs::create_dir(&path).is_ok() {
                    let group = Self { path };
                    if std::fs::write(group.path.join(file), bytes.to_string()).is_ok() {
                        return Some(group);
                    }
                }
            }
        }
        skipped("no control group can be made here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The process that was in it may take a moment to be gone.
        for _ in 0..1000 {
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_memory_tier_is_an_eighth_of_a_small_control_group_at_most() {
    let Some(group) = Group::with_memory(256 << 20) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let processes = group.path.join("cgroup.procs");
    let script = format!("echo $$ > {}", processes.display());
    let running = Running::start_as(shell(&script), &folder.path().join("data"), &[]);
    assert_eq!(metric(&running, "sluice_memory_max_answer_bytes"), 32 << 20);
    drop(running);
    let running = Running::start(&folder.path().join("data"), &[]);
    assert_eq!(metric(&running, "sluice_memory_max_answer_bytes"), 64 << 20);
}

/// The index is open.
const READY: &str = "\nsluice_store_index_ready 1\n";

/// Runs twice in a file system of its own: the ballast is made, the disk filled by somebody else, and the second start
/// gives the ballast up.
const FULL_DISK: &str = r#"
set -eu
binary=$0; folder=$1
mount -t tmpfs -o size=2g none "$folder"
start() {
    rm -f "$folder.out"
    "$binary" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --upstream http://127.0.0.1:9/v3/index.json \
        --log off --data-dir "$folder/data" --min-free-bytes 1MiB > "$folder.out" & pid=$!
    until grep -qs packageSources "$folder.out"; do sleep 0.05; done
    admin=$(sed -n 's/.*admin \(http:[^ ]*\).*/\1/p' "$folder.out")
    "$binary" healthcheck --admin "$admin"
}
start
until [ -s "$folder/data/BALLAST" ]; do sleep 0.05; done
kill -TERM $pid; wait $pid
cat /dev/zero > "$folder/somebody" 2>/dev/null || true
free=$(stat -f -c '%f' "$folder"); [ "$free" = 0 ]
start
[ ! -e "$folder/data/BALLAST" ]
free=$(stat -f -c '%f' "$folder"); [ "$free" != 0 ]
echo "admin $admin"
read -r _
kill -TERM $pid; wait $pid
"#;

#[test]
fn on_a_full_disk_a_start_gives_the_ballast_up_and_opens_the_index() {
    let may_mount = Command::new("unshare")
        .args(["-rm", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !may_mount {
        skipped("no file system can be mounted here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let binary = sluice();
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", FULL_DISK])
        .arg(binary.get_program())
        .arg(&disk)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    for (name, _) in binary.get_envs() {
        command.env_remove(name);
    }
    let mut child = command.spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let admin = line.trim().strip_prefix("admin http://").map(str::to_owned);
    let metrics = admin.map(|admin| {
        let tries = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(20));
            get(&admin, "/metrics")
        });
        let mut tries = tries.take(1000);
        tries.find(|metrics| metrics.contains(READY))
    });
    child.stdin.take().unwrap().write_all(b"done\n").unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
    assert!(metrics.flatten().is_some(), "the index was not opened");
}
