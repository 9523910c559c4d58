//! TLS settings: how they come, every way in which they can be wrong, all told at once; the password is never shown.

use std::path::Path;

use super::*;
use crate::config::{Arguments, CONFIG_TOML, Change, admin_listen, compare, load};
use crate::server::tls::tests::made::{Authority, Leaf, write};

fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let variables = [&[(CONFIG_TOML, text)], variables].concat();
    let variables = variables.into_iter();
    let environment = Environment::new(variables.map(|(name, value)| (name.into(), value.into())));
    load(&Arguments::default(), &environment)
}

#[track_caller]
fn problems(loaded: Result<Config, Problems>, expected: &[&str]) {
    let found: Vec<String> = loaded
        .expect_err("problems")
        .list()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nnot {expected}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

const LISTEN: &str = "tls_listen = [\"127.0.0.1:6853\"]\n";

/// Lines that name the files of a leaf.
fn pair(folder: &Path, leaf: &Leaf) -> String {
    let chain = write(folder, "chain.pem", &leaf.pem);
    let key = write(folder, "key.pem", leaf.key.serialize_pem());
    format!("tls_certificate = {chain:?}\ntls_key = {key:?}\n")
}

#[test]
fn tls_stands_beside_plain_listeners_or_instead_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let leaf = Authority::root("Root").leaf(&["a.example"]);
    let lines = pair(folder.path(), &leaf);
    let config = loaded(&format!("{LISTEN}{lines}"), &[]).unwrap();
    assert_eq!(
        config.server.tls.listen,
        ["127.0.0.1:6853".parse().unwrap()]
    );
    assert_eq!(config.server.addresses().len(), 2);
    let config = loaded(&format!("listen = \"off\"\n{LISTEN}{lines}"), &[]).unwrap();
    assert_eq!(config.server.addresses(), []);
    let flags = Arguments {
        config: None,
        settings: vec![("listen".to_owned(), vec!["off".to_owned()])],
    };
    let environment = Environment::new([(CONFIG_TOML.into(), format!("{LISTEN}{lines}").into())]);
    let config = load(&flags, &environment).unwrap();
    assert_eq!(config.server.addresses(), []);
    problems(
        loaded("listen = \"off\"", &[]),
        &["SLUICE_CONFIG_TOML:1: listen: expected addresses, or tls_listen with some"],
    );
    problems(
        loaded(
            &format!("listen = [\"127.0.0.1:6853\"]\n{LISTEN}{lines}"),
            &[],
        ),
        &["SLUICE_CONFIG_TOML:2: tls_listen is \"127.0.0.1:6853\": expected each address once"],
    );
    problems(
        loaded(
            &format!("admin_listen = \"127.0.0.1:6853\"\n{LISTEN}{lines}"),
            &[],
        ),
        &["SLUICE_CONFIG_TOML:1: admin_listen is \"127.0.0.1:6853\""],
    );
}

#[test]
fn settings_that_lack_another_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let lines = pair(folder.path(), &root.leaf(&["a.example"]));
    let (certificate, key) = lines.split_once('\n').unwrap();
    problems(
        loaded(LISTEN, &[]),
        &["SLUICE_CONFIG_TOML:1: tls_listen: expected tls_certificate and tls_key, or tls_pkcs12"],
    );
    problems(
        loaded(&format!("{LISTEN}{certificate}"), &[]),
        &["SLUICE_CONFIG_TOML:2: tls_key: expected tls_certificate and tls_key, both"],
    );
    problems(
        loaded(&format!("{LISTEN}{key}"), &[]),
        &["SLUICE_CONFIG_TOML:2: tls_certificate: expected tls_certificate and tls_key, both"],
    );
    problems(
        loaded(&lines, &[]),
        &["SLUICE_CONFIG_TOML:1: tls_certificate: expected tls_listen, the addresses"],
    );
    problems(
        loaded(&format!("{LISTEN}{lines}tls_pkcs12 = \"a.pfx\"\n"), &[]),
        &["SLUICE_CONFIG_TOML:4: tls_pkcs12: expected only one of"],
    );
    problems(
        loaded(
            &format!("{LISTEN}{lines}tls_pkcs12_password = \"hunter2\"\n"),
            &[],
        ),
        &["SLUICE_CONFIG_TOML:4: tls_pkcs12_password: expected tls_pkcs12, which it opens"],
    );
}

