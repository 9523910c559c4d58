//! `sluice purge`, `sluice trim` and `sluice verify`: on the store of a running process through its admin listener, or,
//! where none runs, on the store itself.
//!
//! Whose the data folder is, its lock says: whoever has it is asked, and if nobody has, this process takes it meanwhile.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use sluice::clock::Clock;
use sluice::config::{self, Config, Environment};
use sluice::proxy::{Order, Upkeep};
use sluice::server::healthcheck;
use sluice::server::operator::{self, Ordered};
use sluice::store::{OpenError, Settings, Store};
use sluice::tasks::Tasks;

use super::{USAGE, admin_url, complain, configured, fail, place, say, usage};

/// Objects that wait to be printed.
const MAX_WAITING: usize = 64;
/// How long the store may take to write what it still holds in memory.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The arguments of the three.
pub(crate) fn commands() -> [Command; 3] {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .action(ArgAction::SetTrue)
    };
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let everywhere = |command: Command| {
        command
            .args(place())
            .arg(admin_url())
            .arg(flag("json", "JSON objects, one a line"))
    };
    let purge = Command::new("purge")
        .about(
            "Removes what is stored of a package, a feed, ids that fit a pattern, or what is past its freshness; what was \
             asked for before does not come back. Packages that a pin keeps go too, and the pin stays",
        )
        .arg(Arg::new("ID").help("Package id"))
        .arg(Arg::new("VERSION").help("Its version [default: all of them, and the documents of the id]"))
        .arg(value("feed", "NAME", "In this feed; alone: everything of it [default: in every feed]"))
        .arg(value("pattern", "PATTERN", "Ids that fit: \"Contoso.*\""))
        .arg(flag(
            "stale",
            "Only what would be asked for again before it answers: documents past their freshness",
        ));
    let trim = Command::new("trim")
        .about("Evicts what nobody used lately; pinned packages stay")
        .arg(
            value(
                "keep-used-since",
                "WHEN",
                "\"start\" of the running process, or how long ago: \"30d\", \"12h\"",
            )
            .required(true),
        );
    let verify = Command::new("verify")
        .about(
            "Reads every stored body and holds files, rows and accounts against each other; exit code 1 if something is \
             damaged",
        )
        .arg(flag(
            "repair",
            "Set damaged bodies aside, so that they are asked for again, and mend the accounts",
        ));
    [everywhere(purge), everywhere(trim), everywhere(verify)]
}

/// Carries one of them out.
pub(crate) fn run(name: &str, matches: &ArgMatches, environment: &Environment) -> ExitCode {
    let said = said_by(name, matches);
    if let Err(problem) = Order::read(name, &said) {
        return mistake(&problem);
    }
    let runtime = match Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let mut printer = Printer::new(matches.get_flag("json"));
    let token = environment.lookup(config::ADMIN_TOKEN);
    let asked = Asked {
        name,
        said: &said,
        token: token.as_deref(),
        runtime: &runtime,
    };
    if let Some(url) = matches.get_one::<String>("admin") {
        let ordered = asked.of_process(url, &mut printer);
        return match ordered {
            Ok(ordered) => ended(ordered, &printer),
            Err(error) => fail(&format!("{url}: {error}")),
        };
    }
    let config = match configured(matches, &["data-dir"], environment) {
        Ok(config) => config,
        Err(problems) => return usage(&problems),
    };
    if !Store::is_at(&config.store.data_dir) {
        return fail(&no_store(&config.store.data_dir));
    }
    match asked.of_store(&config, &mut printer) {
        Ok(ordered) => ended(ordered, &printer),
        Err(open @ (OpenError::Locked { .. } | OpenError::Unwritable { .. })) => {
            asked.of_holder(&config, &open, &mut printer)
        }
        Err(error) => fail(&error.to_string()),
    }
}

/// What is said where there is no store.
pub(super) fn no_store(data_dir: &Path) -> String {
    format!(
        "{} is no data folder of Sluice; name it with --config or --data-dir",
        data_dir.display()
    )
}

/// What the arguments say, as an order.
fn said_by(name: &str, matches: &ArgMatches) -> Value {
    let text = |argument: &str| matches.get_one::<String>(argument).cloned();
    match name {
        "purge" => json!({
            "feed": text("feed"),
            "id": text("ID"),
            "pattern": text("pattern"),
            "stale": matches.get_flag("stale"),
            "version": text("VERSION"),
        }),
        "trim" => json!({ "keep_used_since": text("keep-used-since") }),
        _ => json!({ "repair": matches.get_flag("repair") }),
    }
}

/// An order on its way.
struct Asked<'a> {
    name: &'a str,
    said: &'a Value,
    token: Option<&'a str>,
    runtime: &'a Runtime,
}

