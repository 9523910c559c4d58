//! Rules that the source keeps and the compiler does not check: who may know whom, who may touch what, how long things
//! are, which words are used.
//!
//! Each rule looks at lines, not at syntax: the code is formatted by rustfmt, so lines are enough. Comments are left out
//! where a rule is about code, and so is test code where a rule is about the product.

mod source;

use std::fs;

use source::{Line, Source, none, root, sources, within, without_comment};

/// What each module may import of ours.
const IMPORTS: &[(&str, &[&str])] = &[
    (
        "access",
        &[
            "clock",
            "flight",
            "nuget::id",
            "nuget::pattern",
            // The small files that it keeps, and nothing of what is stored.
            "store::SmallFile",
            "store::Stamp",
            "tasks",
            "telemetry",
        ],
    ),
    ("cache", &[]),
    ("clock", &[]),
    (
        "config",
        &[
            "access",
            "proxy",
            "server",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    ("flight", &["sync", "tasks"]),
    // Names the entry points of the others, for tests and fuzzing alone.
    ("fuzzing", &["config", "nuget", "proxy", "store"]),
    ("mapped", &[]),
    ("nuget", &[]),
    ("platform", &[]),
    (
        "proxy",
        &[
            "access",
            "cache",
            "clock",
            "flight",
            "nuget",
            "store",
            "tasks",
            "telemetry",
            "upstream",
        ],
    ),
    (
        "server",
        &[
            "access",
            "clock",
            "mapped",
            "platform",
            "proxy",
            "tasks",
            "telemetry",
            // The self-check is a client of ours, through the one seam to the network.
            "upstream::connect",
            "upstream::url",
            "upstream::way",
        ],
    ),
    ("shell", &[]),
    (
        "store",
        &[
            "cache::entry",
            "cache::epoch",
            "cache::key",
            "cache::proof",
            "clock",
            "mapped",
            "platform",
            "sync",
            "tasks",
            "telemetry",
        ],
    ),
    ("sync", &[]),
    ("tasks", &[]),
    ("telemetry", &[]),
    ("upstream", &["clock", "tasks", "telemetry"]),
];

/// Paths behind `crate::` on a line; `crate::{a, b::c}` gives each.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => {
                let end = list.rfind('}').unwrap_or(list.len());
                let items = list[..end].split(',').map(|item| item.trim().to_owned());
                found.extend(items.filter(|item| !item.is_empty()));
            }
            None => {
                let path = after.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                found.extend(path.take(1).map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn imports_are_read_from_a_line() {
    assert_eq!(imports("use crate::cache::key::Key;"), ["cache::key::Key"]);
    assert_eq!(
        imports("use crate::{mapped, platform};"),
        ["mapped", "platform"]
    );
    assert_eq!(
        imports("    crate::tasks::Tasks::new(crate::clock::Clock)"),
        ["tasks::Tasks::new", "clock::Clock"]
    );
    assert_eq!(imports("pub(crate) fn x()"), Vec::<String>::new());
    assert_eq!(
        without_comment("let a = \"http://b\"; // c"),
        "let a = \"http://b\"; "
    );
}

#[test]
fn modules_import_only_what_they_may_know() {
    let mut breaches = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("src/"))
    {
        let module = source.module();
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            breaches.push(format!(
                "{}: module {module} has no import rule",
                source.path
            ));
            continue;
        };
        for line in source.product() {
            for import in imports(line.code) {
                let known = allowed.iter().any(|allowed| within(&import, allowed));
                if !known && !within(&import, module) {
                    let Line { number, .. } = line;
                    breaches.push(format!(
                        "{}:{number}: {module} may not import {import}",
                        source.path
                    ));
                }
            }
        }
    }
    none(&breaches);
}

/// A rule about who may write certain code.
struct Privilege {
    /// What only some may write.
    code: &'static [&'static str],
    /// Beginnings of the paths that may.
    allowed: &'static [&'static str],
    why: &'static str,
}

