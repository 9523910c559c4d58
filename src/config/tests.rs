//! Reading and joining all sources: precedence, feeds of the environment, secrets, and that every problem is told.

use std::ffi::OsString;
use std::time::Duration;

use super::*;
use crate::telemetry::{AccessLog, Format};

pub(super) fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(
        variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn flags_given(settings: &[(&str, &[&str])]) -> Arguments {
    Arguments {
        config: None,
        settings: settings
            .iter()
            .map(|(name, values)| {
                let values = values.iter().map(|&value| value.to_owned()).collect();
                ((*name).to_owned(), values)
            })
            .collect(),
    }
}

/// Loads a file given as text, with further variables.
pub(super) fn load_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let file = [(CONFIG_TOML, text)];
    load(
        &Arguments::default(),
        &environment(&[&file[..], variables].concat()),
    )
}

#[track_caller]
pub(super) fn problems(loaded: Result<Config, Problems>, expected: &[&str]) {
    let found: Vec<String> = loaded
        .expect_err("problems")
        .list()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nnot {expected}");
    }
}

fn names(config: &Config) -> Vec<&str> {
    let feeds = config.proxy.feeds.iter();
    feeds.map(|feed| feed.name.as_str()).collect()
}

const SAMPLE: &str = include_str!("../../deploy/sluice.toml");

/// The sample with the mark of a comment taken from every line that is a setting.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            format!("{setting}\n")
        }
        Some(_) | None => format!("{line}\n"),
    };
    SAMPLE.lines().map(line).collect()
}

#[test]
fn the_sample_is_right_as_it_is() {
    let (config, empty) = (load_file(SAMPLE, &[]).unwrap(), load_file("", &[]).unwrap());
    assert_eq!(format!("{config:?}"), format!("{empty:?}"));
    assert_eq!(names(&config), ["nuget"]);
    assert_eq!(
        config.proxy.feeds[0].upstream,
        "https://api.nuget.org/v3/index.json"
    );
}

