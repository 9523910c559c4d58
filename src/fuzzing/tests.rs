//! Every entry point over its seeds and over mutations of them: what the targets of `tests/fuzz` do, without their engine.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::*;

/// Mutated seeds for each entry point: a run of all takes some seconds without optimisation.
const CASES: u32 = 2000;

/// Everything that a target begins with.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut seeds = (target.seeds)();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, beginning) in target.samples {
        collect(&root.join(folder), beginning, &mut seeds);
    }
    seeds
}

fn collect(folder: &Path, beginning: &str, seeds: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, beginning, seeds);
        } else if name.starts_with(beginning) && !name.ends_with(".md") && !name.starts_with(".git")
        {
            seeds.push(fs::read(path).unwrap());
        }
    }
}

/// One step of a mutation.
#[derive(Clone, Debug)]
enum Step {
    /// Another byte at this place.
    Byte(usize, u8),
    /// What lies between these two is copied to a third.
    Copy(usize, usize, usize),
    /// What lies between these two is gone.
    Cut(usize, usize),
    /// This is put in.
    Insert(usize, &'static str),
}

/// What readers look for, and what they stumble over.
const WORDS: &[&str] = &[
    "\"@id\":\"https://api.nuget.org/v3/registration5-gz-semver2/x/index.json\",",
    "\"@id\":\"https://odd.example/x?sig=1#a\",",
    "\"@type\":\"Catalog/3.0.0\",",
    "\"catalogEntry\":{},",
    "\"clientVersion\":[],",
    "\"count\":1,",
    "\"data\":[],",
    "\"id\":\"a.b\",",
    "\"items\":[{}],",
    "\"lower\":\"1.0.0\",",
    "\"packageContent\":\"p\",",
    "\"version\":\"1.0.0-a\",",
    "\"versions\":[],",
    "\\u0022",
    "\\ud800",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    ":",
    "null",
    "1e9",
    "\u{feff}",
    "%2f",
    "%00",
    "%2E",
    "..",
    "/",
    "//",
    "?",
    "#",
    "+",
    "-",
    "\0",
    "\n",
    "\r\n\r\n",
    "PK\u{1}\u{2}",
    "PK\u{3}\u{4}",
    "PK\u{5}\u{6}",
    "PK\u{6}\u{6}",
    "PK\u{6}\u{7}",
    "PK\u{7}\u{8}",
    "\u{1f}",
    "é",
    "<id>",
    "</id>",
    "<![CDATA[",
    "&amp;",
    "-->",
    "x-forwarded-host: a:+80\n",
    "forwarded: host=a;proto=https\n",
    "host: b\n",
    "[[feed]]\n",
    "name = \"x\"\n",
    "\"1h\"",
    "= 1\n",
];

fn step() -> impl Strategy<Value = Step> {
    let at = any::<usize>;
    prop_oneof![
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Step::Byte(at, byte)),
        1 => (at(), at(), at()).prop_map(|(from, to, at)| Step::Copy(from, to, at)),
        1 => (at(), at()).prop_map(|(from, to)| Step::Cut(from, to)),
        3 => (at(), prop::sample::select(WORDS)).prop_map(|(at, word)| Step::Insert(at, word)),
    ]
}

fn mutate(mut bytes: Vec<u8>, steps: &[Step]) -> Vec<u8> {
    let range = |bytes: &[u8], from: usize, to: usize| {
        let (from, to) = (from % (bytes.len() + 1), to % (bytes.len() + 1));
        // Short pieces mostly: a document cut in half is no document.
        let from = from.min(to);
        from..to.min(from + 1 + to % 64).min(bytes.len())
    };
    for step in steps {
        let place = |at: usize, length: usize| at % (length + 1);
        match *step {
            Step::Byte(at, byte) => {
                let at = place(at, bytes.len().saturating_sub(1));
                if let Some(found) = bytes.get_mut(at) {
                    *found = byte;
                }
            }
            Step::Copy(from, to, at) => {
                let piece = bytes[range(&bytes, from, to)].to_vec();
                let at = place(at, bytes.len());
                bytes.splice(at..at, piece);
            }
            Step::Cut(from, to) => {
                bytes.drain(range(&bytes, from, to));
            }
            Step::Insert(at, word) => {
                let at = place(at, bytes.len());
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

#[track_caller]
fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    (target.run)(b"");
    for seed in &seeds {
        (target.run)(seed);
    }
    // Large documents are read slowly here, and fuzzing has them too.
    let small: Vec<Vec<u8>> = seeds.into_iter().filter(|seed| seed.len() < 9000).collect();
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = (0..small.len(), prop::collection::vec(step(), 1..6));
    // The same every time: what is found by chance is found by fuzzing, and no change is to blame for it.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&cases, |(number, steps)| {
        (target.run)(&mutate(small[number].clone(), &steps));
        Ok(())
    });
    if let Err(TestError::Fail(reason, (number, steps))) = &outcome {
        let input = mutate(small[*number].clone(), steps);
        panic!("{name}: {reason}\n{}", input.escape_ascii());
    }
    assert!(outcome.is_ok(), "{name}: {outcome:?}");
}

macro_rules! every_target {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_tested_and_can_be_fuzzed() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/targets");
            let mut files: Vec<String> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            files.sort();
            assert_eq!(files, names);
            let manifest = fs::read_to_string(folder.join("../Cargo.toml")).unwrap();
            for name in names {
                assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
            }
        }
    };
}

every_target! {
    catalog challenge configuration forwarded json nuspec package package_signature push record registration route search service_index sift signatures
    version vulnerability
}
