//! The process shell: arguments, configuration, log, runtime, run, exit code.
//!
//! It joins the parts and decides nothing about requests. A mistake of the user ends it with code 2 before anything is
//! bound or written, a failure of the machine with code 1.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::runtime::Builder;

use sluice::clock::Clock;
use sluice::config::{self, Arguments, Config, Environment, Repeats};
use sluice::platform::{self, Portability};
use sluice::proxy::Proxy;
use sluice::proxy::welcome::{Shell, Source, Welcome};
use sluice::server::{self, Ended, Listeners, healthcheck};
use sluice::store::{IndexState, Store, Usage};
use sluice::tasks::Tasks;
use sluice::telemetry::{self, AccessLog, Family, Kind, Samples, Telemetry};
use sluice::upstream::{Product, Upstream, connect};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a mistake in arguments or configuration; clap uses the same.
const USAGE: u8 = 2;

/// Threads for blocking calls: file reads and writes of a few hundred clients at once take no more, and each costs a
/// stack.
const MAX_BLOCKING_THREADS: usize = 128;

/// How long the store may take to write what it still holds in memory.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How long blocking calls may still run once everything else has ended.
const LAST_CALLS: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    platform::avoid_huge_pages(Portability::Native);
    let matches = command().get_matches();
    let environment = Environment::new(std::env::vars_os());
    match matches.subcommand() {
        Some(("config", matches)) => {
            let file = matches
                .subcommand()
                .and_then(|(_, check)| check.get_one::<String>("FILE"));
            check_config(file.cloned(), &environment)
        }
        Some(("healthcheck", matches)) => {
            check_health(matches.get_one::<String>("admin").cloned(), &environment)
        }
        Some(_) | None => match config::load(&arguments(&matches), &environment) {
            Ok(config) => start(config),
            Err(problems) => usage(&problems),
        },
    }
}

/// The command line. Every setting of the table is a flag.
fn command() -> Command {
    let mut command = Command::new("sluice")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A caching reverse proxy for NuGet V3 feeds")
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("Configuration file (TOML)"),
        );
    for flag in config::flags() {
        let argument = Arg::new(flag.name)
            .long(flag.name.replace('_', "-"))
            .value_name("VALUE")
            .help(match flag.repeats {
                Repeats::Many => format!("{} (repeatable)", flag.help),
                Repeats::Once => flag.help.to_owned(),
            })
            .help_heading(flag.group)
            .allow_hyphen_values(true)
            .action(match flag.repeats {
                Repeats::Many => ArgAction::Append,
                Repeats::Once => ArgAction::Set,
            });
        command = command.arg(argument);
    }
    command
        .subcommand(
            Command::new("config")
                .about("Works on configurations")
                .subcommand_required(true)
                .subcommand(
                    Command::new("check")
                        .about("Reports every problem of a configuration file and the environment")
                        .arg(Arg::new("FILE").help("Configuration file (TOML)")),
                ),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Asks a running process whether it is alive; exit code 0 if it is")
                .arg(
                    Arg::new("admin")
                        .long("admin")
                        .value_name("URL")
                        .help("Admin listener [default: where this environment puts it]"),
                ),
        )
}

fn arguments(matches: &ArgMatches) -> Arguments {
    let given = |flag: config::Flag| {
        let values = matches.get_many::<String>(flag.name)?;
        Some((flag.name.to_owned(), values.cloned().collect()))
    };
    Arguments {
        config: matches.get_one::<String>("config").cloned(),
        settings: config::flags().filter_map(given).collect(),
    }
}

