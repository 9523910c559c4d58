//! The values of the store and of the process as metrics.

use std::time::SystemTime;

use sluice::store::{IndexState, Usage};
use sluice::tasks::Tasks;
use sluice::telemetry::{Family, Kind, Samples};

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
        "Bytes held for bodies under way and for those that broke off.",
        |usage| usage.reserved_bytes,
    ),
    gauge(
        "sluice_store_partials",
        "Bodies that broke off and are kept for the rest to come.",
        |usage| wide(usage.partials),
    ),
    gauge(
        "sluice_store_partial_bytes",
        "Bytes of the reserved ones that are held for those.",
        |usage| usage.partial_bytes,
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
        "sluice_store_pending_entries",
        "Stored bodies whose name or row is not durable yet.",
        |usage| wide(usage.pending_entries),
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
        "sluice_store_proofs",
        "Remembered proofs of clients' credentials.",
        |usage| wide(usage.proofs),
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
        "sluice_store_recent_evictions_total",
        "Bodies evicted within a day of their last use.",
        |usage| usage.recent_evictions,
    ),
    counter(
        "sluice_store_recent_evicted_bytes_total",
        "Bytes of bodies evicted within a day of their last use.",
        |usage| usage.recent_evicted_bytes,
    ),
    gauge(
        "sluice_store_pinned_bodies",
        "Bodies that pins keep.",
        |usage| usage.pinned,
    ),
    gauge(
        "sluice_store_pinned_bytes",
        "Bytes of the bodies that pins keep.",
        |usage| usage.pinned_bytes,
    ),
    counter(
        "sluice_store_scrubbed_bytes_total",
        "Bytes of bodies that the scrub has read.",
        |usage| usage.scrubbed_bytes,
    ),
    counter(
        "sluice_store_scrub_damaged_total",
        "Damaged bodies that the scrub has found.",
        |usage| usage.scrub_damaged,
    ),
    gauge(
        "sluice_store_scrub_completed_seconds",
        "When the scrub last had read everything, in seconds since 1970; 0 before.",
        |usage| {
            let completed = usage.scrub_completed.unwrap_or(SystemTime::UNIX_EPOCH);
            let since = completed.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_secs()
        },
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
pub(crate) fn count_store(usage: &Usage, samples: &mut Samples) {
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

/// Adds how much the process has under way to a scrape; what a task that never ends leaks shows here.
pub(crate) fn count_tasks(tasks: &Tasks, samples: &mut Samples) {
    let running = Family {
        name: "sluice_tasks",
        help: "Tasks and blocking calls under way, the scrape's own connection included.",
        kind: Kind::Gauge,
    };
    samples.add(&running, &[], wide(tasks.running()));
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
