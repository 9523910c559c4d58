//! The files of users and tokens as they are now.
//!
//! At start a wrong file is a refusal; later it changes nothing and is logged. Every call blocks.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ring::digest::{Context, SHA256};

use super::settings::Settings;
use super::tokens::Tokens;
use super::users::Users;
use crate::store::SmallFile;
use crate::store::Stamp;

/// What the files say.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Where the files are, and what the configuration says beside them.
    pub(super) settings: Settings,
    /// The files' texts as a hash, so that a file that was only touched changes nothing.
    pub(super) source: Option<[u8; 32]>,
    pub(super) tokens: Tokens,
    pub(super) users: Users,
}

/// What told the files' contents when they were read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Stamps {
    pub(super) tokens: Option<Stamp>,
    pub(super) users: Option<Stamp>,
}

/// A file of users or tokens that cannot be obeyed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Everything that is wrong with the files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

impl std::error::Error for Problems {}

impl Ledger {
    /// Reads both files.
    pub(super) fn read(settings: &Settings) -> Result<Self, Problems> {
        let tokens = text_of(&settings.tokens()).and_then(|text| {
            let file = settings.tokens();
            let text = text.unwrap_or_default();
            tokens_in(&file, &text).map(|tokens| (text, tokens))
        });
        let users = match settings.users() {
            Some(file) => read_users(&file),
            None => Ok((String::new(), Users::default())),
        };
        match (tokens, users) {
            (Ok((tokens_text, tokens)), Ok((users_text, users))) => {
                let mut context = Context::new(&SHA256);
                context.update(&tokens_text.len().to_le_bytes());
                context.update(tokens_text.as_bytes());
                context.update(users_text.as_bytes());
                let source = context.finish().as_ref().try_into().ok();
                Ok(Self {
                    settings: settings.clone(),
                    source,
                    tokens,
                    users,
                })
            }
            (tokens, users) => {
                let mut all: Vec<Problem> = tokens.err().into_iter().collect();
                all.extend(users.err().unwrap_or_default());
                Err(Problems(all))
            }
        }
    }
}

impl Problems {
    /// One of one file.
    pub(super) fn of(file: &SmallFile, what: String) -> Self {
        Self(vec![problem(file, what)])
    }
}

/// Both files and what tells their contents.
pub(super) fn read(settings: &Settings) -> Result<(Stamps, Ledger), Problems> {
    // Before the contents: what changes in between is read again.
    let stamps = Stamps::read(settings);
    Ok((stamps, Ledger::read(settings)?))
}

impl Stamps {
    /// What tells the files' contents now. A file that cannot be looked at has none.
    pub(super) fn read(settings: &Settings) -> Self {
        let of = |file: SmallFile| file.stamp().ok().flatten();
        Self {
            tokens: of(settings.tokens()),
            users: settings.users().and_then(of),
        }
    }
}

/// The tokens in a file's text; none in an empty one, since that is how every file begins.
pub(super) fn tokens_in(file: &SmallFile, text: &str) -> Result<Tokens, Problem> {
    if text.is_empty() {
        return Ok(Tokens::default());
    }
    Tokens::read(text).map_err(|what| problem(file, what))
}

/// A file's text, if it is there.
pub(super) fn text_of(file: &SmallFile) -> Result<Option<String>, Problem> {
    file.read()
        .map_err(|error| problem(file, error.to_string()))
}

/// The users of a file, which must be there: somebody named it.
fn read_users(file: &SmallFile) -> Result<(String, Users), Vec<Problem>> {
    let text = match text_of(file) {
        Ok(Some(text)) => text,
        Ok(None) => {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(vec![problem(file, error.to_string())]);
        }
        Err(problem) => return Err(vec![problem]),
    };
    match Users::read(&text) {
        Ok(users) => Ok((text, users)),
        Err(bad) => Err(bad
            .iter()
            .map(|bad| problem(file, bad.to_string()))
            .collect()),
    }
}

fn problem(file: &SmallFile, what: String) -> Problem {
    Problem {
        path: file.path().to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_both_files_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            users_file: Some(folder.path().join("users")),
            ..Settings::default()
        };
        let problems = Ledger::read(&settings).expect_err("no file of users").0;
        assert_eq!(problems.len(), 1);
        assert!(problems[0].path.ends_with("users"));
        std::fs::write(folder.path().join("users"), "a\nb\n").expect("a folder");
        std::fs::write(folder.path().join("tokens.json"), "{").expect("a folder");
        let problems = Ledger::read(&settings).expect_err("wrong files");
        assert_eq!(problems.0.len(), 3, "{problems}");
        std::fs::write(folder.path().join("users"), "# none yet\n").expect("a folder");
        std::fs::remove_file(folder.path().join("tokens.json")).expect("it is there");
        let ledger = Ledger::read(&settings).expect("nothing is wrong with nothing");
        assert!(ledger.users.is_empty() && ledger.tokens.all().is_empty());
    }
}