fn check_config(file: Option<String>, environment: &Environment) -> ExitCode {
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

fn check_health(admin: Option<String>, environment: &Environment) -> ExitCode {
    let url = match admin {
        Some(url) => url,
        None => match config::load(&Arguments::default(), environment) {
            Ok(config) => match config.server.admin_listen {
                Some(address) => healthcheck::url_of(address),
                None => return fail("there is no admin listener: admin_listen is \"off\""),
            },
            Err(problems) => return usage(&problems),
        },
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    match runtime.block_on(healthcheck::check(&url)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{url}: {error}")),
    }
}

fn usage(problems: &config::Problems) -> ExitCode {
    complain(&format!("{problems}\n"));
    ExitCode::from(USAGE)
}

fn fail(reason: &str) -> ExitCode {
    complain(&format!("sluice: {reason}\n"));
    ExitCode::FAILURE
}

/// Writes for the user; a closed pipe is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn start(mut config: Config) -> ExitCode {
    telemetry::start_log(&config.telemetry);
    let max_open_files = platform::raise_open_files(Portability::Native);
    for note in config::fit(&mut config, max_open_files) {
        tracing::info!("{note}");
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let code = match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    };
    runtime.shutdown_timeout(LAST_CALLS);
    code
}

/// Binds, opens the store, serves, drains. The error is a sentence for the user.
async fn run(config: Config) -> Result<(), String> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    // Bound first: a port in use must not leave a data folder behind.
    let listeners = Listeners::bind(&config.server).map_err(|error| error.to_string())?;
    let sink = access_log_sink(&config.telemetry)?;
    let signals =
        server::signals(&tasks).map_err(|error| format!("cannot heed signals: {error}"))?;
    let store = Store::open(config.store.clone(), clock.clone(), tasks.clone())
        .await
        .map_err(|error| error.to_string())?;
    let (telemetry, access_log) = match sink {
        Some(sink) => {
            let (telemetry, writer) =
                Telemetry::with_access_log(config.telemetry.access_log_format);
            let writing = server::write_access_log(writer, sink, tasks.clone());
            (telemetry, Some(tasks.spawn("access log", writing)))
        }
        None => (Telemetry::new(), None),
    };
    let counted = store.clone();
    telemetry.collect(move |samples| count_store(&counted.usage(), samples));
    let via_token = store.identity().to_owned();
    let product = Product {
        via_token: via_token.clone(),
        user_agent: concat!("sluice/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let network = connect::Network::new(config.roots.clone(), clock.clone(), tasks.clone());
    let network = Arc::new(network);
    let settings = config.upstream.clone();
    let upstream = Upstream::new(settings, network, clock.clone(), tasks.clone(), product);
    let announcement = announcement(&config, &listeners);
    let proxy = Proxy::new(
        config.proxy,
        store.clone(),
        upstream,
        clock,
        tasks.clone(),
        telemetry.clone(),
        &via_token,
    )
    .map_err(|error| error.to_string())?;
    proxy.keep_vulnerabilities();
    say(&announcement);
    let ended = server::run(
        config.server,
        proxy,
        listeners,
        signals,
        telemetry.clone(),
        tasks.clone(),
    )
    .await;
    tracing::info!(?ended, "stopped serving");
    let limit = match ended {
        Ended::Drained | Ended::Expired => CLOSE_LIMIT,
        Ended::Interrupted => Duration::ZERO,
    };
    store.close(limit).await;
    telemetry.close_access_log();
    if let Some(log) = access_log {
        let _ = tokio::time::timeout(LAST_CALLS, log).await;
    }
    let drained = tasks.drain(limit).await;
    tracing::info!(?drained, "ended");
    Ok(())
}

/// One of the store's values, for metrics.
struct StoreValue {
    family: Family,
    read: fn(&Usage) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Usage) -> u64) -> StoreValue {
    let kind = Kind::Gauge;
    StoreValue {
        family: Family { name, help, kind },
        read,
    }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Usage) -> u64) -> StoreValue {
    let kind = Kind::Counter;
    StoreValue {
        family: Family { name, help, kind },
        read,
    }
}