impl Asked<'_> {
    /// Has the process with this admin listener carry it out.
    fn of_process(
        &self,
        url: &str,
        printer: &mut Printer,
    ) -> Result<Ordered, healthcheck::HealthError> {
        let said = self.said.to_string();
        let order = operator::order(url, self.token, self.name, &said, |line| {
            if let Ok(object) = serde_json::from_str(line) {
                printer.print(&object);
            }
        });
        self.runtime.block_on(order)
    }

    /// Has the process carry it out that has the data folder.
    fn of_holder(&self, config: &Config, open: &OpenError, printer: &mut Printer) -> ExitCode {
        let Some(address) = config.server.admin_listen else {
            return fail(&format!(
                "{open}, which has no admin listener here (admin_listen is \"off\"); name it with --admin"
            ));
        };
        let url = healthcheck::url_of(address);
        match self.of_process(&url, printer) {
            Ok(ordered) => ended(ordered, printer),
            Err(error @ healthcheck::HealthError::Token(_)) => fail(&format!("{url}: {error}")),
            Err(error) => fail(&format!(
                "{open}, and its admin listener {url} does not do this: {error}; name another with --admin"
            )),
        }
    }

    /// Carries it out on the store, if nobody has it.
    fn of_store(&self, config: &Config, printer: &mut Printer) -> Result<Ordered, OpenError> {
        let settings = Settings {
            lock_wait: Duration::ZERO,
            // Another cap or floor is for the process that serves to obey.
            max_store_bytes: Some(u64::MAX),
            min_free_bytes: 0,
            scrub_every: None,
            ..config.store.clone()
        };
        self.runtime.block_on(async {
            let (clock, tasks) = (Clock::system(), Tasks::new());
            let store = Store::open(settings, clock.clone(), tasks.clone()).await?;
            store.ready().await;
            let upkeep = Upkeep::offline(&config.proxy, store.clone(), clock);
            let ordered = match Order::read(self.name, self.said) {
                Err(problem) => Ordered::Refused(problem),
                Ok(order) => match upkeep.check(&order) {
                    Err(problem) => Ordered::Refused(problem),
                    Ok(()) => {
                        let (told, mut telling) = mpsc::channel(MAX_WAITING);
                        let work = async {
                            let told = told;
                            upkeep.carry_out(&order, &told).await;
                        };
                        let print = async {
                            while let Some(object) = telling.recv().await {
                                printer.print(&object);
                            }
                        };
                        tokio::join!(work, print);
                        Ordered::Done
                    }
                },
            };
            store.close(CLOSE_LIMIT).await;
            tasks.drain(CLOSE_LIMIT).await;
            Ok(ordered)
        })
    }
}

fn ended(ordered: Ordered, printer: &Printer) -> ExitCode {
    match ordered {
        Ordered::Busy(why) => fail(&why),
        Ordered::Done if printer.is_bad => ExitCode::FAILURE,
        Ordered::Done => ExitCode::SUCCESS,
        Ordered::Refused(problem) => mistake(&problem),
    }
}

fn mistake(problem: &str) -> ExitCode {
    complain(&format!("sluice: {problem}\n"));
    ExitCode::from(USAGE)
}

/// Prints what is told of an order.
struct Printer {
    is_json: bool,
    shows_progress: bool,
    /// Whether the machine or the disk needs somebody to look at it.
    is_bad: bool,
}

impl Printer {
    fn new(is_json: bool) -> Self {
        Self {
            is_json,
            shows_progress: !is_json && std::io::stderr().is_terminal(),
            is_bad: false,
        }
    }

    fn print(&mut self, object: &Value) {
        let done = object.get("done");
        if let Some(done) = done {
            let is_whole = done
                .get("complete")
                .is_none_or(|whole| *whole == json!(true));
            self.is_bad = !is_whole || count(done, "damaged") > 0 || count(done, "failed") > 0;
        }
        if let Some(progress) = object.get("progress") {
            if self.shows_progress {
                let (bodies, bytes) = (count(progress, "bodies"), count(progress, "bytes"));
                complain(&format!("\r{bodies} bodies, {}  ", size(bytes)));
            }
            return;
        }
        if self.shows_progress && done.is_some() {
            complain("\r");
        }
        if self.is_json {
            say(&format!("{object}\n"));
        } else if let Some(finding) = object.get("finding") {
            say(&finding_text(finding));
        } else if let Some(done) = done {
            say(&match done.get("bodies") {
                Some(_) => report_text(done),
                None => removed_text(done),
            });
        }
    }
}

fn count(object: &Value, field: &str) -> u64 {
    object.get(field).and_then(Value::as_u64).unwrap_or(0)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    let list = object.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// A number of things, in words.
fn some(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Bytes in the largest unit that leaves a whole one.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, shift)| {
            let tenths = (bytes >> (shift - 10)) * 10 / 1024;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        },
    )
}

