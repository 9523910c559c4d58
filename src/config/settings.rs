//! The one table of settings: name, words for the user, and where the value goes.
//!
//! File keys, environment names and flags are all made from it, so that none can be missing; so is what a reload may
//! change. It refuses to hold defaults: those are declared by the modules that obey the settings.

use std::time::Duration;

use crate::proxy::base::ForwardedFamily;
use crate::store::NetworkFs;
use crate::telemetry::{self, AccessLog, Format};

use super::setting::{Field, OnReload::Obeyed, OnReload::Restart, Setting, fields, many, one, put};
use super::value::Value;
use super::{Config, tls};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Settings of the listeners.
const SERVING: &[Setting] = &[
    many(
        "listen",
        Restart,
        "Address to serve clients on, or \"off\" for none but those of tls_listen",
        fields!(server.listen; |config, value| {
            let is_off = matches!(value.list().as_deref(), Ok(["off"]));
            config.server.listen = Some(if is_off { Vec::new() } else { value.addresses()? });
            Ok(())
        }),
    ),
    one(
        "admin_listen",
        Restart,
        "Address of health, readiness and metrics, or \"off\"",
        fields!(server.admin_listen; |config, value| {
            config.server.admin_listen = match value.text() {
                Ok("off") => None,
                Ok(_) | Err(_) => Some(
                    value
                        .address()
                        .map_err(|expected| format!("\"off\" or {expected}"))?,
                ),
            };
            Ok(())
        }),
    ),
    one(
        "max_connections",
        Restart,
        "Client connections at once; further ones wait in the listen queue",
        put!(server.max_connections = value.count(1..=1_000_000)),
    ),
    one(
        "header_timeout",
        Restart,
        "Longest wait for a request head, idle time between requests included",
        put!(server.header_timeout = value.duration(100 * MS..=HOUR)),
    ),
    one(
        "write_timeout",
        Restart,
        "Longest wait for a client that takes no bytes",
        put!(server.write_timeout = value.duration(100 * MS..=HOUR)),
    ),
    one(
        "max_header_bytes",
        Restart,
        "Largest request head",
        put!(server.max_header_bytes = value.bytes(8 * KIB..=MIB)),
    ),
    one(
        "max_headers",
        Restart,
        "Header lines of a request",
        put!(server.max_headers = value.count(16..=10_000)),
    ),
    one(
        "shutdown_timeout",
        Restart,
        "How long requests may finish after a signal to stop",
        put!(server.shutdown_timeout = value.duration(Duration::ZERO..=HOUR)),
    ),
];

/// Settings of how clients see us.
const FACE: &[Setting] = &[
    one(
        "public_url",
        Obeyed,
        "URL that clients use, if a reverse proxy stands in front",
        fields!(proxy.base.public_url; |config, value| {
            let url = value.url()?;
            config.proxy.base.public_url = Some(url.trim_end_matches('/').to_owned());
            Ok(())
        }),
    ),
    many(
        "trusted_proxies",
        Obeyed,
        "Addresses of reverse proxies whose forwarding headers are believed",
        put!(proxy.base.trusted_proxies = value.networks()),
    ),
    one(
        "forwarded",
        Obeyed,
        "Family of those headers: \"x-forwarded\" or \"forwarded\" (RFC 7239)",
        put!(
            proxy.base.forwarded = value.word(&[
                ("x-forwarded", ForwardedFamily::XForwarded),
                ("forwarded", ForwardedFamily::Rfc7239),
            ])
        ),
    ),
    many(
        "allowed_hosts",
        Obeyed,
        "Host names, without ports, that requests may use; others get 421",
        put!(proxy.base.allowed_hosts = value.hosts()),
    ),
    one(
        "max_base_urls",
        Obeyed,
        "Base URLs of a feed whose answers are kept in memory",
        put!(proxy.max_base_urls = value.count(1..=1024)),
    ),
    one(
        "max_document_bytes",
        Obeyed,
        "Largest document of an upstream, decoded; packages have no such limit",
        put!(proxy.max_document_bytes = value.bytes(MIB..=1024 * MIB)),
    ),
    one(
        "max_abandoned_flights",
        Restart,
        "Fetches that go on although every client has left",
        put!(proxy.max_abandoned_flights = value.count(0..=10_000)),
    ),
];

/// Settings of users and tokens.
const ACCESS: &[Setting] = &[
    one(
        "users_file",
        Obeyed,
        "File of users, as htpasswd -B and sluice password write it",
        fields!(access.users_file; |config, value| {
            let path = value.path()?;
            // Set although it may be wrong, so that no list of users is called one without a file.
            config.access.users_file = Some(path.clone());
            super::users::check(&path)
        }),
    ),
    one(
        "tokens_file",
        Obeyed,
        "File of tokens, which sluice token writes [default: in the data folder]",
        fields!(access.tokens_file; |config, value| {
            config.access.tokens_file = Some(value.path()?);
            Ok(())
        }),
    ),
    many(
        "admins",
        Obeyed,
        "Users who may use the admin listener's interface",
        fields!(access.admins; |config, value| {
            config.access.admins = super::users::names(value)?;
            Ok(())
        }),
    ),
];

