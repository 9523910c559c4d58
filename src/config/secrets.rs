//! Secrets: where they are, and the one credential that a feed's settings make.
//!
//! What stands in a file or variable is read at start, so that a wrong path is a start-up error. A command is not run
//! then: start-up waits for nothing. It refuses to print a secret.

use std::path::PathBuf;

use http::HeaderValue;

use crate::upstream::auth::{CommandLine, Credential, Secret};

use super::feeds::Draft;
use super::sources::{Environment, Files};
use super::value::Value;

/// Where a secret is. The later of two sources replaces the earlier, whatever its form.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Place {
    /// Printed by a command.
    Command(CommandLine),
    /// In an environment variable of this name.
    Environment(String),
    /// In a file, without the line break at its end.
    File(PathBuf),
    Value(String),
}

/// Names the place of the secret and never the secret.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(_) => f.write_str("Command(…)"),
            Self::Environment(name) => write!(f, "Environment({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// Longest secret, so that a wrong path such as a device or a log is refused and not read whole.
const MAX_BYTES: usize = 64 << 10;

impl Place {
    pub(super) fn value(value: &Value) -> Result<Option<Self>, String> {
        Ok(Some(Self::Value(value.text()?.to_owned())))
    }

    pub(super) fn file(value: &Value) -> Result<Option<Self>, String> {
        Ok(Some(Self::File(value.path()?)))
    }

    pub(super) fn environment(value: &Value) -> Result<Option<Self>, String> {
        let name = value
            .text()
            .map_err(|_| "the name of an environment variable".to_owned())?;
        Ok(Some(Self::Environment(name.to_owned())))
    }

    /// A list is a program and its arguments; a text is a line for the system's shell.
    pub(super) fn command(value: &Value) -> Result<Option<Self>, String> {
        let expected =
            || "a line for the shell, or a list of a program and its arguments".to_owned();
        let line = match value {
            Value::List(words) if words.first().is_some_and(|word| !word.is_empty()) => {
                CommandLine::Program(words.clone())
            }
            Value::Text(line) if !line.trim().is_empty() => CommandLine::Shell(line.clone()),
            Value::Integer(_) | Value::List(_) | Value::Other(_) | Value::Text(_) => {
                return Err(expected());
            }
        };
        Ok(Some(Self::Command(line)))
    }

    /// The secret, read. The error is what stands there, if that may be told, and what was expected.
    pub(super) fn read(
        &self,
        environment: &Environment,
    ) -> Result<Secret, (Option<String>, String)> {
        let (value, from) = match self {
            Self::Command(line) => return Ok(Secret::Command(line.clone())),
            Self::Environment(name) => match environment.lookup(name) {
                Some(value) => (value, name.clone()),
                None => {
                    let expected = "an environment variable that is set".to_owned();
                    return Err((Some(name.clone()), expected));
                }
            },
            Self::File(path) => match Files.read(path, MAX_BYTES) {
                Ok(value) => (value, path.display().to_string()),
                Err(error) => {
                    let expected = format!("a readable file ({error})");
                    return Err((Some(path.display().to_string()), expected));
                }
            },
            Self::Value(value) => (value.clone(), String::new()),
        };
        let value = value.trim_end_matches(['\r', '\n']).to_owned();
        if value.is_empty() || value.chars().any(char::is_control) {
            let found = (!from.is_empty()).then_some(from);
            return Err((found, "a secret on one line that is not empty".to_owned()));
        }
        Ok(match self {
            Self::File(path) => Secret::File {
                path: path.clone(),
                value,
            },
            Self::Command(_) | Self::Environment(_) | Self::Value(_) => Secret::Value(value),
        })
    }
}

/// The secrets of a feed, read.
pub(super) struct Secrets {
    pub(super) password: Option<Secret>,
    pub(super) token: Option<Secret>,
    pub(super) header_value: Option<Secret>,
}

/// The one credential of a feed, or the setting that is in the way and what was expected of it.
pub(super) fn credential(
    draft: &Draft,
    secrets: Secrets,
) -> Result<Option<Credential>, (&'static str, &'static str)> {
    let basic = draft.username.is_some() || draft.password.is_some();
    let header = draft.header_name.is_some() || draft.header_value.is_some();
    let kinds = [basic, draft.token.is_some(), header];
    if kinds.iter().filter(|given| **given).count() > 1 {
        return Err((
            "credential",
            "only one of username and password, token, header_name and header_value",
        ));
    }
    if basic && (draft.username.is_none() || draft.password.is_none()) {
        return Err(("username", "username and password, both"));
    }
    if header && (draft.header_name.is_none() || draft.header_value.is_none()) {
        return Err(("header_name", "header_name and header_value, both"));
    }
    if let (Some(user), Some(password)) = (&draft.username, secrets.password) {
        return Ok(Some(Credential::Basic {
            user: user.clone(),
            password,
        }));
    }
    if let Some(token) = secrets.token {
        return header_safe(&token, "token").map(|()| Some(Credential::Bearer(token)));
    }
    if let (Some(name), Some(value)) = (&draft.header_name, secrets.header_value) {
        header_safe(&value, "header_value")?;
        return Ok(Some(Credential::Header {
            name: name.to_string(),
            value,
        }));
    }
    Ok(None)
}

/// Whether a header can carry what is known of a secret.
pub(super) fn header_safe(
    secret: &Secret,
    setting: &'static str,
) -> Result<(), (&'static str, &'static str)> {
    let known = match secret {
        Secret::Command(_) => return Ok(()),
        Secret::File { value, .. } | Secret::Value(value) => value,
    };
    match HeaderValue::from_str(known) {
        Ok(_) => Ok(()),
        Err(_) => Err((setting, "characters that a header can carry")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{load_file, problems};

    #[test]
    fn secrets_come_as_value_file_or_variable_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "hunter2\n").unwrap();
        let path = path.to_str().unwrap();
        let feed =
            |lines: &str| format!("[[feed]]\nname = \"a\"\nupstream = \"https://a/i\"\n{lines}");
        let credential = |lines: &str| {
            let config = load_file(&feed(lines), &[("FEED_KEY", "hunter2")]).unwrap();
            assert!(!format!("{config:?}").contains("hunter2"));
            config.proxy.feeds[0].credential.clone()
        };
        let basic = Some(Credential::Basic {
            user: "u".to_owned(),
            password: "hunter2".into(),
        });
        assert_eq!(
            credential("username = \"u\"\npassword = \"hunter2\""),
            basic
        );
        assert_eq!(
            credential(&format!("token_file = {path:?}")),
            Some(Credential::Bearer(Secret::File {
                path: path.into(),
                value: "hunter2".to_owned(),
            }))
        );
        assert_eq!(
            credential("token_command = \"echo hunter2\""),
            Some(Credential::Bearer(Secret::Command(CommandLine::Shell(
                "echo hunter2".to_owned()
            ))))
        );
        assert_eq!(
            credential("username = \"u\"\npassword_command = [\"echo\", \"hunter2\"]"),
            Some(Credential::Basic {
                user: "u".to_owned(),
                password: Secret::Command(CommandLine::Program(vec![
                    "echo".to_owned(),
                    "hunter2".to_owned()
                ])),
            })
        );
        assert_eq!(
            credential("username = \"u\"\npassword_env = \"FEED_KEY\""),
            basic
        );
        assert_eq!(
            credential("token_env = \"FEED_KEY\""),
            Some(Credential::Bearer("hunter2".into()))
        );
        assert_eq!(
            credential("header_name = \"X-Key\"\nheader_value_env = \"FEED_KEY\""),
            Some(Credential::Header {
                name: "x-key".to_owned(),
                value: "hunter2".into(),
            })
        );
    }

    #[test]
    fn wrong_secrets_are_problems_that_do_not_repeat_them() {
        let check = |lines: &str, expected: &str| {
            let text = format!("[[feed]]\nname = \"a\"\nupstream = \"https://a/i\"\n{lines}");
            let loaded = load_file(&text, &[]);
            let shown = format!("{loaded:?}{}", loaded.as_ref().err().unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
            problems(loaded, &[expected]);
        };
        let feed = |rest: &str| format!("SLUICE_CONFIG_TOML:1: feed \"a\": {rest}");
        check(
            "password = \"hunter2\"",
            &feed("username: expected username and password"),
        );
        check(
            "username = \"u\"",
            &feed("username: expected username and password"),
        );
        check(
            "header_name = \"X-Key\"",
            &feed("header_name: expected header_name and header_value"),
        );
        check(
            "token = \"hunter2\\nx\"",
            &feed("token: expected a secret on one line"),
        );
        check(
            "token_env = \"NOPE\"",
            &feed("token is \"NOPE\": expected an environment variable"),
        );
        check(
            "token_file = \"/nope\"",
            &feed("token is \"/nope\": expected a readable file"),
        );
        check(
            "token = \"hunter2\"\nheader_name = \"X-Key\"\nheader_value = \"hunter2\"",
            &feed("credential: expected only one"),
        );
        check(
            "token = [\"hunter2\"]",
            "SLUICE_CONFIG_TOML:4: token: expected a text",
        );
        check(
            "header_name = \"Host\"\nheader_value = \"x\"",
            "SLUICE_CONFIG_TOML:4: header_name is",
        );
    }
}
