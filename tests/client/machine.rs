//! A developer's machine: a home, the client's caches, a copy of the solution.
//!
//! Nothing of the real home is read or written.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a command of the client came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) status: i32,
    /// stdout, then stderr.
    pub(crate) text: String,
}

impl Outcome {
    /// Fails unless the command succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(
            self.status, 0,
            "the command failed after {:?}:\n{}",
            self.elapsed, self.text
        );
        self
    }

    /// Fails unless the command failed.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert_ne!(
            self.status, 0,
            "the command should have failed:\n{}",
            self.text
        );
        self
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    root: PathBuf,
    sdk: PathBuf,
    /// Of its user's environment, beyond the folders.
    variables: Vec<(&'static str, String)>,
}

impl Machine {
    /// A new one below `root`, as after its first use of `dotnet`: its user's NuGet.Config names
    /// nuget.org.
    pub(crate) fn new(root: &Path, sdk: &Path) -> Self {
        let machine = Self {
            root: root.to_owned(),
            sdk: sdk.to_owned(),
            variables: Vec::new(),
        };
        for folder in ["home", "tmp", "work"] {
            std::fs::create_dir_all(root.join(folder)).expect("folders can be made");
        }
        machine
            .dotnet(&machine.work(), &["nuget", "list", "source"])
            .succeeded();
        machine
    }

    /// Has it trust the authorities of this PEM file, as .NET on Linux is told.
    pub(crate) fn trust(&mut self, authorities: &Path) {
        self.set("SSL_CERT_FILE", &authorities.display().to_string());
    }

    /// Sets a variable of its user's environment.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// The user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where commands are run.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The global packages folder.
    pub(crate) fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    /// All of it; what a command prints of this path is replaced before outputs are compared.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The user's NuGet.Config.
    pub(crate) fn config(&self) -> PathBuf {
        self.home().join(".nuget/NuGet/NuGet.Config")
    }

    /// A writable copy of the solution of the shared folder, without what a restore leaves.
    pub(crate) fn solution(&self) -> PathBuf {
        let (from, to) = (
            crate::harness::shared().join("feed/solution"),
            self.work().join("solution"),
        );
        copy(&from, &to);
        let writable = Command::new("chmod").arg("-R").arg("u+w").arg(&to).status();
        assert!(
            writable.is_ok_and(|status| status.success()),
            "chmod {}",
            to.display()
        );
        to
    }

    /// A project of its own for net10.0 with these references, `(id, version)`.
    pub(crate) fn project(&self, name: &str, references: &[(&str, &str)]) -> PathBuf {
        let folder = self.work().join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let references: String = references
            .iter()
            .map(|(id, version)| {
                format!(r#"<PackageReference Include="{id}" Version="{version}" />"#)
            })
            .collect();
        let text = format!(
            r#"<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
  <ItemGroup>{references}</ItemGroup>
</Project>
"#
        );
        std::fs::write(folder.join(format!("{name}.csproj")), text).expect("it can be written");
        folder
    }

    /// Forgets every package, answer and restore, so that the next one asks for everything.
    pub(crate) fn forget(&self) {
        for folder in ["http", "packages", "plugins", "scratch", "tmp"] {
            remove(&self.root.join(folder));
        }
        std::fs::create_dir_all(self.root.join("tmp")).expect("a folder can be made");
        remove_objects(&self.work());
    }

    /// The same for clients that keep what they got in other places too.
    pub(crate) fn forget_everything(&self) {
        self.forget();
        for folder in [".local/share/NuGet", ".nuget/packages"] {
            remove(&self.home().join(folder));
        }
    }

    /// Runs `dotnet` with these arguments.
    pub(crate) fn dotnet(&self, folder: &Path, arguments: &[&str]) -> Outcome {
        self.run(folder, &[&["dotnet"], arguments].concat())
    }

    /// Runs a command line as it was printed.
    pub(crate) fn shell(&self, folder: &Path, line: &str) -> Outcome {
        self.run(folder, &["bash", "-c", line])
    }

    /// Runs a program with the client on its path and nothing else of this process's environment.
    ///
    /// # Panics
    /// If it cannot be started. One that hangs is killed and reported as failed (124).
    pub(crate) fn run(&self, folder: &Path, words: &[&str]) -> Outcome {
        let began = Instant::now();
        // A restore that fails slowly takes under two minutes; one that hangs never ends.
        let output = Command::new("timeout")
            .args([
                "--kill-after=5",
                "300",
                "bash",
                "-c",
                r#". "$0" && exec "$@""#,
            ])
            .arg(self.sdk.join("env.sh"))
            .args(words)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("TMPDIR", self.root.join("tmp"))
            .env("NUGET_PACKAGES", self.packages())
            .env("NUGET_HTTP_CACHE_PATH", self.root.join("http"))
            .env("NUGET_PLUGINS_CACHE_PATH", self.root.join("plugins"))
            .env("NUGET_SCRATCH", self.root.join("scratch"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Outcome {
            elapsed: began.elapsed(),
            status: output.status.code().unwrap_or(-1),
            text,
        }
    }
}

/// Removes a folder where there is one.
fn remove(folder: &Path) {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }
}

/// Removes every `obj` below a folder.
fn remove_objects(folder: &Path) {
    for entry in std::fs::read_dir(folder)
        .expect("a folder can be read")
        .flatten()
    {
        let path = entry.path();
        if entry.file_name() == "obj" {
            remove(&path);
        } else if path.is_dir() {
            remove_objects(&path);
        }
    }
}

/// Copies a folder and all in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    let parent = to.parent().expect("a copy has a place");
    std::fs::create_dir_all(parent).expect("a folder can be made");
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cp -a {}",
        from.display()
    );
}