/// Settings of the store.
const STORE: &[Setting] = &[
    one(
        "data_dir",
        Restart,
        "Folder of everything that is kept",
        fields!(store.data_dir, access.data_dir; |config, value| {
            let path = value.path()?;
            config.access.data_dir.clone_from(&path);
            config.store.data_dir = path;
            Ok(())
        }),
    ),
    one(
        "max_store_bytes",
        Obeyed,
        "Room that the store may take on disk",
        fields!(store.max_store_bytes; |config, value| {
            config.store.max_store_bytes = Some(value.bytes(MIB..=1024 * TIB)?);
            Ok(())
        }),
    ),
    one(
        "min_free_bytes",
        Obeyed,
        "Room that the store leaves free on its disk",
        put!(store.min_free_bytes = value.bytes(0..=1024 * TIB)),
    ),
    one(
        "memory_bytes",
        Restart,
        "Finished answers kept in memory, all together",
        put!(store.memory_bytes = value.bytes(0..=TIB)),
    ),
    one(
        "max_answer_bytes",
        Restart,
        "Largest answer kept in memory",
        put!(store.max_answer_bytes = value.bytes(0..=1024 * MIB)),
    ),
    one(
        "max_open_bodies",
        Restart,
        "Files kept open between requests",
        fields!(store.max_open_bodies; |config, value| {
            config.store.max_open_bodies = Some(value.count(1..=1_000_000)?);
            Ok(())
        }),
    ),
    one(
        "max_absences",
        Restart,
        "Answers that say a thing does not exist, kept at once",
        put!(store.max_absences = value.count(1..=100_000_000)),
    ),
    one(
        "max_proofs",
        Restart,
        "Proofs that clients' own credentials were let in, kept at once",
        put!(store.max_proofs = value.count(1..=100_000_000)),
    ),
    one(
        "lock_wait",
        Restart,
        "How long to wait for another process to leave the data folder",
        put!(store.lock_wait = value.duration(Duration::ZERO..=HOUR)),
    ),
    one(
        "network_fs",
        Restart,
        "A data folder on a network file system: \"refuse\" or \"allow\"",
        put!(
            store.network_fs =
                value.word(&[("refuse", NetworkFs::Refuse), ("allow", NetworkFs::Allow)])
        ),
    ),
    one(
        "index_deadline",
        Restart,
        "Longest call to the index before it counts as dead",
        put!(store.index_deadline = value.duration(100 * MS..=10 * MINUTE)),
    ),
    one(
        "read_deadline",
        Restart,
        "Longest read of the index before the file is looked up by name",
        put!(store.read_deadline = value.duration(MS..=MINUTE)),
    ),
    one(
        "body_deadline",
        Restart,
        "Longest read of a stored body",
        put!(store.body_deadline = value.duration(10 * MS..=10 * MINUTE)),
    ),
    one(
        "ballast_bytes",
        Restart,
        "Room given up when the disk is full, so that the index can be opened",
        put!(store.ballast_bytes = value.bytes(0..=TIB)),
    ),
];

