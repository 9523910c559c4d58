//! `sluice pin`, `sluice unpin` and `sluice pins`: packages that are never evicted.
//!
//! Pins are changed in their file, which a running process reads again within a minute, or when it reloads; nothing else is asked.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use sluice::config::{Config, Environment};
use sluice::proxy::{read_id, read_version};
use sluice::store::{Pin, Pins, Store};

use super::{complain, configured, fail, place, say, usage};

/// The arguments of the three.
pub(crate) fn commands() -> [Command; 3] {
    let package = |command: Command| {
        command
            .arg(Arg::new("ID").required(true).help("Package id"))
            .arg(Arg::new("VERSION").help("Its version [default: all of them]"))
            .arg(
                Arg::new("feed")
                    .long("feed")
                    .value_name("NAME")
                    .help("In this feed [default: in every feed]"),
            )
            .args(place())
    };
    let pin = Command::new("pin").about(
        "Keeps a package and the documents of its id from eviction; a running process obeys within a minute, or when it reloads",
    );
    let unpin = Command::new("unpin").about("Ends a pin, named as it was made");
    let pins = Command::new("pins").about("Lists pins").args(place());
    [package(pin), pins, package(unpin)]
}

/// Carries one of them out.
pub(crate) fn run(name: &str, matches: &ArgMatches, environment: &Environment) -> ExitCode {
    let config = match configured(matches, &["data-dir"], environment) {
        Ok(config) => config,
        Err(problems) => return usage(&problems),
    };
    let data_dir = &config.store.data_dir;
    if !Store::is_at(data_dir) {
        return fail(&super::upkeep::no_store(data_dir));
    }
    let done = match name {
        "pin" => pin_in(matches, &config).and_then(|pin| {
            let is_new = change(&config, |pins| Ok(pins.add(pin.clone())))?;
            let how = if is_new {
                "is pinned"
            } else {
                "was pinned before"
            };
            complain(&format!("{} {how}\n", shown(&pin)));
            Ok(())
        }),
        "unpin" => pin_in(matches, &config).and_then(|pin| {
            change(&config, |pins| match pins.remove(&pin) {
                true => Ok(()),
                false => Err(format!(
                    "there is no pin of {}; sluice pins lists them",
                    shown(&pin)
                )),
            })?;
            complain(&format!("{} is pinned no more\n", shown(&pin)));
            Ok(())
        }),
        _ => list(&config).map(|table| say(&table)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem),
    }
}

/// The pin that the arguments name.
fn pin_in(matches: &ArgMatches, config: &Config) -> Result<Pin, String> {
    let text = |name: &str| matches.get_one::<String>(name);
    let id = read_id(text("ID").map_or("", String::as_str))?;
    let version = text("VERSION").map(|text| read_version(text)).transpose()?;
    let feed = text("feed").cloned();
    if let Some(feed) = &feed {
        let known = config.proxy.feeds.iter().map(|feed| feed.name.as_str());
        let known: Vec<&str> = known.collect();
        if !known.contains(&feed.as_str()) {
            let known = known.join(", ");
            return Err(format!(
                "feed: expected one of {known}, which {feed:?} is not"
            ));
        }
    }
    Ok(Pin {
        id: id.as_str().to_owned(),
        version: version.map(|version| version.as_str().to_owned()),
        feed,
    })
}

fn shown(pin: &Pin) -> String {
    let version = pin.version.as_deref().unwrap_or("(every version)");
    let feed = pin.feed.as_deref().unwrap_or("every feed");
    format!("{} {version} of {feed}", pin.id)
}

/// Changes the file of pins.
fn change<T>(
    config: &Config,
    change: impl FnOnce(&mut Pins) -> Result<T, String>,
) -> Result<T, String> {
    let file = Pins::file(&config.store.data_dir);
    let done = file.change(|text| {
        let mut pins = read(text.as_deref())?;
        let told = change(&mut pins)?;
        Ok::<_, String>((pins.write(), told))
    });
    done.map_err(|error| match error {
        sluice::store::ChangeError::Refused(why) => why,
        error => format!("{}: {error}", file.path().display()),
    })
}

fn read(text: Option<&str>) -> Result<Pins, String> {
    let pins = text.map_or_else(|| Ok(Pins::default()), Pins::read);
    pins.map_err(|expected| format!("the file of pins cannot be read: expected {expected}"))
}

fn list(config: &Config) -> Result<String, String> {
    let file = Pins::file(&config.store.data_dir);
    let text = file
        .read()
        .map_err(|error| format!("{}: {error}", file.path().display()))?;
    let pins = read(text.as_deref())?;
    let mut rows = vec![["ID", "VERSION", "FEED"].map(str::to_owned)];
    for pin in pins.all() {
        let version = pin.version.clone().unwrap_or_else(|| "every".to_owned());
        let feed = pin.feed.clone().unwrap_or_else(|| "every".to_owned());
        rows.push([pin.id.clone(), version, feed]);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (ids, versions) = (width(0), width(1));
    let lines = rows
        .iter()
        .map(|[id, version, feed]| format!("{id:ids$}  {version:versions$}  {feed}\n"));
    Ok(lines.collect())
}
