//! Entry points for fuzzing: one for every reader of bytes that an upstream, a client or an operator wrote.
//!
//! Each takes any bytes and asserts what must hold of whatever its reader makes of them; a broken promise is a panic. They
//! are compiled for tests, where seeds and mutations of them run through each, and for the targets in `tests/fuzz`.

#[cfg(test)]
mod tests;

use crate::{config, nuget, proxy, store};

/// An entry point.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its target in `tests/fuzz`.
    pub name: &'static str,
    /// What it does with bytes.
    pub run: fn(&[u8]),
    /// Documents in this repository to begin with: a folder and what file names in it begin with.
    pub samples: &'static [(&'static str, &'static str)],
    /// What to begin with besides.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Documents of real servers, by server.
const SAMPLES: &str = "tests/data/samples";
/// Service indexes of real servers.
const INDEXES: &str = "tests/data/service-index";

/// Every entry point.
pub const TARGETS: &[Target] = &[
    Target {
        name: "catalog",
        run: proxy::fuzzing::catalog,
        samples: &[(SAMPLES, "catalog-")],
        seeds: proxy::fuzzing::odd_leaves,
    },
    Target {
        name: "challenge",
        run: proxy::fuzzing::challenge,
        samples: &[],
        seeds: proxy::fuzzing::challenge_lines,
    },
    Target {
        name: "configuration",
        run: config::fuzzing::configuration,
        samples: &[("deploy", "sluice.toml")],
        seeds: config::fuzzing::configurations,
    },
    Target {
        name: "forwarded",
        run: proxy::fuzzing::forwarded,
        samples: &[],
        seeds: proxy::fuzzing::header_lines,
    },
    Target {
        name: "json",
        run: nuget::fuzzing::json,
        samples: &[(SAMPLES, ""), (INDEXES, "")],
        seeds: Vec::new,
    },
    Target {
        name: "nuspec",
        run: nuget::fuzzing::nuspec,
        samples: &[],
        seeds: nuget::fuzzing::nuspecs,
    },
    Target {
        name: "package",
        run: nuget::fuzzing::package,
        samples: &[],
        seeds: nuget::fuzzing::packages,
    },
    Target {
        name: "package_signature",
        run: nuget::fuzzing::package_signature,
        samples: &[("tests/data/signatures", "")],
        seeds: nuget::fuzzing::signed_packages,
    },
    Target {
        name: "push",
        run: nuget::fuzzing::push,
        samples: &[],
        seeds: nuget::fuzzing::pushes,
    },
    Target {
        name: "record",
        run: store::fuzzing::record,
        samples: &[],
        seeds: store::fuzzing::records,
    },
    Target {
        name: "registration",
        run: proxy::fuzzing::registration,
        samples: &[(SAMPLES, "registration-")],
        seeds: proxy::fuzzing::odd_registrations,
    },
    Target {
        name: "route",
        run: proxy::fuzzing::route,
        samples: &[],
        seeds: proxy::fuzzing::paths,
    },
    Target {
        name: "search",
        run: proxy::fuzzing::search,
        samples: &[(SAMPLES, "search-"), (SAMPLES, "autocomplete-")],
        seeds: Vec::new,
    },
    Target {
        name: "service_index",
        run: proxy::fuzzing::service_index,
        samples: &[(INDEXES, ""), (SAMPLES, "service-index-")],
        seeds: Vec::new,
    },
    Target {
        name: "sift",
        run: nuget::fuzzing::sift,
        samples: &[
            (SAMPLES, "autocomplete-"),
            (SAMPLES, "flat-"),
            (SAMPLES, "registration-"),
            (SAMPLES, "search-"),
        ],
        seeds: Vec::new,
    },
    Target {
        name: "signatures",
        run: proxy::fuzzing::signatures,
        samples: &[(SAMPLES, "repository-signatures-")],
        seeds: proxy::fuzzing::tools_lists,
    },
    Target {
        name: "version",
        run: nuget::fuzzing::version,
        samples: &[],
        seeds: nuget::fuzzing::versions,
    },
    Target {
        name: "vulnerability",
        run: proxy::fuzzing::vulnerability,
        samples: &[
            ("tests/data/vulnerabilities", ""),
            (SAMPLES, "vulnerability-"),
        ],
        seeds: Vec::new,
    },
];
