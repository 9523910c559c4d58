//! What the machine refuses: descriptors, writing, a folder that is somebody else's. The binary, on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::PATH;
use super::of_a_process::Stocked;
use crate::harness::fixture::package;
use crate::process::{Running, get, sluice, text};

/// Bytes of the package: more than are ever held back.
const LENGTH: usize = 1 << 20;

/// The descriptors that a process uses, in order.
fn descriptors(pid: u32) -> Vec<u64> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let names = open.map(|entry| entry.unwrap().file_name());
    let numbers = names.map(|name| name.to_str().unwrap().parse().unwrap());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// The lowest descriptor that a process does not use, once it has closed what it has done with.
fn lowest_free(pid: u32) -> u64 {
    loop {
        let before = descriptors(pid);
        std::thread::sleep(Duration::from_millis(700));
        if descriptors(pid) == before {
            return (0..).find(|number| !before.contains(number)).unwrap();
        }
    }
}

/// Asks for the package over a connection that stays, and takes it.
fn take(reader: &mut BufReader<TcpStream>) -> Vec<u8> {
    write!(reader.get_mut(), "GET {PATH} HTTP/1.1\r\nhost: us\r\n\r\n").unwrap();
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    body
}

#[test]
fn out_of_files_stored_packages_come_from_the_upstream_and_the_log_says_so_once() {
    let whole = package(super::ID, "1.0.0", LENGTH);
    let stocked = Stocked::new(whole.clone());
    let Stocked {
        running,
        upstream,
        folder,
        ..
    } = stocked;
    drop(running);
    // A new process holds nothing open; what it asks first leaves it a connection to the upstream.
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut command = sluice();
    command
        .args(["--upstream", &upstream.index, "--log", "warn"])
        .stderr(log);
    let running = Running::launch(command, &folder.path().join("data"));
    let admin = running.address("admin http://");
    let is_ready = || get(&admin, "/metrics").contains("\nsluice_store_index_ready 1\n");
    while !is_ready() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let address = running.address("Listening on http://");
    assert!(get(&address, "/v3/index.json").starts_with("HTTP/1.1 200"));
    let stream = TcpStream::connect(&address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    write!(reader.get_mut(), "HEAD / HTTP/1.1\r\nhost: us\r\n\r\n").unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
    }
    let asked = upstream.asked(PATH);
    let pid = Pid::from_child(&running.child);
    let limit = Rlimit {
        current: Some(lowest_free(running.child.id())),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    for _ in 0..5 {
        assert!(take(&mut reader) == whole, "the bytes differ");
    }
    assert_eq!(upstream.asked(PATH), asked + 5);
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    // Others are let in again, and what is stored is found again.
    assert!(get(&address, "/v3/index.json").starts_with("HTTP/1.1 200"));
    assert!(take(&mut reader) == whole, "the bytes differ");
    assert_eq!(upstream.asked(PATH), asked + 5);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let told = log.lines().filter(|line| line.contains("the store fails"));
    assert_eq!(told.count(), 1, "{log}");
    assert!(log.contains("Too many open files"), "{log}");
}

/// Starts it on a folder that it cannot use; what it says.
fn refused(mut command: Command) -> String {
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let output: Output = command
        .args(ports)
        .args(["--log", "off", "--lock-wait", "1s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    text(&output.stderr).to_owned()
}

#[test]
fn a_second_process_on_a_folder_is_refused_by_name_and_the_first_goes_on() {
    let whole = package(super::ID, "1.0.0", LENGTH);
    let stocked = Stocked::new(whole.clone());
    let mut command = sluice();
    command.arg("--data-dir").arg(stocked.data());
    let said = refused(command);
    assert!(
        said.contains(&stocked.running.child.id().to_string()),
        "{said}"
    );
    assert!(said.contains(stocked.data().to_str().unwrap()), "{said}");
    assert!(stocked.fetch() == whole, "the bytes differ");
    assert_eq!(stocked.upstream.asked(PATH), 1);
}

#[test]
fn a_folder_of_a_later_release_is_refused_with_both_formats_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("VERSION"), "7\n").unwrap();
    let mut command = sluice();
    command.arg("--data-dir").arg(folder.path());
    let said = refused(command);
    assert!(said.contains('7') && said.contains('1'), "{said}");
    let left = std::fs::read_dir(folder.path()).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["LOCK", "VERSION"]);
}

#[test]
fn a_read_only_folder_is_refused_by_name() {
    let may_mount = Command::new("unshare").args(["-rm", "true"]).output();
    if !may_mount.is_ok_and(|output| output.status.success()) {
        return crate::limits::skipped("no file system can be mounted here");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none \"$1\" && mount -o remount,ro \"$1\" && \
        data=$1 && shift && exec \"$0\" --data-dir \"$data\" \"$@\"";
    let binary = sluice();
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", script])
        .arg(binary.get_program())
        .arg(folder.path());
    for (name, _) in binary.get_envs() {
        command.env_remove(name);
    }
    let said = refused(command);
    assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
}
