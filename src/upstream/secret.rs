//! Where a secret comes from, and how it is read again: a file, or a command that prints it.
//!
//! A command prints the secret on its first line and, if it passes, when: on the second, as RFC 3339 or as seconds since
//! 1970. Or it prints one JSON object, `{"token": "…", "expires_at": …}` with a time in either form. It refuses to tell
//! anybody what a command printed, on standard error either: a failure is told by its exit status.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::tasks::Tasks;

/// How long a command may take: some of them ask a server that signs tokens, across the world.
const DEADLINE: Duration = Duration::from_secs(20);

/// Longest output of a command, and longest file: a wrong path such as a log is refused and not read whole.
const MAX_BYTES: u64 = 64 << 10;

/// A secret, or where it is found. Prints neither itself nor its command.
#[derive(Clone, Eq, PartialEq)]
pub enum Secret {
    /// Printed by a command, and to be read again before it expires.
    Command(CommandLine),
    /// In a file, which is read again when the upstream refuses what was in it.
    File {
        /// The file.
        path: PathBuf,
        /// What was in it at start.
        value: String,
    },
    /// The secret itself.
    Value(String),
}

/// A command that prints a secret.
#[derive(Clone, Eq, PartialEq)]
pub enum CommandLine {
    /// A program and its arguments.
    Program(Vec<String>),
    /// A line for the system's shell.
    Shell(String),
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::Value(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command(_) => "Command(redacted)",
            Self::File { .. } => "File(redacted)",
            Self::Value(_) => "Value(redacted)",
        })
    }
}

/// A command line may hold secrets of its own.
impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandLine(redacted)")
    }
}

/// A secret as it was read.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Reading {
    pub(super) text: String,
    pub(super) expires_at: Option<SystemTime>,
}

/// Never the secret.
impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why there is no secret to use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum SecretFault {
    /// The command ended with this exit status.
    Exit(String),
    /// What was read has expired.
    Expired,
    /// What was read is no secret; what was expected.
    Output(&'static str),
    /// The command could not be started; the system's words.
    Start(String),
    /// The command took too long.
    TimedOut,
    /// The file could not be read; the system's words.
    Unreadable(String),
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "its command ended with {status}"),
            Self::Expired => f.write_str("it has expired"),
            Self::Output(expected) => write!(f, "what was read is not {expected}"),
            Self::Start(why) => write!(f, "its command cannot be started: {why}"),
            Self::TimedOut => write!(f, "its command took more than {} s", DEADLINE.as_secs()),
            Self::Unreadable(why) => write!(f, "its file cannot be read: {why}"),
        }
    }
}

impl Secret {
    /// The secret as it stood at start, if it is known then.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Command(_) => None,
            Self::File { value, .. } | Self::Value(value) => Some(value),
        }
    }

    /// Reads it, off the async threads.
    pub(super) async fn read(&self, tasks: &Tasks) -> Result<Reading, SecretFault> {
        match self {
            Self::Command(line) => match tokio::time::timeout(DEADLINE, run(line, tasks)).await {
                Ok(output) => parse(&output?),
                Err(_) => Err(SecretFault::TimedOut),
            },
            Self::File { path, .. } => {
                let path = path.clone();
                let read = tasks
                    .blocking("secret file", move || read_file(&path))
                    .await;
                let text = read.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                let text =
                    text.map_err(|error| SecretFault::Unreadable(error.kind().to_string()))?;
                Ok(Reading {
                    text: checked(text.trim_end_matches(['\r', '\n']))?,
                    expires_at: None,
                })
            }
            Self::Value(value) => Ok(Reading {
                text: value.clone(),
                expires_at: None,
            }),
        }
    }
}

fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let mut file = std::fs::File::open(path)?.take(MAX_BYTES + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// The output of a command that ended well. Dropping the future kills it.
async fn run(line: &CommandLine, tasks: &Tasks) -> Result<String, SecretFault> {
    let mut command = command(line);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let started = tasks
        .blocking("secret command", move || command.spawn())
        .await;
    let mut child = started
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| SecretFault::Start(error.kind().to_string()))?;
    let mut output = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        // What cannot be read will not be a secret either.
        let _ = pipe.take(MAX_BYTES + 1).read_to_end(&mut output).await;
    }
    if output.len() as u64 > MAX_BYTES {
        return Err(SecretFault::Output("at most 64 KiB"));
    }
    let ended = child.wait().await;
    let status = ended.map_err(|error| SecretFault::Start(error.kind().to_string()))?;
    if !status.success() {
        return Err(SecretFault::Exit(status.to_string()));
    }
    String::from_utf8(output).map_err(|_| SecretFault::Output("UTF-8"))
}

fn command(line: &CommandLine) -> Command {
    match line {
        CommandLine::Program(words) => {
            let mut words = words.iter();
            let mut command = Command::new(words.next().map_or("", String::as_str));
            command.args(words);
            command
        }
        CommandLine::Shell(line) => {
            let (shell, option) = if cfg!(windows) {
                ("cmd", "/C")
            } else {
                ("/bin/sh", "-c")
            };
            let mut command = Command::new(shell);
            command.args([option, line]);
            command
        }
    }
}

/// What a command printed, taken apart.
fn parse(output: &str) -> Result<Reading, SecretFault> {
    if output.trim_start().starts_with('{') {
        return parse_json(output);
    }
    let mut lines = output.lines();
    let text = checked(lines.next().unwrap_or_default())?;
    let expires_at = match lines.next().map(str::trim) {
        None | Some("") => None,
        Some(time) => Some(parse_time(time)?),
    };
    Ok(Reading { text, expires_at })
}