#[test]
fn the_sample_holds_every_setting_with_its_default() {
    let text = uncommented();
    let table: toml::Table = text.parse().unwrap();
    let mut missing: Vec<&str> = settings::all()
        .map(|setting| setting.name)
        // Named in the text around: the file must be there.
        .filter(|name| *name != "users_file")
        .filter(|name| !table.contains_key(*name) && !is_in_a_table(&table, name))
        // Named in the text around.
        .filter(|name| !name.starts_with("proxy_"))
        .filter(|name| !SAMPLE.contains(&format!("\n#   {name} = ")))
        .collect();
    let feed = table["feed"][0].as_table().unwrap();
    missing.extend(
        feeds::SETTINGS
            .iter()
            .filter(|setting| !feed.contains_key(setting.name))
            // Named in the text around: a feed has no default credential.
            .filter(|setting| !setting.name.contains("password") && !setting.name.contains("token"))
            .filter(|setting| !["username", "header_name"].contains(&setting.name))
            .filter(|setting| !setting.name.starts_with("header_value"))
            .filter(|setting| !setting.name.starts_with("push_key"))
            .filter(|setting| setting.name != "readers")
            .filter(|setting| !setting.name.starts_with("client_"))
            .filter(|setting| setting.name != "proxy_username")
            // Those of a feed made of others, which has no upstream.
            .filter(|setting| !["members", "push_to", "search_wait"].contains(&setting.name))
            .map(|setting| setting.name),
    );
    assert_eq!(missing, Vec::<&str>::new());

    let mut config = load_file(&text, &[]).unwrap();
    // These defaults depend on the machine or are nothing at all; the sample shows an example.
    assert!(config.store.max_store_bytes.take().is_some());
    assert!(config.store.max_open_bodies.take().is_some());
    assert!(config.proxy.base.public_url.take().is_some());
    let tokens = config.access.tokens_file.take();
    assert_eq!(tokens.as_deref(), Some(config.access.tokens().path()));
    assert!(config.proxy.tools.upstream.take().is_some());
    assert!(config.proxy.feeds[0].audit_upstream.take().is_some());
    assert!(config.proxy.feeds[0].symbols_upstream.take().is_some());
    assert_eq!(
        config.server.addresses(),
        Config::default().server.addresses()
    );
    config.server.listen = None;
    // What the environment says, in words.
    config.ways = ways::Draft::default();
    assert_eq!(config.telemetry.access_log, AccessLog::Stdout);
    config.telemetry.access_log = AccessLog::Automatic;
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

/// Whether a setting stands in a table, without the table's name before its own.
fn is_in_a_table(table: &toml::Table, setting: &str) -> bool {
    setting.split_once('_').is_some_and(|(name, own)| {
        let inner = table.get(name).and_then(toml::Value::as_table);
        inner.is_some_and(|inner| inner.contains_key(own))
    })
}

#[test]
fn the_sample_says_what_waits_for_a_restart() {
    let list = SAMPLE
        .split("Only these wait for a restart:")
        .nth(1)
        .unwrap();
    let list = list.split("\n\n").next().unwrap();
    let told: Vec<&str> = list
        .split(|c: char| !c.is_ascii_lowercase() && c != '_')
        .filter(|name| !name.is_empty())
        .collect();
    let waiting: Vec<&str> = settings::all()
        .filter(|setting| setting.on_reload == setting::OnReload::Restart)
        .map(|setting| setting.name)
        .collect();
    assert_eq!(told, waiting);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "max_hold = \"20s\"\nidle_timeout = \"20s\"\nlog_format = \"json\"";
    let environment = environment(&[
        (CONFIG_TOML, file),
        ("SLUICE_MAX_HOLD", "30s"),
        ("SLUICE_IDLE_TIMEOUT", "40s"),
    ]);
    let config = load(&flags_given(&[("max_hold", &["50s"])]), &environment).unwrap();
    assert_eq!(config.upstream.max_hold, Duration::from_secs(50));
    assert_eq!(config.proxy.max_hold, Duration::from_secs(50));
    assert_eq!(config.upstream.idle_timeout, Duration::from_secs(40));
    assert_eq!(config.telemetry.log_format, Format::Json);
}

#[test]
fn lists_come_as_repeated_flags_or_with_commas() {
    let expected = ["127.0.0.1:1", "[::1]:2"].map(|address| address.parse().unwrap());
    let flags = flags_given(&[("listen", &["127.0.0.1:1", "[::1]:2"])]);
    let config = load(&flags, &Environment::default()).unwrap();
    assert_eq!(config.server.addresses(), expected);
    let variables = environment(&[("SLUICE_LISTEN", "127.0.0.1:1, [::1]:2")]);
    let config = load(&Arguments::default(), &variables).unwrap();
    assert_eq!(config.server.addresses(), expected);
}

#[test]
fn every_flag_and_every_variable_reaches_its_setting() {
    for flag in flags() {
        let wrong = flags_given(&[(flag.name, &[""])]);
        let found = load(&wrong, &Environment::default()).expect_err(flag.name);
        let place = Place::Flag(format!("--{}", flag.name.replace('_', "-")));
        assert_eq!(found.list()[0].place, place);
        let variable = format!("SLUICE_{}", flag.name.to_ascii_uppercase());
        // No setting takes a lone NUL, not even a path in practice; those that are paths are told apart here.
        if ![
            "data_dir",
            "access_log",
            "log",
            "proxy_password_file",
            "tokens_file",
        ]
        .contains(&flag.name)
        {
            let wrong = environment(&[(&variable, "\u{0}")]);
            let found = load(&Arguments::default(), &wrong).expect_err(&variable);
            assert_eq!(found.list()[0].place, Place::Environment(variable));
        }
    }
}

#[test]
fn all_problems_of_all_sources_are_told_at_once_with_their_places() {
    let file = "\nlistn = \"a\"\nmax_hold = 5\n[[feed]]\nname = \"v3\"\nupstream = \"ftp://x\"\n\
                pasword = \"hunter2\"\n[[feed]]\nname = \"corp\"\n";
    let environment = environment(&[
        (CONFIG_TOML, file),
        ("SLUICE_MEMORY_BYTES", "much"),
        ("SLUICE_BOGUS", "1"),
    ]);
    let loaded = load(&flags_given(&[("listen", &["here"])]), &environment);
    problems(
        loaded,
        &[
            "SLUICE_CONFIG_TOML:2: listn: expected a known setting; the nearest is \"listen\"",
            "SLUICE_CONFIG_TOML:3: max_hold is \"5\": expected a duration",
            "SLUICE_CONFIG_TOML:5: feed name is \"v3\": expected a name",
            "SLUICE_CONFIG_TOML:6: upstream is \"ftp://x\": expected an absolute http or https URL",
            "SLUICE_CONFIG_TOML:7: pasword: expected a known setting; the nearest is \"password\"",
            "environment variable SLUICE_BOGUS: bogus: expected a known setting",
            "environment variable SLUICE_MEMORY_BYTES: memory_bytes is \"much\": expected a size",
            "flag --listen: listen is \"here\": expected an address with a port",
            "SLUICE_CONFIG_TOML:8: feed \"corp\": upstream: expected the URL of a V3 service index",
        ],
    );
}

#[test]
fn broken_syntax_is_told_with_its_line_and_other_sources_are_still_checked() {
    problems(
        load_file("a = 1\nb = \n", &[("SLUICE_MAX_HOLD", "5")]),
        &[
            "SLUICE_CONFIG_TOML:2: syntax: expected TOML (",
            "environment variable SLUICE_MAX_HOLD",
        ],
    );
    problems(
        load_file("max_hold = \"1s\"\nmax_hold = \"2s\"", &[]),
        &["SLUICE_CONFIG_TOML:2: syntax: expected TOML (duplicate key"],
    );
    problems(
        load_file("feed = 3", &[]),
        &["SLUICE_CONFIG_TOML:1: feed is \"3\": expected tables"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_of_the_flag() {
    let arguments = Arguments {
        config: Some("/nowhere/sluice.toml".to_owned()),
        settings: Vec::new(),
    };
    problems(
        load(&arguments, &Environment::default()),
        &["flag --config: config is \"/nowhere/sluice.toml\": expected a readable file"],
    );
    problems(
        load(&arguments, &environment(&[(CONFIG_TOML, "log = \"info\"")])),
        &["flag --config: config is \"/nowhere/sluice.toml\": expected no file besides"],
    );
}

#[test]
fn settings_that_contradict_each_other_are_a_problem_only_if_both_were_chosen() {
    problems(
        load_file("memory_bytes = \"1MiB\"\nmax_answer_bytes = \"2MiB\"", &[]),
        &["SLUICE_CONFIG_TOML:2: max_answer_bytes is \"2097152\": expected at most memory_bytes"],
    );
    let config = load_file("memory_bytes = \"1MiB\"\nmax_hold = \"1s\"", &[]).unwrap();
    assert_eq!(config.store.max_answer_bytes, 1 << 20);
    assert_eq!(config.upstream.stale_after, Duration::from_secs(1));
    assert_eq!(config.proxy.stale_after, Duration::from_secs(1));
    problems(
        load_file("admin_listen = \"127.0.0.1:6850\"", &[]),
        &["SLUICE_CONFIG_TOML:1: admin_listen"],
    );
    assert!(load_file("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]", &[]).is_ok());
}

const TWO_FEEDS: &str = "[[feed]]\nname = \"a.b\"\nupstream = \"https://a/i\"\n\
                         [[feed]]\nname = \"z\"\nupstream = \"https://z/i\"\n";

#[test]
fn feeds_of_the_file_come_first_and_then_those_of_the_environment_by_name() {
    let config = load_file(
        TWO_FEEDS,
        &[
            ("SLUICE_FEED_N_UPSTREAM", "https://n/i"),
            ("SLUICE_FEED_A_B_VERSION_LIST_FRESH", "1s"),
            ("SLUICE_FEED_M_UPSTREAM", "https://m/i"),
        ],
    )
    .unwrap();
    assert_eq!(names(&config), ["a.b", "z", "m", "n"]);
    assert_eq!(
        config.proxy.feeds[0].freshness.version_list,
        Duration::from_secs(1)
    );
    assert_eq!(
        config.proxy.feeds[1].freshness.version_list,
        Duration::from_secs(60)
    );
}

#[test]
fn the_default_feed_is_there_unless_another_is() {
    let load = |variables: &[(&str, &str)]| load_file("", variables);
    assert_eq!(names(&load(&[]).unwrap()), ["nuget"]);
    let fresh = load(&[("SLUICE_FEED_NUGET_SEARCH_FRESH", "1s")]).unwrap();
    assert_eq!(
        fresh.proxy.feeds[0].upstream,
        "https://api.nuget.org/v3/index.json"
    );
    assert_eq!(
        fresh.proxy.feeds[0].freshness.search,
        Duration::from_secs(1)
    );
    let other = load(&[("SLUICE_FEED_CORP_UPSTREAM", "https://c/i")]).unwrap();
    assert_eq!(names(&other), ["corp"]);
}

#[test]
fn upstream_sets_that_of_the_first_feed() {
    let url = "http://127.0.0.1:1/v3/index.json";
    let flags = flags_given(&[("upstream", &[url])]);
    let config = load(&flags, &Environment::default()).unwrap();
    assert_eq!(names(&config), ["nuget"]);
    assert_eq!(config.proxy.feeds[0].upstream, url);
    let config = load(&flags, &environment(&[(CONFIG_TOML, TWO_FEEDS)])).unwrap();
    assert_eq!(config.proxy.feeds[0].upstream, url);
    assert_eq!(config.proxy.feeds[1].upstream, "https://z/i");
}

#[test]
fn a_variable_that_two_feeds_could_mean_is_a_problem() {
    let file = "[[feed]]\nname = \"a-b\"\nupstream = \"https://a/i\"\n\
                [[feed]]\nname = \"a.b\"\nupstream = \"https://b/i\"\n";
    assert!(load_file(file, &[]).is_ok());
    problems(
        load_file(file, &[("SLUICE_FEED_A_B_TOKEN", "x")]),
        &["environment variable SLUICE_FEED_A_B_TOKEN: A_B: expected a name that only one feed"],
    );
}

#[test]
fn of_several_keys_that_end_a_variable_the_longest_holds() {
    assert_eq!(split_feed("A_PASSWORD_FILE"), Some(("A", "password_file")));
    assert_eq!(
        split_feed("A_B_HEADER_VALUE"),
        Some(("A_B", "header_value"))
    );
    assert_eq!(split_feed("PASSWORD"), None);
    assert_eq!(split_feed("_PASSWORD"), None);
    assert_eq!(split_feed("A_NAME"), None);
}

#[test]
fn feed_names_are_checked() {
    for (name, good) in [
        ("nuget", true),
        ("0a", true),
        ("a.b-c_d", true),
        ("v3", false),
        ("v3x", true),
        ("-", false),
        ("-a", false),
        ("", false),
        ("A", false),
        ("a/b", false),
        ("ä", false),
    ] {
        assert_eq!(feeds::check_name(name).is_ok(), good, "{name}");
    }
    problems(
        load_file(
            "[[feed]]\nname = \"a\"\nupstream = \"https://a/i\"\n[[feed]]\nname = \"a\"\nupstream = \"https://b/i\"",
            &[],
        ),
        &["SLUICE_CONFIG_TOML:4: feed \"a\": name: expected each feed's name once"],
    );
    problems(
        load_file("[[feed]]\nupstream = \"https://a/i\"", &[]),
        &["SLUICE_CONFIG_TOML:1: feed name: expected a name"],
    );
}

#[test]
fn variables_that_kubernetes_and_our_suites_set_are_no_mistakes() {
    let loaded = load_file(
        "",
        &[
            ("SLUICE_SERVICE_HOST", "10.0.0.1"),
            ("SLUICE_SERVICE_PORT", "6850"),
            ("SLUICE_SERVICE_PORT_HTTP", "6850"),
            ("SLUICE_PORT", "tcp://10.0.0.1:6850"),
            ("SLUICE_PORT_6850_TCP_ADDR", "10.0.0.1"),
            ("SLUICE_CLIENT_TESTS", "1"),
            ("SLUICE_MAX_HOLD", ""),
        ],
    );
    assert!(loaded.is_ok(), "{loaded:?}");
}

#[test]
fn certificate_files_are_read_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certified = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let good = write("good.pem", &certified.cert.pem());
    let empty = write("empty.pem", "nothing here\n");
    let config = load_file(&format!("ca_files = [{good:?}]"), &[]).unwrap();
    assert_eq!(config.roots.len(), 1);
    let place = "SLUICE_CONFIG_TOML:1: ca_files";
    problems(load_file(&format!("ca_files = [{empty:?}]"), &[]), &[place]);
    problems(load_file("ca_files = [\"/nope\"]", &[]), &[place]);
}