#[test]
fn wrong_files_are_told_with_all_other_problems() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let other = root.leaf(&["b.example"]);
    let lines = pair(folder.path(), &root.leaf(&["a.example"]));
    write(folder.path(), "key.pem", other.key.serialize_pem());
    problems(
        loaded(
            &format!("max_hold = 5\n{LISTEN}{lines}max_streams = 0\n"),
            &[],
        ),
        &[
            "SLUICE_CONFIG_TOML:1: max_hold",
            "SLUICE_CONFIG_TOML:5: max_streams is \"0\": expected a whole number from 1",
            "SLUICE_CONFIG_TOML:3: tls_certificate is ",
        ],
    );
    problems(
        loaded(
            &format!("{LISTEN}tls_certificate = \"/nope/c\"\ntls_key = \"/nope/k\""),
            &[],
        ),
        &[
            "SLUICE_CONFIG_TOML:2: tls_certificate is \"/nope/c\": expected a readable file",
            "SLUICE_CONFIG_TOML:3: tls_key is \"/nope/k\": expected a readable file",
        ],
    );
    let old = pair(
        folder.path(),
        &root.leaf_until(&["a.example"], (2020, 1, 1)),
    );
    let found = loaded(&format!("{LISTEN}{old}"), &[]).expect_err("a problem");
    assert!(
        found.to_string().contains("a certificate that is not over"),
        "{found}"
    );
}

#[test]
fn who_asks_a_process_for_its_health_needs_no_files() {
    let find = |text: &str| {
        let environment = Environment::new([(CONFIG_TOML.into(), text.into())]);
        admin_listen(&Arguments::default(), &environment)
    };
    let gone = "tls_certificate = \"/nope\"\ntls_key = \"/nope\"\nca_files = [\"/nope\"]\n";
    let text = format!("admin_listen = \"127.0.0.1:1\"\n{LISTEN}{gone}");
    assert!(loaded(&text, &[]).is_err());
    assert_eq!(find(&text), Ok(Some("127.0.0.1:1".parse().unwrap())));
    assert_eq!(find("admin_listen = \"off\""), Ok(None));
    assert!(find("admin_listen = \"here\"").is_err());
    assert!(find("admin_listen = ").is_err());
}

#[test]
fn the_password_comes_as_value_file_or_variable_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = write(folder.path(), "password", "hunter2\n");
    let pfx = write(folder.path(), "a.pfx", "no store");
    let lines = |password: &str| format!("{LISTEN}tls_pkcs12 = {pfx:?}\n{password}\n");
    let store = "SLUICE_CONFIG_TOML:2: tls_pkcs12 is ";
    for password in [
        "tls_pkcs12_password = \"hunter2\"".to_owned(),
        format!("tls_pkcs12_password_file = {secret:?}"),
        "tls_pkcs12_password_env = \"PFX\"".to_owned(),
    ] {
        problems(loaded(&lines(&password), &[("PFX", "hunter2")]), &[store]);
    }
    problems(
        loaded(&lines("tls_pkcs12_password = [\"hunter2\"]"), &[]),
        &[
            "SLUICE_CONFIG_TOML:3: tls_pkcs12_password: expected a text",
            store,
        ],
    );
    problems(
        loaded(&lines("tls_pkcs12_password_env = \"PFX\""), &[]),
        &["SLUICE_CONFIG_TOML:3: tls_pkcs12_password is \"PFX\": expected an environment variable"],
    );
    problems(
        loaded(&lines("tls_pkcs12_password_file = \"/nope\""), &[]),
        &["SLUICE_CONFIG_TOML:3: tls_pkcs12_password is \"/nope\": expected a readable file"],
    );
}

fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_reload_obeys_another_pair_unless_tls_itself_waits() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = Authority::root("Root");
    let before = pair(old.path(), &root.leaf(&["a.example"]));
    let after = pair(new.path(), &root.leaf(&["a.example"]));
    let running = loaded(&format!("{LISTEN}{before}"), &[]).unwrap();
    let other = compare(&running, loaded(&format!("{LISTEN}{after}"), &[]).unwrap());
    assert_eq!(
        (other.changed.len(), names(&other.needs_restart)),
        (2, vec![])
    );
    assert_ne!(other.config.server.tls, running.server.tls);
    let elsewhere = format!("tls_listen = \"127.0.0.1:1\"\n{after}");
    for text in [&elsewhere, ""] {
        let other = compare(&running, loaded(text, &[]).unwrap());
        assert_eq!(
            (names(&other.changed), other.needs_restart.len()),
            (vec![], 3)
        );
        assert_eq!(other.config.server.tls, running.server.tls);
    }
}

#[test]
fn another_password_is_a_change_and_is_not_shown() {
    let loaded = |line: &str| {
        let mut config = Config::default();
        let (name, value) = line.split_once('=').unwrap();
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .unwrap();
        (setting.field.put)(&mut config, &Value::Text(value.to_owned())).unwrap();
        config
    };
    let (value, file, variable) = (
        "tls_pkcs12_password",
        "tls_pkcs12_password_file",
        "tls_pkcs12_password_env",
    );
    let running = loaded(&format!("{value}=hunter2"));
    let other = compare(&running, loaded(&format!("{value}=hunter3")));
    assert_eq!(names(&other.changed), [format!("{value}: changed")]);
    for line in [format!("{file}=/secret"), format!("{variable}=PFX")] {
        let other = compare(&running, loaded(&line));
        let told = names(&other.changed);
        assert_eq!((told.len(), &*told[0]), (2, "tls_pkcs12_password: changed"));
        assert!(!format!("{told:?}{other:?}").contains("hunter"), "{told:?}");
    }
}
