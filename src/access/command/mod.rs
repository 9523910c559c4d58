//! `sluice token` and `sluice password`: makes, lists and revokes tokens, and hashes passwords.
//!
//! Tokens are changed in their file, which a running process reads again within a second or two; nothing else is asked.
//! A token is shown once, when it is made, and kept only as its hash.

use std::io::BufRead;
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::access::ledger;
use crate::access::moment;
use crate::access::password::PasswordHash;
use crate::access::secret::TokenSecret;
use crate::access::settings::Settings;
use crate::access::tokens::{Rights, Token, Tokens, check_name};
use crate::access::watch::read_uses;
use crate::nuget::pattern::IdPattern;

/// Longest line of a password.
const MAX_PASSWORD_BYTES: usize = 1024;

/// What a command has to say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// For whoever reads it on: a token, a table, a line of a file.
    pub out: String,
    /// For people, beside it.
    pub note: String,
}

/// What a command knows of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Where tokens are kept.
    pub settings: &'a Settings,
    /// The feeds and whether they ask for tokens, for reading or for pushing.
    pub feeds: &'a [(&'a str, bool)],
    /// The time.
    pub now: SystemTime,
}

/// The arguments of `sluice token`.
#[must_use]
pub fn token() -> Command {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let place = [
        flag("config", "FILE", "Configuration file (TOML)").global(true),
        flag("data-dir", "DIR", "Folder of everything that is kept").global(true),
        flag(
            "tokens-file",
            "FILE",
            "File of tokens [default: in the data folder]",
        )
        .global(true),
    ];
    let name = || {
        Arg::new("NAME")
            .required(true)
            .help("Its name, for lists and logs")
    };
    let create = Command::new("create")
        .about("Makes a token and shows it, this once; without a right named, it may read")
        .arg(name())
        .arg(flag("read", "", "It may read").action(ArgAction::SetTrue))
        .arg(
            flag(
                "push",
                "PATTERN",
                "It may push, delete and relist ids that fit: \"Contoso.Log\", \"Contoso.*\", \"*\" (repeatable)",
            )
            .action(ArgAction::Append),
        )
        .arg(
            flag("admin", "", "It may use the admin listener's interface")
                .action(ArgAction::SetTrue),
        )
        .arg(
            flag("feed", "NAME", "Only for this feed (repeatable) [default: every feed]")
                .action(ArgAction::Append),
        )
        .arg(flag(
            "expires",
            "WHEN",
            "When it ends: \"90d\", \"12h\", \"2030-01-31\" [default: never]",
        ));
    Command::new("token")
        .about("Makes, lists and revokes tokens; a running process obeys without a restart")
        .subcommand_required(true)
        .args(place)
        .subcommand(create)
        .subcommand(
            Command::new("list")
                .about("Lists tokens, what they may do and when they were last used"),
        )
        .subcommand(Command::new("revoke").about("Revokes a token").arg(name()))
}

/// The arguments of `sluice password`.
#[must_use]
pub fn password() -> Command {
    let name = Arg::new("NAME").required(true).help("The user's name");
    Command::new("password")
        .about("Reads a password from standard input and prints its line of a users_file")
        .arg(name)
}

/// Carries out `sluice token`.
///
/// # Errors
/// The sentence that says why not.
pub fn run(matches: &ArgMatches, scene: &Scene<'_>) -> Result<Said, String> {
    match matches.subcommand() {
        Some(("create", matches)) => create(matches, scene),
        Some(("revoke", matches)) => {
            let name = matches
                .get_one::<String>("NAME")
                .cloned()
                .unwrap_or_default();
            change(scene, |tokens| match tokens.remove(&name) {
                true => Ok(()),
                false => Err(format!("there is no token {name:?}")),
            })?;
            Ok(Said {
                note: format!("token {name} is revoked\n"),
                ..Said::default()
            })
        }
        Some(_) | None => list(scene),
    }
}

/// Carries out `sluice password`.
///
/// # Errors
/// The sentence that says why not.
pub fn hash(name: &str, input: &mut dyn BufRead) -> Result<Said, String> {
    if name.is_empty()
        || name.starts_with('#')
        || name.contains(':')
        || name.chars().any(char::is_control)
    {
        return Err(format!(
            "expected a user's name without \":\", which {name:?} is not"
        ));
    }
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(|error| format!("cannot read the password: {error}"))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        return Err(format!(
            "expected a password of 1 to {MAX_PASSWORD_BYTES} bytes on standard input"
        ));
    }
    let hash = PasswordHash::make(password)?;
    Ok(Said {
        out: format!("{name}:{hash}\n"),
        ..Said::default()
    })
}

