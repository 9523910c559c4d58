//! The process shell: arguments, configuration, log, runtime, run, exit code.
//!
//! It joins the parts and decides nothing about requests. A mistake of the user ends it with code 2 before anything is
//! bound or written, a failure of the machine with code 1.

mod shell;

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::runtime::Builder;

use sluice::access::{self, Guard};
use sluice::clock::Clock;
use sluice::config::{self, Arguments, Config, Environment, Repeats};
use sluice::platform::{self, Portability};
use sluice::proxy::welcome::{Shell, Source, Welcome};
use sluice::proxy::{Doors, MarkKind, Proxy};
use sluice::server::healthcheck::Reloaded;
use sluice::server::tls::Certificates;
use sluice::server::{self, Control, Ended, Listeners, healthcheck};
use sluice::store::Store;
use sluice::tasks::Tasks;
use sluice::telemetry::{self, AccessLog, Log, Telemetry};
use sluice::upstream::{Product, Upstream, connect};

use shell::USER_AGENT;
use shell::command::{
    USAGE, admin_url, check_config, fail, manage_tokens, pins, say, told, upkeep, usage,
};
use shell::gauges::{count_store, count_tasks};
use shell::reload::{Reload, Sources};
use shell::self_check::self_check;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for blocking calls, for each processor. File reads and writes of a few hundred clients at once keep no more
/// busy, and for each of them the allocator holds on to some five megabytes.
const BLOCKING_THREADS: usize = 8;
/// The fewest: name look-ups that hang, and a disk that does, leave room for others.
const MIN_BLOCKING_THREADS: usize = 24;
/// The most.
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
        Some(("disputed", matches)) => list(MarkKind::Disputed, matches, &environment),
        Some(("healthcheck", matches)) => {
            check_health(matches.get_one::<String>("admin").cloned(), &environment)
        }
        Some(("password", matches)) => {
            let name = matches.get_one::<String>("NAME").cloned();
            let input = &mut std::io::stdin().lock();
            told(access::command::hash(&name.unwrap_or_default(), input))
        }
        Some(("reload", matches)) => {
            order_reload(matches.get_one::<String>("admin").cloned(), &environment)
        }
        Some((name @ ("pin" | "pins" | "unpin"), matches)) => {
            pins::run(name, matches, &environment)
        }
        Some((name @ ("purge" | "trim" | "verify"), matches)) => {
            upkeep::run(name, matches, &environment)
        }
        Some(("token", matches)) => manage_tokens(matches, &environment),
        Some(("unsigned", matches)) => list(MarkKind::Unsigned, matches, &environment),
        Some(("withdrawn", matches)) => list(MarkKind::Withdrawn, matches, &environment),
        Some(_) | None => {
            let arguments = arguments(&matches);
            match config::load(&arguments, &environment) {
                Ok(config) => start(config, arguments, environment),
                Err(problems) => usage(&problems),
            }
        }
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
            Command::new("disputed")
                .about(
                    "Lists what a running process holds with another hash than the one that its upstream publishes: feed, \
                     id, version, since when, published and held SHA-512. A token that this takes is read from \
                     SLUICE_ADMIN_TOKEN",
                )
                .arg(admin_url()),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Asks a running process whether it is alive; exit code 0 if it is")
                .arg(admin_url()),
        )
        .subcommand(
            Command::new("reload")
                .about(
                    "Has a running process read its configuration again; exit code 2 if that has problems. A token that \
                     this takes is read from SLUICE_ADMIN_TOKEN",
                )
                .arg(admin_url()),
        )
        .subcommand(access::command::password())
        .subcommands(pins::commands())
        .subcommands(upkeep::commands())
        .subcommand(access::command::token())
        .subcommand(
            Command::new("unsigned")
                .about(
                    "Lists what a running process holds without a signature that it should have: feed, id, version, since \
                     when, and what is wrong. A token that this takes is read from SLUICE_ADMIN_TOKEN",
                )
                .arg(admin_url()),
        )
        .subcommand(
            Command::new("withdrawn")
                .about(
                    "Lists what a running process holds and its upstreams have no more: feed, id, version and since when. A \
                     token that this takes is read from SLUICE_ADMIN_TOKEN",
                )
                .arg(admin_url()),
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

fn check_health(admin: Option<String>, environment: &Environment) -> ExitCode {
    let asked = ask_admin(admin, environment, async |url| {
        healthcheck::check(url).await
    });
    asked.map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

fn order_reload(admin: Option<String>, environment: &Environment) -> ExitCode {
    let token = environment.lookup(config::ADMIN_TOKEN);
    let asked = ask_admin(admin, environment, async |url| {
        healthcheck::reload(url, token.as_deref()).await
    });
    match asked {
        Ok(Reloaded::Obeyed(report)) => {
            say(&report);
            ExitCode::SUCCESS
        }
        Ok(Reloaded::Refused(report)) => {
            say(&report);
            ExitCode::from(USAGE)
        }
        Err(code) => code,
    }
}

fn list(kind: MarkKind, matches: &ArgMatches, environment: &Environment) -> ExitCode {
    let admin = matches.get_one::<String>("admin").cloned();
    let token = environment.lookup(config::ADMIN_TOKEN);
    let asked = ask_admin(admin, environment, async |url| {
        healthcheck::marked(url, kind, token.as_deref()).await
    });
    match asked {
        Ok(report) => match shell::marked::lines(&report, kind) {
            Some(lines) => {
                say(&lines);
                ExitCode::SUCCESS
            }
            None => fail("the process answered something that is no list"),
        },
        Err(code) => code,
    }
}

/// What the admin listener of a running process says: the one given, else where this environment puts it.
fn ask_admin<T>(
    admin: Option<String>,
    environment: &Environment,
    ask: impl AsyncFnOnce(&str) -> Result<T, healthcheck::HealthError>,
) -> Result<T, ExitCode> {
    let url = match admin {
        Some(url) => url,
        None => match config::admin_listen(&Arguments::default(), environment) {
            Ok(Some(address)) => healthcheck::url_of(address),
            Ok(None) => return Err(fail("there is no admin listener: admin_listen is \"off\"")),
            Err(problems) => return Err(usage(&problems)),
        },
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| fail(&format!("cannot start: {error}")))?;
    runtime
        .block_on(ask(&url))
        .map_err(|error| fail(&format!("{url}: {error}")))
}

fn start(mut config: Config, arguments: Arguments, environment: Environment) -> ExitCode {
    let log = telemetry::start_log(&config.telemetry);
    let max_open_files = platform::raise_open_files(Portability::Native);
    for note in config::fit(&mut config, max_open_files) {
        tracing::info!("{note}");
    }
    for warning in config::advice(&config) {
        tracing::warn!("{warning}");
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let blocking_threads = processors.saturating_mul(BLOCKING_THREADS);
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(blocking_threads.clamp(MIN_BLOCKING_THREADS, MAX_BLOCKING_THREADS))
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let sources = Arc::new(Sources {
        arguments,
        environment,
        max_open_files,
    });
    let code = match runtime.block_on(run(config, log, sources)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    };
    runtime.shutdown_timeout(LAST_CALLS);
    code
}

/// Binds, opens the store, serves, drains. The error is a sentence for the user.
async fn run(config: Config, log: Log, sources: Arc<Sources>) -> Result<(), String> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    // Bound first: a port in use must not leave a data folder behind.
    let certificates = Certificates::open(&config.server.tls, &clock)?;
    let listeners =
        Listeners::bind(&config.server, certificates).map_err(|error| error.to_string())?;
    let sink = access_log_sink(&config.telemetry)?;
    let (reloader, orders) = server::reload::orders();
    let signals = server::signals(&tasks, reloader.clone())
        .map_err(|error| format!("cannot heed signals: {error}"))?;
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
    let tracked = tasks.clone();
    telemetry.collect(move |samples| count_tasks(&tracked, samples));
    let guard = Guard::open(
        config.access.clone(),
        clock.clone(),
        tasks.clone(),
        telemetry.clone(),
    )
    .await
    .map_err(|problems| problems.to_string())?;
    guard.keep_watch();
    let via_token = store.identity().to_owned();
    let product = Product {
        via_token: via_token.clone(),
        user_agent: USER_AGENT.to_owned(),
    };
    let network = connect::Network::new(config.roots.clone(), clock.clone(), tasks.clone());
    let network = Arc::new(network);
    let certificates = listeners.certificates().cloned();
    let self_check = self_check(&config, &listeners, &network, &tasks);
    let settings = config.upstream.clone();
    let upstream = Upstream::new(settings, network, clock.clone(), tasks.clone(), product);
    let announcement = announcement(&config, &listeners);
    let doors = Doors {
        guard: guard.clone(),
        store: store.clone(),
        upstream: upstream.clone(),
    };
    let proxy = Proxy::new(
        config.proxy.clone(),
        doors,
        clock,
        tasks.clone(),
        telemetry.clone(),
        &via_token,
    )
    .map_err(|error| error.to_string())?;
    proxy.keep_vulnerabilities();
    say(&announcement);
    let settings = config.server.clone();
    let reload = Reload {
        sources,
        running: config,
        certificates,
        guard,
        log,
        proxy: proxy.clone(),
        store: store.clone(),
        tasks: tasks.clone(),
        upstream,
    };
    tasks.spawn("reload", reload.obey(orders));
    let ended = server::run(
        settings,
        proxy.clone(),
        listeners,
        self_check,
        Control { reloader, signals },
        telemetry.clone(),
        tasks.clone(),
    )
    .await;
    tracing::info!(?ended, "stopped serving");
    proxy.end_fetches();
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
    let public = config.proxy.base.public_url.clone();
    let base = public.or_else(|| listeners.local_url()).unwrap_or_default();
    let feeds = config.proxy.sources();
    let sources: Vec<Source<'_>> = feeds
        .iter()
        .map(|(name, upstream)| Source { name, upstream })
        .collect();
    let plain = listeners.addresses().into_iter();
    let plain = plain.map(|address| format!("http://{address}"));
    let secure = listeners.tls_addresses().into_iter();
    let secure = secure.map(|address| format!("https://{address}"));
    let urls: Vec<String> = plain.chain(secure).collect();
    let admin = listeners
        .admin_address()
        .map_or_else(|| "off".to_owned(), |address| format!("http://{address}"));
    format!(
        "Listening on {}; admin {admin}\n{}",
        urls.join(", "),
        Welcome::new(&base, &sources).text(Shell::native())
    )
}
