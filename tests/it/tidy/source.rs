//! Source files as the rules see them: lines of code, without comments and test modules.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub(super) struct Source {
    /// Relative to the package, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// A line of code, without its comment.
pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) code: &'a str,
}

impl Source {
    /// The module that the import rules speak of: the first folder or file below `src`.
    pub(super) fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = below.split('/').next().unwrap_or(below);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("benches/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// Lines of code that are part of the product: no comments, and nothing from the test module on.
    pub(super) fn product(&self) -> Vec<Line<'_>> {
        if self.is_test() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        let mut all = self.text.lines().enumerate().peekable();
        while let Some((index, line)) = all.next() {
            let next_is_module = all
                .peek()
                .is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
            if line == "#[cfg(test)]" && next_is_module {
                break;
            }
            let code = without_comment(line);
            if !code.trim().is_empty() {
                lines.push(Line {
                    number: index + 1,
                    code,
                });
            }
        }
        lines
    }
}

/// The line up to its comment. A `//` inside a text, as in a URL, follows a colon and is no comment.
pub(super) fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//") {
        let at = from + at;
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root().join(folder), &mut files);
    }
    let mut sources: Vec<Source> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: relative(&path),
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "the rules look at the wrong folder");
    sources
}

fn relative(path: &Path) -> String {
    let below = path.strip_prefix(root()).unwrap();
    below.to_str().unwrap().replace('\\', "/")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Fails with every breach, one a line.
#[track_caller]
pub(super) fn none(breaches: &[String]) {
    let mut report = String::new();
    for breach in breaches {
        let _ = writeln!(report, "{breach}");
    }
    assert!(
        breaches.is_empty(),
        "{} breaches:\n{report}",
        breaches.len()
    );
}

/// Whether `path` is `module` or lies in it.
pub(super) fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