const PRIVILEGES: &[Privilege] = &[
    Privilege {
        code: &[
            "std::fs",
            "tokio::fs",
            "File::open",
            "File::create",
            "OpenOptions",
            "fs::read",
            "fs::write",
        ],
        allowed: &[
            "src/store/",
            "src/platform.rs",
            "src/mapped.rs",
            "src/main.rs",
            "src/config/",
            "src/server/io/mod.rs",
            "src/server/tls/load.rs",
            "src/upstream/secret.rs",
        ],
        why: "only `store` touches data files; the others open what the user names, `server/io` what it is handed",
    },
    Privilege {
        code: &[
            "TcpStream::connect",
            "TcpSocket::",
            "UdpSocket",
            "UnixStream",
            "lookup_host",
            "to_socket_addrs",
        ],
        allowed: &[
            "src/upstream/connect.rs",
            "src/upstream/resolve.rs",
            "src/server/",
        ],
        why: "only `upstream/connect` and its name look-up open outgoing sockets; `server` listens, and its health check \
              asks itself",
    },
    Privilege {
        code: &["TcpListener"],
        allowed: &["src/server/"],
        why: "only `server` listens",
    },
    Privilege {
        code: &[
            "Response::new(",
            "Response::builder(",
            "Response::from_parts(",
            "status_mut(",
        ],
        allowed: &["src/proxy/respond.rs", "src/server/admin.rs"],
        why: "only `respond` makes responses and picks their status; the admin listener has its own",
    },
    Privilege {
        code: &["unsafe ", "allow(unsafe_code", "expect(unsafe_code"],
        allowed: &["src/mapped.rs"],
        why: "only `mapped` is unsafe",
    },
    Privilege {
        code: &[
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "spawn_local",
            "thread::spawn",
            "thread::Builder",
            "JoinSet",
        ],
        allowed: &["src/tasks.rs"],
        why: "only `tasks` spawns",
    },
    Privilege {
        code: &["SystemTime::now", "Instant::now"],
        allowed: &["src/clock.rs"],
        why: "only `clock` reads time",
    },
    Privilege {
        code: &["std::env::", "env::var"],
        allowed: &["src/main.rs"],
        why: "the environment is read once, by `main`",
    },
    Privilege {
        code: &["sled::"],
        allowed: &["src/store/"],
        why: "the index is the store's own business",
    },
    Privilege {
        code: &["moka::"],
        allowed: &["src/store/", "src/upstream/resolve.rs"],
        why: "caches in memory are the store's own business",
    },
];

#[test]
fn only_the_privileged_touch_files_sockets_status_codes_threads_and_time() {
    let mut breaches = Vec::new();
    for source in &sources() {
        for privilege in PRIVILEGES {
            if privilege
                .allowed
                .iter()
                .any(|allowed| source.path.starts_with(allowed))
            {
                continue;
            }
            for line in source.product() {
                for code in privilege.code {
                    if line.code.contains(code) {
                        let Line { number, .. } = line;
                        breaches.push(format!(
                            "{}:{number}: {code} ({})",
                            source.path, privilege.why
                        ));
                    }
                }
            }
        }
    }
    none(&breaches);
}

/// What a pure module may not use of other crates.
const FOREIGN: &[(&str, &[&str])] = &[
    ("access", &["hyper::", "rustls::", "std::fs", "StatusCode"]),
    (
        "nuget",
        &[
            "tokio::",
            "hyper::",
            "http::",
            "std::time",
            "std::net",
            "tracing::",
        ],
    ),
    (
        "cache",
        &["tokio::", "hyper::", "serde", "tracing::", "std::net"],
    ),
    ("flight", &["http::", "hyper::", "sled::", "moka::"]),
    ("proxy", &["tokio::net", "rustls::", "rustix::"]),
    ("store", &["http_body", "hyper::", "rustls::"]),
    // `server/tls` alone knows certificates.
    ("server/connection", &["rustls::"]),
    ("server/io/mod.rs", &["rustls::"]),
    ("server/listen.rs", &["rustls::"]),
    ("server/mod.rs", &["rustls::"]),
    ("server/self_check", &["rustls::"]),
    ("telemetry", &["http::", "hyper::", "serde"]),
];