fn parse_json(output: &str) -> Result<Reading, SecretFault> {
    let expected = SecretFault::Output("a JSON object with the text \"token\"");
    let value: serde_json::Value = serde_json::from_str(output).map_err(|_| expected.clone())?;
    let text = checked(value["token"].as_str().ok_or(expected)?)?;
    let expires_at = match &value["expires_at"] {
        serde_json::Value::Null => None,
        serde_json::Value::String(time) => Some(parse_time(time)?),
        number => Some(parse_time(&number.to_string())?),
    };
    Ok(Reading { text, expires_at })
}

fn checked(text: &str) -> Result<String, SecretFault> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(SecretFault::Output("a secret on a line of its own"));
    }
    Ok(text.to_owned())
}

/// RFC 3339, or whole seconds since 1970.
fn parse_time(text: &str) -> Result<SystemTime, SecretFault> {
    let parsed = match text.parse::<i64>() {
        Ok(seconds) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok(),
    };
    parsed
        .map(SystemTime::from)
        .ok_or(SecretFault::Output("a time in RFC 3339 or in seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, expected: Result<(&str, Option<u64>), &'static str>) {
        let found = parse(output);
        let expected = expected
            .map(|(text, expires_at)| Reading {
                text: text.to_owned(),
                expires_at: expires_at.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
            })
            .map_err(SecretFault::Output);
        assert_eq!(found, expected, "{output:?}");
    }

    #[test]
    fn commands_print_a_line_or_two_or_an_object() {
        let (line, time, object) = (
            "a secret on a line of its own",
            "a time in RFC 3339 or in seconds",
            "a JSON object with the text \"token\"",
        );
        check("t0k\n", Ok(("t0k", None)));
        check("t0k", Ok(("t0k", None)));
        check("t0k\r\n\r\n", Ok(("t0k", None)));
        check("t0k\n1700000000\nmore", Ok(("t0k", Some(1_700_000_000))));
        check(
            "t0k\n2023-11-14T22:13:20Z",
            Ok(("t0k", Some(1_700_000_000))),
        );
        check(
            "t0k\n2023-11-14T23:13:20+01:00",
            Ok(("t0k", Some(1_700_000_000))),
        );
        check("t0k\ntomorrow", Err(time));
        check("t0k\n99999999999999999", Err(time));
        check("", Err(line));
        check("\nt0k", Err(line));
        check("t0\tk", Err(line));
        check("{\"token\":\"t0k\"}", Ok(("t0k", None)));
        check(
            "\n{\"token\":\"t0k\",\n\"expires_at\":1700000000}\n",
            Ok(("t0k", Some(1_700_000_000))),
        );
        check(
            "{\"token\":\"t0k\",\"expires_at\":\"2023-11-14T22:13:20Z\"}",
            Ok(("t0k", Some(1_700_000_000))),
        );
        check("{\"token\":\"t0k\",\"expires_at\":1.5}", Err(time));
        check("{\"token\":\"\"}", Err(line));
        check("{\"password\":\"t0k\"}", Err(object));
        check("{", Err(object));
    }

    async fn read(secret: Secret) -> Result<Reading, SecretFault> {
        secret.read(&Tasks::new()).await
    }

    fn shell(line: &str) -> Secret {
        Secret::Command(CommandLine::Shell(line.to_owned()))
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_command_is_told_by_its_exit_status_and_never_by_its_output() {
        let good = read(shell("echo \"t$((1 + 1))k\"; echo noise >&2")).await;
        assert_eq!(good.unwrap().text, "t2k");
        let program = ["printf", "%s\\n%s", "a b", "1700000000"].map(str::to_owned);
        let program = CommandLine::Program(program.to_vec());
        let good = read(Secret::Command(program)).await.unwrap();
        assert_eq!((&*good.text, good.expires_at.is_some()), ("a b", true));
        for (line, expected) in [
            ("echo s3cret; echo s3cret >&2; exit 3", "exit status: 3"),
            ("kill -9 $$", "signal: 9"),
            ("head -c 70000 /dev/zero", "at most 64 KiB"),
            ("printf '\\377'", "UTF-8"),
            ("true", "a secret on a line of its own"),
        ] {
            let fault = read(shell(line)).await.unwrap_err();
            let said = format!("{fault} {fault:?}");
            assert!(
                said.contains(expected) && !said.contains("s3cret"),
                "{said}"
            );
        }
        let missing = CommandLine::Program(vec!["/nowhere/s3cret".into()]);
        let fault = read(Secret::Command(missing)).await.unwrap_err();
        assert_eq!(fault, SecretFault::Start("entity not found".into()));
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_is_killed_at_its_deadline() {
        // A paused clock does not wait for processes, so this takes no time.
        let before = tokio::time::Instant::now();
        let fault = read(shell("sleep 600")).await.unwrap_err();
        assert_eq!(fault, SecretFault::TimedOut);
        assert_eq!(before.elapsed(), DEADLINE);
    }

    #[tokio::test]
    async fn a_file_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File {
            path: path.clone(),
            value: "old".into(),
        };
        let gone = read(secret.clone()).await.unwrap_err();
        assert_eq!(gone, SecretFault::Unreadable("entity not found".into()));
        std::fs::write(&path, "new\r\n").unwrap();
        assert_eq!(read(secret.clone()).await.unwrap().text, "new");
        std::fs::write(&path, "a\nb\n").unwrap();
        read(secret.clone()).await.unwrap_err();
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        let fault = read(secret.clone()).await.unwrap_err();
        assert_eq!(fault, SecretFault::Unreadable("file too large".into()));
        assert!(!format!("{secret:?}").contains("old"));
    }
}