/// Settings of the way to the upstreams.
const UPSTREAM: &[Setting] = &[
    one(
        "connect_timeout",
        Obeyed,
        "Longest connect to an upstream, name look-up included",
        put!(upstream.connect_timeout = value.duration(10 * MS..=5 * MINUTE)),
    ),
    one(
        "first_byte_timeout",
        Obeyed,
        "Longest wait for the first byte of an answer",
        put!(upstream.first_byte_timeout = value.duration(10 * MS..=10 * MINUTE)),
    ),
    one(
        "idle_timeout",
        Obeyed,
        "Longest pause inside an upstream's answer",
        put!(upstream.idle_timeout = value.duration(100 * MS..=HOUR)),
    ),
    one(
        "min_rate_bytes",
        Obeyed,
        "Bytes a second below which an upstream's answer is given up",
        put!(upstream.min_rate_bytes = value.bytes(0..=1024 * MIB)),
    ),
    one(
        "max_hold",
        Obeyed,
        "Longest wait of a request for which nothing is stored",
        fields!(proxy.max_hold, upstream.max_hold; |config, value| {
            let wait = value.duration(100 * MS..=10 * MINUTE)?;
            (config.proxy.max_hold, config.upstream.max_hold) = (wait, wait);
            Ok(())
        }),
    ),
    one(
        "stale_after",
        Obeyed,
        "Longest wait for an upstream before the stored copy is served",
        fields!(proxy.stale_after, upstream.stale_after; |config, value| {
            let wait = value.duration(10 * MS..=5 * MINUTE)?;
            (config.proxy.stale_after, config.upstream.stale_after) = (wait, wait);
            Ok(())
        }),
    ),
    one(
        "max_upstream_connections",
        Restart,
        "Requests under way at one origin",
        put!(upstream.max_connections = value.count(1..=10_000)),
    ),
    one(
        "max_upstream_requests_per_second",
        Obeyed,
        "Requests sent to one origin in a second, evenly, or \"off\"",
        put!(upstream.max_requests_per_second = value.count_or_off(1..=1_000_000)),
    ),
    one(
        "max_upstream_bytes_per_second",
        Obeyed,
        "Bytes of bodies taken from one origin in a second, or \"off\"",
        put!(upstream.max_bytes_per_second = value.bytes_or_off(KIB..=TIB)),
    ),
    one(
        "breaker_failures",
        Obeyed,
        "Failures in a row after which an origin is asked by probes only",
        fields!(upstream.breaker_failures; |config, value| {
            let failures = value.count(1..=1000)?;
            config.upstream.breaker_failures = u32::try_from(failures).unwrap_or(u32::MAX);
            Ok(())
        }),
    ),
    one(
        "probe_after",
        Obeyed,
        "First probe of such an origin; the wait doubles",
        put!(upstream.probe_after = value.duration(10 * MS..=HOUR)),
    ),
    one(
        "probe_max",
        Obeyed,
        "Longest wait between probes",
        put!(upstream.probe_max = value.duration(10 * MS..=24 * HOUR)),
    ),
    one(
        "max_redirects",
        Obeyed,
        "Redirects followed for one answer",
        put!(upstream.max_redirects = value.count(0..=50)),
    ),
    one(
        "max_upstream_header_bytes",
        Obeyed,
        "Largest header of an upstream's answer",
        fields!(upstream.max_header_bytes; |config, value| {
            let bytes = value.bytes(8 * KIB..=MIB)?;
            config.upstream.max_header_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            Ok(())
        }),
    ),
    one(
        "push_answer_timeout",
        Obeyed,
        "Longest wait for the answer to an upload that was sent whole",
        put!(upstream.push_answer_timeout = value.duration(MS * 100..=HOUR)),
    ),
    one(
        "max_push_bytes",
        Obeyed,
        "Largest upload passed to an upstream",
        put!(upstream.max_push_bytes = value.bytes(MIB..=TIB)),
    ),
    many(
        "ca_files",
        Restart,
        "PEM files of certificate authorities that are trusted besides the system's",
        Field {
            put: |config, value| {
                config.roots = super::roots::read(value.list()?)?;
                Ok(())
            },
            same: |one, other| one.roots == other.roots,
            text: |config| format!("{:?}", config.roots),
            take: |config, other| config.roots.clone_from(&other.roots),
        },
    ),
];

/// Settings of the client binaries, in the file as a table: `[tools] upstream = …`.
const TOOLS: &[Setting] = &[
    one(
        "tools_upstream",
        Obeyed,
        "URL of a tools.json, whose client binaries are then served below /-/tools.json",
        fields!(proxy.tools.upstream; |config, value| {
            config.proxy.tools.upstream = Some(value.url()?);
            Ok(())
        }),
    ),
    one(
        "tools_fresh",
        Obeyed,
        "How long that list stays fresh; the binaries stay for ever",
        put!(proxy.tools.fresh = value.duration(Duration::ZERO..=24 * HOUR)),
    ),
];

/// Settings of the logs.
const LOGS: &[Setting] = &[
    one(
        "log",
        Obeyed,
        "What is logged on standard error: a level, or a filter such as \"info,sluice::store=debug\"",
        fields!(telemetry.log; |config, value| {
            let filter = value.text()?;
            telemetry::check_filter(filter)?;
            filter.clone_into(&mut config.telemetry.log);
            Ok(())
        }),
    ),
    one(
        "log_format",
        Restart,
        "\"human\" or \"json\"",
        put!(telemetry.log_format = value.word(FORMATS)),
    ),
    one(
        "access_log",
        Restart,
        "One line a request: \"off\", \"stdout\" or a file",
        fields!(telemetry.access_log; |config, value| {
            config.telemetry.access_log = match value.text()? {
                "off" => AccessLog::Off,
                "stdout" => AccessLog::Stdout,
                _ => AccessLog::File(value.path()?),
            };
            Ok(())
        }),
    ),
    one(
        "access_log_format",
        Restart,
        "\"human\" or \"json\"",
        put!(telemetry.access_log_format = value.word(FORMATS)),
    ),
];

const FORMATS: &[(&str, Format)] = &[("human", Format::Human), ("json", Format::Json)];

/// Groups of settings as help shows them.
pub(super) const GROUPS: &[(&str, &[Setting])] = &[
    ("Serving", SERVING),
    ("TLS", tls::SETTINGS),
    ("How clients see us", FACE),
    ("Users and tokens", ACCESS),
    ("Store", STORE),
    ("Scrub", super::scrub::SETTINGS),
    ("Upstreams", UPSTREAM),
    ("Proxies", super::proxies::PROXIES),
    ("Client binaries", TOOLS),
    ("Logs", LOGS),
];

/// Every setting.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|(_, group)| group.iter())
}

/// The setting with this name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}