#[test]
fn pure_modules_stay_pure() {
    let mut breaches = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("src/"))
    {
        let rules = FOREIGN
            .iter()
            .filter(|(module, _)| source.path.starts_with(&format!("src/{module}")));
        for foreign in rules.flat_map(|(_, foreign)| foreign.iter()) {
            for line in source.product() {
                let words = line.code.match_indices(foreign).any(|(at, _)| {
                    // `http::` is no part of `our_http::`.
                    !line.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                if words {
                    breaches.push(format!("{}:{}: {foreign}", source.path, line.number));
                }
            }
        }
    }
    none(&breaches);
}

/// Files above this are split, tests included.
const MAX_FILE_LINES: usize = 500;
/// Functions above this are split; most stay below 70.
const MAX_FUNCTION_LINES: usize = 100;

#[test]
fn files_and_functions_stay_short() {
    let mut breaches = Vec::new();
    for source in &sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > MAX_FILE_LINES {
            breaches.push(format!("{}: {} lines", source.path, lines.len()));
        }
        for (index, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| begins_function(line))
        {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[index..].iter().position(|line| *line == end);
            if let Some(length) = length.filter(|length| *length > MAX_FUNCTION_LINES) {
                breaches.push(format!(
                    "{}:{}: a function of {length} lines",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    none(&breaches);
}

fn begins_function(line: &str) -> bool {
    let line = line.trim_start();
    let words = line
        .split_whitespace()
        .take_while(|word| !word.contains("fn("));
    let mut words = words.filter(|word| {
        !["async", "const", "pub", "unsafe"].contains(word) && !word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

#[test]
fn every_file_says_what_it_does() {
    let missing = |source: &&Source| !source.text.starts_with("//! ");
    let sources = sources();
    let breaches: Vec<String> = sources
        .iter()
        .filter(missing)
        .map(|source| source.path.clone())
        .collect();
    none(&breaches);
}

/// Names of modules that say nothing.
const EMPTY_NAMES: &[&str] = &[
    "common", "helper", "helpers", "manager", "misc", "util", "utils",
];

#[test]
fn names_and_words_are_those_of_the_house() {
    // Put together here, so that this file does not hold them.
    let marks = ["TO", "FIX", "XX", "HA"]
        .into_iter()
        .zip(["DO", "ME", "X", "CK"]);
    let mut words: Vec<String> = marks.map(|(a, b)| format!("{a}{b}")).collect();
    words.extend([["down", "stream"], ["back", "end"]].map(|parts| parts.concat()));
    // Folders of somebody's machine.
    words.extend(["work", "home", "root"].map(|folder| format!("/{folder}/")));
    let mut breaches = Vec::new();
    let mut texts: Vec<(String, String)> = sources()
        .into_iter()
        .map(|source| (source.path, source.text))
        .collect();
    for name in [
        "README.md",
        "Cargo.toml",
        "deploy/sluice.toml",
        "deploy/sluice.service",
        "deploy/Dockerfile",
    ] {
        texts.push((
            name.to_owned(),
            fs::read_to_string(root().join(name)).unwrap(),
        ));
    }
    for (path, text) in &texts {
        let folders = path
            .split('/')
            .map(|part| part.strip_suffix(".rs").unwrap_or(part));
        for name in folders.filter(|name| EMPTY_NAMES.contains(name)) {
            breaches.push(format!("{path}: a module called {name}"));
        }
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.contains(&["fn ", "get_"].concat()) {
                breaches.push(format!("{path}:{number}: a function called get_…"));
            }
            if path.ends_with(".rs")
                && line.trim_start().starts_with("type ")
                && line.ends_with(';')
                && !line.starts_with(' ')
            {
                breaches.push(format!("{path}:{number}: a type alias"));
            }
            for word in words.iter().filter(|word| has_word(line, word)) {
                breaches.push(format!("{path}:{number}: {word}"));
            }
        }
    }
    none(&breaches);
}

/// Whether the word stands in the line: marks in capitals as they are, others in any case.
fn has_word(line: &str, word: &str) -> bool {
    if word.starts_with('/') {
        return line.contains(word);
    }
    let (line, word) = if word.chars().all(char::is_uppercase) {
        (line.to_owned(), word.to_owned())
    } else {
        (line.to_lowercase(), word.to_lowercase())
    };
    line.match_indices(&word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && !part(after)
    })
}

#[test]
fn rules_find_what_they_look_for() {
    assert!(begins_function("    pub(super) async fn a("));
    assert!(begins_function("fn a() {"));
    assert!(!begins_function("    put: fn(&mut Config),"));
    assert!(!begins_function("// about fn a"));
    assert!(has_word("the Larch here", "larch"));
    assert!(!has_word("larches", "larch"));
    assert!(within("cache::key::Key", "cache::key") && !within("cached", "cache"));
}
