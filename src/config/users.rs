//! What settings say of users: their file and their names.

use std::path::Path;

use super::sources::Files;
use super::value::Value;
use crate::access::users::Users;

/// Longest file of users: a hundred thousand take a tenth of it.
const MAX_USERS_BYTES: usize = 64 << 20;
/// How many wrong lines a report names.
const MAX_SHOWN: usize = 10;

/// Whether a file of users can be obeyed; the error says what was expected of it.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let text = Files
        .read(path, MAX_USERS_BYTES)
        .map_err(|error| format!("a readable file ({error})"))?;
    let Err(bad) = Users::read(&text) else {
        return Ok(());
    };
    let shown: Vec<String> = bad
        .iter()
        .take(MAX_SHOWN)
        .map(ToString::to_string)
        .collect();
    let more = if bad.len() > MAX_SHOWN { "; …" } else { "" };
    Err(format!("a file of users ({}{more})", shown.join("; ")))
}

/// Names of users.
pub(super) fn names(value: &Value) -> Result<Vec<String>, String> {
    let list = value.list().map_err(|_| "a list of users' names")?;
    let is_no_name = |name: &&str| name.contains(|c: char| c == ':' || c.is_control());
    match list.iter().find(|name| is_no_name(name)) {
        Some(name) => Err(format!("a list of users' names, which {name:?} is not")),
        None => Ok(list.into_iter().map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use crate::access::rules::Mode;
    use crate::config::{Arguments, Config, Environment, Problems, load};

    fn load_file(text: &str, key: Option<&str>) -> Result<Config, Problems> {
        let variables = [("SLUICE_CONFIG_TOML", Some(text)), ("KEY", key)];
        let set = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let environment = Environment::new(set.map(|(name, value)| (name.into(), value.into())));
        load(&Arguments::default(), &environment)
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let problems = load_file(text, Some("bad\u{e9}\nkey")).expect_err("problems");
        let found: Vec<String> = problems.list().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    fn feed(lines: &str) -> String {
        format!("[[feed]]\nname = \"corp\"\nupstream = \"https://corp.test/index.json\"\n{lines}\n")
    }

    #[test]
    fn a_feed_says_who_may_use_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (users, key) = (folder.path().join("users"), folder.path().join("key"));
        std::fs::write(&users, "# none yet\n").expect("a folder");
        std::fs::write(&key, "k3y\n").expect("a folder");
        let lines = format!(
            "access = \"own\"\nreaders = [\"alice\", \"bob\"]\npushers = [\"bob\"]\npush_key_file = {key:?}"
        );
        let text = format!(
            "users_file = {users:?}\nadmins = [\"alice\"]\n{}",
            feed(&lines)
        );
        let config = load_file(&text, None).expect("no problems");
        let clients = &config.proxy.feeds[0].clients;
        assert_eq!(clients.mode, Mode::Own);
        assert_eq!(clients.readers, Some(vec!["alice".into(), "bob".into()]));
        assert_eq!(clients.pushers, ["bob"]);
        assert_eq!(
            clients.push_key.as_ref().map(|key| key.reveal()),
            Some("k3y")
        );
        assert_eq!(config.access.admins, ["alice"]);
        assert_eq!(config.access.users_file, Some(users));
        assert!(!format!("{config:?}").contains("k3y"));
        let config =
            load_file(&feed("push_key_env = \"KEY\""), Some("e-key")).expect("no problems");
        let clients = &config.proxy.feeds[0].clients;
        assert_eq!(clients.mode, Mode::Open);
        assert_eq!(
            clients.push_key.as_ref().map(|key| key.reveal()),
            Some("e-key")
        );
    }

    #[test]
    fn tokens_lie_in_the_data_folder_unless_told() {
        let at = |text: &str| {
            let config = load_file(text, None).expect("no problems");
            config.access.tokens().path().to_owned()
        };
        assert!(at("data_dir = \"d\"").ends_with("d/tokens.json"));
        assert!(at("data_dir = \"d\"\ntokens_file = \"t.json\"").ends_with("t.json"));
    }

    #[test]
    fn what_makes_no_sense_together_is_told() {
        check(
            &feed("access = \"all\""),
            &["access is \"all\": expected one of \"open\", \"own\", \"passthrough\""],
        );
        check(
            &feed("readers = [\"alice\"]"),
            &[
                "readers: expected access = \"own\" beside it",
                "expected users_file beside it",
            ],
        );
        check(
            &feed("pushers = [\"alice\"]"),
            &[
                "pushers: expected access = \"own\" or push_key",
                "expected users_file beside it",
            ],
        );
        check(
            "admins = [\"alice\"]",
            &["admins is \"alice\": expected users_file beside it"],
        );
        check("admins = [\"a:b\"]", &["which \"a:b\" is not"]);
        check(
            &feed("push_key_env = \"KEY\""),
            &["push_key is \"KEY\": expected a secret on one line"],
        );
        check(
            &feed("push_key_env = \"GONE\""),
            &["expected an environment variable that is set"],
        );
    }

    #[test]
    fn every_wrong_line_of_a_file_of_users_is_told() {
        check(
            "users_file = \"missing\"",
            &["users_file is \"missing\": expected a readable file"],
        );
        let folder = tempfile::tempdir().expect("a folder");
        let users = folder.path().join("users");
        std::fs::write(&users, "nobody\n\nbob:plain\n").expect("a folder");
        check(
            &format!("users_file = {users:?}\nadmins = [\"bob\"]"),
            &["(line 1: expected NAME:HASH; line 3: expected for \"bob\" a bcrypt hash"],
        );
    }
}
