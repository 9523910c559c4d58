//! Sluice: a caching reverse proxy for NuGet V3 feeds. This page is the map.
//!
//! Sluice is one crate, one binary, one process. It mounts *feeds*, each a name and an upstream service index, answers
//! every request it can from what it keeps, and asks the upstream at most once for what it lacks.
//!
//! ```text
//! client ──HTTP/1.1, h2──▶ server ──▶ proxy ──▶ decision ──▶ memory (moka) ─▶ index (sled) + bodies (files)
//!                                       │                                        ▲
//!                                       └──▶ flight (one per key) ──▶ upstream ──┘  streams to clients while it writes
//! ```
//!
//! # The life of a request
//!
//! 1. [`server`] accepts a connection, gives it a seat once there is one, and hands each request to [`proxy::Proxy::handle`].
//!    It obeys the configuration of that moment to its end, whatever a reload changes meanwhile ([`proxy::Snapshot`]).
//! 2. [`proxy::base`] finds the base URL: what the client calls us, with which every link of the answer begins.
//! 3. [`proxy::route`] turns the path into a resource; every spelling of an id or version reaches the same one. The
//!    [`access::Guard`] lets whoever asks in, or not: a feed that is not open looks nothing up for strangers.
//! 4. A document that is in memory, fresh and of the current epoch is answered from there: no file, no index, no JSON.
//! 5. Otherwise a view says which stored documents the answer is made of: one mostly, of a feed made of others those of
//!    each member. For each, [`cache::decision::decide`] says from what is stored, the epochs, the policy and the state
//!    of the origin what to do: serve, ask and wait, ask behind the answer, or refuse.
//! 6. Who must ask joins the [`flight`] for that key, or leads it: one fetch through [`upstream`], checked whole
//!    ([`nuget`]), written into the [`store`]. Readers of a package follow its file while it grows; a line that breaks is
//!    mended, and what broke off for good waits a while for the next flight.
//! 7. What block rules hide is cut out of the view, and offline what cannot be delivered; then it is rendered: links
//!    pointed at us, every other byte as it was; coded; kept in memory.
//! 8. `respond` makes the response. One [`proxy::outcome::Completed`] event leaves for log and metrics.
//!
//! What an operator orders to be done to what is stored ([`proxy::Order`]) comes through the admin listener, or, where no
//! process has the data folder, from a command that takes it meanwhile; pins come by a small file ([`store::Pins`]).
//!
//! # Modules
//!
//! | module | what it is | what it must not know |
//! |---|---|---|
//! | [`nuget`] | the protocol as pure functions: ids, versions, readers that yield spans | HTTP, time, storage |
//! | [`cache`] | HTTP caching as pure functions: keys, epochs, freshness, the decision | tokio, NuGet, the clock |
//! | [`clock`], [`tasks`], [`telemetry`] | the only reader of time; the only spawner; names of fields and counters | everything else of ours |
//! | `sync` | the locks of what `tests/models` tries in many orders | everything else |
//! | [`flight`] | one leader, many followers, per key | what a key or value means |
//! | `fuzzing` | entry points of every reader for fuzzing, compiled for tests and `tests/fuzz` alone | what is not a reader |
//! | [`mapped`], [`platform`] | the only unsafe code: address tokens for sendfile; what differs between systems | everything else of ours |
//! | [`store`] | memory, index, bodies, room; the only door to data files | NuGet, the upstream, status codes |
//! | [`upstream`] | fetch and publish: connections, credentials, turns, retries, health | the store, freshness, NuGet |
//! | [`proxy`] | joins the above, one request at a time | sockets, files, sled, moka |
//! | [`access`] | users, tokens, and what each feed asks of its clients | routes, statuses, what is stored |
//! | [`config`] | raw settings → checked [`config::Config`], all problems in one report | behaviour |
//! | [`server`] | listeners, TLS, connections, draining, the admin listener, the check of our own index | cache rules, the store |
//!
//! # Invariants
//!
//! 1. Time enters only through [`clock`]; [`cache`] never asks for it.
//! 2. A byte is served from a body that passed its checks, or live to the readers of the flight that fetches it.
//!    Readers of a checked body never get its last 16 KiB (all of it if smaller) before the verdict; if that is bad,
//!    their connections break. A body that fits in the hold-back sends no header before the verdict; a bad one is a 502.
//!    JSON is complete and checked before its first byte. Sync and rename delay no reader.
//! 3. At most one stored fetch per (key, epoch) is in flight; a flight belongs to nobody's request. Nobody joins after
//!    its verdict: who comes between a good verdict and its row reads the checked file through the pending rows. Every
//!    task is tracked and joined at drain.
//! 4. A reachable upstream means an answer whatever the store does. A stored entry means an answer whatever the upstream
//!    does, however old, labelled stale. Except feeds that pass clients' credentials on: nothing stored is given without
//!    a proof that the upstream lately let the credential in for that id, and its 401 and 403 are handed on.
//! 5. Every loop, queue, body, header list and wait has a limit.
//! 6. 404 only if the upstream said so: lately or, for lists and registration indexes while it is unreachable, within
//!    the last seven days; a block rule and a feed that is offline are the exceptions, and say so in the reason phrase.
//!    Upstream 401 and 403 to Sluice on a read become 502. An outage without a copy is 502, 503 or 504, said in the
//!    reason phrase and at length in the body.
//! 7. nupkg bytes are never altered. Unknown JSON properties and their order survive a rewrite byte for byte; version
//!    lists pass byte for byte. What a block rule hides, or cannot be delivered offline, is cut out and nothing else.
//! 8. Credentials of one host never reach another; client credentials never go upstream, but for the key of a push where
//!    the feed holds none, and where the feed passes them on; none is logged.
//! 9. Memory holds copies for speed and decides nothing; losing the index costs neither stored bodies nor right answers
//!    (it costs the memory of 404s, of raised epochs, of versions withdrawn, disputed or unsigned).
//! 10. Only `respond` picks status codes (hyper alone answers what it cannot parse); only [`store`] touches data files;
//!     only [`upstream::connect`] opens outgoing sockets; only [`tasks`] spawns; only [`mapped`] is unsafe.
//!
#![doc = include_str!("threat_model.md")]

pub mod access;
pub mod cache;
pub mod clock;
pub mod config;
pub mod flight;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod mapped;
pub mod nuget;
pub mod platform;
pub mod proxy;
pub mod server;
pub mod store;
mod sync;
pub mod tasks;
pub mod telemetry;
pub mod upstream;