fn create(matches: &ArgMatches, scene: &Scene<'_>) -> Result<Said, String> {
    let texts = |name: &str| -> Vec<String> {
        matches
            .get_many::<String>(name)
            .unwrap_or_default()
            .cloned()
            .collect()
    };
    let name = matches
        .get_one::<String>("NAME")
        .cloned()
        .unwrap_or_default();
    check_name(&name)?;
    let push = texts("push")
        .iter()
        .map(|text| IdPattern::read(text))
        .collect::<Result<Vec<_>, _>>();
    let push = push.map_err(|expected| format!("--push: expected {expected}"))?;
    let feeds = texts("feed");
    for feed in &feeds {
        if !scene.feeds.iter().any(|(known, _)| known == feed) {
            let known: Vec<&str> = scene.feeds.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "--feed: expected one of {}, which {feed:?} is not",
                known.join(", ")
            ));
        }
    }
    let end = matches.get_one::<String>("expires");
    let expires = end
        .map(|text| moment::read_end(text, scene.now))
        .transpose();
    let expires = expires.map_err(|expected| format!("--expires: expected {expected}"))?;
    let admin = matches.get_flag("admin");
    let read = matches.get_flag("read") || (push.is_empty() && !admin);
    let secret = TokenSecret::draw().map_err(|error| error.to_string())?;
    let token = Token {
        name: name.as_str().into(),
        digest: secret.digest(),
        created: scene.now,
        expires,
        feeds,
        rights: Rights { admin, push, read },
    };
    let mut note = format!(
        "token {name} may {} ({}); it ends {}; it is shown this once\n",
        rights(&token.rights),
        reach(&token),
        expires.map_or_else(|| "never".to_owned(), moment::show),
    );
    let asks = scene
        .feeds
        .iter()
        .any(|(feed, guarded)| *guarded && token.is_for(feed));
    if !asks && !admin {
        note.push_str(
            "no feed of this configuration asks for it yet: set access = \"own\" or push_key\n",
        );
    }
    change(scene, |tokens| tokens.add(token))?;
    Ok(Said {
        out: format!("{}\n", secret.reveal()),
        note,
    })
}

/// Changes the file of tokens.
fn change(
    scene: &Scene<'_>,
    change: impl FnOnce(&mut Tokens) -> Result<(), String>,
) -> Result<(), String> {
    let file = scene.settings.tokens();
    let done = file.change(|text| {
        let text = text.unwrap_or_default();
        let tokens = ledger::tokens_in(&file, &text);
        let mut tokens = tokens.map_err(|problem| problem.what)?;
        change(&mut tokens)?;
        Ok::<_, String>((tokens.write(), ()))
    });
    done.map_err(|error| format!("{}: {error}", file.path().display()))
}

fn list(scene: &Scene<'_>) -> Result<Said, String> {
    let file = scene.settings.tokens();
    let text = ledger::text_of(&file).map_err(|problem| problem.to_string())?;
    let tokens = ledger::tokens_in(&file, &text.unwrap_or_default());
    let tokens = tokens.map_err(|problem| problem.to_string())?;
    let uses = read_uses(&scene.settings.uses());
    let mut rows =
        vec![["NAME", "MAY", "FEEDS", "CREATED", "ENDS", "LAST USED"].map(str::to_owned)];
    for token in tokens.all() {
        let ends = match token.expires {
            None => "never".to_owned(),
            Some(end) if token.is_over(scene.now) => format!("{} (over)", moment::show(end)),
            Some(end) => moment::show(end),
        };
        // One of this name that was revoked may have been used before.
        let used = uses.get(&token.name).filter(|used| **used >= token.created);
        rows.push([
            token.name.to_string(),
            rights(&token.rights),
            reach(token),
            moment::show(token.created),
            ends,
            used.map_or_else(|| "never".to_owned(), |used| moment::show(*used)),
        ]);
    }
    Ok(Said {
        out: table(&rows),
        ..Said::default()
    })
}

/// What a token may do, in words.
fn rights(rights: &Rights) -> String {
    let mut words = Vec::new();
    if rights.read {
        words.push("read".to_owned());
    }
    words.extend(rights.push.iter().map(|pattern| format!("push {pattern}")));
    if rights.admin {
        words.push("administer".to_owned());
    }
    words.join(", ")
}

/// The feeds of a token, in words.
fn reach(token: &Token) -> String {
    if token.feeds.is_empty() {
        "every feed".to_owned()
    } else {
        token.feeds.join(", ")
    }
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