fn finding_text(finding: &Value) -> String {
    let (damage, file) = (text(finding, "damage"), text(finding, "file"));
    let mut line = format!("damaged ({damage}): {file}");
    if let Some(feed) = finding.get("feed").and_then(Value::as_str) {
        let parts = ["class", "id", "rest"].map(|field| text(finding, field));
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        line.push_str(&format!(", {} of {feed}", parts.join(" ")));
    }
    line.push('\n');
    line
}

fn report_text(done: &Value) -> String {
    let (bodies, bytes) = (count(done, "bodies"), size(count(done, "bytes")));
    let damaged = count(done, "damaged");
    let mut lines = match damaged {
        0 => format!("{}, {bytes}: sound\n", some(bodies, "body", "bodies")),
        _ => format!(
            "{}, {bytes}: sound; {damaged} damaged, {} set aside\n",
            some(bodies, "body", "bodies"),
            count(done, "set_aside")
        ),
    };
    let (without_row, without_body) = (count(done, "without_row"), count(done, "without_body"));
    if without_row + without_body > 0 {
        lines.push_str(&format!(
            "{} without a row, {} without a body: no damage, they are mended when they are next asked for\n",
            some(without_row, "body", "bodies"),
            some(without_body, "row", "rows"),
        ));
    }
    let quarantine = list(done, "quarantine");
    if !quarantine.is_empty() {
        lines.push_str("kept in quarantine:\n");
    }
    for set_aside in quarantine {
        let bytes = size(count(set_aside, "bytes"));
        lines.push_str(&format!("  {} ({bytes})\n", text(set_aside, "file")));
    }
    if !matches!(text(done, "index"), "ready" | "rebuilding") {
        lines.push_str("the index is not open, so that no row was looked at\n");
    }
    if done.get("complete") == Some(&json!(false)) {
        lines.push_str("ended before everything was looked at\n");
    }
    lines
}

fn removed_text(done: &Value) -> String {
    let mut lines = String::new();
    for feed in list(done, "feeds") {
        let responses = some(count(feed, "responses"), "response", "responses");
        let bytes = size(count(feed, "bytes"));
        lines.push_str(&format!("{}: {responses}, {bytes}\n", text(feed, "feed")));
    }
    let absences = count(done, "absences");
    if absences > 0 {
        lines.push_str(&format!("{absences} remembered 404s\n"));
    }
    if let Some(deliveries) = done.get("deliveries").and_then(Value::as_u64) {
        let members: Vec<&str> = list(done, "members")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        lines.push_str(&format!(
            "{} of who delivered a version first; packages are kept by the members: {}\n",
            some(deliveries, "record", "records"),
            members.join(", ")
        ));
    }
    if lines.is_empty() {
        lines.push_str("nothing of it was stored\n");
    }
    let (pinned, failed) = (count(done, "pinned"), count(done, "failed"));
    if pinned > 0 {
        lines.push_str(&format!(
            "{pinned} of them are pinned: they are stored again once they are asked for, and stay then\n"
        ));
    }
    if failed > 0 {
        lines.push_str(&format!("{failed} could not be removed\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10.0 MiB"),
            ((3 << 30) + (512 << 20), "3.5 GiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn what_came_of_an_order_is_told_in_sentences() {
        let nothing = json!({"feeds": [], "absences": 0, "pinned": 0, "failed": 0});
        assert_eq!(removed_text(&nothing), "nothing of it was stored\n");
        let purged = json!({
            "feeds": [{"feed": "a", "responses": 1, "bytes": 4096}, {"feed": "b", "responses": 2, "bytes": 10}],
            "absences": 3, "pinned": 1, "failed": 1,
        });
        let expected = "a: 1 response, 4.0 KiB\nb: 2 responses, 10 bytes\n3 remembered 404s\n\
            1 of them are pinned: they are stored again once they are asked for, and stay then\n\
            1 could not be removed\n";
        assert_eq!(removed_text(&purged), expected);
        let sound =
            json!({"bodies": 1, "bytes": 5, "damaged": 0, "index": "ready", "complete": true});
        assert_eq!(report_text(&sound), "1 body, 5 bytes: sound\n");
        let damaged = json!({
            "bodies": 2, "bytes": 5, "damaged": 1, "set_aside": 1, "without_row": 1, "index": "dead",
            "quarantine": [{"file": "ab-1", "bytes": 7}], "complete": false,
        });
        let told = report_text(&damaged);
        for part in [
            "1 damaged, 1 set aside",
            "1 body without a row, 0 rows",
            "  ab-1 (7 bytes)",
            "not open",
            "ended before",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let finding = json!({"damage": "checksum", "file": "ab", "feed": "nuget", "id": "a", "class": "package", "rest": "1.0.0"});
        assert_eq!(
            finding_text(&finding),
            "damaged (checksum): ab, package a 1.0.0 of nuget\n"
        );
    }
}
