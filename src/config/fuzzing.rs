//! Entry point for fuzzing of configurations.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::{Arguments, CONFIG_FILE, CONFIG_TOML, Environment, compare, load};

/// A secret that no report may repeat.
const SECRET: &str = "hunter2hunter2";
/// Settings that hold one, as a line of a file begins with them.
const SECRETS: &[&str] = &["header_value = ", "password = ", "push_key = ", "token = "];

/// A configuration file and, behind a NUL, variables one a line: every problem is one line and told once, no report
/// repeats a secret, a configuration that is taken has feeds with different names, and it is the same when it is loaded
/// again.
pub(crate) fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // What a machine has there is not a matter of reading, and may never end.
    if text.contains("/dev/") || text.contains("/proc/") {
        return;
    }
    let environment = environment_of(text);
    let has_secret = has_secret(text);
    let config = match load(&Arguments::default(), &environment) {
        Ok(config) => config,
        Err(problems) => {
            let report = problems.to_string();
            let told: BTreeSet<String> = problems.list().iter().map(ToString::to_string).collect();
            assert!(!told.is_empty());
            assert!(
                told.iter().all(|line| !line.contains(['\n', '\r'])),
                "{told:?}"
            );
            assert_eq!(report.lines().count(), problems.list().len());
            assert!(!has_secret || !report.contains(SECRET), "{report}");
            return;
        }
    };
    let names: BTreeSet<&str> = config
        .proxy
        .feeds
        .iter()
        .map(|feed| feed.name.as_str())
        .collect();
    assert!(!names.is_empty() && names.len() == config.proxy.feeds.len());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    assert!(
        names.iter().all(|name| name.chars().all(is_plain)),
        "{names:?}"
    );
    let again = load(&Arguments::default(), &environment);
    assert!(
        again.is_ok(),
        "what was taken once is refused: {:?}",
        again.err()
    );
    let Ok(again) = again else { return };
    let comparison = compare(&config, again);
    assert_eq!(
        (comparison.changed, comparison.needs_restart),
        (vec![], vec![])
    );
    let before = load(&Arguments::default(), &Environment::default());
    let Ok(before) = before else { return };
    let comparison = compare(&before, config);
    let changes = comparison.changed.iter().chain(&comparison.needs_restart);
    let told: Vec<String> = changes
        .map(|change| format!("{change} {}", change.to_json()))
        .collect();
    assert!(!has_secret || !told.concat().contains(SECRET), "{told:?}");
}

/// The file as a variable of its own, and the others.
fn environment_of(text: &str) -> Environment {
    let (file, rest) = text.split_once('\0').unwrap_or((text, ""));
    let variables = rest.lines().filter_map(|line| line.split_once('='));
    let variables = variables.filter(|(name, _)| *name != CONFIG_FILE);
    let all = [(CONFIG_TOML, file)].into_iter().chain(variables);
    Environment::new(all.map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

/// Whether the secret stands once, and where a secret belongs.
fn has_secret(text: &str) -> bool {
    let file = text.split('\0').next().unwrap_or_default();
    let is_alone = file.matches(SECRET).count() == 1 && text.matches(SECRET).count() == 1;
    let quoted = format!("\"{SECRET}\"");
    let is_value = |line: &str| {
        let value = SECRETS.iter().find_map(|name| line.strip_prefix(name));
        value == Some(&quoted)
    };
    // A text of several lines may hold what looks like a setting.
    let is_simple = !file.contains("\"\"\"") && !file.contains("'''");
    is_alone && is_simple && file.lines().any(is_value)
}

/// Some configurations.
#[must_use]
pub(crate) fn configurations() -> Vec<Vec<u8>> {
    [
        "[[feed]]\nname = \"nuget\"\nupstream = \"https://api.nuget.org/v3/index.json\"\nblock = [\"Evil.*\", \"a@[1,2)\"]\n\
            username = \"ci\"\npassword = \"hunter2hunter2\"\n[[feed]]\nname = \"company\"\n\
            upstream = \"https://nuget.example/v3/index.json\"\nversion_list_fresh = \"30s\"\nmode = \"offline\"\n",
        "listen = [\"127.0.0.1:6850\"]\npublic_url = \"https://cache.example\"\nmax_hold = \"15s\"\nmax_store_bytes = \"10GiB\"\n\
            [tools]\nupstream = \"https://dist.nuget.org/tools.json\"\n",
        "lisen = 1\nmax_hold = [3]\n[[feed]]\ntoken = \"hunter2hunter2\"\n",
        "\0SLUICE_FEED_NUGET_UPSTREAM=http://127.0.0.1/v3/index.json\nSLUICE_MAX_HOLD=1m\nSLUICE_FEED_X_TOKEN_ENV=PATH",
        "upstream = \"https://api.nuget.org/v3/index.json\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n\0SLUICE_PORT=tcp://1",
        include_str!("../../deploy/sluice.toml"),
        &uncommented(),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// The sample with every setting in force.
fn uncommented() -> String {
    let lines = include_str!("../../deploy/sluice.toml").lines();
    let lines: Vec<&str> = lines
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_seeds_are_right() {
        let seeds = configurations();
        let taken = seeds.iter().filter(|seed| {
            let environment = environment_of(std::str::from_utf8(seed).unwrap());
            load(&Arguments::default(), &environment).is_ok()
        });
        // One is misspelt, and in the sample with everything in force some settings exclude others.
        assert_eq!(taken.count(), seeds.len() - 2);
    }
}
