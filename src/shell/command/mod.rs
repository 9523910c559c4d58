//! Subcommands, and how they speak: results on standard output, words for people on standard error.

pub(crate) mod pins;
pub(crate) mod upkeep;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Arg, ArgMatches};

use sluice::access;
use sluice::access::rules::Right;
use sluice::clock::Clock;
use sluice::config::{self, Arguments, Config, Environment, Problems};

/// Exit code of a mistake in arguments or configuration; clap uses the same.
pub(crate) const USAGE: u8 = 2;

/// The configuration of whatever lies where these flags say.
pub(crate) fn configured(
    matches: &ArgMatches,
    flags: &[&str],
    environment: &Environment,
) -> Result<Config, Problems> {
    let place = |flag: &&str| {
        let value = matches.get_one::<String>(flag)?;
        Some((flag.replace('-', "_"), vec![value.clone()]))
    };
    let arguments = Arguments {
        config: matches.get_one::<String>("config").cloned(),
        settings: flags.iter().filter_map(place).collect(),
    };
    config::load(&arguments, environment)
}

/// The flags that say which data folder is meant.
pub(crate) fn place() -> [Arg; 2] {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    [
        flag("config", "FILE", "Configuration file (TOML)"),
        flag("data-dir", "DIR", "Folder of everything that is kept"),
    ]
}

pub(crate) fn check_config(file: Option<String>, environment: &Environment) -> ExitCode {
    let arguments = Arguments {
        config: file.clone(),
        settings: Vec::new(),
    };
    match config::load(&arguments, environment) {
        Ok(_) => {
            let name = file.as_deref().unwrap_or("configuration");
            say(&format!("{name}: no problems\n"));
            ExitCode::SUCCESS
        }
        Err(problems) => usage(&problems),
    }
}

/// Makes, lists or revokes tokens where the configuration puts them.
pub(crate) fn manage_tokens(matches: &ArgMatches, environment: &Environment) -> ExitCode {
    let inner = matches.subcommand().map_or(matches, |(_, inner)| inner);
    let config = match configured(inner, &["data-dir", "tokens-file"], environment) {
        Ok(config) => config,
        Err(problems) => return usage(&problems),
    };
    let feeds: Vec<(&str, bool)> = config
        .proxy
        .feeds
        .iter()
        .map(|feed| (feed.name.as_str(), feed.clients.guard(Right::Push)))
        .collect();
    let scene = access::command::Scene {
        settings: &config.access,
        feeds: &feeds,
        now: Clock::system().now(),
    };
    told(access::command::run(matches, &scene))
}

/// Says what a command has to say: results on standard output, words for people on standard error.
pub(crate) fn told(result: Result<access::command::Said, String>) -> ExitCode {
    match result {
        Ok(said) => {
            complain(&said.note);
            say(&said.out);
            ExitCode::SUCCESS
        }
        Err(reason) => fail(&reason),
    }
}

pub(crate) fn usage(problems: &Problems) -> ExitCode {
    complain(&format!("{problems}\n"));
    ExitCode::from(USAGE)
}

pub(crate) fn fail(reason: &str) -> ExitCode {
    complain(&format!("sluice: {reason}\n"));
    ExitCode::FAILURE
}

/// Writes for the user; a closed pipe is no reason to stop.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

pub(crate) fn admin_url() -> Arg {
    Arg::new("admin")
        .long("admin")
        .value_name("URL")
        .help("Admin listener [default: where this environment puts it]")
}
