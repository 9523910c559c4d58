//! Users: a file of names and password hashes, as `htpasswd -B` and `sluice password` write it.
//!
//! One user a line, `NAME:HASH`; empty lines and lines that begin with `#` mean nothing. What a user may do stands in the
//! configuration, not here. A file with one wrong line is refused whole, with every problem: to leave a user out would
//! look like a forgotten password.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::password::PasswordHash;

/// Longest name, in bytes: it stands in log lines.
const MAX_NAME_BYTES: usize = 128;

/// The users of a file.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: HashMap<Arc<str>, PasswordHash>,
    /// Checked for a name that nobody has, so that the time tells nothing.
    decoy: Option<PasswordHash>,
}

/// A line that is no user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadLine {
    /// Which, counted from 1.
    pub line: usize,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

impl Users {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Every line that is no user. No hash is repeated.
    pub fn read(text: &str) -> Result<Self, Vec<BadLine>> {
        let mut users = Self::default();
        let mut bad = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match user(line) {
                Ok((name, _)) if users.by_name.contains_key(name) => bad.push(BadLine {
                    line: index + 1,
                    expected: format!("each user once, which {name:?} is not"),
                }),
                Ok((name, hash)) => {
                    users.decoy.get_or_insert_with(|| hash.clone());
                    users.by_name.insert(name.into(), hash);
                }
                Err(expected) => bad.push(BadLine {
                    line: index + 1,
                    expected,
                }),
            }
        }
        if bad.is_empty() { Ok(users) } else { Err(bad) }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// A user's name, as it is shared.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<Arc<str>> {
        let (name, _) = self.by_name.get_key_value(name)?;
        Some(Arc::clone(name))
    }

    /// What a password for this name is to be checked against. Where nobody has the name it is another user's hash,
    /// whose verdict does not count: the answer takes as long as for a wrong password.
    #[must_use]
    pub fn hash_for(&self, name: &str) -> Option<&PasswordHash> {
        self.by_name.get(name).or(self.decoy.as_ref())
    }
}

fn user(line: &str) -> Result<(&str, PasswordHash), String> {
    let (name, hash) = line.split_once(':').ok_or("NAME:HASH")?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(format!(
            "a name of 1 to {MAX_NAME_BYTES} bytes before \":\""
        ));
    }
    let hash = PasswordHash::read(hash).map_err(|expected| format!("for {name:?} {expected}"))?;
    Ok((name, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[test]
    fn reads_what_htpasswd_writes() {
        let text = format!("# people\r\n\r\nalice:{BCRYPT}\r\n  bob b.:{BCRYPT}\n");
        let users = Users::read(&text).expect("users");
        assert!(!users.is_empty());
        assert_eq!(users.name("alice").as_deref(), Some("alice"));
        assert_eq!(users.name("bob b.").as_deref(), Some("bob b."));
        assert_eq!(users.name("Alice"), None);
        assert!(users.hash_for("alice").is_some_and(|hash| hash.fits("U*U")));
        assert!(Users::read("").is_ok_and(|users| users.is_empty()));
    }

    #[test]
    fn an_unknown_name_has_something_to_be_checked_against() {
        let users = Users::read(&format!("alice:{BCRYPT}")).expect("users");
        assert!(users.hash_for("nobody").is_some());
        assert_eq!(users.name("nobody"), None);
    }

    #[test]
    fn every_wrong_line_is_named_and_no_hash_is_shown() {
        let text = format!(
            "alice:{BCRYPT}\nno colon\n:{BCRYPT}\nalice:{BCRYPT}\nbob:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
        );
        let bad = Users::read(&text).expect_err("wrong lines");
        let lines: Vec<usize> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        let shown: Vec<String> = bad.iter().map(ToString::to_string).collect();
        assert!(shown[2].contains("\"alice\""), "{shown:?}");
        assert!(shown[3].contains("\"bob\" a bcrypt hash"), "{shown:?}");
        assert!(!shown.concat().contains("5en6"), "{shown:?}");
    }
}