const STORE_VALUES: &[StoreValue] = &[
    gauge("sluice_store_entries", "Stored bodies.", |usage| {
        wide(usage.entries)
    }),
    gauge("sluice_memory_answers", "Answers in memory.", |usage| {
        usage.answers
    }),
    gauge(
        "sluice_store_body_bytes",
        "Bytes that stored bodies take on the disk.",
        |usage| usage.body_bytes,
    ),
    gauge(
        "sluice_store_reserved_bytes",
        "Bytes held for bodies under way.",
        |usage| usage.reserved_bytes,
    ),
    gauge(
        "sluice_store_lingering_bytes",
        "Bytes of deleted bodies that are still read.",
        |usage| usage.lingering_bytes,
    ),
    gauge(
        "sluice_store_index_bytes",
        "Bytes of the index and of bodies set aside.",
        |usage| usage.index_bytes,
    ),
    gauge(
        "sluice_store_max_bytes",
        "What all of those may take.",
        |usage| usage.max_store_bytes,
    ),
    gauge(
        "sluice_store_free_bytes",
        "Room on the file system.",
        |usage| usage.free_bytes,
    ),
    gauge(
        "sluice_store_pending_rows",
        "Rows that are not durable yet.",
        |usage| wide(usage.pending_rows),
    ),
    gauge(
        "sluice_store_absences",
        "Remembered answers that a thing does not exist.",
        |usage| wide(usage.absences),
    ),
    gauge(
        "sluice_store_open_bodies",
        "Bodies held open between requests.",
        |usage| wide(usage.open_bodies),
    ),
    gauge(
        "sluice_memory_answer_bytes",
        "Bytes of answers in memory.",
        |usage| usage.answer_bytes,
    ),
    gauge(
        "sluice_memory_max_answer_bytes",
        "Bytes that answers in memory may take.",
        |usage| usage.max_answer_bytes,
    ),
    counter(
        "sluice_store_evictions_total",
        "Bodies evicted for room.",
        |usage| usage.evictions,
    ),
    counter(
        "sluice_store_evicted_bytes_total",
        "Bytes of evicted bodies.",
        |usage| usage.evicted_bytes,
    ),
    counter(
        "sluice_store_index_deaths_total",
        "Indexes given up.",
        |usage| usage.index_deaths,
    ),
    counter(
        "sluice_store_written_rows_total",
        "Rows written to the index.",
        |usage| usage.written_rows,
    ),
    counter(
        "sluice_store_failed_commits_total",
        "Checked bodies that could not be stored.",
        |usage| usage.failed_commits,
    ),
    counter(
        "sluice_store_adopted_total",
        "Bodies found without a row.",
        |usage| usage.adopted,
    ),
    counter(
        "sluice_store_quarantined_total",
        "Damaged bodies set aside.",
        |usage| usage.quarantined,
    ),
];

/// Adds the store's values to a scrape.
fn count_store(usage: &Usage, samples: &mut Samples) {
    for value in STORE_VALUES {
        samples.add(&value.family, &[], (value.read)(usage));
    }
    let ready = Family {
        name: "sluice_store_index_ready",
        help: "1 while the index is in use, 0 while stored bodies are looked up by name.",
        kind: Kind::Gauge,
    };
    let used = matches!(usage.index, IndexState::Ready | IndexState::Rebuilding);
    samples.add(&ready, &[], u64::from(used));
    let faults = Family {
        name: "sluice_store_faults_total",
        help: "Faults of the store, by kind.",
        kind: Kind::Counter,
    };
    for (fault, count) in &usage.faults {
        samples.add(&faults, &[("fault", fault.word())], *count);
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Where the access log goes, opened.
fn access_log_sink(
    settings: &telemetry::Settings,
) -> Result<Option<Box<dyn Write + Send>>, String> {
    let path = match &settings.access_log {
        AccessLog::Automatic if std::io::stdout().is_terminal() => return Ok(None),
        AccessLog::Automatic | AccessLog::Stdout => {
            return Ok(Some(Box::new(std::io::stdout())));
        }
        AccessLog::File(path) => path,
        AccessLog::Off => return Ok(None),
    };
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => Ok(Some(Box::new(file))),
        Err(error) => Err(format!(
            "cannot write the access log {} ({error}); choose another with --access-log",
            path.display()
        )),
    }
}

/// What is printed at start: where we listen, and the commands that make a machine use us.
fn announcement(config: &Config, listeners: &Listeners) -> String {
    let addresses = listeners.addresses();
    let local = addresses.first().copied().map(healthcheck::url_of);
    let base = config
        .proxy
        .base
        .public_url
        .clone()
        .or(local)
        .unwrap_or_default();
    let sources: Vec<Source<'_>> = config
        .proxy
        .feeds
        .iter()
        .map(|feed| Source {
            name: &feed.name,
            upstream: &feed.upstream,
        })
        .collect();
    let urls: Vec<String> = addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    let admin = listeners
        .admin_address()
        .map_or_else(|| "off".to_owned(), |address| format!("http://{address}"));
    format!(
        "Listening on {}; admin {admin}\n{}",
        urls.join(", "),
        Welcome::new(&base, &sources).text(Shell::native())
    )
}
